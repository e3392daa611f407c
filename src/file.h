/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_FILE_H
#define VSOCKFS_FILE_H

#include <stdatomic.h>
#include <stdint.h>
#include <sys/queue.h>

#include "nfs41/state.h"
#include "node.h"

/*
 * An open file (what fuse_file_info.fh stands for), reference-counted: by the kernel until RELEASE,
 * by requests under way, and by written data that is not committed. With the last reference
 * the server gets CLOSE, and the file's silly name is removed. Any worker's thread.
 */

struct share;

struct file {
	struct share *share;
	struct node *node; /* pinned */
	struct nfs_open *open;
	int flags; /* of open(2) */
	/* what it has been told of node_set_error's; one request of the file at a time changes it
	 */
	uint32_t errors_seen;
	_Atomic(struct ahead *) ahead; /* data that came with the open, or NULL */
	_Atomic(struct lead *) lead;   /* that is read in order, or NULL: see lead.h */
	_Atomic uint64_t read_end;     /* of the last read, */
	_Atomic uint32_t read_len;     /* and its length, bytes */
	struct file_made *made; /* made by this open, and nothing was sent since: see behind.h */
	uint64_t handle;	/* fuse_file_info.fh, or 0 */
	uint32_t record;	/* in the state file, or 0 */
	atomic_uint refs;
};

/* For an open on record (the reference is taken), with one reference. NULL without memory: the open
 * is closed again then. */
struct file *file_new(
	struct share *share, struct node *node, struct nfs_open *open_take, int flags);
struct file *file_ref(struct file *file);
void file_unref(struct file *file); /* NULL is allowed */

/* Gives the kernel a reference, and a number for it. 0 or -ENOMEM. */
int file_publish(struct file *file, uint64_t *fh);
/* The file of that number, or NULL. */
struct file *file_find(const struct share *share, uint64_t fh);
/* No daemon is to look for it any more. */
void file_forget_record(struct file *file);
/* The kernel has released it, or never heard of it: the number and its reference go. */
void file_withdraw(struct file *file);

/* At the end, after the workers: what the kernel has not released. */
void file_drop_all(struct share *share);

/*
 * One that an earlier daemon had published, with the kernel's reference; takes over the caller's of
 * the open. 0, -ENOMEM or -EINVAL.
 */
struct file_past {
	struct nfs_open *open;
	uint64_t handle;
	int flags;
	uint32_t errors_seen, record;
};
int file_restore(struct share *share, struct node *node, const struct file_past *past);
/* What the kernel has cached of open files may be out of date: it goes. */
void file_drop_caches(struct share *share);

/* Takes an open off the record, and closes it on the server if that knows of it; later, while the
 * process holds locks by it through another. */
void file_close(struct share *share, struct nfs_open *open_take);
/* The error of what was written that this open file has not been told yet, or 0. */
int file_take_error(struct file *file);

/*
 * A name in `dir` that keeps an open file's data only. Takes a pin of its own. `record` as
 * takeover_put_silly gave it, or 0. NULL without memory.
 */
struct node_silly *file_new_silly(struct share *share, struct node *dir, const char *name,
	struct rpc_cred *cred, uint32_t record);
/* `node`, which is open, now goes by that name: it is removed with the last close. */
void file_set_silly(struct share *share, struct node *node, struct node_silly *silly_take);
/* Sends REMOVE for it, from a worker. */
void file_remove_silly(struct share *share, struct node_silly *silly_take);
/*
 * At the end: CLOSE for all that is open, and the hidden names go, while programs may still have
 * the files open. On a worker's thread.
 */
void file_return_all(struct share *share);
/* It has its own name again. */
void file_unset_silly(struct share *share, struct node *node);

#endif
