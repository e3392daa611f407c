/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_FSOP_H
#define VSOCKFS_FSOP_H

#define FUSE_USE_VERSION 314

#include <fuse_lowlevel.h>
#include <stddef.h>
#include <stdint.h>

#include "ahead.h"
#include "behind.h"
#include "changes.h"
#include "closing.h"
#include "dirhold.h"
#include "file.h"
#include "nfs41/deleg.h"
#include "nfs41/offload.h"
#include "nfs41/op.h"
#include "nfs41/reclaim.h"
#include "node.h"
#include "share.h"
#include "whole.h"

/*
 * FUSE requests: one fsop_* function for each, in fsop_*.c by subject. A request runs on the worker
 * that read it, from fsop_begin to exactly one fsop_reply_*, which also frees it. Between them it
 * owns pins of nodes, a file reference, a credential and at most one compound; all go with it.
 */

/* Names are kept for requests that need a second compound. */
#define FSOP_NAME_MAX  256
#define FSOP_SILLY_MAX 32

/* In fsop_request.unique (FUSE_UNIQUE_RESEND): another daemon had the request before. */
#define FSOP_UNIQUE_RESEND (UINT64_C(1) << 63)

struct fsop_request {
	fuse_req_t fuse;    /* NULL: answered early, see vigil.h; the rest of its life is its own
			       affair */
	uint64_t unique;    /* the kernel's number for it */
	uint32_t opcode;    /* FUSE_* */
	int err;	    /* of the answer: 0 or -errno */
	bool resent;	    /* another daemon had it before, and may have executed it */
	uint64_t mark_salt; /* of the client that it was marked by */
	uint32_t mark;	    /* record of what it marked, for another daemon, or 0 */
	pid_t pid;	    /* of the thread that waits for it; 0: not visible here */
	bool interrupted;
	bool names;	   /* it changes names in req->node, and perhaps in req->target */
	uint64_t begun_at; /* ns */
	uint64_t rpc_ns;   /* that compounds before the present one took */
	uint32_t rpcs;	   /* how many there were */
	LIST_ENTRY(fsop_request) pending;
	/* What an interrupt does to it, whatever the signal. True: it ended. NULL: nothing. */
	bool (*interrupt)(struct fsop_request *req);
	struct worker *worker;
	struct share *share;
	struct rpc_cred *cred;
	struct nfs_compound *compound;
	struct node *node;   /* the object or the directory; pinned */
	struct node *target; /* a second object; pinned */
	struct node *victim; /* an open file that is about to lose its name; pinned */
	struct file *file;   /* referenced */
	struct buf *value;   /* of an extended attribute; a reference */
	struct file *source; /* what is copied from; referenced */
	void (*then)(struct fsop_request *req);	  /* what follows a shared step */
	void (*again)(struct fsop_request *req);  /* what follows once a stateid is good again */
	void (*looked)(struct fsop_request *req); /* what follows fsop_look */
	struct behind_wait wait;
	void (*settled)(struct fsop_request *req); /* what follows fsop_settle */
	struct node *committing;		   /* of fsop_commit */
	void (*committed)(void *req, int err);	   /* what follows it */
	struct closing_load load;
	struct changes_held held;
	struct behind *gathered; /* it is the daemon's own: sends this */
	struct reclaim_use use;

	/* results of the compound */
	struct nfs_attr attr;
	struct nfs_attr before; /* change and size in front of a modification */
	struct nfs_attr dir;	/* of req->node after a change of names in it */
	struct nfs_fh fh;
	struct nfs_change_info cinfo;
	struct nfs_open_res made;

