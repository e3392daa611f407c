/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "vigil.h"

#include <errno.h>

#include "caller.h"
#include "fsop.h"

#define VIGIL_OFTEN_NS	 UINT64_C(150000000)
#define VIGIL_SELDOM_NS	 UINT64_C(1000000000)
#define VIGIL_OLD_NS	 UINT64_C(3000000000)
#define VIGIL_SILENCE_NS UINT64_C(5000000000)

static void vigil_fire(struct loop_timer *timer);
static void vigil_task(struct loop_task *task);

void vigil_init(struct vigil *vigil, struct worker *worker)
{
	*vigil = (struct vigil){.worker = worker, .timer.fire = vigil_fire, .task.run = vigil_task};
	LIST_INIT(&vigil->pending);
	pthread_mutex_init(&vigil->mutex, NULL);
}

void vigil_deinit(struct vigil *vigil)
{
	pthread_mutex_destroy(&vigil->mutex);
}

static void vigil_set(struct vigil *vigil, uint64_t delay)
{
	struct loop *loop = vigil->worker->loop;
	vigil->set = true;
	loop_timer_set(loop, &vigil->timer, loop_now(loop) + delay);
}

void vigil_add(struct vigil *vigil, struct fsop_request *req)
{
	vigil->active = req->begun_at = loop_now(vigil->worker->loop);
	if (LIST_EMPTY(&vigil->pending))
		atomic_fetch_add(&vigil->worker->share->rota.busy, 1);
	LIST_INSERT_HEAD(&vigil->pending, req, pending);
	if (!vigil->set)
		vigil_set(vigil, VIGIL_SELDOM_NS);
}

void vigil_remove(struct fsop_request *req)
{
	struct vigil *vigil = &req->worker->vigil;
	LIST_REMOVE(req, pending);
	vigil->active = loop_now(vigil->worker->loop);
	if (LIST_EMPTY(&vigil->pending))
		atomic_fetch_sub(&req->share->rota.busy, 1);
}

/* Answers the request now if its program need not hear what becomes of it. */
static void vigil_look(struct fsop_request *req, uint64_t now)
{
	enum caller caller = caller_look(proccred_proc_fd(req->share->creds), req->pid);
	/* Of a program that is not visible from here only the signal is known. */
	if (caller == CALLER_UNKNOWN && req->interrupted &&
		now - req->begun_at >= VIGIL_SILENCE_NS &&
		nfs_conn_silence(req->worker->conn) >= VIGIL_SILENCE_NS)
		caller = CALLER_ENDING;
	if (caller != CALLER_ENDING)
		return;
	fuse_reply_err(req->fuse, EINTR);
	req->fuse = NULL;
}

static void vigil_fire(struct loop_timer *timer)
{
	struct vigil *vigil = (struct vigil *)((char *)timer - offsetof(struct vigil, timer));
	uint64_t now = loop_now(vigil->worker->loop);
	struct fsop_request *req;
	bool often = false;
	vigil->set = false;
	LIST_FOREACH (req, &vigil->pending, pending) {
		if (req->fuse && (req->interrupted || now - req->begun_at >= VIGIL_OLD_NS))
			vigil_look(req, now);
		often |= req->fuse && req->interrupted;
	}
	if (!LIST_EMPTY(&vigil->pending))
		vigil_set(vigil, often ? VIGIL_OFTEN_NS : VIGIL_SELDOM_NS);
}

static void vigil_take(struct vigil *vigil, uint64_t unique)
{
	struct fsop_request *req;
	LIST_FOREACH (req, &vigil->pending, pending)
		if (req->unique == unique)
			break;
	/* One that was answered meanwhile needs nothing more. */
	if (!req || !req->fuse)
		return;
	req->interrupted = true;
	if (req->interrupt && req->interrupt(req))
		return;
	vigil_look(req, loop_now(vigil->worker->loop));
	vigil_set(vigil, VIGIL_OFTEN_NS);
}

static void vigil_task(struct loop_task *task)
{
	struct vigil *vigil = (struct vigil *)((char *)task - offsetof(struct vigil, task));
	uint64_t inbox[VIGIL_INBOX];
	pthread_mutex_lock(&vigil->mutex);
	unsigned count = vigil->count;
	memcpy(inbox, vigil->inbox, count * sizeof(*inbox));
	vigil->count = 0;
	vigil->posted = false;
	pthread_mutex_unlock(&vigil->mutex);
	for (unsigned i = 0; i < count; i++)
		vigil_take(vigil, inbox[i]);
}

/* Its owner has read the request before this one could be read, and looks at its tasks after that:
 * it will know it. */
static void vigil_post(struct vigil *vigil, uint64_t unique)
{
	pthread_mutex_lock(&vigil->mutex);
	/* What does not fit is found by its age. */
	if (vigil->count < VIGIL_INBOX)
		vigil->inbox[vigil->count++] = unique;
	if (!vigil->posted)
		loop_post(vigil->worker->loop, &vigil->task);
	vigil->posted = true;
	pthread_mutex_unlock(&vigil->mutex);
}

void vigil_interrupt(struct worker *reader, uint64_t unique)
{
	struct share *share = reader->share;
	vigil_take(&reader->vigil, unique);
	for (unsigned i = 0; i < share->nworkers; i++)
		if (share->workers[i] != reader)
			vigil_post(&share->workers[i]->vigil, unique);
}
