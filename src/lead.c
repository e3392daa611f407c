/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lead.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>

#include "nfs41/compound.h"
#include "nfs41/op.h"
#include "share.h"

/* As often as that somebody went elsewhere with data left: this open is not read in order. */
#define LEAD_WASTED_MAX 2

struct lead_chunk {
	TAILQ_ENTRY(lead_chunk) entry;
	struct file *file; /* referenced while under way */
	struct nfs_compound *compound;
	struct buf *buf;
	struct nfs_read_res res;
	uint64_t offset;
	uint32_t len, used; /* bytes */
	uint64_t change;    /* of the file when it was asked for */
	uint64_t until;	    /* ns */
	bool done, failed;
	bool dropped; /* not in the window any more; goes when it is done */
	STAILQ_HEAD(, behind_wait) waits;
};
TAILQ_HEAD(lead_window, lead_chunk);

/* Of one open file. */
struct lead {
	LIST_ENTRY(lead) entry;
	pthread_mutex_t mutex;	   /* over what follows */
	struct lead_window window; /* one behind the other, without a gap */
	uint64_t next;		   /* offset behind them */
	unsigned count, wasted;
};

struct lead_pool {
	struct share *share;
	pthread_mutex_t mutex;
	LIST_HEAD(, lead) leads;
};

int lead_pool_new(struct share *share, struct lead_pool **pool)
{
	struct lead_pool *p = calloc(1, sizeof(*p));
	if (!p)
		return -ENOMEM;
	p->share = share;
	pthread_mutex_init(&p->mutex, NULL);
	LIST_INIT(&p->leads);
	*pool = p;
	return 0;
}

void lead_pool_free(struct lead_pool *pool)
{
	if (!pool)
		return;
	pthread_mutex_destroy(&pool->mutex);
	free(pool);
}

static void chunk_free(struct lead_chunk *chunk)
{
	buf_unref(chunk->buf);
	free(chunk);
}

/* Under the mutex. */
static void lead_drop(struct lead *lead, struct lead_chunk *chunk)
{
	TAILQ_REMOVE(&lead->window, chunk, entry);
	lead->count--;
	if (chunk->done)
		chunk_free(chunk);
	else
		chunk->dropped = true;
}

/* Under the mutex. */
static void lead_drop_window(struct lead *lead)
{
	while (!TAILQ_EMPTY(&lead->window))
		lead_drop(lead, TAILQ_FIRST(&lead->window));
}

static void lead_done(struct nfs_compound *c)
{
	struct lead_chunk *chunk = c->arg;
	struct file *file = chunk->file;
	struct lead *lead = atomic_load(&file->lead);
	STAILQ_HEAD(, behind_wait) waits = STAILQ_HEAD_INITIALIZER(waits);
	struct behind_wait *wait;
	pthread_mutex_lock(&lead->mutex);
	chunk->done = true;
	chunk->failed = c->status != 0 || chunk->res.len != chunk->len;
	STAILQ_CONCAT(&waits, &chunk->waits);
	if (chunk->dropped)
		chunk_free(chunk);
	pthread_mutex_unlock(&lead->mutex);
	nfs_compound_free(c);
	while ((wait = STAILQ_FIRST(&waits))) {
		STAILQ_REMOVE_HEAD(&waits, entry);
		behind_wait_end(wait);
	}
	file_unref(file);
}

/* The longest request that the kernel makes when it reads ahead as it was told. */
static uint32_t lead_unit(const struct share *share)
{
	uint64_t max = share->options->max_readahead;
	return max < share->rsize ? (uint32_t)max : share->rsize;
}

static bool chunk_build(struct lead_pool *pool, struct lead_chunk *chunk)
{
	struct share *share = pool->share;
	struct nfs_open *open = chunk->file->open;
	struct nfs_stateid stateid;
	if (nfs_open_use(share->state, open, &stateid) != 0)
		return false;
	/* Requests need them, too. */
	if (buf_pool_used(share->bufs) >= SHARE_BUFS / 2 ||
		!(chunk->buf = buf_reserve(share->bufs)))
		return false;
	chunk->compound = nfs_compound_new(worker_self()->conn, open->cred, OP_READ);
	if (!chunk->compound)
		return false;
	nfs_op_putfh(chunk->compound, &open->fh);
	nfs_op_read(chunk->compound, &stateid, chunk->offset, chunk->len, chunk->buf, NULL,
		&chunk->res);
	return true;
}

