/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_SHARE_H
#define VSOCKFS_SHARE_H

#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/queue.h>

#include "cache.h"
#include "lacks.h"
#include "nfs41/client.h"
#include "nfs41/offload.h"
#include "nfs41/reclaim.h"
#include "nfs41/state.h"
#include "node.h"
#include "notify.h"
#include "options.h"
#include "proccred.h"
#include "rota.h"
#include "stats_text.h"
#include "told.h"
#include "unstable.h"
#include "util/buf.h"
#include "worker.h"

/*
 * One mounted export: what all workers share. Made and ended by the main thread; between
 * share_connect and share_disconnect the workers' threads run.
 */

/* Buffers of the largest payload that may exist at once. */
#define SHARE_BUFS 64

struct fuse_session;
struct guard;
struct referrals;
struct handle_table;
struct state_file;
struct takeover;
struct fsop_dir;
struct fsop_lock_wait;
struct ahead_pool;
struct lead_pool;
struct preopen_pool;
struct upcoming_table;
struct migrate;
struct behind_pool;
struct capture;
struct trace;

struct share_wait {
	int err;
	_Atomic int done;
};
struct closing_pool;
struct changes;
struct fresh_table;
struct listing_table;
struct whole_table;
struct support_table;
struct xattr_table;

struct share {
	const struct options *options;
	struct nfs_client *client;
	struct nfs_state *state;
	struct reclaim *reclaim;
	struct node_table *nodes;
	struct handle_table *files, *dirs; /* what the kernel has open */
	struct proccred *creds;
	struct rpc_cred
		*mount_cred; /* of the process that mounts: session, root lookup, clean-up */
	struct buf_pool *bufs;
	struct notify *notify;
	struct unstable_pool *unstable;
	struct behind_pool *behind;
	struct closing_pool *closing;
	struct ahead_pool *ahead;
	struct lead_pool *lead;
	struct upcoming_table *upcoming;
	struct preopen_pool *preopen;
	_Atomic bool copies; /* the last small file was copied by copy_file_range(2), not read */
	struct fresh_table *fresh;
	struct whole_table *whole;
	struct listing_table *listing;
	struct siblings_table *siblings;
	struct changes *changes;
	struct support_table *support;
	struct xattr_table *xattrs;
	unsigned possible; /* SUPPORT_* that some file system may have */
	struct lacks lacks;
	_Atomic bool delegates_dirs; /* the server knows GET_DIR_DELEGATION */
	_Atomic bool readers_lock;   /* some program has locked by a file open for reading only */
	struct told told;
	_Atomic(struct referrals *) referrals; /* NULL: none is followed */
	struct migrate *migrate;
	struct offload_table offloads;
	const struct tls_context *tls; /* or NULL; not owned */
	struct guard *guard;	       /* mounts and unmounts; not owned */
	struct fuse_session *session;  /* NULL until it is mounted */
	struct cache_policy cache;
	bool kernel_checks;	      /* default_permissions is in force */
	struct nfs_bitmap want;	      /* attributes asked for everywhere */
	bool marks;		      /* the server lets access times be set: see fsop_once.c */
	uint32_t rsize, wsize;	      /* bytes of payload per READ and WRITE */
	bool tells_clone_block;	      /* the server has that attribute, */
	_Atomic uint32_t clone_block; /* bytes: what CLONE takes multiples of; 0: not asked yet */
	struct worker *workers[WORKER_MAX];
	unsigned nworkers;
	bool busy_poll; /* workers look for events before they sleep: spin.h */
	struct rota rota;
	unsigned ring_queues;	 /* of FUSE over io_uring, which is to be used; or 0 */
	bool ring_agreed;	 /* and the kernel agrees */
	_Atomic int ring_failed; /* and does not keep its word */
	uint64_t mounted_at;	 /* ns, as loop_clock() */
	int fuse_fd;		 /* the FUSE device, for notifications; -1 before it is mounted */
	int event_fd;		 /* eventfd: something happened that the main thread waits for */
	struct capture *capture;
	struct trace *trace;
	const _Atomic uint64_t *trace_threshold;
	struct takeover *takeover; /* another daemon can go on, or NULL; not owned */
	struct state_file *keep;   /* where that is kept, or NULL */
	uint32_t init_len;	   /* bytes of the FUSE_INIT request */
	uint8_t init[256];
	/* Which flavors the server asks for on the way to the export, if it said so: for the names
	 * of sec_path in the directory sec_fh, which is sec_names below where the way began. */
	struct rpc_sec_list secs;
	struct nfs_fh sec_fh;
	const char *sec_path;
	unsigned sec_names;
	char why[256];		  /* what went wrong, while connecting */
	struct address elsewhere; /* the server that has the export, with -EREMOTE, */
	char *elsewhere_path;	  /* unless this is NULL; owned */
	struct share_wait connected, stopped;
	bool init_seen;			/* FUSE_INIT, by libfuse */
	_Atomic int init_done;		/* the kernel and the daemon have agreed on FUSE_INIT */
	_Atomic int ended;		/* the file system was unmounted or its device failed */
	struct loop_timer commit_timer; /* the first worker's: rootfs.c */
	bool committing;		/* the same thread's */
	struct loop_timer recall_timer; /* the first worker's: idle delegations */
	/* blocking locks that wait, so that interrupts find them */
	pthread_mutex_t lock_mutex;
	TAILQ_HEAD(, fsop_lock_wait) lock_waits; /* who came first, first */
	LIST_HEAD(, fsop_dir) past_dirs;	 /* opened through an earlier daemon */
};

