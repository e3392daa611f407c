/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "behind.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "behind_priv.h"
#include "fsop.h"
#include "share.h"
#include "util/log.h"

/* From this size on room for the longest WRITE is cheaper than moving what is there when more
 * follows, bytes. */
#define BEHIND_WHOLE_MIN (32u << 10)

int behind_pool_new(struct share *share, struct behind_pool **pool)
{
	struct behind_pool *p = calloc(1, sizeof(*p));
	if (!p)
		return -ENOMEM;
	p->share = share;
	p->stopped = share->takeover != NULL;
	pthread_mutex_init(&p->mutex, NULL);
	for (unsigned i = 0; i < BEHIND_SHARDS; i++) {
		pthread_mutex_init(&p->shards[i].mutex, NULL);
		LIST_INIT(&p->shards[i].list);
	}
	*pool = p;
	return 0;
}

void behind_unlist(struct behind_pool *pool, struct behind *behind)
{
	struct node *node = behind->file->node;
	struct behind_queue *queue = node_behind(node);
	LIST_REMOVE(behind, entry);
	TAILQ_REMOVE(&queue->order, behind, order);
	atomic_fetch_sub(&pool->bytes, behind->held);
	if (behind->sending && --queue->flying == 0)
		queue->span = (struct node_span){0};
	if (TAILQ_EMPTY(&queue->order)) {
		atomic_store(&node->file->behind, NULL);
		free(queue);
	}
}

void behind_free(struct behind *behind)
{
	buf_unref(behind->buf);
	file_unref(behind->file);
	free(behind);
}

/* What is left. How many bytes. */
static size_t shard_drop(struct behind_pool *pool, struct behind_shard *shard)
{
	struct behind *behind;
	size_t lost = 0;
	while ((behind = LIST_FIRST(&shard->list))) {
		lost += behind->len;
		behind_unlist(pool, behind);
		behind_free(behind);
	}
	pthread_mutex_destroy(&shard->mutex);
	return lost;
}

void behind_pool_free(struct behind_pool *pool)
{
	size_t lost = 0;
	if (!pool)
		return;
	for (unsigned i = 0; i < BEHIND_SHARDS; i++)
		lost += shard_drop(pool, &pool->shards[i]);
	if (lost)
		log_warn("%zu bytes were written but never sent", lost);
	pthread_mutex_destroy(&pool->mutex);
	free(pool);
}

void behind_pool_stop(struct behind_pool *pool)
{
	pool->stopped = true;
}

static void count_copied(size_t len)
{
	nfs_conn_count_copied(worker_self()->conn, len);
}

/*
 * Most files get one small write, which has a buffer of its size. What is longer, or goes on, gets
 * room for the longest WRITE at once, so that it is not moved as it grows.
 */
static struct buf *behind_new_buf(const struct behind_pool *pool, bool first, uint32_t end)
{
	const struct share *share = pool->share;
	struct buf *buf = NULL;
	if (first && end < BEHIND_WHOLE_MIN)
		return buf_alloc(end);
	/* Requests need them, too. */
	if (buf_pool_used(share->bufs) < SHARE_BUFS / 2)
		buf = buf_get(share->bufs);
	return buf ? buf : buf_map(share->wsize);
}

/* Counts memory of `behind`: up to `held` bytes. False: more than may wait. */
static bool behind_hold(struct behind_pool *pool, struct behind *behind, uint32_t held)
{
	uint32_t more = held - behind->held;
	if (atomic_fetch_add(&pool->bytes, more) + more > BEHIND_MAX) {
		atomic_fetch_sub(&pool->bytes, more);
		return false;
	}
	behind->held = held;
	return true;
}

/* A buffer for `end` bytes, with what there is. */
static bool behind_grow(struct behind_pool *pool, struct behind *behind, uint32_t end)
{
	struct buf *buf = behind_new_buf(pool, !behind->buf, end);
	if (!buf)
		return false;
	if (behind->buf) {
		memcpy(buf->data, behind->buf->data, behind->len);
		count_copied(behind->len);
		buf_unref(behind->buf);
	}
	behind->buf = buf;
	return true;
}

