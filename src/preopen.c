/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "preopen.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

/* Of the table by node id; a power of two. */
#define PREOPEN_BUCKETS 64
/* A program that does not open it in this time is not expected to. */
#define PREOPEN_AGE_NS UINT64_C(2000000000)

struct preopen {
	LIST_ENTRY(preopen) hash_entry;
	TAILQ_ENTRY(preopen) entry;
	uint64_t id;
	struct buf *buf; /* a reference; NULL while it is under way */
	uint32_t len;	 /* bytes */
	uint64_t change;
	uint64_t until; /* ns */
	STAILQ_HEAD(, behind_wait) waits;
};

struct preopen_pool {
	pthread_mutex_t mutex;
	LIST_HEAD(, preopen) buckets[PREOPEN_BUCKETS];
	TAILQ_HEAD(, preopen) done; /* oldest first */
	size_t bytes;		    /* of what is under way, too */
	struct preopen_stats stats;
};

int preopen_pool_new(struct preopen_pool **pool)
{
	struct preopen_pool *p = calloc(1, sizeof(*p));
	if (!p)
		return -ENOMEM;
	pthread_mutex_init(&p->mutex, NULL);
	for (unsigned i = 0; i < PREOPEN_BUCKETS; i++)
		LIST_INIT(&p->buckets[i]);
	TAILQ_INIT(&p->done);
	*pool = p;
	return 0;
}

/* Under the mutex, as what follows. */
static struct preopen *pool_find(struct preopen_pool *pool, uint64_t id)
{
	struct preopen *preopen;
	LIST_FOREACH (preopen, &pool->buckets[id % PREOPEN_BUCKETS], hash_entry)
		if (preopen->id == id)
			break;
	return preopen;
}

/* One that is done, or has never been. */
static void pool_remove(struct preopen_pool *pool, struct preopen *preopen)
{
	LIST_REMOVE(preopen, hash_entry);
	if (preopen->buf)
		TAILQ_REMOVE(&pool->done, preopen, entry);
	pool->bytes -= preopen->len;
	buf_unref(preopen->buf);
	free(preopen);
}

static void pool_drop(struct preopen_pool *pool, struct preopen *preopen)
{
	pool->stats.dropped++;
	pool_remove(pool, preopen);
}

void preopen_drop_all(struct preopen_pool *pool)
{
	struct preopen *preopen;
	pthread_mutex_lock(&pool->mutex);
	while ((preopen = TAILQ_FIRST(&pool->done)))
		pool_drop(pool, preopen);
	pthread_mutex_unlock(&pool->mutex);
}

void preopen_pool_free(struct preopen_pool *pool)
{
	if (!pool)
		return;
	preopen_drop_all(pool);
	pthread_mutex_destroy(&pool->mutex);
	free(pool);
}

bool preopen_begin(struct preopen_pool *pool, uint64_t id, uint32_t len)
{
	struct preopen *preopen = calloc(1, sizeof(*preopen));
	if (!preopen)
		return false;
	preopen->id = id;
	preopen->len = len;
	STAILQ_INIT(&preopen->waits);
	pthread_mutex_lock(&pool->mutex);
	bool may = pool->bytes + len <= PREOPEN_MAX && !pool_find(pool, id);
	if (may) {
		LIST_INSERT_HEAD(&pool->buckets[id % PREOPEN_BUCKETS], preopen, hash_entry);
		pool->bytes += len;
	}
	pthread_mutex_unlock(&pool->mutex);
	if (!may)
		free(preopen);
	return may;
}

void preopen_end(struct preopen_pool *pool, uint64_t id, struct buf *buf, uint32_t len,
	uint64_t change, uint64_t now)
{
	STAILQ_HEAD(, behind_wait) waits = STAILQ_HEAD_INITIALIZER(waits);
	struct behind_wait *wait;
	pthread_mutex_lock(&pool->mutex);
	struct preopen *preopen = pool_find(pool, id);
	STAILQ_CONCAT(&waits, &preopen->waits);
	if (buf) {
		pool->bytes += len;
		pool->bytes -= preopen->len;
		preopen->buf = buf_ref(buf);
		preopen->len = len;
		preopen->change = change;
		preopen->until = now + PREOPEN_AGE_NS;
		TAILQ_INSERT_TAIL(&pool->done, preopen, entry);
		pool->stats.files++;
	} else {
		pool_remove(pool, preopen);
	}
	pthread_mutex_unlock(&pool->mutex);
	while ((wait = STAILQ_FIRST(&waits))) {
		STAILQ_REMOVE_HEAD(&waits, entry);
		behind_wait_end(wait);
	}
}

bool preopen_await(struct preopen_pool *pool, uint64_t id, struct behind_wait *wait)
{
	pthread_mutex_lock(&pool->mutex);
	struct preopen *preopen = pool_find(pool, id);
	bool under_way = preopen && !preopen->buf;
	if (under_way) {
		behind_wait_begin(wait);
		STAILQ_INSERT_TAIL(&preopen->waits, wait, entry);
	}
	pthread_mutex_unlock(&pool->mutex);
	return under_way;
}

struct buf *preopen_take(struct preopen_pool *pool, uint64_t id, uint32_t *len, uint64_t *change)
{
	struct buf *buf = NULL;
	pthread_mutex_lock(&pool->mutex);
	struct preopen *preopen = pool_find(pool, id);
	if (preopen && preopen->buf) {
		buf = buf_ref(preopen->buf);
		*len = preopen->len;
		*change = preopen->change;
		pool->stats.used++;
		pool_remove(pool, preopen);
	}
	pthread_mutex_unlock(&pool->mutex);
	return buf;
}

bool preopen_tick(struct preopen_pool *pool, uint64_t now)
{
	struct preopen *preopen;
	pthread_mutex_lock(&pool->mutex);
	while ((preopen = TAILQ_FIRST(&pool->done)) && preopen->until <= now)
		pool_drop(pool, preopen);
	bool more = !TAILQ_EMPTY(&pool->done);
	pthread_mutex_unlock(&pool->mutex);
	return more;
}

void preopen_get_stats(struct preopen_pool *pool, struct preopen_stats *stats)
{
	pthread_mutex_lock(&pool->mutex);
	*stats = pool->stats;
	pthread_mutex_unlock(&pool->mutex);
}
