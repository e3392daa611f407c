/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Sessions and client ids that end, and what becomes of opens, locks and compounds. */
#include <errno.h>

#include "drive.h"

static void expect(struct drive *d, uint32_t op, enum fake_verdict verdict, uint32_t status)
{
	drive_expect(d, op, verdict, 1);
	d->plan.status = status;
}

/* A holder of opens: reclaims with two privileged REMOVEs, one after the other. */
static struct {
	struct drive *d;
	struct nfs_conn *conn;
	unsigned begun, ended, left;
	bool grace;
	void (*done)(void *arg, int err);
	void *arg;
} holder;

static void holder_next(struct nfs_compound *before)
{
	if (before)
		assert_int_equal(before->status, NFS4_OK);
	nfs_compound_free(before);
	/* after it nothing can be reclaimed */
	assert_false(holder.d->fake.reclaim_completed);
	if (holder.left-- == 0) {
		holder.ended++;
		holder.done(holder.arg, 0);
		return;
	}
	struct nfs_compound *c = nfs_compound_new(holder.conn, holder.d->cred, OP_REMOVE);
	c->privileged = true;
	nfs_op_putrootfh(c);
	nfs_op_remove(c, "reclaimed", 9, NULL);
	nfs_compound_send(c, holder_next, NULL);
}

static void holder_reclaim(void *arg, struct nfs_conn *conn, bool grace,
	void (*done)(void *done_arg, int err), void *done_arg)
{
	assert_ptr_equal(conn, holder.d->conn[0]);
	holder.conn = conn;
	holder.begun++;
	holder.grace = grace;
	holder.done = done;
	holder.arg = done_arg;
	holder.left = 2;
	holder_next(NULL);
}

static void hold(struct drive *d)
{
	static const struct nfs_reclaim_ops ops = {holder_reclaim};
	memset(&holder, 0, sizeof(holder));
	holder.d = d;
	nfs_client_set_reclaim(d->client, &ops, NULL);
}

static void test_server_restarts(void **state)
{
	struct drive *d = *state;
	struct job job[3];
	drive_start(d, 3);
	hold(d);
	fake_restart(&d->fake);
	for (unsigned i = 0; i < 3; i++)
		job_getattr(&job[i], d, i);
	for (unsigned i = 0; i < 3; i++)
		job_succeeds(&job[i]);
	assert_int_equal(holder.begun, 1);
	assert_int_equal(holder.ended, 1);
	assert_true(holder.grace);
	assert_int_equal(d->fake.sessions, 2);
	assert_int_equal(d->fake.executed[OP_RECLAIM_COMPLETE], 2);
	assert_int_equal(nfs_client_id(d->client), d->fake.clientid);
}

static void test_ordinary_compounds_wait_for_the_reclaim(void **state)
{
	struct drive *d = *state;
	struct job job;
	drive_start(d, 1);
	hold(d);
	fake_restart(&d->fake);
	expect(d, OP_REMOVE, FAKE_SILENT, 0);
	job_getattr(&job, d, 0);
	drive_until_count(d, &d->plan.seen, 1);
	drive_for(d, 50 * DRIVE_MS);
	assert_int_equal(d->fake.executed[OP_RECLAIM_COMPLETE], 1);
	assert_false(job.done);
	/* the reclaim is cut, and goes on */
	fake_cut(&d->fake);
	job_succeeds(&job);
	assert_int_equal(holder.begun, 1);
	assert_int_equal(d->fake.executed[OP_REMOVE], 2);
	assert_int_equal(d->fake.executed[OP_RECLAIM_COMPLETE], 2);
}

static void test_restarts_again_while_reclaiming(void **state)
{
	struct drive *d = *state;
	struct job job;
	drive_start(d, 1);
	hold(d);
	fake_restart(&d->fake);
	expect(d, OP_REMOVE, FAKE_SILENT, 0);
	job_getattr(&job, d, 0);
	drive_until_count(d, &d->plan.seen, 1);
	fake_restart(&d->fake);
	job_succeeds(&job);
	assert_int_equal(holder.begun, 2);
	assert_int_equal(holder.ended, 2);
	assert_int_equal(d->fake.executed[OP_RECLAIM_COMPLETE], 2);
}

static void test_restarts_again_while_completing(void **state)
{
	struct drive *d = *state;
	struct job job;
	drive_start(d, 1);
	hold(d);
	fake_restart(&d->fake);
	expect(d, OP_RECLAIM_COMPLETE, FAKE_SILENT, 0);
	job_getattr(&job, d, 0);
	drive_until_count(d, &d->plan.seen, 1);
	fake_restart(&d->fake);
	job_succeeds(&job);
	assert_int_equal(holder.begun, 2);
	assert_true(d->fake.reclaim_completed);
}

