/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "drive.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct watcher {
	struct loop_hook hook;
	struct loop_timer timer;
	struct loop *loop;
	const bool *flag;
	const unsigned *count;
	unsigned at_least;
	bool late;
};

int drive_setup(void **state)
{
	struct drive *d = calloc(1, sizeof(*d));
	const char *io = getenv("DRIVE_IO");
	assert_int_equal(
		loop_new(io && strcmp(io, "poll") == 0 ? LOOP_POLL : LOOP_AUTO, &d->loop), 0);
	assert_int_equal(fake_start(&d->fake, d->loop), 0);
	d->fake.arg = d;
	assert_int_equal(rpc_cred_new_sys("test", 0, 0, NULL, 0, &d->cred), 0);
	d->config = (struct nfs_client_config){
		.address = {.proto = ADDRESS_UNIX},
		.cred = d->cred,
		.minor = -1,
		.timeo_ns = 2000 * DRIVE_MS,
		.retrans = 1,
		.rsize = 65536,
		.wsize = 65536,
		.max_requests = 16,
	};
	memcpy(d->config.address.host, d->fake.path, sizeof(d->fake.path));
	*state = d;
	return 0;
}

static void on_ready(void *arg, int err, const char *why)
{
	struct drive *d = arg;
	assert_false(d->ready);
	d->ready = true;
	d->ready_err = err;
	snprintf(d->why, sizeof(d->why), "%s", why);
}

static void on_stopped(void *arg)
{
	struct drive *d = arg;
	assert_false(d->stopped);
	d->stopped = true;
}

void drive_begin(struct drive *d, unsigned nconns)
{
	d->ready = d->stopped = false;
	if (!d->client) {
		assert_int_equal(nfs_client_new(&d->config, &d->client), 0);
		d->nconns = nconns;
		for (unsigned i = 0; i < nconns; i++)
			assert_int_equal(nfs_client_attach(d->client, d->loop, &d->conn[i]), 0);
	}
	nfs_client_start(d->client, on_ready, d);
}

void drive_start(struct drive *d, unsigned nconns)
{
	drive_begin(d, nconns);
	drive_until(d, &d->ready);
	if (d->ready_err)
		fail_msg("%s", d->why);
	/* further connections come by themselves */
	drive_until_count(d, &d->fake.accepted, nconns);
	drive_for(d, 20 * DRIVE_MS);
}

void drive_start_failing(struct drive *d)
{
	drive_begin(d, 1);
	drive_until(d, &d->ready);
	assert_int_not_equal(d->ready_err, 0);
}

void drive_stop(struct drive *d)
{
	d->stopped = false;
	nfs_client_stop(d->client, 1000 * DRIVE_MS, on_stopped, d);
	drive_until(d, &d->stopped);
}

int drive_teardown(void **state)
{
	struct drive *d = *state;
	if (d->client)
		drive_stop(d);
	fake_stop(&d->fake);
	assert_int_equal(d->fake.trailing, 0);
	nfs_client_free(d->client);
	loop_free(d->loop);
	rpc_cred_unref(d->cred);
	free(d);
	return 0;
}

static bool watch(struct loop_hook *hook)
{
	struct watcher *w = (struct watcher *)hook;
	if ((w->flag && *w->flag) || (w->count && *w->count >= w->at_least))
		loop_stop(w->loop);
	return false;
}

static void watch_late(struct loop_timer *timer)
{
	struct watcher *w = (struct watcher *)((char *)timer - offsetof(struct watcher, timer));
	w->late = true;
	loop_stop(w->loop);
}

/* Whether it happened in time. */
static bool drive_run(struct drive *d, struct watcher *w, uint64_t patience)
{
	w->hook.run = watch;
	w->timer.fire = watch_late;
	w->loop = d->loop;
	loop_timer_set(d->loop, &w->timer, loop_clock() + patience);
	loop_hook_add(d->loop, &w->hook);
	assert_int_equal(loop_run(d->loop), 0);
	loop_hook_remove(d->loop, &w->hook);
	loop_timer_cancel(d->loop, &w->timer);
	return !w->late;
}

