/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_TAKEOVER_H
#define VSOCKFS_TAKEOVER_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "guard.h"
#include "records.h"
#include "service.h"
#include "state_file.h"

/*
 * -o takeover: the service manager keeps the FUSE device (each worker's channel of it) and a state
 * file (state_file.h); when the daemon was killed, or is restarted, the next one goes on with the
 * same mount, and no program that has files open there notices more than a pause. Requests that
 * were under way come again on /dev/fuse, marked (FUSE_NOTIFY_RESEND, Linux 6.9).
 *
 *	fresh:	  takeover_new -> share_new -> takeover_keep -> ... mounted ... -> takeover_store
 *	resumed:  takeover_load -> share_new -> takeover_restore -> connected -> takeover_begin ->
 *		  serving -> takeover_sweep
 *
 * What share->keep is set for keeps its records itself: nodes (node.c), open files and hidden names
 * (file.c), uncommitted data (unstable.c); opens, locks, the client and the setup are written here.
 */

struct file;
struct share;

struct takeover_mark {
	uint64_t unique;
	struct timespec mark;
	uint64_t owner;	 /* 0: nothing was to be opened, or it is on record */
	uint64_t handle; /* of the open file that was to be the answer, or 0 */
	uint32_t record;
};

struct takeover {
	struct state_file *file;
	uint32_t setup_at, client_at, server_at; /* records; the last if there is one */
	/* what was left by another daemon */
	bool resumed;
	uint16_t epoch;
	struct record_setup setup;
	struct nfs_client_identity identity;
	struct record_server server; /* if server_at is not 0 */
	struct service_fds fds;
	void *copy; /* of the file as it was found */
	struct state_record *records;
	struct nfs_open **opens; /* beside the records: those that no file has claimed */
	size_t count;
	struct takeover_mark *marks; /* by unique */
	size_t nmarks;
	struct node_silly **silly; /* of files that nobody has open any more */
	size_t nsilly;
};

/* 0 or -errno. */
int takeover_new(struct takeover **takeover);
/*
 * From descriptors of the service manager, which it takes in any case. 0, or -errno with a sentence
 * in `why`: there is nothing that can be taken over.
 */
int takeover_load(const struct options *options, struct service_fds *fds_take,
	struct takeover **takeover, char *why, size_t why_size);
/* NULL is allowed. The service manager keeps what it has. */
void takeover_free(struct takeover *takeover);

/* The share's opens, locks and client go on record from now on; before it connects. */
void takeover_keep(struct takeover *takeover, struct share *share);
/* Gives a new share what the last daemon had. 0 or -errno. Before it connects. */
int takeover_restore(struct takeover *takeover, struct share *share);
/* Connected, and about to serve: the numbers that this daemon gives out are its own from now on. */
void takeover_begin(struct takeover *takeover);
/*
 * Mounted: notes the FUSE_INIT request and the mount, and has the service manager keep the rest. 0
 * or -errno, with a line in the log: the daemon cannot be replaced then.
 */
int takeover_store(struct takeover *takeover, struct share *share, const struct guard_mount_id *id);
/* Serving again: commits what the last daemon had not, and closes what nobody has open any more. */
void takeover_sweep(struct takeover *takeover, struct share *share);
/* Unmounted: the service manager shall keep nothing. */
void takeover_forget(void);

/* Of the options that cannot change from one daemon to the next. */
uint64_t takeover_hash_options(const struct options *options);
/* For nfs_client_config.identified, with the share. */
void takeover_identified(void *arg, const struct nfs_client_identity *identity);

/* The server is at a vsock address that the options do not name. */
void takeover_put_server(struct share *share, const struct address *address);
/* Where it is, if that is so. */
bool takeover_get_server(const struct takeover *takeover, struct address *address);

/* Records that the share's modules write. Without share->keep nothing is done, and 0 returned. */
uint32_t takeover_put_file(struct share *share, const struct file *file);
uint32_t takeover_put_silly(struct share *share, uint64_t node_id, uint64_t dir_id,
	const char *name, const struct rpc_cred *cred);
/* `verifier` NULL: of several. */
uint32_t takeover_put_unstable(struct share *share, uint32_t old, uint64_t node_id,
	const uint8_t verifier[NFS4_VERIFIER_SIZE]);
/* `unique`: the kernel's number of the request, whether it comes again or not. */
uint32_t takeover_put_mark(struct share *share, uint32_t old, uint64_t unique,
	const struct timespec *mark, uint64_t owner);
/* What the last daemon had put, or NULL. Once the workers serve. */
const struct takeover_mark *takeover_find_mark(const struct share *share, uint64_t unique);
void takeover_drop(struct share *share, uint32_t record);

#endif