	union {
		struct {
			char name[FSOP_NAME_MAX], to[FSOP_NAME_MAX], silly[FSOP_SILLY_MAX];
			struct nfs_fh object;			     /* what is renamed */
			void (*otherwise)(struct fsop_request *req); /* it has its name still */
			uint32_t record; /* of `silly`, until it is the victim's */
			int err;
			bool hidden;		 /* the victim has its silly name */
			bool looks;		 /* at the object, before it is renamed */
			bool closes;		 /* what waits to be closed, before that */
			struct listing *listing; /* that a LOOKUP reads */
			struct siblings *along;
			struct whole_reading *reading; /* of its names, or NULL */
			struct dirhold hold;
			uint64_t asked_at; /* ns: for what has become of the victim, or object */
		} names;
		struct {
			char name[FSOP_NAME_MAX];
			struct nfs_setattr set;
			uint32_t type, rdev_major, rdev_minor;
			uint64_t owner; /* of the OPEN that makes a regular file */
			struct nfs_readlink_res res;
			char link[NFS4_PATH_MAX], found[NFS4_PATH_MAX];
		} make;
		struct {
			char name[FSOP_NAME_MAX];
			struct nfs_setattr set; /* CREATE */
			uint64_t owner;
			struct fuse_file_info fi;
			uint32_t access;
			bool widened, direct; /* open_widen, open_narrow */
			struct nfs_access_res granted;
			struct deleg_asking asking;
			bool asked;	 /* a delegation was asked for */
			struct buf *buf; /* for the data of a small file, or NULL */
			struct nfs_read_res data;
			unsigned needed;       /* operations without reading it */
			struct loop_task task; /* the kernel's cache was dropped */
		} open;
		struct {
			struct nfs_read_res res;
			struct buf *buf;
			uint8_t *data;
			uint64_t offset;
			uint32_t len, got; /* bytes */
		} read;
		struct {
			struct nfs_write_res res;
			struct nfs_read_res seen;
			struct buf *seen_buf;
			struct unstable_write *write;
			struct unstable_commit *ride; /* a COMMIT behind it, or NULL */
			uint32_t len;		      /* of it, for the answer */
			uint32_t stable;	      /* stable_how4 asked for */
			uint32_t committed;	      /* the weakest that any part was given */
			unsigned at;		      /* operations in front of WRITE */
			uint32_t page_reads;	      /* of the file, when it was answered */
			struct loop_task task;	      /* the page cache was dropped */
			bool around;		      /* the page cache: O_DIRECT */
			bool direct;		      /* not to be gathered */
			bool moved;  /* appended elsewhere than the kernel thought */
			bool placed; /* no append, or one whose place is known to be ours */
		} write;
		struct {
			struct nfs_setattr set;
		} setattr;
		struct {
			struct nfs_readlink_res res;
			char target[NFS4_PATH_MAX];
		} readlink;
		struct {
			struct nfs_access_res res;
			int mask;
		} access;
		struct {
			struct nfs_fsattr fs;
		} statfs;
		struct {
			char name[FSOP_NAME_MAX]; /* with its prefix; "": all of them */
			unsigned has;		  /* SUPPORT_* of the file system */
			size_t size;		  /* bytes that there is room for, 0: only their
						     number is asked for; or that are set */
			unsigned flags;		  /* XATTR_CREATE, XATTR_REPLACE */
			unsigned rounds;	  /* LISTXATTRS that came to no end */
			struct nfs_fsattr fs;
			struct nfs_bytes_res res;
			struct nfs_listxattrs_res list;
			struct nfs_bytes_res lists[2]; /* FATTR4_POSIX_DEFAULT_ACL, _ACCESS_ACL */
		} xattr;
		struct {
			struct fsop_dir *dir;
			struct siblings *along;
			struct dirhold hold;
			uint64_t offset, cookie;
			size_t size;
			unsigned skipped;  /* blocks in a row */
			unsigned vanished; /* times that the server lost an entry while reading */
			bool plus;
		} readdir;
		struct {
			struct nfs_lock_args args;
			struct nfs_lock_denied denied;
			struct nfs_stateid stateid;
			struct nfs_open_res opened;
			uint32_t widen; /* that an OPEN in front of LOCK asks for, or 0 */
			struct nfs_lock *lock;
			struct fsop_lock_wait *wait;
			struct loop_task task; /* the page cache was dropped */
			uint64_t fuse_owner;   /* before there is a lock */
			bool unlock;
			bool sleep; /* until it is granted */
		} lock;
		struct {
			uint64_t offset, length;
			int mode;    /* FALLOC_FL_* */
			unsigned at; /* operations in front of those that change the file */
		} space;
		struct {
			struct nfs_seek_res res;
			uint64_t offset;
			uint32_t what; /* NFS4_CONTENT_* */
		} seek;
		struct {
			struct nfs_copy_res res;
			struct nfs_offload_status_res status;
			struct nfs_fsattr fs;
			struct reclaim_use source_use;
			struct offload_wait wait;
			struct loop_timer timer;
			uint64_t from, to;  /* offsets */
			uint64_t poll_at;   /* ns */
			uint64_t pause_ns;  /* until the next time after that */
			uint32_t len, done; /* bytes */
			uint32_t clone;	    /* bytes to be cloned; 0: it is to be copied */
			unsigned at;	    /* operations in front of it */
			unsigned tries, unknown;
			bool synchronous; /* nothing may go on after its answer */
			bool forced;	  /* the server does it asynchronously only */
			bool asked;	  /* the last COPY was allowed to go on */
			bool begun;	  /* some of the piece may be there */
			bool turn;	  /* whose stateid is suspected */
			bool polling, committing, heard, over;
			uint8_t verifier[NFS4_VERIFIER_SIZE]; /* of COMMIT */
		} copy;
	} u;
};