static enum fake_verdict drive_follow_plan(struct fake *fake, struct fake_call *call)
{
	struct drive *d = fake->arg;
	struct drive_plan *plan = &d->plan;
	if (plan->times == 0 || fake_last_op(call) != plan->op)
		return FAKE_NORMAL;
	plan->seen++;
	plan->times--;
	call->fail_status = plan->status;
	call->conn->mute |= plan->mute;
	return plan->verdict;
}

static void drive_reclaim(void *arg, struct nfs_conn *conn, bool grace,
	void (*done)(void *done_arg, int err), void *done_arg)
{
	struct drive *d = arg;
	d->reclaims++;
	d->reclaim_grace = grace;
	done(done_arg, 0);
}

void drive_reclaims(struct drive *d)
{
	static const struct nfs_reclaim_ops ops = {.reclaim = drive_reclaim};
	nfs_client_set_reclaim(d->client, &ops, d);
}

void drive_expect(struct drive *d, uint32_t op, enum fake_verdict verdict, unsigned times)
{
	d->plan = (struct drive_plan){.op = op, .verdict = verdict, .times = times};
	d->fake.script = drive_follow_plan;
}

void drive_until(struct drive *d, const bool *flag)
{
	struct watcher w = {.flag = flag};
	assert_true(drive_run(d, &w, DRIVE_PATIENCE));
}

void drive_until_count(struct drive *d, const unsigned *count, unsigned at_least)
{
	struct watcher w = {.count = count, .at_least = at_least};
	assert_true(drive_run(d, &w, DRIVE_PATIENCE));
}

void drive_for(struct drive *d, uint64_t ns)
{
	struct watcher w = {.late = false};
	assert_false(drive_run(d, &w, ns));
}

static void on_done(struct nfs_compound *c)
{
	struct job *job = c->arg;
	assert_false(job->done);
	job->done = true;
	job->status = c->status;
	job->ops_ok = c->ops_ok;
	job->replayed = c->replayed;
	if (!job->keep)
		nfs_compound_free(c);
}

struct nfs_compound *job_new(struct job *job, struct drive *d, unsigned conn, uint32_t label)
{
	memset(job, 0, sizeof(*job));
	job->d = d;
	job->c = nfs_compound_new(d->conn[conn], d->cred, label);
	assert_non_null(job->c);
	return job->c;
}

void job_send(struct job *job)
{
	nfs_compound_send(job->c, on_done, job);
	assert_false(job->done);
}

void job_getattr(struct job *job, struct drive *d, unsigned conn)
{
	struct nfs_compound *c = job_new(job, d, conn, OP_GETATTR);
	struct nfs_bitmap want = {{1u << FATTR4_LEASE_TIME}};
	nfs_op_putrootfh(c);
	nfs_op_getfsattr(c, &want, &job->attr);
	job_send(job);
}

void job_remove(struct job *job, struct drive *d, unsigned conn)
{
	struct nfs_compound *c = job_new(job, d, conn, OP_REMOVE);
	nfs_op_putrootfh(c);
	nfs_op_remove(c, "name", 4, &job->cinfo);
	job_send(job);
}

void job_read(struct job *job, struct drive *d, unsigned conn)
{
	struct nfs_compound *c = job_new(job, d, conn, OP_READ);
	nfs_op_putrootfh(c);
	nfs_op_read(c, &nfs_stateid_anonymous, 0, 1000, NULL, job->data, &job->read);
	job_send(job);
}

void job_ends(struct job *job, int status)
{
	drive_until(job->d, &job->done);
	assert_int_equal(job->status, status);
}

void job_succeeds(struct job *job)
{
	job_ends(job, NFS4_OK);
}
