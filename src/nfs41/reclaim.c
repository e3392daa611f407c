/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "nfs41/reclaim.h"

#include <errno.h>
#include <stdlib.h>

#include "nfs41/deleg.h"
#include "nfs41/error.h"
#include "nfs41/handling.h"
#include "nfs41/op.h"
#include "util/log.h"

/* Opens that are made anew at the same time. */
#define RECLAIM_JOBS 8
/* Times that one request may meet a dead stateid. */
#define RECLAIM_TRIES 5

enum job_step {
	JOB_TEST_OPEN,
	JOB_FREE_OPEN,
	JOB_OPEN,
	JOB_CLOSE,
	JOB_TEST_LOCK,
	JOB_FREE_LOCK,
	JOB_LOCK,
};

/* One open and its locks. */
struct job {
	struct reclaim *reclaim;
	struct nfs_conn *conn;
	bool of_round; /* recovery waits for it; else requests do */
	bool grace;
	enum job_step step;
	struct nfs_open *open; /* referenced */
	struct nfs_lock *lock; /* referenced, or NULL */
	/* of `lock` */
	struct range range;
	bool have_lock;
	struct nfs_stateid lock_stateid;
	/* results */
	bool asked; /* deleg_reclaim_ask */
	struct nfs_open_res opened;
	struct nfs_stateid locked;
	uint32_t tested;
	/* not of_round */
	LIST_HEAD(, reclaim_use) waiting;
	LIST_ENTRY(job) entry;
};

struct reclaim {
	struct reclaim_config config;
	pthread_mutex_t mutex;
	LIST_HEAD(, job) jobs; /* those that requests wait for, and whom */
	/* the round: the first worker's */
	struct job round[RECLAIM_JOBS];
	unsigned running, opened;
	bool grace, grace_over, interrupted;
	struct nfs_conn *conn;
	void (*done)(void *done_arg, int err);
	void *done_arg;
};

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

static void job_answered(struct nfs_compound *c);
static void job_end(struct job *job);

static struct nfs_state *job_state(const struct job *job)
{
	return job->reclaim->config.state;
}

static void job_put_open(struct job *job, struct nfs_compound *c, struct nfs_open_res *res)
{
	const struct nfs_open *open = job->open;
	uint32_t type = deleg_reclaim_ask(job_state(job), open);
	bool want = job->grace && type != OPEN_DELEGATE_NONE;
	const struct nfs_open_args args = {
		.access = open->access | (want ? 0 : OPEN4_SHARE_ACCESS_WANT_NO_DELEG),
		.owner = open->owner,
		.how = NFS_OPEN_NOCREATE,
		.claim = job->grace ? NFS_CLAIM_PREVIOUS : NFS_CLAIM_FH,
		.delegate_type = type,
	};
	job->asked = true;
	nfs_op_open(c, &args, res);
}

static void job_put_lock(const struct job *job, struct nfs_compound *c, struct nfs_stateid *res)
{
	struct nfs_state *state = job_state(job);
	const struct nfs_lock_args args = {
		.range = {.type = job->range.kind == RANGE_WRITE ? WRITE_LT : READ_LT,
			.offset = job->range.first,
			.length = range_length(&job->range)},
		.reclaim = true,
		.new_owner = !job->have_lock,
		.open_stateid = nfs_open_stateid(state, job->open),
		.lock_stateid = job->lock_stateid,
		.owner = job->lock->owner,
	};
	nfs_op_lock(c, &args, res, NULL);
}

static struct nfs_stateid job_tested_stateid(const struct job *job)
{
	struct nfs_stateid stateid;
	if (job->step == JOB_TEST_OPEN || job->step == JOB_FREE_OPEN)
		stateid = nfs_open_stateid(job_state(job), job->open);
	else
		nfs_lock_held(job_state(job), job->lock, &stateid);
	return stateid;
}

static const uint32_t job_ops[] = {
	[JOB_TEST_OPEN] = OP_TEST_STATEID,
	[JOB_FREE_OPEN] = OP_FREE_STATEID,
	[JOB_OPEN] = OP_OPEN,
	[JOB_CLOSE] = OP_CLOSE,
	[JOB_TEST_LOCK] = OP_TEST_STATEID,
	[JOB_FREE_LOCK] = OP_FREE_STATEID,
	[JOB_LOCK] = OP_LOCK,
};

