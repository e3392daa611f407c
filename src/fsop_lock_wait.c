/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fsop_lock.h"

#include <errno.h>
#include <stdlib.h>

/* Pauses grow to four times a second: longer ones would starve behind those who ask oftener. Where
 * somebody tells of the end, they are for the case that this gets lost. */
#define LOCK_PAUSE_MIN_NS  UINT64_C(10000000)
#define LOCK_PAUSE_MAX_NS  UINT64_C(250000000)
#define LOCK_PAUSE_TOLD_NS UINT64_C(1000000000)
/* What is in the way is being freed here, and pauses begin with this; or it was freed, and so many
 * are made, since the refusal may be older. */
#define LOCK_PAUSE_ENDING_NS UINT64_C(1000000)
#define LOCK_ENDED_TRIES     10

/* A request that waits for its lock: what callbacks, from other threads, may see. */
struct fsop_lock_wait {
	struct fsop_request *req;
	struct share *share;
	struct worker *worker;
	struct loop_task task;
	struct loop_timer timer;
	void (*send)(struct fsop_request *req); /* asks again */
	unsigned tries;				/* while what is in the way had been freed */
	unsigned round;				/* which worker has its turn in wait_next_round */
	uint64_t pause_ns;
	/* under the share's lock_mutex */
	bool posted;
	TAILQ_ENTRY(fsop_lock_wait) entry;
	/* the worker's */
	bool pausing;		/* the timer runs; otherwise a LOCK is under way */
	bool woken;		/* since that was sent: its refusal may be out of date */
	bool rounded, rounding; /* the task goes, or has gone, round the workers */
};

void lock_wait_end(struct fsop_request *req)
{
	struct fsop_lock_wait *wait = req->u.lock.wait;
	struct share *share = req->share;
	if (!wait)
		return;
	loop_timer_cancel(req->worker->loop, &wait->timer);
	pthread_mutex_lock(&share->lock_mutex);
	TAILQ_REMOVE(&share->lock_waits, wait, entry);
	bool posted = wait->posted;
	wait->req = NULL;
	pthread_mutex_unlock(&share->lock_mutex);
	/* A task on its way frees it when it arrives. */
	if (!posted)
		free(wait);
	req->u.lock.wait = NULL;
	req->interrupt = NULL;
}

static void wait_retry(struct fsop_lock_wait *wait)
{
	wait->woken = !wait->pausing;
	if (wait->woken)
		return;
	wait->pausing = false;
	loop_timer_cancel(wait->req->worker->loop, &wait->timer);
	wait->send(wait->req);
}

static void wait_timer(struct loop_timer *timer)
{
	wait_retry(
		(struct fsop_lock_wait *)((char *)timer - offsetof(struct fsop_lock_wait, timer)));
}

/* On the request's own worker, after a callback. */
static void wait_task(struct loop_task *task)
{
	struct fsop_lock_wait *wait =
		(struct fsop_lock_wait *)((char *)task - offsetof(struct fsop_lock_wait, task));
	struct fsop_request *req = wait->req;
	if (!req) {
		free(wait);
		return;
	}
	pthread_mutex_lock(&req->share->lock_mutex);
	wait->posted = false;
	pthread_mutex_unlock(&req->share->lock_mutex);
	if (wait->rounding)
		wait->pause_ns = LOCK_PAUSE_ENDING_NS;
	wait->rounding = false;
	wait_retry(wait);
}

/* On each worker in turn. */
static void wait_next_round(struct loop_task *task)
{
	struct fsop_lock_wait *wait =
		(struct fsop_lock_wait *)((char *)task - offsetof(struct fsop_lock_wait, task));
	struct loop *loop = wait->worker->loop;
	if (++wait->round < wait->share->nworkers)
		loop = wait->share->workers[wait->round]->loop;
	else
		task->run = wait_task;
	loop_post(loop, task);
}

/*
 * RELEASE was read before this request, but another worker may not have looked at it yet. When each
 * has run a task, it has.
 */
static void wait_round(struct fsop_lock_wait *wait)
{
	struct share *share = wait->share;
	wait->rounded = wait->rounding = true;
	wait->pause_ns = LOCK_PAUSE_TOLD_NS;
	pthread_mutex_lock(&share->lock_mutex);
	if (!wait->posted) {
		wait->posted = true;
		wait->round = 0;
		wait->task.run = wait_next_round;
		loop_post(share->workers[0]->loop, &wait->task);
	}
	pthread_mutex_unlock(&share->lock_mutex);
}

/* Under lock_mutex, any thread. */
static void wait_post(struct fsop_lock_wait *wait)
{
	if (wait->posted)
		return;
	wait->posted = true;
	loop_post(wait->req->worker->loop, &wait->task);
}

/* Any signal ends the waiting. A LOCK under way is not given up: its answer decides, see lock_done.
 */
