/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_LEAD_H
#define VSOCKFS_LEAD_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "behind.h"
#include "file.h"
#include "util/buf.h"

/*
 * Reading ahead within a file where the kernel does not go far enough: its window is 128 KiB where
 * a mount is not root's. Who reads a file through one open from one end to the other, in pieces of
 * that kind, has the next megabytes read in the largest units meanwhile. They answer the reads that
 * follow, without a copy, as long as no other change of the file is known than when they were asked
 * for, and no longer than its attributes are trusted. Any worker's thread.
 */

struct lead_pool;
struct share;

/* What one open has under way or waiting, in units of rsize. */
#define LEAD_CHUNKS 3
/* Shorter requests do not make it begin, bytes. */
#define LEAD_REQUEST_MIN (64u << 10)

int lead_pool_new(struct share *share, struct lead_pool **pool);
/* When no file is left. NULL is allowed. */
void lead_pool_free(struct lead_pool *pool);

struct lead_range {
	uint64_t offset;
	uint32_t len; /* bytes */
	bool again;   /* lead_read was asked before */
};
/* What answers a read: for lead_release. */
struct lead_data {
	struct iovec iov[2];
	struct buf *bufs[2];
	int count;
	uint32_t len; /* bytes in all */
};
enum lead_answer {
	LEAD_NONE, /* the server has to be asked */
	LEAD_DATA, /* *data is it */
	LEAD_WAIT, /* wait->done tells when to ask again */
};
enum lead_answer lead_read(struct lead_pool *pool, struct file *file,
	const struct lead_range *range, struct behind_wait *wait, struct lead_data *data);
void lead_release(struct lead_data *data);

/* Drops what nobody has wanted in time. True: there is more. */
bool lead_tick(struct lead_pool *pool);
/* Nothing is kept any more. */
void lead_drop_all(struct lead_pool *pool);
/* The last reference to the file goes. */
void lead_forget(struct lead_pool *pool, struct file *file);

#endif
