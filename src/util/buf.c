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

struct buf_pool {
	size_t size;
	unsigned limit, keep;
	bool populate;
	pthread_mutex_t lock; /* over what follows */
	atomic_uint used;     /* read without it, too */
	atomic_uint nidle;    /* the same */
	unsigned idle_min;    /* since the last trim */
	struct buf *idle;
};

int buf_pool_new(size_t size, unsigned limit, unsigned keep, struct buf_pool **out)
{
	struct buf_pool *pool;

	if (size == 0)
		return -EINVAL;
	pool = calloc(1, sizeof(*pool));
	if (!pool)
		return -ENOMEM;
	pool->size = size;
	pool->limit = limit;
	pool->keep = keep;
	pthread_mutex_init(&pool->lock, NULL);
	*out = pool;
	return 0;
}

void buf_pool_populate(struct buf_pool *pool)
{
	pool->populate = true;
}

static struct buf *buf_new(struct buf_pool *pool)
{
	struct buf *buf = malloc(sizeof(*buf));
	void *data;

	if (!buf)
		return NULL;
	data = mmap(NULL, pool->size, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | (pool->populate ? MAP_POPULATE : 0), -1, 0);
	if (data == MAP_FAILED) {
		free(buf);
		return NULL;
	}
	buf->data = data;
	buf->size = pool->size;
	buf->mapped = false;
	buf->pool = pool;
	buf->next = NULL;
	return buf;
}

static void buf_free(struct buf *buf)
{
	munmap(buf->data, buf->size);
	free(buf);
}

void buf_pool_free(struct buf_pool *pool)
{
	struct buf *buf;

	if (!pool)
		return;
	assert(pool->used == 0);
	while ((buf = pool->idle)) {
		pool->idle = buf->next;
		buf_free(buf);
	}
	pthread_mutex_destroy(&pool->lock);
	free(pool);
}

struct buf *buf_get(struct buf_pool *pool)
{
	struct buf *buf;

	pthread_mutex_lock(&pool->lock);
	if (pool->used >= pool->limit) {
		pthread_mutex_unlock(&pool->lock);
		return NULL;
	}
	pool->used++;
	buf = pool->idle;
	if (buf) {
		pool->idle = buf->next;
		pool->nidle--;
	}
	if (pool->nidle < pool->idle_min)
		pool->idle_min = pool->nidle;
	pthread_mutex_unlock(&pool->lock);

	if (!buf)
		buf = buf_new(pool);
	if (!buf) {
		pthread_mutex_lock(&pool->lock);
		pool->used--;
		pthread_mutex_unlock(&pool->lock);
		return NULL;
	}
	atomic_init(&buf->refs, 1);
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
	buf->next = NULL;
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
	if (!pool) {
		if (buf->mapped)
			munmap(buf->data, buf->size);
		free(buf);
		return;
	}
	pthread_mutex_lock(&pool->lock);
	buf->next = pool->idle;
	pool->idle = buf;
	pool->nidle++;
	pool->used--;
	pthread_mutex_unlock(&pool->lock);
}

bool buf_pool_has_spare(struct buf_pool *pool)
{
	return atomic_load_explicit(&pool->nidle, memory_order_relaxed) > pool->keep;
}

void buf_pool_trim(struct buf_pool *pool)
{
	struct buf *spare = NULL, *buf;

	pthread_mutex_lock(&pool->lock);
	for (; pool->idle_min > 0 && pool->nidle > pool->keep; pool->idle_min--, pool->nidle--) {
		buf = pool->idle;
		pool->idle = buf->next;
		buf->next = spare;
		spare = buf;
	}
	pool->idle_min = pool->nidle;
	pthread_mutex_unlock(&pool->lock);
	while ((buf = spare)) {
		spare = buf->next;
		buf_free(buf);
	}
}

unsigned buf_pool_used(struct buf_pool *pool)
{
	return atomic_load_explicit(&pool->used, memory_order_relaxed);
}
