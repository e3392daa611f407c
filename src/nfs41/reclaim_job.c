/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>

#include "nfs41/deleg.h"
#include "nfs41/error.h"
#include "nfs41/op.h"
#include "nfs41/reclaim_priv.h"
#include "util/log.h"

static void job_answered(struct nfs_compound *c);

static struct nfs_state *job_state(const struct reclaim_job *job)
{
	return job->reclaim->config.state;
}

static void job_put_open(struct reclaim_job *job, struct nfs_compound *c, struct nfs_open_res *res)
{
	struct nfs_open *open = job->open;
	uint32_t type = deleg_reclaim_ask(job_state(job), open);
	bool want = job->grace && type != OPEN_DELEGATE_NONE;
	const struct nfs_open_args args = {
		.access = nfs_open_wanted(job_state(job), open, job->grace) |
			  (want ? 0 : OPEN4_SHARE_ACCESS_WANT_NO_DELEG),
		.owner = open->owner,
		.how = NFS_OPEN_NOCREATE,
		.claim = job->grace ? NFS_CLAIM_PREVIOUS : NFS_CLAIM_FH,
		.delegate_type = type,
	};
	job->asked = true;
	nfs_op_open(c, &args, res);
}

static void job_put_lock(
	const struct reclaim_job *job, struct nfs_compound *c, struct nfs_stateid *res)
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

static struct nfs_stateid job_tested_stateid(const struct reclaim_job *job)
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

static void job_put(struct reclaim_job *job, struct nfs_compound *c)
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

static void job_judge(struct reclaim_job *job, int status);

static void job_send(struct reclaim_job *job, enum reclaim_step step)
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

static void job_lost(struct reclaim_job *job, bool lock, int status)
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

static void job_next_lock(struct reclaim_job *job);

static void job_next_range(struct reclaim_job *job)
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
static void job_relock(struct reclaim_job *job)
{
	if (job->grace) {
		job_next_range(job);
		return;
	}
	job_lost(job, true, NFS4ERR_NO_GRACE);
	job_next_lock(job);
}

static void job_next_lock(struct reclaim_job *job)
{
	struct nfs_state *state = job_state(job);
	nfs_lock_unref(state, job->lock);
	job->lock = nfs_open_next_lock(state, job->open);
	job->have_lock = false;
	if (!job->lock)
		reclaim_job_end(job);
	else if (nfs_lock_is_stale(state, job->lock))
		job_relock(job);
	else
		job_send(job, JOB_TEST_LOCK);
}

static void job_locks(struct reclaim_job *job)
{
	nfs_open_rewind_locks(job_state(job), job->open);
	job_next_lock(job);
}

static bool status_is_revoked(uint32_t status)
{
	return status == NFS4ERR_EXPIRED || status == NFS4ERR_ADMIN_REVOKED ||
	       status == NFS4ERR_DELEG_REVOKED;
}

static void job_judge_test(struct reclaim_job *job, int status)
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
static void job_take_delegation(struct reclaim_job *job, int status)
{
	const struct deleg_grant grant = {
		.fh = &job->open->fh, .cred = job->open->cred, .res = &job->opened};
	job->asked = false;
	deleg_reclaim_answered(job_state(job), status == 0 ? &grant : NULL);
}

static void job_judge_open(struct reclaim_job *job, int status)
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
		reclaim_job_end(job);
	} else {
		job_lost(job, false, status);
		reclaim_job_end(job);
	}
}

static void job_judge_lock(struct reclaim_job *job, int status)
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

static void job_judge(struct reclaim_job *job, int status)
{
	/* Without memory there is nothing better than trying again, too. */
	if (status == -ESTALE || status == -ENOMEM) {
		job->reclaim->interrupted |= job->of_round;
		reclaim_job_end(job);
		return;
	}
	/* What has moved is reclaimed, or lost, where it is now. */
	if (status == NFS4ERR_MOVED) {
		reclaim_job_end(job);
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
	case JOB_CLOSE: reclaim_job_end(job); break;
	case JOB_LOCK: job_judge_lock(job, status); break;
	}
}

static void job_answered(struct nfs_compound *c)
{
	struct reclaim_job *job = c->arg;
	int status = c->status;
	nfs_compound_free(c);
	if (job->asked)
		job_take_delegation(job, status);
	job_judge(job, status);
}

void reclaim_job_begin(struct reclaim_job *job, struct nfs_open *open_take)
{
	job->open = open_take;
	job->lock = NULL;
	bool gone = job->grace || nfs_open_is_stale(job_state(job), open_take);
	job_send(job, gone ? JOB_OPEN : JOB_TEST_OPEN);
}

void reclaim_job_release(struct reclaim_job *job)
{
	nfs_lock_unref(job_state(job), job->lock);
	nfs_open_unref(job_state(job), job->open);
	job->lock = NULL;
	job->open = NULL;
}
