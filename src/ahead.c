/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "ahead.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>

#include "share.h"
#include "util/loop.h"

struct ahead {
	TAILQ_ENTRY(ahead) entry;
	struct file *file;
	struct buf *buf; /* a reference */
	uint32_t len;	 /* bytes */
	bool eof;
	uint64_t change;
	uint64_t until; /* ns */
};

struct ahead_pool {
	struct share *share;
	pthread_mutex_t mutex;	  /* over what follows, and each file's `ahead` */
	TAILQ_HEAD(, ahead) list; /* oldest first */
	size_t bytes;
};

int ahead_pool_new(struct share *share, struct ahead_pool **pool)
{
	struct ahead_pool *p = calloc(1, sizeof(*p));
	if (!p)
		return -ENOMEM;
	p->share = share;
	pthread_mutex_init(&p->mutex, NULL);
	TAILQ_INIT(&p->list);
	*pool = p;
	return 0;
}

void ahead_pool_free(struct ahead_pool *pool)
{
	if (!pool)
		return;
	pthread_mutex_destroy(&pool->mutex);
	free(pool);
}

/* Under the mutex. */
static void ahead_drop(struct ahead_pool *pool, struct ahead *ahead)
{
	TAILQ_REMOVE(&pool->list, ahead, entry);
	pool->bytes -= ahead->buf->size;
	atomic_store(&ahead->file->ahead, NULL);
	buf_unref(ahead->buf);
	free(ahead);
}

static bool ahead_has_room(struct ahead_pool *pool, uint32_t len)
{
	struct ahead *ahead;
	uint64_t now = loop_clock();
	pthread_mutex_lock(&pool->mutex);
	while (pool->bytes + len > AHEAD_MAX && (ahead = TAILQ_FIRST(&pool->list)) &&
		ahead->until < now)
		ahead_drop(pool, ahead);
	bool room = pool->bytes + len <= AHEAD_MAX;
	pthread_mutex_unlock(&pool->mutex);
	return room;
}

uint32_t ahead_wanted(struct ahead_pool *pool, struct node *node, int flags)
{
	const struct share *share = pool->share;
	uint64_t size;
	if ((flags & O_ACCMODE) != O_RDONLY || (flags & (O_TRUNC | O_DIRECT)) ||
		share->cache.direct || share->cache.reg_min_ms == 0)
		return 0;
	if (!node_lacks_data(share->nodes, node, &size) || size == 0 || size > AHEAD_FILE_MAX ||
		size > share->rsize || !ahead_has_room(pool, (uint32_t)size))
		return 0;
	return (uint32_t)size;
}

void ahead_keep(struct ahead_pool *pool, struct file *file, struct buf *buf, uint32_t len, bool eof,
	uint64_t change)
{
	struct ahead *ahead = malloc(sizeof(*ahead));
	if (!ahead)
		return;
	*ahead = (struct ahead){.file = file,
		.buf = buf_ref(buf),
		.len = len,
		.eof = eof,
		.change = change,
		.until = loop_clock() + pool->share->cache.reg_min_ms * UINT64_C(1000000)};
	pthread_mutex_lock(&pool->mutex);
	TAILQ_INSERT_TAIL(&pool->list, ahead, entry);
	pool->bytes += buf->size;
	atomic_store(&file->ahead, ahead);
	pthread_mutex_unlock(&pool->mutex);
}

static bool ahead_is_good(const struct ahead_pool *pool, const struct ahead *ahead)
{
	return loop_clock() <= ahead->until &&
	       node_is_at(pool->share->nodes, ahead->file->node, ahead->change);
}

struct buf *ahead_read(
	struct ahead_pool *pool, struct file *file, uint64_t offset, uint32_t len, uint32_t *got)
{
	struct buf *buf = NULL;
	if (!atomic_load(&file->ahead))
		return NULL;
	pthread_mutex_lock(&pool->mutex);
	struct ahead *ahead = atomic_load(&file->ahead);
	if (ahead && !ahead_is_good(pool, ahead)) {
		ahead_drop(pool, ahead);
	} else if (ahead && (ahead->eof || offset + len <= ahead->len)) {
		uint64_t left = offset < ahead->len ? ahead->len - offset : 0;
		*got = left < len ? (uint32_t)left : len;
		buf = buf_ref(ahead->buf);
		/* The kernel keeps what it has read. */
		if (*got == left)
			ahead_drop(pool, ahead);
	}
	pthread_mutex_unlock(&pool->mutex);
	return buf;
}

struct buf *ahead_whole(struct ahead_pool *pool, struct file *file, uint32_t *len)
{
	struct buf *buf = NULL;
	if (!atomic_load(&file->ahead))
		return NULL;
	pthread_mutex_lock(&pool->mutex);
	const struct ahead *ahead = atomic_load(&file->ahead);
	if (ahead && ahead->eof && ahead_is_good(pool, ahead)) {
		*len = ahead->len;
		buf = buf_ref(ahead->buf);
	}
	pthread_mutex_unlock(&pool->mutex);
	return buf;
}

void ahead_forget(struct ahead_pool *pool, struct file *file)
{
	if (!atomic_load(&file->ahead))
		return;
	pthread_mutex_lock(&pool->mutex);
	struct ahead *ahead = atomic_load(&file->ahead);
	if (ahead)
		ahead_drop(pool, ahead);
	pthread_mutex_unlock(&pool->mutex);
}

void ahead_drop_all(struct ahead_pool *pool)
{
	struct ahead *ahead;
	pthread_mutex_lock(&pool->mutex);
	while ((ahead = TAILQ_FIRST(&pool->list)))
		ahead_drop(pool, ahead);
	pthread_mutex_unlock(&pool->mutex);
}