/* Under the mutex: one more behind the others, up to a multiple of the unit. NULL: none. */
static struct lead_chunk *lead_add(struct lead_pool *pool, struct lead *lead, struct file *file)
{
	const struct share *share = pool->share;
	uint32_t unit = lead_unit(share);
	uint64_t change, size;
	if (!node_size(share->nodes, file->node, &change, &size) || lead->next >= size)
		return NULL;
	struct lead_chunk *chunk = calloc(1, sizeof(*chunk));
	if (!chunk)
		return NULL;
	uint64_t len = unit - lead->next % unit;
	chunk->file = file;
	chunk->offset = lead->next;
	chunk->len = (uint32_t)(len < size - lead->next ? len : size - lead->next);
	chunk->change = change;
	chunk->until = loop_clock() + share->cache.reg_min_ms * UINT64_C(1000000);
	STAILQ_INIT(&chunk->waits);
	if (!chunk_build(pool, chunk)) {
		chunk_free(chunk);
		return NULL;
	}
	file_ref(file);
	TAILQ_INSERT_TAIL(&lead->window, chunk, entry);
	lead->next += chunk->len;
	lead->count++;
	return chunk;
}

/* Under the mutex: what is to be sent, without it. */
static unsigned lead_extend(struct lead_pool *pool, struct lead *lead, struct file *file,
	struct lead_chunk *chunks[LEAD_CHUNKS])
{
	unsigned count = 0;
	while (lead->count < LEAD_CHUNKS && (chunks[count] = lead_add(pool, lead, file)))
		count++;
	return count;
}

/* Is what was asked for still what the file has? */
static bool lead_is_good(const struct lead_pool *pool, const struct lead *lead, struct node *node)
{
	const struct lead_chunk *chunk;
	uint64_t now = loop_clock();
	TAILQ_FOREACH (chunk, &lead->window, entry)
		if (chunk->failed || (chunk->done && now > chunk->until) ||
			!node_is_at(pool->share->nodes, node, chunk->change))
			return false;
	return true;
}

/* Under the mutex: the window lies where it is read, or is empty. False: not for this one. */
static bool lead_aim(const struct lead_pool *pool, struct lead *lead, struct node *node,
	const struct lead_range *range, bool steady)
{
	const struct lead_chunk *first = TAILQ_FIRST(&lead->window);
	if (first && !lead_is_good(pool, lead, node)) {
		lead_drop_window(lead);
		first = NULL;
	}
	if (first && range->offset >= first->offset && range->offset < lead->next)
		return true;
	/* Another worker has been faster, or it was there twice. */
	if (range->again || (first && range->offset < first->offset))
		return false;
	if (first) {
		lead->wasted++;
		lead_drop_window(lead);
	}
	if (!steady || lead->wasted > LEAD_WASTED_MAX)
		return false;
	lead->next = range->offset;
	return true;
}

/* Under the mutex: takes a part from one chunk. */
static void data_add(
	struct lead_data *data, struct lead_chunk *chunk, uint64_t offset, uint32_t len)
{
	data->bufs[data->count] = buf_ref(chunk->buf);
	data->iov[data->count++] = (struct iovec){
		.iov_base = chunk->buf->data + (offset - chunk->offset), .iov_len = len};
	data->len += len;
	chunk->used += len;
}

/* Under the mutex. */
static enum lead_answer lead_take(struct lead *lead, const struct lead_range *range,
	struct behind_wait *wait, struct lead_data *data)
{
	uint64_t at = range->offset, end = range->offset + range->len;
	struct lead_chunk *parts[2], *chunk;
	unsigned count = 0;
	TAILQ_FOREACH (chunk, &lead->window, entry) {
		if (at >= end || at < chunk->offset || at >= chunk->offset + chunk->len)
			continue;
		if (!chunk->done) {
			behind_wait_begin(wait);
			STAILQ_INSERT_TAIL(&chunk->waits, wait, entry);
			return LEAD_WAIT;
		}
		if (chunk->failed || count == 2)
			return LEAD_NONE;
		parts[count++] = chunk;
		at = chunk->offset + chunk->len;
	}
	/* Only the server knows where the file ends. */
	if (count == 0 || (at < end && !parts[count - 1]->res.eof))
		return LEAD_NONE;
	*data = (struct lead_data){0};
	at = range->offset;
	for (unsigned i = 0; i < count; i++) {
		uint64_t until = parts[i]->offset + parts[i]->len;
		until = until < end ? until : end;
		data_add(data, parts[i], at, (uint32_t)(until - at));
		at = until;
		/* The kernel keeps what it has read. */
		if (parts[i]->used >= parts[i]->len)
			lead_drop(lead, parts[i]);
	}
	return LEAD_DATA;
}

