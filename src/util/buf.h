/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_UTIL_BUF_H
#define VSOCKFS_UTIL_BUF_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Reference-counted, page-aligned buffers of one size, from a pool with a limit. They carry
 * payload: a WRITE's bytes live until the server has committed them, whatever happens to
 * the FUSE request or the connection that brought them. Any thread may use all of this.
 */

struct buf_pool;

struct buf {
	uint8_t *data; /* `size` bytes, page-aligned when from a pool; NULL: see buf_reserve */
	size_t size;
	/* private */
	atomic_uint refs;
	bool mapped; /* outside of any pool */
	struct buf_pool *pool;
};

/*
 * `limit` buffers may be in use at once; `keep` have their memory when idle, too, the rest until
 * buf_pool_trim. -EINVAL, -ENOMEM.
 */
int buf_pool_new(size_t size, unsigned limit, unsigned keep, struct buf_pool **pool);
/* From now on buffers have all their memory at once, not when it is first touched. */
void buf_pool_populate(struct buf_pool *pool);
/* Are there idle ones that need not stay? */
bool buf_pool_has_spare(struct buf_pool *pool);
/* Gives back the memory of those that nobody has wanted since the last time. */
void buf_pool_trim(struct buf_pool *pool);
/* Every buffer must have been released. NULL is allowed. */
void buf_pool_free(struct buf_pool *pool);

/* A buffer with one reference, or NULL at the limit. */
struct buf *buf_get(struct buf_pool *pool);
/*
 * The same for data that comes later: the buffer counts, and has its memory from buf_back on. So
 * that is what was in use last, which the processor's cache still has.
 */
struct buf *buf_reserve(struct buf_pool *pool);
/* Its data. For one thread at a time. */
uint8_t *buf_back(struct buf *buf);
/* One of its own, outside of any pool and its limit; not aligned. NULL without memory. */
struct buf *buf_alloc(size_t size);
/* The same, page-aligned, with memory only for what has been touched. */
struct buf *buf_map(size_t size);
/* What lies behind the first `len` bytes of one of those is not needed; nobody else uses it yet. */
void buf_trim(struct buf *buf, size_t len);
/* One with `len` bytes copied from `data`. */
struct buf *buf_copy(const void *data, size_t len);
struct buf *buf_ref(struct buf *buf);
/* NULL is allowed. */
void buf_unref(struct buf *buf);

/* Buffers in use now; how many more buf_get may give is limit minus this. */
unsigned buf_pool_used(struct buf_pool *pool);

#endif