static void job_put(struct job *job, struct nfs_compound *c)
{
	struct nfs_stateid stateid;
	if (job->step == JOB_OPEN || job->step == JOB_CLOSE || job->step == JOB_LOCK)
		nfs_op_putfh(c, &job->open->fh);
	switch (job->step) {
	case JOB_OPEN: job_put_open(job, c, &job->opened); break;
	case JOB_CLOSE: nfs_op_close(c, &job->opened.stateid); break;
	case JOB_LOCK: job_put_lock(job, c, &job->locked); break;
	case JOB_TEST_OPEN:
	case JOB_TEST_LOCK:
		stateid = job_tested_stateid(job);
		nfs_op_test_stateid(c, &stateid, &job->tested);
		break;
	case JOB_FREE_OPEN:
	case JOB_FREE_LOCK:
		stateid = job_tested_stateid(job);
		nfs_op_free_stateid(c, &stateid);
		break;
	}
}

static void job_judge(struct job *job, int status);

static void job_send(struct job *job, enum job_step step)
{
	job->step = step;
	struct nfs_compound *c = nfs_compound_new(job->conn, job->open->cred, job_ops[step]);
	if (!c) {
		job_judge(job, -ENOMEM);
		return;
	}
	c->privileged = job->of_round;
	c->one_session = true;
	job_put(job, c);
	nfs_compound_send(c, job_answered, job);
}

static void job_lost(struct job *job, bool lock, int status)
{
	const struct reclaim_config *config = &job->reclaim->config;
	int err = status > 0 ? nfs_error_errno((uint32_t)status) : status;
	err = !lock && err == -ESTALE ? -ESTALE : -EIO;
	if (lock)
		nfs_lock_settled(
			config->state, job->lock, job->have_lock ? &job->lock_stateid : NULL, true);
	else
		nfs_open_lost(config->state, job->open, err);
	log_debug("%s: %s", lock ? "LOCK" : "OPEN",
		status > 0 ? nfs_error_name((uint32_t)status) : strerror(-status));
	if (config->lost)
		config->lost(config->arg, &job->open->fh, lock, err);
}

static void job_next_lock(struct job *job);

static void job_next_range(struct job *job)
{
	struct nfs_state *state = job_state(job);
	bool ended = job->have_lock && job->range.last == UINT64_MAX;
	uint64_t offset = job->have_lock ? job->range.last + 1 : 0;
	if (!ended && nfs_lock_next_range(state, job->lock, offset, &job->range)) {
		job_send(job, JOB_LOCK);
		return;
	}
	nfs_lock_settled(state, job->lock, job->have_lock ? &job->lock_stateid : NULL, false);
	job_next_lock(job);
}

/* The lock stands no more. Out of the grace period others may have had it since, and changed what
 * it protects: only the program that holds it can tell what to do then. */
static void job_relock(struct job *job)
{
	if (job->grace) {
		job_next_range(job);
		return;
	}
	job_lost(job, true, NFS4ERR_NO_GRACE);
	job_next_lock(job);
}

static void job_next_lock(struct job *job)
{
	struct nfs_state *state = job_state(job);
	nfs_lock_unref(state, job->lock);
	job->lock = nfs_open_next_lock(state, job->open);
	job->have_lock = false;
	if (!job->lock)
		job_end(job);
	else if (nfs_lock_is_stale(state, job->lock))
		job_relock(job);
	else
		job_send(job, JOB_TEST_LOCK);
}

static void job_locks(struct job *job)
{
	nfs_open_rewind_locks(job_state(job), job->open);
	job_next_lock(job);
}

static bool status_is_revoked(uint32_t status)
{
	return status == NFS4ERR_EXPIRED || status == NFS4ERR_ADMIN_REVOKED ||
	       status == NFS4ERR_DELEG_REVOKED;
}

static void job_judge_test(struct job *job, int status)
{
	bool is_lock = job->step == JOB_TEST_LOCK;
	uint32_t tested = status == 0 ? job->tested : NFS4ERR_BAD_STATEID;
	if (tested == NFS4_OK || tested == NFS4ERR_OLD_STATEID) {
		if (is_lock)
			job_next_lock(job);
		else
			job_locks(job);
	} else if (status_is_revoked(tested)) {
		job_send(job, is_lock ? JOB_FREE_LOCK : JOB_FREE_OPEN);
	} else if (is_lock) {
		nfs_lock_gone(job_state(job), job->lock);
		job_relock(job);
	} else {
		nfs_open_gone(job_state(job), job->open);
		job_send(job, JOB_OPEN);
	}
}