static struct lead *lead_new(struct lead_pool *pool, struct file *file)
{
	struct lead *lead = calloc(1, sizeof(*lead)), *none = NULL;
	if (!lead)
		return NULL;
	pthread_mutex_init(&lead->mutex, NULL);
	TAILQ_INIT(&lead->window);
	pthread_mutex_lock(&pool->mutex);
	bool first = atomic_compare_exchange_strong(&file->lead, &none, lead);
	if (first)
		LIST_INSERT_HEAD(&pool->leads, lead, entry);
	pthread_mutex_unlock(&pool->mutex);
	if (first)
		return lead;
	pthread_mutex_destroy(&lead->mutex);
	free(lead);
	return none;
}

/* The kernel's window opens slowly: two of the same length, one behind the other, are its limit. */
static bool lead_is_steady(
	const struct share *share, struct file *file, const struct lead_range *range)
{
	if (range->again)
		return false;
	uint64_t end = atomic_exchange(&file->read_end, range->offset + range->len);
	uint32_t len = atomic_exchange(&file->read_len, range->len);
	return end == range->offset && len == range->len && len >= LEAD_REQUEST_MIN &&
	       len < lead_unit(share) && !(file->flags & O_DIRECT) && !share->cache.direct &&
	       share->cache.reg_min_ms > 0;
}

enum lead_answer lead_read(struct lead_pool *pool, struct file *file,
	const struct lead_range *range, struct behind_wait *wait, struct lead_data *data)
{
	struct lead *lead = atomic_load(&file->lead);
	bool steady = lead_is_steady(pool->share, file, range);
	struct lead_chunk *chunks[LEAD_CHUNKS];
	enum lead_answer answer = LEAD_NONE;
	unsigned count = 0;
	if (!lead && steady)
		lead = lead_new(pool, file);
	if (!lead)
		return LEAD_NONE;
	pthread_mutex_lock(&lead->mutex);
	if (lead_aim(pool, lead, file->node, range, steady)) {
		count = lead_extend(pool, lead, file, chunks);
		answer = lead_take(lead, range, wait, data);
	}
	pthread_mutex_unlock(&lead->mutex);
	for (unsigned i = 0; i < count; i++)
		nfs_compound_send(chunks[i]->compound, lead_done, chunks[i]);
	if (count > 0)
		worker_watch_unread(worker_self());
	return answer;
}

void lead_release(struct lead_data *data)
{
	for (int i = 0; i < data->count; i++)
		buf_unref(data->bufs[i]);
}

/* What is older than `now`; what is under way is judged later. True: there is more. */
static bool lead_reap(struct lead *lead, uint64_t now)
{
	struct lead_chunk *chunk, *next;
	bool old = false;
	pthread_mutex_lock(&lead->mutex);
	for (chunk = TAILQ_FIRST(&lead->window); chunk; chunk = next) {
		next = TAILQ_NEXT(chunk, entry);
		/* without a gap: what lies behind it goes as well */
		if (!old && chunk->done && chunk->until < now) {
			old = true;
			lead->wasted += chunk->used == 0;
		}
		if (old)
			lead_drop(lead, chunk);
	}
	if (old && (chunk = TAILQ_LAST(&lead->window, lead_window)))
		lead->next = chunk->offset + chunk->len;
	bool more = lead->count > 0;
	pthread_mutex_unlock(&lead->mutex);
	return more;
}

bool lead_tick(struct lead_pool *pool)
{
	uint64_t now = loop_clock();
	struct lead *lead;
	bool more = false;
	pthread_mutex_lock(&pool->mutex);
	LIST_FOREACH (lead, &pool->leads, entry)
		more |= lead_reap(lead, now);
	pthread_mutex_unlock(&pool->mutex);
	return more;
}

void lead_drop_all(struct lead_pool *pool)
{
	struct lead *lead;
	pthread_mutex_lock(&pool->mutex);
	LIST_FOREACH (lead, &pool->leads, entry) {
		pthread_mutex_lock(&lead->mutex);
		lead_drop_window(lead);
		pthread_mutex_unlock(&lead->mutex);
	}
	pthread_mutex_unlock(&pool->mutex);
}

void lead_forget(struct lead_pool *pool, struct file *file)
{
	struct lead *lead = atomic_load(&file->lead);
	if (!lead)
		return;
	pthread_mutex_lock(&pool->mutex);
	LIST_REMOVE(lead, entry);
	pthread_mutex_unlock(&pool->mutex);
	lead_drop_window(lead);
	pthread_mutex_destroy(&lead->mutex);
	free(lead);
}