/* Room for `end` bytes. False: no memory, or more than may wait. */
static bool behind_reserve(struct behind_pool *pool, struct behind *behind, uint32_t end)
{
	if (end <= behind->held)
		return true;
	if ((!behind->buf || behind->buf->size < end) && !behind_grow(pool, behind, end))
		return false;
	return behind_hold(pool, behind, end);
}

struct behind *behind_last(const struct node *node)
{
	const struct behind_queue *queue = node_behind(node);
	return queue ? TAILQ_LAST(&queue->order, behind_order) : NULL;
}

struct behind *behind_open_end(const struct node *node)
{
	struct behind *last = behind_last(node);
	return last && !last->sending ? last : NULL;
}

static struct behind_queue *queue_get(struct node *node)
{
	struct behind_queue *queue = node_behind(node);
	if (!queue && (queue = calloc(1, sizeof(*queue)))) {
		TAILQ_INIT(&queue->order);
		/* before a program hears of success: whoever looks at the file knows */
		atomic_store(&node->file->behind, queue);
	}
	return queue;
}

struct behind *behind_begin(struct behind_pool *pool, struct file *file)
{
	struct behind *behind = calloc(1, sizeof(*behind));
	struct behind_queue *queue = behind ? queue_get(file->node) : NULL;
	if (!queue) {
		free(behind);
		return NULL;
	}
	STAILQ_INIT(&behind->waits);
	behind->file = file_ref(file);
	behind->born_at = loop_clock();
	/* before a program hears of success: whoever takes over knows what was lost */
	LIST_INSERT_HEAD(&behind_shard(pool, file->node)->list, behind, entry);
	TAILQ_INSERT_TAIL(&queue->order, behind, order);
	worker_watch_behind(worker_self());
	return behind;
}

bool behind_wants(struct behind_pool *pool, const struct file *file)
{
	const struct share *share = pool->share;
	struct nfs_stateid stateid;
	return !pool->stopped && !share->cache.direct && !share->options->noac &&
	       !(file->flags & (O_SYNC | O_DSYNC | O_DIRECT)) &&
	       !node_has_untold_error(share->nodes, file->node) &&
	       nfs_open_use(share->state, file->open, &stateid) == 0;
}

/* Are the bytes of nothing that waits, `own` excepted? */
static bool behind_is_free(
	const struct behind_queue *queue, const struct behind *own, const struct behind_data *data)
{
	const struct behind *behind;
	TAILQ_FOREACH (behind, &queue->order, order)
		if (behind != own && data->offset < behind->offset + behind->len &&
			behind->offset < data->offset + data->len)
			return false;
	return true;
}

/*
 * Does it continue, or lie within, what is there? An append can only continue it; and what is under
 * way may not be grown over, it could be executed later.
 */
static bool behind_fits(const struct behind_pool *pool, const struct behind *behind,
	const struct file *file, const struct behind_data *data)
{
	if (behind->file != file || behind->owner.set || behind->others.set)
		return false;
	if (behind->len == 0 || data->offset < behind->offset)
		return false;
	uint64_t at = data->offset - behind->offset;
	return at <= behind->len && at + data->len <= pool->share->wsize &&
	       (at == behind->len || !(file->flags & O_APPEND)) &&
	       behind_is_free(node_behind(file->node), behind, data);
}

/*
 * May it be under way together with what is there? Not if the same bytes are meant, or the place is
 * not certain; nor where programs lock the file: it would not be seen then that others, under their
 * lock, change it at the same time.
 */
static bool behind_may_join(const struct file *file, const struct behind_data *data)
{
	const struct behind_queue *queue = node_behind(file->node);
	const struct behind *behind;
	if (!queue)
		return true;
	if (atomic_load(&file->node->file->locked) || (file->flags & O_APPEND))
		return false;
	TAILQ_FOREACH (behind, &queue->order, order)
		if (behind->owner.set || behind->others.set || (behind->file->flags & O_APPEND))
			return false;
	return behind_is_free(queue, NULL, data);
}

