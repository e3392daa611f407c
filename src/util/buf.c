/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "util/buf.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define BUF_PAGE ((size_t)4096)

/*
 * The memory of all buffers is one mapping, of which only what was touched is there. A burst
 * touches many that nobody has used before; to find a page for each 4 KiB of them would take
 * longer than to copy into them. So behind the first `keep` the kernel may use huge ones, while
 * the few that a quiet mount needs take no more than they need.
 */
struct buf_pool {
	size_t size, stride;
	unsigned limit, keep;
	bool populate;
	atomic_uint used;
	uint8_t *memory;
	pthread_mutex_t lock; /* over what follows */
	bool *touched;	      /* of each: is it in use, or idle? */
	uint8_t **idle;	      /* that used last at the end */
	atomic_uint nidle;    /* read without it, too */
	unsigned idle_min;    /* since the last trim */
};

static bool pool_map(struct buf_pool *pool)
{
	void *memory;

	if (pool->stride > SIZE_MAX / pool->limit)
		return false;
	memory = mmap(NULL, pool->limit * pool->stride, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (memory == MAP_FAILED)
		return false;
	pool->memory = memory;
	size_t front = (pool->keep < pool->limit ? pool->keep : pool->limit) * pool->stride;
	/* A kernel without huge pages refuses. */
	madvise(pool->memory, front, MADV_NOHUGEPAGE);
	madvise(pool->memory + front, pool->limit * pool->stride - front, MADV_HUGEPAGE);
	return true;
}

static void pool_unmap(struct buf_pool *pool)
{
	if (pool->memory)
		munmap(pool->memory, pool->limit * pool->stride);
	free(pool->idle);
	free(pool->touched);
	free(pool);
}

int buf_pool_new(size_t size, unsigned limit, unsigned keep, struct buf_pool **out)
{
	struct buf_pool *pool;

	if (size == 0 || limit == 0)
		return -EINVAL;
	pool = calloc(1, sizeof(*pool));
	if (!pool)
		return -ENOMEM;
	pool->size = size;
	pool->stride = (size + BUF_PAGE - 1) & ~(BUF_PAGE - 1);
	pool->limit = limit;
	pool->keep = keep;
	pool->touched = calloc(limit, sizeof(*pool->touched));
	pool->idle = calloc(limit, sizeof(*pool->idle));
	if (!pool->touched || !pool->idle || !pool_map(pool)) {
		pool_unmap(pool);
		return -ENOMEM;
	}
	pthread_mutex_init(&pool->lock, NULL);
	*out = pool;
	return 0;
}

void buf_pool_populate(struct buf_pool *pool)
{
	pool->populate = true;
}

void buf_pool_free(struct buf_pool *pool)
{
	if (!pool)
		return;
	assert(pool->used == 0);
	pthread_mutex_destroy(&pool->lock);
	pool_unmap(pool);
}

/* Under the lock: the first that nobody has. There is one, since fewer than `limit` are in use. */
static uint8_t *pool_touch(struct buf_pool *pool)
{
	unsigned i = 0;

	while (pool->touched[i])
		i++;
	pool->touched[i] = true;
	return pool->memory + i * pool->stride;
}

static uint8_t *pool_take(struct buf_pool *pool)
{
	uint8_t *data;
	bool fresh;

	pthread_mutex_lock(&pool->lock);
	fresh = pool->nidle == 0;
	data = fresh ? pool_touch(pool) : pool->idle[--pool->nidle];
	if (pool->nidle < pool->idle_min)
		pool->idle_min = pool->nidle;
	pthread_mutex_unlock(&pool->lock);
	for (size_t at = 0; fresh && pool->populate && at < pool->size; at += BUF_PAGE)
		*(volatile uint8_t *)(data + at) = 0;
	return data;
}

static void pool_put(struct buf_pool *pool, uint8_t *data)
{
	pthread_mutex_lock(&pool->lock);
	pool->idle[pool->nidle++] = data;
	pthread_mutex_unlock(&pool->lock);
}

/* One more in use? */
static bool pool_count(struct buf_pool *pool)
{
	unsigned used = atomic_load_explicit(&pool->used, memory_order_relaxed);

	do
		if (used >= pool->limit)
			return false;
	while (!atomic_compare_exchange_weak(&pool->used, &used, used + 1));
	return true;
}

struct buf *buf_reserve(struct buf_pool *pool)
{
	struct buf *buf;

	if (!pool_count(pool))
		return NULL;
	buf = buf_alloc(0);
	if (!buf) {
		atomic_fetch_sub(&pool->used, 1);
		return NULL;
	}
	buf->data = NULL;
	buf->size = pool->size;
	buf->pool = pool;
	return buf;
}

uint8_t *buf_back(struct buf *buf)
{
	if (!buf->data)
		buf->data = pool_take(buf->pool);
	return buf->data;
}

struct buf *buf_get(struct buf_pool *pool)
{
	struct buf *buf = buf_reserve(pool);

	if (buf)
		buf_back(buf);
	return buf;
}

struct buf *buf_alloc(size_t size)
{
	struct buf *buf = malloc(sizeof(*buf) + size);

	if (!buf)
		return NULL;
	buf->data = (uint8_t *)(buf + 1);
	buf->size = size;
	buf->mapped = false;
	buf->pool = NULL;
	atomic_init(&buf->refs, 1);
	return buf;
}

struct buf *buf_map(size_t size)
{
	struct buf *buf = buf_alloc(0);
	void *data;

	if (!buf)
		return NULL;
	size = (size + BUF_PAGE - 1) & ~(BUF_PAGE - 1);
	data = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (data == MAP_FAILED) {
		free(buf);
		return NULL;
	}
	buf->data = data;
	buf->size = size;
	buf->mapped = true;
	return buf;
}

void buf_trim(struct buf *buf, size_t len)
{
	size_t size = (len + BUF_PAGE - 1) & ~(BUF_PAGE - 1);

	if (!buf->mapped || size == 0 || size >= buf->size)
		return;
	munmap(buf->data + size, buf->size - size);
	buf->size = size;
}

struct buf *buf_copy(const void *data, size_t len)
{
	struct buf *buf = buf_alloc(len);

	if (buf && len > 0)
		memcpy(buf->data, data, len);
	return buf;
}

struct buf *buf_ref(struct buf *buf)
{
	atomic_fetch_add_explicit(&buf->refs, 1, memory_order_relaxed);
	return buf;
}

void buf_unref(struct buf *buf)
{
	struct buf_pool *pool;

	if (!buf || atomic_fetch_sub_explicit(&buf->refs, 1, memory_order_acq_rel) > 1)
		return;
	pool = buf->pool;
	if (pool && buf->data)
		pool_put(pool, buf->data);
	/* in this order: what does not count is idle, or touched by nobody */
	if (pool)
		atomic_fetch_sub(&pool->used, 1);
	if (buf->mapped)
		munmap(buf->data, buf->size);
	free(buf);
}

bool buf_pool_has_spare(struct buf_pool *pool)
{
	return atomic_load_explicit(&pool->nidle, memory_order_relaxed) > pool->keep;
}

/* Under the lock: the last in memory, since those in front are for quiet times. */
static void pool_shed(struct buf_pool *pool)
{
	unsigned last = 0;
	uint8_t *data;

	for (unsigned i = 1; i < pool->nidle; i++)
		if (pool->idle[i] > pool->idle[last])
			last = i;
	data = pool->idle[last];
	pool->nidle--;
	memmove(&pool->idle[last], &pool->idle[last + 1],
		(pool->nidle - last) * sizeof(*pool->idle));
	madvise(data, pool->stride, MADV_DONTNEED);
	pool->touched[(size_t)(data - pool->memory) / pool->stride] = false;
}

void buf_pool_trim(struct buf_pool *pool)
{
	pthread_mutex_lock(&pool->lock);
	for (; pool->idle_min > 0 && pool->nidle > pool->keep; pool->idle_min--)
		pool_shed(pool);
	pool->idle_min = pool->nidle;
	pthread_mutex_unlock(&pool->lock);
}

unsigned buf_pool_used(struct buf_pool *pool)
{
	return atomic_load_explicit(&pool->used, memory_order_relaxed);
}
