/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "recall.h"

#include <stdlib.h>

#include "behind.h"
#include "dirhold.h"
#include "fresh.h"
#include "listing.h"
#include "share.h"

#define NS_PER_S UINT64_C(1000000000)

/* A delegation that no open(2) has used for so long goes back, so that a guest which falls silent
 * holds little. */
#define RECALL_IDLE_NS (300 * NS_PER_S)
/*
 * The kernel may wait, for the locks that an invalidation takes, for a request that the server
 * refuses until it has the delegation back. So the delegation waits for the invalidation no longer
 * than this, which is well within what servers wait for it.
 */
#define RECALL_PATIENCE_NS NS_PER_S

/* What nobody waits for waits for others, to go back with them. */
#define RECALL_GATHER_NS UINT64_C(50000000)

/* The flush of one file: INVALIDATE -> SETTLE -> COMMIT. */
struct recall {
	struct deleg_flush *flush;
	struct share *share;
	struct worker *worker;
	struct node *node;	/* pinned */
	struct loop_task inval; /* the kernel has dropped its cache */
	struct behind_wait settle;
	struct loop_timer patience;
	bool invalidated, went_on, finished;
};

static void recall_free(struct recall *recall)
{
	if (recall->invalidated && recall->finished)
		free(recall);
}

static void recall_committed(void *arg, int err)
{
	struct recall *recall = arg;
	struct share *share = recall->share;
	(void)err;
	node_unpin(share->nodes, recall->node);
	struct deleg_flush *flush = recall->flush;
	recall->finished = true;
	recall_free(recall);
	flush->done(flush);
}

static void recall_settled(struct behind_wait *wait)
{
	struct recall *recall = (struct recall *)((char *)wait - offsetof(struct recall, settle));
	unstable_commit(recall->share->unstable, recall->worker, recall->node, recall->flush->cred,
		recall_committed, recall);
}

static void recall_go_on(struct recall *recall)
{
	if (recall->went_on)
		return;
	recall->went_on = true;
	loop_timer_cancel(recall->worker->loop, &recall->patience);
	if (recall->flush->dir)
		recall_committed(recall, 0);
	else
		behind_settle(recall->share, recall->node, true, &recall->settle);
}

static void recall_invalidated(struct loop_task *task)
{
	struct recall *recall = (struct recall *)((char *)task - offsetof(struct recall, inval));
	recall->invalidated = true;
	if (recall->finished)
		recall_free(recall);
	else
		recall_go_on(recall);
}

static void recall_impatient(struct loop_timer *timer)
{
	recall_go_on((struct recall *)((char *)timer - offsetof(struct recall, patience)));
}

/* What is known of the directory, and what is on its way to be known. */
static void recall_flush_dir(
	struct share *share, const struct deleg_flush *flush, struct node *node)
{
	listing_not_delegated(share->listing, &flush->fh);
	dirhold_forget(share, &flush->fh, node);
	if (!node)
		return;
	node_note_unknown(share->nodes, node);
	fresh_drop(share->fresh, node);
}

static void recall_flush(void *arg, struct deleg_flush *flush)
{
	struct share *share = arg;
	struct worker *worker = worker_self();
	struct node *node = node_find_fh(share->nodes, &flush->fh);
	struct recall *recall = NULL;
	if (node)
		node_set_delegated(share->nodes, node, false);
	if (flush->dir)
		recall_flush_dir(share, flush, node);
	if (node && !flush->gone && !share->ended)
		recall = calloc(1, sizeof(*recall));
	if (!recall) {
		if (node && !share->ended)
			notify_inval_inode(share->notify, node->id, NULL, NULL);
		node_unpin(share->nodes, node);
		flush->done(flush);
		return;
	}
	*recall = (struct recall){.flush = flush,
		.share = share,
		.worker = worker,
		.node = node,
		.inval.run = recall_invalidated,
		.settle.done = recall_settled,
		.patience.fire = recall_impatient};
	loop_timer_set(
		worker->loop, &recall->patience, loop_now(worker->loop) + RECALL_PATIENCE_NS);
	notify_inval_inode(share->notify, node->id, worker->loop, &recall->inval);
}