/* The delegation that the OPEN has brought. */
static void job_take_delegation(struct job *job, int status)
{
	const struct deleg_grant grant = {
		.fh = &job->open->fh, .cred = job->open->cred, .res = &job->opened};
	job->asked = false;
	deleg_reclaim_answered(job_state(job), status == 0 ? &grant : NULL);
}

static void job_judge_open(struct job *job, int status)
{
	bool no_file = status == NFS4ERR_STALE || status == NFS4ERR_BADHANDLE ||
		       status == NFS4ERR_FHEXPIRED;
	if (status == 0) {
		job->reclaim->opened += job->of_round;
		if (nfs_open_regained(job_state(job), job->open, &job->opened.stateid))
			job_locks(job);
		else
			job_send(job, JOB_CLOSE);
	} else if (job->grace && status > 0 && !no_file) {
		/* It stays stale: an ordinary open after the grace period will decide. */
		job->reclaim->grace_over |= status == NFS4ERR_NO_GRACE;
		job_end(job);
	} else {
		job_lost(job, false, status);
		job_end(job);
	}
}

static void job_judge_lock(struct job *job, int status)
{
	if (status == 0) {
		job->have_lock = true;
		job->lock_stateid = job->locked;
		job_next_range(job);
		return;
	}
	job->reclaim->grace_over |= status == NFS4ERR_NO_GRACE;
	job_lost(job, true, status);
	job_next_lock(job);
}

static void job_judge(struct job *job, int status)
{
	/* Without memory there is nothing better than trying again, too. */
	if (status == -ESTALE || status == -ENOMEM) {
		job->reclaim->interrupted |= job->of_round;
		job_end(job);
		return;
	}
	switch (job->step) {
	case JOB_TEST_OPEN:
	case JOB_TEST_LOCK: job_judge_test(job, status); break;
	case JOB_FREE_OPEN:
		nfs_open_gone(job_state(job), job->open);
		job_send(job, JOB_OPEN);
		break;
	case JOB_FREE_LOCK:
		nfs_lock_gone(job_state(job), job->lock);
		job_relock(job);
		break;
	case JOB_OPEN: job_judge_open(job, status); break;
	case JOB_CLOSE: job_end(job); break;
	case JOB_LOCK: job_judge_lock(job, status); break;
	}
}

static void job_answered(struct nfs_compound *c)
{
	struct job *job = c->arg;
	int status = c->status;
	nfs_compound_free(c);
	if (job->asked)
		job_take_delegation(job, status);
	job_judge(job, status);
}

/* `open` with a reference that becomes the job's. */
static void job_begin(struct job *job, struct nfs_open *open_take)
{
	job->open = open_take;
	job->lock = NULL;
	bool gone = job->grace || nfs_open_is_stale(job_state(job), open_take);
	job_send(job, gone ? JOB_OPEN : JOB_TEST_OPEN);
}

static void job_release(struct job *job)
{
	nfs_lock_unref(job_state(job), job->lock);
	nfs_open_unref(job_state(job), job->open);
	job->lock = NULL;
	job->open = NULL;
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
static void round_feed(struct reclaim *r, struct job *job)
{
	struct nfs_open *open = NULL;
	if (!r->interrupted && !r->grace_over)
		open = nfs_state_next(r->config.state);
	if (open) {
		job->grace = r->grace;
		job_begin(job, open);
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
		r->round[i] = (struct job){.reclaim = r, .conn = conn, .of_round = true};
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
static void job_wake(struct job *job)
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

static void job_end(struct job *job)
{
	if (job->of_round) {
		job_release(job);
		round_feed(job->reclaim, job);
		return;
	}
	job_wake(job);
	job_release(job);
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
static struct job *reclaim_job(
	struct reclaim *r, struct nfs_open *open, struct nfs_conn *conn, bool *made)
{
	struct job *job;
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
	struct job *job = reclaim_job(reclaim, use->open, conn, &made);
	if (job)
		LIST_INSERT_HEAD(&job->waiting, use, entry);
	pthread_mutex_unlock(&reclaim->mutex);
	if (job && made)
		job_begin(job, nfs_open_ref(reclaim->config.state, use->open));
	return job != NULL;
}
