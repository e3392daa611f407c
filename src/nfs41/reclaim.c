/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "nfs41/reclaim.h"

#include <errno.h>
#include <stdlib.h>

#include "nfs41/deleg.h"
#include "nfs41/handling.h"
#include "nfs41/reclaim_priv.h"
#include "util/log.h"

/* Times that one request may meet a dead stateid. */
#define RECLAIM_TRIES 5

int reclaim_new(const struct reclaim_config *config, struct reclaim **reclaim)
{
	struct reclaim *r = calloc(1, sizeof(*r));
	if (!r)
		return -ENOMEM;
	r->config = *config;
	pthread_mutex_init(&r->mutex, NULL);
	LIST_INIT(&r->jobs);
	*reclaim = r;
	return 0;
}

void reclaim_free(struct reclaim *reclaim)
{
	if (!reclaim)
		return;
	pthread_mutex_destroy(&reclaim->mutex);
	free(reclaim);
}

static void round_tested(void *arg, int err)
{
	struct reclaim *r = arg;
	if (!err && r->grace && nfs_state_has_stale(r->config.state))
		err = -EAGAIN;
	log_debug("%u files opened again%s", r->opened, err ? ", not all of them" : "");
	r->done(r->done_arg, err);
}

static void round_end(struct reclaim *r)
{
	if (r->interrupted) {
		round_tested(r, -ESTALE);
		return;
	}
	deleg_reclaim_over(r->config.state);
	deleg_test(r->config.state, r->conn, round_tested, r);
}

/* Gives the job its next open, or ends the round with the last job. */
static void round_feed(struct reclaim *r, struct reclaim_job *job)
{
	struct nfs_open *open = NULL;
	if (!r->interrupted && !r->grace_over)
		open = nfs_state_next(r->config.state);
	if (open) {
		job->grace = r->grace;
		reclaim_job_begin(job, open);
	} else if (--r->running == 0) {
		round_end(r);
	}
}

static void reclaim_run(void *arg, struct nfs_conn *conn, bool grace,
	void (*done)(void *done_arg, int err), void *done_arg)
{
	struct reclaim *r = arg;
	r->conn = conn;
	r->grace = grace;
	r->grace_over = r->interrupted = false;
	r->opened = 0;
	r->done = done;
	r->done_arg = done_arg;
	r->running = RECLAIM_JOBS;
	nfs_state_rewind(r->config.state, grace);
	if (!grace)
		deleg_reclaim_over(r->config.state);
	for (unsigned i = 0; i < RECLAIM_JOBS; i++) {
		r->round[i] = (struct reclaim_job){.reclaim = r, .conn = conn, .of_round = true};
		round_feed(r, &r->round[i]);
	}
}

/* The open's locks are another guest's now. */
static void reclaim_lose_locks(struct reclaim *r, struct nfs_open *open)
{
	struct nfs_state *state = r->config.state;
	struct nfs_lock *lock;
	nfs_open_rewind_locks(state, open);
	while ((lock = nfs_open_next_lock(state, open))) {
		nfs_lock_settled(state, lock, NULL, true);
		nfs_lock_unref(state, lock);
		if (r->config.lost)
			r->config.lost(r->config.arg, &open->fh, true, -EIO);
	}
}

static void reclaim_cloned(void *arg)
{
	struct reclaim *r = arg;
	struct nfs_open *open;
	nfs_state_rewind(r->config.state, true);
	while ((open = nfs_state_next(r->config.state))) {
		reclaim_lose_locks(r, open);
		nfs_open_unref(r->config.state, open);
	}
	deleg_reclaim_over(r->config.state);
}

const struct nfs_reclaim_ops reclaim_ops = {.reclaim = reclaim_run, .cloned = reclaim_cloned};

static void use_run(struct loop_task *task)
{
	struct reclaim_use *use =
		(struct reclaim_use *)((char *)task - offsetof(struct reclaim_use, task));
	use->again(use);
}

