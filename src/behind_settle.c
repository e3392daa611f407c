/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "behind_priv.h"
#include "fsop.h"
#include "share.h"

/* How what waits leaves: at somebody's word, or by its age; and who is told. */

static void wait_task(struct loop_task *task)
{
	struct behind_wait *wait =
		(struct behind_wait *)((char *)task - offsetof(struct behind_wait, task));
	wait->done(wait);
}

void behind_wait_begin(struct behind_wait *wait)
{
	wait->worker = worker_self();
	wait->task.run = wait_task;
}

void behind_wait_end(struct behind_wait *wait)
{
	if (wait->worker == worker_self())
		wait->done(wait);
	else
		loop_post(wait->worker->loop, &wait->task);
}

void behind_settle(struct share *share, struct node *node, bool stable, struct behind_wait *wait)
{
	struct behind_shard *shard = behind_shard(share->behind, node);
	behind_wait_begin(wait);
	pthread_mutex_lock(&shard->mutex);
	struct behind *last = behind_last(node), *end = behind_open_end(node);
	if (last)
		STAILQ_INSERT_TAIL(&last->waits, wait, entry);
	if (end)
		behind_take(end, stable);
	pthread_mutex_unlock(&shard->mutex);
	if (!last)
		wait->done(wait);
	else if (end)
		fsop_write_gathered(end);
}

void behind_wait_first(struct share *share, struct node *node, struct behind_wait *wait)
{
	struct behind_shard *shard = behind_shard(share->behind, node);
	behind_wait_begin(wait);
	pthread_mutex_lock(&shard->mutex);
	const struct behind_queue *queue = node_behind(node);
	struct behind *first = queue ? TAILQ_FIRST(&queue->order) : NULL;
	if (first)
		STAILQ_INSERT_TAIL(&first->waits, wait, entry);
	pthread_mutex_unlock(&shard->mutex);
	if (!first)
		wait->done(wait);
}

bool behind_is_unsettled(const struct node *node, uint64_t since)
{
	const struct node_file *file = atomic_load(&node->file);
	return file && (atomic_load(&file->behind) || atomic_load(&file->settled_at) >= since);
}

void behind_note(struct share *share, const struct behind *behind, uint64_t before,
	const struct nfs_attr *after)
{
	struct node *node = behind->file->node;
	struct behind_shard *shard = behind_shard(share->behind, node);
	pthread_mutex_lock(&shard->mutex);
	struct behind_queue *queue = node_behind(node);
	node_note_writes(share->nodes, node, &queue->span, before, after, queue->flying == 1);
	pthread_mutex_unlock(&shard->mutex);
}

void behind_sent(struct share *share, struct behind *behind)
{
	struct node *node = behind->file->node;
	struct behind_shard *shard = behind_shard(share->behind, node);
	STAILQ_HEAD(, behind_wait) waits = STAILQ_HEAD_INITIALIZER(waits);
	struct behind_wait *wait;
	pthread_mutex_lock(&shard->mutex);
	/* Who waits for this one waits for those before it, too. */
	struct behind *older = TAILQ_PREV(behind, behind_order, order);
	if (older)
		STAILQ_CONCAT(&older->waits, &behind->waits);
	else
		STAILQ_CONCAT(&waits, &behind->waits);
	atomic_store(&node->file->settled_at, loop_clock());
	behind_unlist(share->behind, behind);
	pthread_mutex_unlock(&shard->mutex);
	behind_free(behind);
	while ((wait = STAILQ_FIRST(&waits))) {
		STAILQ_REMOVE_HEAD(&waits, entry);
		behind_wait_end(wait);
	}
}

/* Sends what was born until then, and says whether anything younger is left. */
static bool shard_send_old(struct behind_shard *shard, uint64_t until)
{
	struct behind *behind;
	bool left;
	do {
		left = false;
		pthread_mutex_lock(&shard->mutex);
		LIST_FOREACH (behind, &shard->list, entry) {
			if (behind->sending)
				continue;
			left = true;
			if (behind->born_at <= until) {
				behind_take(behind, false);
				break;
			}
		}
		pthread_mutex_unlock(&shard->mutex);
		if (behind)
			fsop_write_gathered(behind);
	} while (behind);
	return left;
}

static bool behind_send_old(struct behind_pool *pool, uint64_t until)
{
	bool left = false;
	for (unsigned i = 0; i < BEHIND_SHARDS; i++)
		left |= shard_send_old(&pool->shards[i], until);
	return left;
}

bool behind_tick(struct share *share)
{
	return behind_send_old(share->behind, loop_clock() - BEHIND_AGE_NS);
}

/* The node, pinned, of something that was born until then, or NULL. */
static struct node *shard_find_old(
	struct behind_pool *pool, struct behind_shard *shard, uint64_t until)
{
	struct behind *behind;
	struct node *node = NULL;
	pthread_mutex_lock(&shard->mutex);
	LIST_FOREACH (behind, &shard->list, entry)
		if (behind->born_at <= until) {
			node = node_pin(behind->file->node);
			break;
		}
	pthread_mutex_unlock(&shard->mutex);
	return node;
}

static void all_next(struct behind_all *all)
{
	struct behind_pool *pool = all->share->behind;
	all->node = NULL;
	for (unsigned i = 0; i < BEHIND_SHARDS && !all->node; i++)
		all->node = shard_find_old(pool, &pool->shards[i], all->until);
	if (all->node)
		behind_settle(all->share, all->node, false, &all->wait);
	else
		all->done(all);
}

static void all_settled(struct behind_wait *wait)
{
	struct behind_all *all =
		(struct behind_all *)((char *)wait - offsetof(struct behind_all, wait));
	node_unpin(all->share->nodes, all->node);
	all_next(all);
}

void behind_settle_all(struct share *share, struct behind_all *all)
{
	all->share = share;
	all->wait.done = all_settled;
	all->until = loop_clock();
	behind_send_old(share->behind, all->until);
	all_next(all);
}