extern const struct fuse_lowlevel_ops fsop_table;

/* Decodes one request as the kernel wrote it and starts it. On the worker's thread. */
void fsop_process(struct worker *worker, void *data, size_t len);
/* The same for one that came over io_uring; its answer goes to ring_reply, with this number. */
void fsop_process_ring(struct worker *worker, void *data, size_t len, uint64_t number);
/* Has libfuse decode the FUSE_INIT of share->init, whose answer the kernel has had. 0 or -EPROTO.
 */
int fsop_replay_init(struct share *share);
/* Replies leave on the channel of the worker that sends them. */
extern const struct fuse_custom_io fsop_custom_io;

/*
 * A request with its credential and the pinned node of `ino`. NULL: it was answered already
 * (ESTALE, ENOMEM).
 */
struct fsop_request *fsop_begin(fuse_req_t fuse, fuse_ino_t ino);

/* The same for what is done through an open file: by right of its opener, whoever does it. */
struct fsop_request *fsop_begin_file(fuse_req_t fuse, const struct fuse_file_info *fi);

/*
 * One of the daemon's own, which nobody waits for: sends what was gathered, whatever becomes of it
 * is noted, and behind_sent called. By right of the file's opener.
 */
void fsop_write_gathered(struct behind *behind);
struct fsop_request *fsop_begin_gathered(struct behind *behind);

/* Another one of those, of a kind that programs' requests have: `opcode`. NULL without memory. */
struct fsop_request *fsop_begin_own(struct node *node_take, struct rpc_cred *cred, uint32_t opcode);

/* The request changes an object: nothing that was known of it before its end is told any more. */
void fsop_hold(struct fsop_request *req, const struct node *node);
/* It changes names in req->node, and in req->target if that is another directory or gets one more.
 */
void fsop_hold_names(struct fsop_request *req);
/* A name in `dir` will stand for something else, or nothing. */
void fsop_hold_name(struct fsop_request *req, const struct node *dir, const char *name);

/* `next` follows when nothing that was gathered of `node` is in its way; perhaps at once. */
void fsop_settle(
	struct fsop_request *req, struct node *node, void (*next)(struct fsop_request *req));
/* Has all that was written to req->node gathered, sent and committed: unstable_commit. */
void fsop_commit(struct fsop_request *req, void (*done)(void *req, int err));
/* The same of another node, which stays until then. */
void fsop_commit_node(
	struct fsop_request *req, struct node *node, void (*done)(void *req, int err));

/* A new compound in req->compound with PUTFH of `node`. NULL: answered with ENOMEM. */
struct nfs_compound *fsop_compound(struct fsop_request *req, uint32_t label, struct node *node);
/* The same behind every CLOSE that waits: up to `ops` operations, of which the last take a name
 * away. fsop_carry_dir or fsop_carry_victim follows. */