static bool wait_interrupt(struct fsop_request *req)
{
	bool pausing = req->u.lock.wait->pausing;
	if (pausing)
		fsop_lock_reply(req, -EINTR);
	return pausing;
}

void fsop_lock_available(struct share *share, uint64_t owner)
{
	struct fsop_lock_wait *wait;
	pthread_mutex_lock(&share->lock_mutex);
	TAILQ_FOREACH (wait, &share->lock_waits, entry)
		if (wait->req->u.lock.args.owner == owner)
			wait_post(wait);
	pthread_mutex_unlock(&share->lock_mutex);
}

static bool lock_overlaps(const struct nfs_lock_range *a, const struct nfs_lock_range *b)
{
	const struct range first = range_of(a->offset, a->length, RANGE_WRITE);
	const struct range second = range_of(b->offset, b->length, RANGE_WRITE);
	return first.first <= second.last && second.first <= first.last;
}

void lock_wait_wake_next(struct fsop_request *req)
{
	struct share *share = req->share;
	const struct nfs_lock_range *first = NULL;
	struct fsop_lock_wait *wait;
	pthread_mutex_lock(&share->lock_mutex);
	TAILQ_FOREACH (wait, &share->lock_waits, entry) {
		const struct nfs_lock_range *range = &wait->req->u.lock.args.range;
		if (wait->req->node != req->node || !lock_overlaps(range, &req->u.lock.args.range))
			continue;
		bool shared = first && first->type == READW_LT && range->type == READW_LT;
		if (!first || shared || !lock_overlaps(range, first))
			wait_post(wait);
		if (!first)
			first = range;
	}
	pthread_mutex_unlock(&share->lock_mutex);
}

int lock_wait_begin(struct fsop_request *req, void (*send)(struct fsop_request *req))
{
	struct fsop_lock_wait *wait = calloc(1, sizeof(*wait));
	if (!wait)
		return -ENOMEM;
	wait->req = req;
	wait->share = req->share;
	wait->worker = req->worker;
	wait->task.run = wait_task;
	wait->timer.fire = wait_timer;
	wait->send = send;
	wait->pause_ns = LOCK_PAUSE_MIN_NS;
	req->u.lock.wait = wait;
	pthread_mutex_lock(&req->share->lock_mutex);
	TAILQ_INSERT_TAIL(&req->share->lock_waits, wait, entry);
	pthread_mutex_unlock(&req->share->lock_mutex);
	req->interrupt = wait_interrupt;
	return 0;
}

/* The lock in the way is one of this mount, or the server calls when it is gone. */
static bool wait_is_told(const struct fsop_request *req)
{
	return req->file->open->notifies ||
	       req->u.lock.denied.owner_clientid == nfs_client_id(req->share->client);
}

void lock_wait_pause(struct fsop_request *req)
{
	struct fsop_lock_wait *wait = req->u.lock.wait;
	uint64_t max_ns = wait_is_told(req) ? LOCK_PAUSE_TOLD_NS : LOCK_PAUSE_MAX_NS;
	if (req->interrupted) {
		fsop_lock_reply(req, -EINTR);
		return;
	}
	if (wait->woken) {
		wait->woken = false;
		wait->send(req);
		return;
	}
	if (wait->pause_ns > max_ns)
		wait->pause_ns = max_ns;
	wait->pausing = true;
	loop_timer_set(
		req->worker->loop, &wait->timer, loop_now(req->worker->loop) + wait->pause_ns);
	wait->pause_ns *= 2;
}

bool lock_wait_for_end(struct fsop_request *req, void (*send)(struct fsop_request *req))
{
	const struct nfs_lock_denied *denied = &req->u.lock.denied;
	if (denied->owner_clientid != nfs_client_id(req->share->client))
		return false;
	enum nfs_lock_end end = nfs_lock_end(req->share->state, denied->owner);
	if (end == NFS_LOCK_STANDS &&
		(req->share->nworkers == 1 || (req->u.lock.wait && req->u.lock.wait->rounded)))
		return false;
	if (!req->u.lock.wait) {
		if (lock_wait_begin(req, send) != 0)
			return false;
		req->u.lock.wait->pause_ns = LOCK_PAUSE_ENDING_NS;
	}
	/* How long the server takes to hear of an end is no reason to refuse. */
	if (end == NFS_LOCK_ENDED && ++req->u.lock.wait->tries > LOCK_ENDED_TRIES)
		return false;
	if (end == NFS_LOCK_STANDS)
		wait_round(req->u.lock.wait);
	lock_wait_pause(req);
	return true;
}

bool lock_wait_round(struct fsop_request *req, void (*send)(struct fsop_request *req))
{
	if (req->share->nworkers == 1 || lock_wait_begin(req, send) != 0)
		return false;
	wait_round(req->u.lock.wait);
	lock_wait_pause(req);
	return true;
}