static void test_session_ends_unnoticed(void **state)
{
	struct drive *d = *state;
	static struct job job[2][20];
	d->config.max_requests = 4;
	drive_start(d, 2);
	hold(d);
	fake_lose_session(&d->fake);
	for (unsigned i = 0; i < 20; i++)
		for (unsigned w = 0; w < 2; w++)
			job_remove(&job[w][i], d, w);
	for (unsigned i = 0; i < 20; i++)
		for (unsigned w = 0; w < 2; w++) {
			job_succeeds(&job[w][i]);
			assert_false(job[w][i].replayed);
		}
	assert_int_equal(d->fake.executed[OP_REMOVE], 40);
	assert_int_equal(d->fake.sessions, 2);
	/* the client id stayed, and so did its opens */
	assert_int_equal(holder.begun, 0);
	/* nobody ran against the wall again and again */
	assert_true(atomic_load(&drive_stats(d, 0, OP_REMOVE)->retransmits) <= 4);
}

static void test_perhaps_executed_in_the_lost_session(void **state)
{
	struct drive *d = *state;
	struct job changing, reading;
	drive_start(d, 1);
	expect(d, OP_REMOVE, FAKE_EXECUTE_ONLY, 0);
	job_remove(&changing, d, 0);
	job_read(&reading, d, 0);
	drive_until_count(d, &d->plan.seen, 1);
	fake_lose_session(&d->fake);
	fake_cut(&d->fake);
	job_succeeds(&changing);
	job_succeeds(&reading);
	/* executed twice: its owner is told that this may be */
	assert_int_equal(d->fake.executed[OP_REMOVE], 2);
	assert_true(changing.replayed);
	assert_false(reading.replayed);
}

static void test_not_repeated_in_the_next_session(void **state)
{
	struct drive *d = *state;
	struct job job, next;
	drive_start(d, 1);
	expect(d, OP_REMOVE, FAKE_EXECUTE_ONLY, 0);
	struct nfs_compound *c = job_new(&job, d, 0, OP_REMOVE);
	nfs_op_putrootfh(c);
	nfs_op_remove(c, "name", 4, NULL);
	c->once = true;
	job_send(&job);
	drive_until_count(d, &d->plan.seen, 1);
	fake_lose_session(&d->fake);
	fake_cut(&d->fake);
	job_ends(&job, -EALREADY);
	assert_true(job.replayed);
	assert_int_equal(d->fake.executed[OP_REMOVE], 1);
	/* its slot is free again, and what was certainly not executed is sent */
	fake_lose_session(&d->fake);
	job_remove(&next, d, 0);
	next.c->once = true;
	job_succeeds(&next);
	assert_false(next.replayed);
	assert_int_equal(d->fake.executed[OP_REMOVE], 2);
}

static void test_abandoned_in_the_lost_session(void **state)
{
	struct drive *d = *state;
	struct job job, next;
	drive_start(d, 1);
	expect(d, OP_REMOVE, FAKE_SILENT, 0);
	job_remove(&job, d, 0);
	drive_until_count(d, &d->plan.seen, 1);
	nfs_compound_abandon(job.c);
	fake_lose_session(&d->fake);
	fake_cut(&d->fake);
	job_getattr(&next, d, 0);
	job_succeeds(&next);
	assert_int_equal(d->fake.executed[OP_REMOVE], 0);
	assert_false(job.done);
}

static void test_bound_to_one_session(void **state)
{
	struct drive *d = *state;
	struct job job;
	drive_start(d, 1);
	struct nfs_compound *c = job_new(&job, d, 0, OP_REMOVE);
	nfs_op_putrootfh(c);
	nfs_op_remove(c, "name", 4, NULL);
	c->one_session = true;
	fake_lose_session(&d->fake);
	job_send(&job);
	job_ends(&job, -ESTALE);
	assert_int_equal(d->fake.executed[OP_REMOVE], 0);
}

static void test_create_session_is_lost(void **state)
{
	struct drive *d = *state;
	struct job job;
	drive_start(d, 1);
	fake_lose_session(&d->fake);
	expect(d, OP_CREATE_SESSION, FAKE_EXECUTE_CLOSE, 0);
	job_remove(&job, d, 0);
	job_succeeds(&job);
	/* the server answers the second from its cache: no session is left behind */
	assert_int_equal(d->fake.sessions, 2);
	assert_int_equal(d->fake.replays, 1);
	assert_int_equal(d->fake.executed[OP_BIND_CONN_TO_SESSION], 1);
	assert_int_equal(d->fake.accepted, 2);
}