static bool behind_put(
	struct behind_pool *pool, struct behind *behind, const struct behind_data *data)
{
	uint32_t at = (uint32_t)(data->offset - behind->offset);
	if (!behind_reserve(pool, behind, at + data->len))
		return false;
	memcpy(behind->buf->data + at, data->data, data->len);
	count_copied(data->len);
	if (behind->len < at + data->len)
		behind->len = at + data->len;
	return true;
}

static bool behind_start(
	struct behind_pool *pool, struct file *file, const struct behind_data *data)
{
	struct behind *behind = behind_begin(pool, file);
	if (!behind)
		return false;
	behind->offset = data->offset;
	if (behind_put(pool, behind, data))
		return true;
	behind_unlist(pool, behind);
	behind_free(behind);
	return false;
}

void behind_take(struct behind *behind, bool stable)
{
	struct node *node = behind->file->node;
	struct behind_queue *queue = node_behind(node);
	behind->sending = true;
	/* What is under way besides has to be committed anyway. */
	behind->stable = stable && queue->flying == 0;
	queue->flying++;
	if (behind->buf)
		buf_trim(behind->buf, behind->len);
	behind_unmake(node);
}

static unsigned node_flying(const struct node *node)
{
	const struct behind_queue *queue = node_behind(node);
	return queue ? queue->flying : 0;
}

/* Under the mutex. `full` is what is being gathered, and has to leave to make room, or NULL. */
static enum behind_answer write_small(struct behind_pool *pool, struct file *file,
	const struct behind_data *data, struct behind *full)
{
	bool alone = !node_behind(file->node);
	if (full && behind_fits(pool, full, file, data) && behind_put(pool, full, data))
		return BEHIND_TAKEN;
	if (!behind_may_join(file, data))
		return BEHIND_WAIT;
	if (node_flying(file->node) + (full != NULL) >= BEHIND_FLYING)
		return BEHIND_FULL;
	if (behind_start(pool, file, data))
		return BEHIND_TAKEN;
	return alone ? BEHIND_DIRECT : BEHIND_WAIT;
}

static enum behind_answer write_large(struct behind_pool *pool, struct file *file,
	const struct behind_data *data, struct behind **behind)
{
	if (!behind_may_join(file, data))
		return BEHIND_WAIT;
	bool late = node_flying(file->node) >= BEHIND_FLYING;
	bool alone = !node_behind(file->node);
	*behind = behind_begin(pool, file);
	if (!*behind)
		return alone ? BEHIND_DIRECT : BEHIND_WAIT;
	(*behind)->offset = data->offset;
	(*behind)->len = data->len;
	(*behind)->late = late || !behind_hold(pool, *behind, data->len);
	behind_take(*behind, false);
	return BEHIND_FLIES;
}

enum behind_answer behind_write(struct behind_pool *pool, struct file *file,
	const struct behind_data *data, struct behind **behind)
{
	struct behind_shard *shard = behind_shard(pool, file->node);
	struct behind *full;
	enum behind_answer answer;
	bool wanted = data->len > 0 && data->len <= pool->share->wsize && behind_wants(pool, file);
	bool small = data->len <= BEHIND_WRITE_MAX;
	pthread_mutex_lock(&shard->mutex);
	full = behind_open_end(file->node);
	if (wanted && small)
		answer = write_small(pool, file, data, full);
	else if (wanted && !(file->flags & O_APPEND))
		answer = write_large(pool, file, data, behind);
	else
		answer = node_behind(file->node) ? BEHIND_WAIT : BEHIND_DIRECT;
	/* Something else begins behind it. */
	if (full && (answer == BEHIND_FULL || full != behind_last(file->node)))
		behind_take(full, false);
	else
		full = NULL;
	if (answer == BEHIND_DIRECT)
		behind_unmake(file->node);
	pthread_mutex_unlock(&shard->mutex);
	if (full)
		fsop_write_gathered(full);
	return answer;
}