/* Lets the requests go on that waited. */
static void job_wake(struct reclaim_job *job)
{
	struct reclaim *r = job->reclaim;
	struct reclaim_use *use;
	pthread_mutex_lock(&r->mutex);
	LIST_REMOVE(job, entry);
	pthread_mutex_unlock(&r->mutex);
	while ((use = LIST_FIRST(&job->waiting))) {
		LIST_REMOVE(use, entry);
		use->task.run = use_run;
		loop_post(use->loop, &use->task);
	}
}

void reclaim_job_end(struct reclaim_job *job)
{
	if (job->of_round) {
		reclaim_job_release(job);
		round_feed(job->reclaim, job);
		return;
	}
	job_wake(job);
	reclaim_job_release(job);
	free(job);
}

/* Seqid 0 stands for the latest, whichever that is (RFC 8881, 8.2.2). */
static void use_newest(struct reclaim_use *use)
{
	if (use->newest)
		use->stateid.seqid = 0;
}

int reclaim_use_open(struct reclaim *reclaim, struct reclaim_use *use, struct nfs_open *open)
{
	use->open = open;
	use->lock = NULL;
	int err = nfs_open_use(reclaim->config.state, open, &use->stateid);
	use_newest(use);
	return err;
}

bool reclaim_use_lock(struct reclaim *reclaim, struct reclaim_use *use, struct nfs_open *open,
	struct nfs_lock *lock, bool unlock)
{
	struct nfs_state *state = reclaim->config.state;
	use->open = open;
	use->lock = lock;
	bool have = unlock ? nfs_lock_held(state, lock, &use->stateid)
			   : nfs_lock_stateid(state, lock, &use->stateid);
	if (!have && !unlock) {
		use->lock = NULL;
		use->stateid = nfs_open_stateid(state, open);
	}
	use_newest(use);
	return have;
}

static bool status_is_dead_stateid(int status)
{
	return status > 0 && handling_of((uint32_t)status, HANDLING_AT_OPERATION) == HANDLING_STATE;
}

static bool use_has_changed(struct reclaim *reclaim, const struct reclaim_use *use)
{
	struct nfs_stateid now;
	if (use->lock)
		nfs_lock_held(reclaim->config.state, use->lock, &now);
	else
		now = nfs_open_stateid(reclaim->config.state, use->open);
	return memcmp(&now, &use->stateid, sizeof(now)) != 0;
}

/* Under the mutex: the job for the open, made if need be (*made). NULL without memory. */
static struct reclaim_job *reclaim_job(
	struct reclaim *r, struct nfs_open *open, struct nfs_conn *conn, bool *made)
{
	struct reclaim_job *job;
	*made = false;
	LIST_FOREACH (job, &r->jobs, entry)
		if (job->open == open)
			return job;
	job = calloc(1, sizeof(*job));
	if (!job)
		return NULL;
	*made = true;
	job->reclaim = r;
	job->conn = conn;
	job->open = open;
	LIST_INIT(&job->waiting);
	LIST_INSERT_HEAD(&r->jobs, job, entry);
	return job;
}

bool reclaim_refused(struct reclaim *reclaim, struct reclaim_use *use, struct nfs_conn *conn,
	int status, void (*again)(struct reclaim_use *use))
{
	bool made;
	if (!status_is_dead_stateid(status) || use->tries >= RECLAIM_TRIES)
		return false;
	use->tries++;
	/* An earlier copy of a request was executed, and its answer, with the stateid, was lost. */
	if (status == NFS4ERR_OLD_STATEID && !use->newest) {
		use->newest = true;
		again(use);
		return true;
	}
	use->newest = false;
	if (use_has_changed(reclaim, use)) {
		again(use);
		return true;
	}
	use->again = again;
	use->loop = nfs_conn_loop(conn);
	pthread_mutex_lock(&reclaim->mutex);
	struct reclaim_job *job = reclaim_job(reclaim, use->open, conn, &made);
	if (job)
		LIST_INSERT_HEAD(&job->waiting, use, entry);
	pthread_mutex_unlock(&reclaim->mutex);
	if (job && made)
		reclaim_job_begin(job, nfs_open_ref(reclaim->config.state, use->open));
	return job != NULL;
}