struct nfs_compound *fsop_compound_closed(
	struct fsop_request *req, uint32_t label, unsigned ops, struct node *node);
/* In its `done`: it has failed, and is to be sent once more without those. */
bool fsop_is_held_up(const struct fsop_request *req);
/* fsop_compound without the PUTFH. */
struct nfs_compound *fsop_compound_bare(struct fsop_request *req, uint32_t label);
/* Nor is anything answered. */
struct nfs_compound *fsop_compound_try(struct fsop_request *req, uint32_t label);
/* Sends req->compound; `done` gets the request as nfs_compound.arg. */
void fsop_send(struct fsop_request *req, void (*done)(struct nfs_compound *c));

/*
 * Whether nothing may follow data (nfs_compound_payload) in a compound: knfsd, Linux 7.2 at least,
 * reads what does in an encrypted call from 32 bytes before its place, and so executes the end of
 * the data.
 */
bool fsop_data_is_last(const struct fsop_request *req);

/* What to give as `done` so that the compound, which is complete, can take others' CLOSE along. */
void (*fsop_carry(struct fsop_request *req, void (*done)(struct nfs_compound *c)))(
	struct nfs_compound *c);
/* The same, after asking for the attributes of req->node, in which a name is changed. */
void (*fsop_carry_dir(struct fsop_request *req, void (*done)(struct nfs_compound *c)))(
	struct nfs_compound *c);
/* The same with the attributes of req->victim besides, unless that is NULL: in req->attr. */
void (*fsop_carry_victim(struct fsop_request *req, void (*done)(struct nfs_compound *c)))(
	struct nfs_compound *c);
/* Asks for the change attribute of the current filehandle, before a name of it is made or removed.
 */
void fsop_put_change(struct fsop_request *req);
/* That was done, and its attributes came with it, if they did: its data is what it was. */
void fsop_note_renamed(struct fsop_request *req, struct node *node);
/* Closes what req->made has opened, and nobody has on record. */
void fsop_close_made(struct fsop_request *req);
/* Before a request that changes names is answered by other means than fsop_reply_err and _entry. */
void fsop_note_names(struct fsop_request *req);

/* The stateid of the file for req->use: 0, or -errno when the open is lost. */
int fsop_use_open(struct fsop_request *req);
/*
 * In `done`: true if the stateid of req->use had died. Then `again`, which takes the stateid that
 * is on record by then, will be called, or has been.
 */
bool fsop_refused(struct fsop_request *req, void (*again)(struct fsop_request *req));

void fsop_reply_err(struct fsop_request *req, int err); /* 0 or -errno */
void fsop_reply_attr(struct fsop_request *req, const struct nfs_attr *attr);
/* The node of req->fh and `attr` under `name` in req->node. */
void fsop_reply_entry(struct fsop_request *req, const struct nfs_attr *attr, const char *name);
/* A name that does not exist, cached as policy has it. */
void fsop_reply_negative(struct fsop_request *req);
/* Frees a request that was answered by other means. */
void fsop_end(struct fsop_request *req);

/* Copies a name that the request buffer holds. Returns `to`. */
const char *fsop_keep_name(char to[FSOP_NAME_MAX], const char *name);

/* fsop_once.c: for requests that must not be executed twice, and what to do when one may have been
 */
/* fsop_send for a compound that is not repeated in another session. */
void fsop_send_once(struct fsop_request *req, void (*done)(struct nfs_compound *c));
/* In `done`: it was, or was not, executed. */
bool fsop_unsure(const struct nfs_compound *c);
/*
 * Looks `name` up: `looked` finds the object in req->fh (of length 0: there is none) and req->attr.
 * Other failures answer the request.
 */
void fsop_look(struct fsop_request *req, struct node *dir, const char *name,
	void (*looked)(struct fsop_request *req));