static void test_create_session_sequence_is_learnt_again(void **state)
{
	struct drive *d = *state;
	struct job job;
	drive_start(d, 1);
	fake_lose_session(&d->fake);
	d->fake.create_sequence = 77;
	job_remove(&job, d, 0);
	job_succeeds(&job);
	assert_int_equal(d->fake.executed[OP_EXCHANGE_ID], 2);
	assert_int_equal(d->fake.create_sequence, 78);
	assert_int_equal(d->fake.executed[OP_RECLAIM_COMPLETE], 1);
}

static void recovers_in_spite_of(struct drive *d, uint32_t op, uint32_t error)
{
	struct job job;
	drive_start(d, 1);
	expect(d, op, FAKE_NORMAL, error);
	fake_restart(&d->fake);
	job_remove(&job, d, 0);
	job_succeeds(&job);
	assert_int_equal(d->plan.seen, 1);
	assert_int_equal(d->fake.sessions, 2);
}

static void test_create_session_fails_while_recovering(void **state)
{
	recovers_in_spite_of(*state, OP_CREATE_SESSION, NFS4ERR_NOSPC);
}

static void test_exchange_id_fails_while_recovering(void **state)
{
	recovers_in_spite_of(*state, OP_EXCHANGE_ID, NFS4ERR_SERVERFAULT);
}

static void test_exchange_id_is_delayed_while_recovering(void **state)
{
	recovers_in_spite_of(*state, OP_EXCHANGE_ID, NFS4ERR_DELAY);
}

static void test_reclaim_complete_fails_while_recovering(void **state)
{
	recovers_in_spite_of(*state, OP_RECLAIM_COMPLETE, NFS4ERR_SERVERFAULT);
}

/* A step waits no longer for a connection that hangs than anything else does: its request is not
 * lent to the siblings, but the watch ends the connection (watch.c), and the next one carries it.
 */
static void recovers_on_the_next_connection(struct drive *d, uint32_t op, uint64_t timeo_ms)
{
	struct job job[2];
	d->config.timeo_ns = timeo_ms * DRIVE_MS;
	drive_start(d, 2);
	hold(d);
	fake_restart(&d->fake);
	expect(d, op, FAKE_SILENT, 0);
	d->plan.mute = true;
	for (unsigned i = 0; i < 2; i++)
		job_remove(&job[i], d, i);
	for (unsigned i = 0; i < 2; i++)
		job_succeeds(&job[i]);
	assert_int_equal(d->plan.seen, 1);
	assert_int_equal(holder.ended, 1);
	assert_int_equal(d->fake.sessions, 2);
	assert_int_equal(d->fake.executed[OP_RECLAIM_COMPLETE], 2);
}

/* With the limits of a mount as most people have it: 5 s. */
static void test_connection_hangs_in_exchange_id(void **state)
{
	recovers_on_the_next_connection(*state, OP_EXCHANGE_ID, 60000);
}

static void test_connection_hangs_in_create_session(void **state)
{
	recovers_on_the_next_connection(*state, OP_CREATE_SESSION, 400);
}

static void test_connection_hangs_in_the_reclaim(void **state)
{
	recovers_on_the_next_connection(*state, OP_REMOVE, 400);
}

static void test_connection_hangs_in_reclaim_complete(void **state)
{
	recovers_on_the_next_connection(*state, OP_RECLAIM_COMPLETE, 400);
}

static void test_stop_while_the_server_is_away(void **state)
{
	struct drive *d = *state;
	struct job job;
	drive_start(d, 2);
	d->fake.refuse = true;
	fake_restart(&d->fake);
	job_remove(&job, d, 1);
	drive_stop(d);
	job_ends(&job, -EIO);
}

static void test_stop_while_reclaiming(void **state)
{
	struct drive *d = *state;
	drive_start(d, 1);
	hold(d);
	fake_restart(&d->fake);
	expect(d, OP_PUTROOTFH, FAKE_NORMAL, 0);
	drive_until_count(d, &d->plan.seen, 1);
	drive_stop(d);
	d->fake.script = NULL;
	drive_start(d, 1);
}

/* Starts that fail, and what the user is told. */

static void fails(struct drive *d, int err, const char *words)
{
	drive_start_failing(d);
	assert_int_equal(d->ready_err, err);
	if (!strstr(d->why, words))
		fail_msg("\"%s\" does not say \"%s\"", d->why, words);
	drive_for(d, 5 * DRIVE_MS);
	assert_int_equal(d->fake.nconns, 0);
}

