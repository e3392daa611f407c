/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_PREOPEN_H
#define VSOCKFS_PREOPEN_H

#include <stdbool.h>
#include <stdint.h>

#include "behind.h"
#include "util/buf.h"

/*
 * Small files that were opened before a program did, for which upcoming.h says that it will. What
 * is left of such an open is the delegation that came with it, under which the program's own needs
 * no server, and the data: it goes to that open, if the file is still as it was. Files are known by
 * their node's id. Any worker's thread.
 */

struct preopen_pool;

/* Data of all files together, bytes. */
#define PREOPEN_MAX (4u << 20)

int preopen_pool_new(struct preopen_pool **pool);
/* When nothing is under way. NULL is allowed. */
void preopen_pool_free(struct preopen_pool *pool);

/* A file of `len` bytes is going to be opened: preopen_end follows. False: not now, or it is under
 * way or was opened already. */
bool preopen_begin(struct preopen_pool *pool, uint64_t id, uint32_t len);
/* It was opened, and `buf` has all of it as it was with that change attribute; or NULL: it was not,
 * or not read. Whoever waits goes on. */
void preopen_end(struct preopen_pool *pool, uint64_t id, struct buf *buf, uint32_t len,
	uint64_t change, uint64_t now);

/* True: it is under way, and wait->done is called after preopen_end. */
bool preopen_await(struct preopen_pool *pool, uint64_t id, struct behind_wait *wait);
/* The data for an open, to be given back with buf_unref, and the change attribute that it had;
 * NULL: there is none. */
struct buf *preopen_take(struct preopen_pool *pool, uint64_t id, uint32_t *len, uint64_t *change);

/* Drops what nobody has opened in time. True: there is more. */
bool preopen_tick(struct preopen_pool *pool, uint64_t now);
/* How many files were opened ahead, with their data, since the pool was made. What is neither used
 * nor dropped waits. */
struct preopen_stats {
	uint64_t files;
	uint64_t used;	  /* an open took the data */
	uint64_t dropped; /* none did */
};
void preopen_get_stats(struct preopen_pool *pool, struct preopen_stats *stats);
/* Nothing is kept any more. */
void preopen_drop_all(struct preopen_pool *pool);

#endif