static void recall_return(struct worker *worker)
{
	const struct nfs_limits *limits = nfs_client_limits(worker->share->client);
	/* SEQUENCE, and PUTFH with each */
	deleg_return_due(worker->share->state, worker->conn, (limits->max_ops - 1) / 2);
}

static void recall_run(struct loop_task *task)
{
	struct worker *worker =
		(struct worker *)((char *)task - offsetof(struct worker, recall_task));
	atomic_store(&worker->recall_posted, false);
	recall_return(worker);
}

static void recall_gathered(struct loop_timer *timer)
{
	struct worker *worker =
		(struct worker *)((char *)timer - offsetof(struct worker, recall_timer));
	worker->recall_set = false;
	recall_return(worker);
}

/* The worker that noticed it has a connection that works. */
static void recall_due(void *arg, bool urgent)
{
	struct share *share = arg;
	struct worker *worker = worker_self();
	if (worker && !urgent) {
		if (worker->recall_set)
			return;
		worker->recall_set = true;
		worker->recall_timer.fire = recall_gathered;
		loop_timer_set(worker->loop, &worker->recall_timer,
			loop_now(worker->loop) + RECALL_GATHER_NS);
		return;
	}
	if (!worker)
		worker = share->workers[0];
	if (!atomic_exchange(&worker->recall_posted, true)) {
		worker->recall_task.run = recall_run;
		loop_post(worker->loop, &worker->recall_task);
	}
}

static const struct deleg_ops recall_ops = {.due = recall_due, .flush = recall_flush};

void recall_configure(struct share *share)
{
	const struct options *o = share->options;
	/* Without a page cache nothing is gained that would be worth a recall. */
	enum deleg_mode mode = share->cache.direct ? DELEG_NONE : o->delegations;
	deleg_configure(share->state, mode, &recall_ops, share);
}

static void recall_tick(struct loop_timer *timer)
{
	struct share *share =
		(struct share *)((char *)timer - offsetof(struct share, recall_timer));
	struct loop *loop = share->workers[0]->loop;
	uint64_t now = loop_clock();
	if (now > RECALL_IDLE_NS)
		deleg_return_idle(share->state, now - RECALL_IDLE_NS);
	loop_timer_set(loop, timer, now + RECALL_IDLE_NS / 5);
}

void recall_start(struct share *share)
{
	if (share->options->delegations == DELEG_NONE)
		return;
	share->recall_timer.fire = recall_tick;
	loop_timer_set(
		share->workers[0]->loop, &share->recall_timer, loop_clock() + RECALL_IDLE_NS / 5);
}

unsigned recall_return_all(struct share *share, uint64_t timeout_ns, uint64_t pause_ns)
{
	uint64_t now = loop_clock();
	deleg_return_all(share->state, now + pause_ns);
	return deleg_wait_returned(share->state, now + timeout_ns);
}

void recall_forget(struct share *share, uint64_t id, uint64_t lookups)
{
	struct nfs_fh fh;
	if (node_forget_delegated(share->nodes, id, lookups, &fh))
		deleg_return(share->state, &fh);
}

void recall_forget_access(struct share *share, struct node *node)
{
	struct nfs_fh fh;
	if (!node_is_delegated(share->nodes, node))
		return;
	node_fh(node, &fh);
	deleg_forget_access(share->state, &fh);
}

uint32_t recall_called(void *arg, const struct nfs_fh *fh, const struct nfs_stateid *stateid)
{
	struct share *share = arg;
	return deleg_recalled(share->state, fh, stateid);
}

void recall_called_any(void *arg, uint32_t keep, struct deleg_kinds kinds)
{
	struct share *share = arg;
	deleg_keep(share->state, keep, kinds);
}

uint32_t recall_called_getattr(void *arg, const struct nfs_fh *fh, uint64_t *change, uint64_t *size)
{
	struct share *share = arg;
	if (!deleg_holds_write(share->state, fh))
		return NFS4ERR_BADHANDLE;
	struct node *node = node_find_fh(share->nodes, fh);
	/* Once all that was written is with the server, these are its own numbers. */
	bool known = node && !behind_is_unsettled(node, UINT64_MAX) &&
		     node_size(share->nodes, node, change, size);
	node_unpin(share->nodes, node);
	return known ? NFS4_OK : NFS4ERR_BADHANDLE;
}