static void test_nothing_listens(void **state)
{
	struct drive *d = *state;
	strcpy(d->config.address.host, "/nonexistent/socket");
	drive_start_failing(d);
	assert_true(d->ready_err == -ENOENT || d->ready_err == -ECONNREFUSED);
}

static void test_server_hangs_up(void **state)
{
	struct drive *d = *state;
	d->fake.refuse = true;
	fails(d, -ECONNRESET, "closed the connection");
	/* and again, this time it works */
	d->fake.refuse = false;
	drive_start(d, 1);
}

static void test_server_of_old(void **state)
{
	struct drive *d = *state;
	d->fake.minor_max = 0;
	fails(d, -EPROTONOSUPPORT, "does not speak the NFS version");
	assert_int_equal(d->fake.ncalls, 2);
}

static void test_version_asked_for(void **state)
{
	struct drive *d = *state;
	d->fake.minor_max = 1;
	d->config.minor = 2;
	fails(d, -EPROTONOSUPPORT, "does not speak the NFS version");
	assert_int_equal(d->fake.ncalls, 1);
}

static void test_access_denied(void **state)
{
	struct drive *d = *state;
	expect(d, OP_RECLAIM_COMPLETE, FAKE_NORMAL, NFS4ERR_ACCESS);
	fails(d, -EACCES, "access denied");
}

static void test_no_session_granted(void **state)
{
	struct drive *d = *state;
	expect(d, OP_CREATE_SESSION, FAKE_NORMAL, NFS4ERR_RESOURCE);
	fails(d, -EREMOTEIO, "NFS4ERR_RESOURCE");
}

static void test_session_too_small(void **state)
{
	struct drive *d = *state;
	/* less than a page in a READ: the kernel would take it for the end of the file */
	d->fake.max_response = 2048 + 4095;
	fails(d, -EINVAL, "NFS4ERR_TOOSMALL");
}

static void test_start_without_answer(void **state)
{
	struct drive *d = *state;
	d->config.timeo_ns = 100 * DRIVE_MS;
	expect(d, OP_EXCHANGE_ID, FAKE_SILENT, 0);
	d->plan.times = 100;
	fails(d, -ETIMEDOUT, "does not answer");
}

static void test_stop_while_starting(void **state)
{
	struct drive *d = *state;
	expect(d, OP_EXCHANGE_ID, FAKE_SILENT, 0);
	drive_begin(d, 2);
	drive_until_count(d, &d->plan.seen, 1);
	drive_stop(d);
	assert_true(d->ready);
	assert_int_equal(d->ready_err, -ECANCELED);
	drive_start(d, 2);
}

static void test_stop_before_start(void **state)
{
	struct drive *d = *state;
	drive_begin(d, 1);
	drive_stop(d);
	assert_int_equal(d->fake.ncalls, 0);
}

#define RECOVER(name) cmocka_unit_test_setup_teardown(test_##name, drive_setup, drive_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		RECOVER(server_restarts),
		RECOVER(ordinary_compounds_wait_for_the_reclaim),
		RECOVER(restarts_again_while_reclaiming),
		RECOVER(restarts_again_while_completing),
		RECOVER(session_ends_unnoticed),
		RECOVER(perhaps_executed_in_the_lost_session),
		RECOVER(not_repeated_in_the_next_session),
		RECOVER(abandoned_in_the_lost_session),
		RECOVER(bound_to_one_session),
		RECOVER(create_session_is_lost),
		RECOVER(create_session_sequence_is_learnt_again),
		RECOVER(create_session_fails_while_recovering),
		RECOVER(exchange_id_fails_while_recovering),
		RECOVER(exchange_id_is_delayed_while_recovering),
		RECOVER(reclaim_complete_fails_while_recovering),
		RECOVER(connection_hangs_in_exchange_id),
		RECOVER(connection_hangs_in_create_session),
		RECOVER(connection_hangs_in_the_reclaim),
		RECOVER(connection_hangs_in_reclaim_complete),
		RECOVER(stop_while_the_server_is_away),
		RECOVER(stop_while_reclaiming),
		RECOVER(nothing_listens),
		RECOVER(server_hangs_up),
		RECOVER(server_of_old),
		RECOVER(version_asked_for),
		RECOVER(access_denied),
		RECOVER(no_session_granted),
		RECOVER(session_too_small),
		RECOVER(start_without_answer),
		RECOVER(stop_while_starting),
		RECOVER(stop_before_start),
	};
	return cmocka_run_group_tests_name("recover", tests, NULL, NULL);
}