/* Was it `node`? */
bool fsop_found(const struct fsop_request *req, const struct node *node);
/*
 * Marks what is about to be made, so that fsop_marked knows it again (`set` NULL: nothing), and
 * draws the number of the open-owner if `owner` is not NULL: another daemon that repeats the
 * request finds the same.
 */
void fsop_mark(struct fsop_request *req, struct nfs_setattr *set, uint64_t *owner);
/* The request was carried out, whatever the server looks like: another daemon need only answer it.
 */
void fsop_mark_done(struct fsop_request *req);
bool fsop_marked_done(struct fsop_request *req);
/* Was it what was marked in `set`? */
bool fsop_marked(const struct fsop_request *req, uint32_t type, const struct nfs_setattr *set);
/* A compound that opens the file that was found, of our own making: PUTFH, SETATTR, OPEN, SETATTR,
 * GETATTR. `access` with WANT bits. False: answered with ENOMEM. */
bool fsop_put_open_marked(struct fsop_request *req, uint32_t access, uint64_t owner);

/* fsop_attr.c: what replies with attributes are made of */
mode_t fsop_type_mode(uint32_t type);
void fsop_fill_stat(
	struct share *share, struct node *node, const struct nfs_attr *attr, struct stat *st);
/* Fills *entry with a kernel reference to the node. 0 or -errno. */
int fsop_fill_entry(struct share *share, const struct nfs_fh *fh, const struct nfs_attr *attr,
	uint64_t parent_id, const char *name, struct fuse_entry_param *entry);
/* The same with attributes that were asked for some time ago: -ESTALE if others are known by now.
 */
int fsop_fill_listed(struct share *share, const struct nfs_attr *attr, uint64_t parent_id,
	const char *name, struct fuse_entry_param *entry);
/* Seconds that attributes of the node may be cached. */
double fsop_attr_timeout(struct share *share, struct node *node);
/* Attributes came from the server: cache policy, and the page cache dropped if the data changed
 * elsewhere. */
void fsop_note_attr(struct share *share, struct node *node, const struct nfs_attr *attr);
/* Have all attributes that a stat needs been given? */
bool fsop_attr_complete(const struct nfs_attr *attr);
/*
 * 0 if these can be the attributes of the node: -EIO, something is missing; -ESTALE, it is of
 * another type now, which the kernel would answer by giving the inode up, the root's for good.
 */
int fsop_attr_check(const struct node *node, const struct nfs_attr *attr);

/* Attributes that were asked for at `since` (ns): can they lack a change of ours? */
bool fsop_attr_outdated(
	struct share *share, const struct nfs_fh *fh, const struct nfs_attr *attr, uint64_t since);

/* fsop_space.c: false, and answered for good, if the server does not speak NFSv4.2. */
bool fsop_has_4_2(struct fsop_request *req);

/*
 * fsop_silly.c: req->victim is about to lose its name, u.names.to in req->target or, without one,
 * u.names.name in req->node. Hides it, and calls req->then; if it is no name of the victim's, or
 * not its last, u.names.otherwise.
 */
void fsop_silly_hide(struct fsop_request *req);

/* fsop_dir.c: at the end, after the workers: what the kernel has not released. */
void fsop_drop_dirs(struct share *share);

/* fsop_lock.c: a descriptor is closed: the process's locks on the file go, then req->then. */
void fsop_release_locks(struct fsop_request *req, uint64_t fuse_owner);
/* The open ends. The same of one lock-owner that has locked by it; false: there is none. */
bool fsop_release_next_lock(struct fsop_request *req);

/* A lock that was denied to lock-owner `owner` may be had now (CB_NOTIFY_LOCK). Any thread. */
void fsop_lock_available(struct share *share, uint64_t owner);

void fsop_lookup(fuse_req_t fuse, fuse_ino_t parent, const char *name);
void fsop_forget(fuse_req_t fuse, fuse_ino_t ino, uint64_t lookups);
void fsop_forget_multi(fuse_req_t fuse, size_t count, struct fuse_forget_data *forgets);
void fsop_getattr(fuse_req_t fuse, fuse_ino_t ino, struct fuse_file_info *fi);
#ifdef VSOCKFS_STATX
void fsop_statx(fuse_req_t fuse, fuse_ino_t ino, int flags, int mask, struct fuse_file_info *fi);
#endif
void fsop_setattr(
	fuse_req_t fuse, fuse_ino_t ino, struct stat *attr, int to_set, struct fuse_file_info *fi);
