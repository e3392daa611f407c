/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_FSOP_DIR_H
#define VSOCKFS_FSOP_DIR_H

#include <stdatomic.h>

#include "fsop.h"

/* First block asked for, bytes; each further one is twice as large, up to rsize. */
#define DIR_BLOCK_FIRST (64u << 10)

/*
 * An open directory with the block of entries being handed out. One request at a time: the
 * kernel holds the file position's lock, until it has an answer. One that was answered early keeps
 * the directory busy, and alive.
 */
struct fsop_dir {
	atomic_uint refs;
	atomic_bool busy;
	struct nfs_readdir_res res;
	size_t pos;	/* in res.data */
	uint64_t first; /* the cookie that the block begins behind, when `valid` */
	uint64_t next;	/* the offset that `pos` continues, when `valid` */
	uint32_t block; /* bytes to ask for next */
	bool valid;
	uint64_t fetched_at;	     /* ns: when the block was asked for */
	struct whole_reading *names; /* of all blocks so far, or NULL */
	uint64_t names_next;	     /* the cookie of the next */
	uint64_t began_at;	     /* ns: when the first was asked for; 0: not to be kept */
	uint64_t handle;	     /* of an earlier daemon */
	LIST_ENTRY(fsop_dir) entry;
};

/*
 * Offsets that programs see are the server's cookies; 1 and 2, which servers leave to clients (RFC
 * 8881, 18.23.3), stand after "." and "..".
 */
#define DIR_AFTER_DOT	 1
#define DIR_AFTER_DOTDOT 2

/* The buffer of a readdir reply while it is filled. */
struct fsop_dir_fill {
	struct fsop_request *req;
	struct buf *buf;
	size_t len, size; /* bytes */
};

/* What opendir(3) was answered with, or NULL. Whoever keeps it takes a reference of his own. */
struct fsop_dir *fsop_dir_find(struct share *share, uint64_t handle);
void fsop_dir_unref(struct fsop_dir *dir);

/* Adds what there is room for from the block at hand, which goes on behind it; false: there is
 * more. */
bool fsop_dir_fill(struct fsop_dir_fill *fill);
/* Gives back the references of a readdirplus reply that did not arrive. */
void fsop_dir_fill_forget(const struct fsop_dir_fill *fill);

#endif