/* Makes workers, loops and the client. `tls`: xprtsec_load's. 0 or -errno. */
int share_new(const struct options *options, const struct tls_context *tls, struct guard *guard,
	struct takeover *takeover, struct share **share);
/* Empty tables of what is open; `epoch` as in handle.h. 0 or -ENOMEM. */
int share_new_handles(struct share *share, uint16_t epoch);
/* Everything must have ended (share_disconnect). NULL is allowed. */
void share_free(struct share *share);

/*
 * Starts the workers, connects to the server, looks the export up. Blocks the calling thread. 0 or
 * -errno with a sentence for the user in share->why; -ECANCELED: `cancel_fd` became readable first;
 * -EREMOTE: the export is elsewhere.
 */
int share_connect(struct share *share, int cancel_fd);
/* Mounts and hands the FUSE device to the workers. 0 or -errno with share->why. */
int share_mount(struct share *share);
/*
 * Has all that programs have written, mapped pages included, written and committed; waits for it as
 * long as the server says something. 0 or -errno; -ETIMEDOUT: the server is silent.
 */
int share_flush(struct share *share);
/* After the unmount: opens and hidden names of what programs still have open are given back, since
 * a server keeps a client id that has any. */
void share_return_state(struct share *share);
/* Takes the mount away (lazily) if it is still there. Waits at most so long for dirty pages. */
void share_unmount(struct share *share, int timeout_ms);
/* Gives state back to the server and stops the workers. Blocks at most about `timeout_ns`. */
void share_disconnect(struct share *share, uint64_t timeout_ns);

/* Do requests come over io_uring? Once it is mounted; any thread. */
static inline bool share_rings(const struct share *share)
{
	return share->ring_agreed && !share->ring_failed;
}

/* answer.c: control_ops.answer, with the share as argument. */
bool share_answer(void *arg, const char *request, int *fd, FILE *out);

/*
 * export.c: looks the export up from the server's root, on a worker's thread, makes the node table
 * with the export's root in it, and learns what the server can take. `done` gets 0, or -errno
 * with share->why set.
 */
void export_open(
	struct share *share, struct worker *worker, void (*done)(struct share *share, int err));

#endif