void fsop_readlink(fuse_req_t fuse, fuse_ino_t ino);
void fsop_access(fuse_req_t fuse, fuse_ino_t ino, int mask);
void fsop_statfs(fuse_req_t fuse, fuse_ino_t ino);
void fsop_getxattr(fuse_req_t fuse, fuse_ino_t ino, const char *name, size_t size);
void fsop_listxattr(fuse_req_t fuse, fuse_ino_t ino, size_t size);
void fsop_setxattr(fuse_req_t fuse, fuse_ino_t ino, const char *name, const char *value,
	size_t size, int flags);
void fsop_removexattr(fuse_req_t fuse, fuse_ino_t ino, const char *name);
void fsop_mknod(fuse_req_t fuse, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev);
void fsop_mkdir(fuse_req_t fuse, fuse_ino_t parent, const char *name, mode_t mode);
void fsop_symlink(fuse_req_t fuse, const char *link, fuse_ino_t parent, const char *name);
void fsop_link(fuse_req_t fuse, fuse_ino_t ino, fuse_ino_t parent, const char *name);
void fsop_unlink(fuse_req_t fuse, fuse_ino_t parent, const char *name);
void fsop_rmdir(fuse_req_t fuse, fuse_ino_t parent, const char *name);
void fsop_rename(fuse_req_t fuse, fuse_ino_t parent, const char *name, fuse_ino_t to_parent,
	const char *to, unsigned flags);
void fsop_open(fuse_req_t fuse, fuse_ino_t ino, struct fuse_file_info *fi);
void fsop_create(fuse_req_t fuse, fuse_ino_t parent, const char *name, mode_t mode,
	struct fuse_file_info *fi);
void fsop_release(fuse_req_t fuse, fuse_ino_t ino, struct fuse_file_info *fi);
void fsop_flush(fuse_req_t fuse, fuse_ino_t ino, struct fuse_file_info *fi);
void fsop_fsync(fuse_req_t fuse, fuse_ino_t ino, int datasync, struct fuse_file_info *fi);
void fsop_read(
	fuse_req_t fuse, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi);
void fsop_write(fuse_req_t fuse, fuse_ino_t ino, const char *data, size_t size, off_t offset,
	struct fuse_file_info *fi);
void fsop_opendir(fuse_req_t fuse, fuse_ino_t ino, struct fuse_file_info *fi);
void fsop_readdir(
	fuse_req_t fuse, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi);
void fsop_readdirplus(
	fuse_req_t fuse, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi);
void fsop_releasedir(fuse_req_t fuse, fuse_ino_t ino, struct fuse_file_info *fi);
void fsop_fsyncdir(fuse_req_t fuse, fuse_ino_t ino, int datasync, struct fuse_file_info *fi);
void fsop_getlk(fuse_req_t fuse, fuse_ino_t ino, struct fuse_file_info *fi, struct flock *lock);
void fsop_setlk(
	fuse_req_t fuse, fuse_ino_t ino, struct fuse_file_info *fi, struct flock *lock, int sleep);
void fsop_fallocate(fuse_req_t fuse, fuse_ino_t ino, int mode, off_t offset, off_t length,
	struct fuse_file_info *fi);
void fsop_lseek(
	fuse_req_t fuse, fuse_ino_t ino, off_t offset, int whence, struct fuse_file_info *fi);
void fsop_copy_file_range(fuse_req_t fuse, fuse_ino_t ino_from, off_t from,
	struct fuse_file_info *fi_from, fuse_ino_t ino_to, off_t to, struct fuse_file_info *fi_to,
	size_t len, int flags);
void fsop_flock(fuse_req_t fuse, fuse_ino_t ino, struct fuse_file_info *fi, int op);

#endif
