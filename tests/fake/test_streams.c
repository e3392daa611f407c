/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Streams that are dead and do not say so, and what siblings do for each other. */
#include <errno.h>
#include <time.h>

#include "drive.h"

static uint64_t pings(struct drive *d, unsigned conn)
{
	return atomic_load(&drive_stats(d, conn, 0)->calls);
}

static uint64_t connects(struct drive *d, unsigned conn)
{
	return atomic_load(&nfs_conn_stats(d->conn[conn])->connects);
}

/* With the limits of a mount as most people have it. */
static void test_idle_streams_are_dead(void **state)
{
	struct drive *d = *state;
	struct job job[3];
	d->config.timeo_ns = 60000 * DRIVE_MS;
	drive_start(d, 3);
	fake_mute(&d->fake);
	drive_until_count(d, &d->fake.accepted, 6);
	for (unsigned i = 0; i < 3; i++) {
		job_remove(&job[i], d, i);
		job_succeeds(&job[i]);
		assert_int_equal(connects(d, i), 2);
	}
	assert_int_equal(d->fake.sessions, 1);
}

static void test_one_watches_for_all(void **state)
{
	struct drive *d = *state;
	d->config.timeo_ns = 400 * DRIVE_MS;
	drive_start(d, 3);
	drive_until_count(d, &d->fake.pings, 4);
	assert_int_equal(pings(d, 0), d->fake.pings);
	assert_int_equal(d->fake.accepted, 3);
}

/* The process was stopped, or its machine, and the connections are good. */
static void test_standing_still_is_no_silence(void **state)
{
	struct drive *d = *state;
	struct job job;
	d->config.timeo_ns = 400 * DRIVE_MS;
	drive_start(d, 2);
	struct timespec pause = {.tv_nsec = 900000000};
	nanosleep(&pause, NULL);
	drive_until_count(d, &d->fake.pings, 1);
	job_remove(&job, d, 0);
	job_succeeds(&job);
	assert_int_equal(d->fake.accepted, 2);
}

/* The first connection does not come back: the second one takes over. */
static void test_the_next_one_watches(void **state)
{
	struct drive *d = *state;
	d->config.timeo_ns = 400 * DRIVE_MS;
	drive_start(d, 2);
	struct fake_conn *first = TAILQ_FIRST(&d->fake.conns);
	d->fake.refuse = true;
	first->mute = true;
	for (unsigned i = 0; i < 50 && pings(d, 1) < 6; i++)
		drive_for(d, 100 * DRIVE_MS);
	assert_true(pings(d, 1) >= 6);
	assert_int_equal(connects(d, 1), 1);
}

static unsigned removes;
static uint64_t at[3];

static enum fake_verdict slow_and_silent(struct fake *fake, struct fake_call *call)
{
	if (call->proc == NFSPROC4_NULL)
		return FAKE_SILENT;
	if (fake_last_op(call) != OP_REMOVE)
		return FAKE_NORMAL;
	at[removes] = loop_clock();
	return ++removes == 3 ? FAKE_NORMAL : FAKE_SILENT;
}

static void test_patience_grows(void **state)
{
	struct drive *d = *state;
	struct job job;
	d->config.timeo_ns = 200 * DRIVE_MS;
	drive_start(d, 1);
	removes = 0;
	d->fake.script = slow_and_silent;
	job_remove(&job, d, 0);
	job_succeeds(&job);
	assert_int_equal(connects(d, 0), 3);
	assert_true(at[1] - at[0] >= 195 * DRIVE_MS);
	assert_true(at[2] - at[1] >= 390 * DRIVE_MS);
}

/* The first connection is gone and does not come back. */
static void lose_the_first(struct drive *d)
{
	d->fake.refuse = true;
	fake_kill(TAILQ_FIRST(&d->fake.conns));
}

static void test_siblings_send_what_waits(void **state)
{
	struct drive *d = *state;
	static struct job job[60];
	struct job reading;
	d->config.max_requests = 4;
	drive_start(d, 3);
	lose_the_first(d);
	for (unsigned i = 0; i < 60; i++)
		job_remove(&job[i], d, 0);
	job_read(&reading, d, 0);
	for (unsigned i = 0; i < 60; i++) {
		job_succeeds(&job[i]);
		assert_int_equal(job[i].cinfo.after, 2);
	}
	job_succeeds(&reading);
	assert_int_equal(reading.read.len, 1000);
	assert_int_equal(reading.data[999], 'r');
	assert_int_equal(d->fake.executed[OP_REMOVE], 60);
	/* it is counted where it belongs */
	assert_true(atomic_load(&drive_stats(d, 0, OP_REMOVE)->calls) >= 60);
	assert_int_equal(atomic_load(&drive_stats(d, 1, OP_REMOVE)->calls), 0);
	/* and one's own connection is taken again */
	d->fake.refuse = false;
	drive_until_count(d, &d->fake.nconns, 3);
	assert_int_equal(d->fake.sessions, 1);
}

/* Executed, and the reply lost with the connection. */
static void test_sibling_fetches_the_reply(void **state)
{
	struct drive *d = *state;
	struct job job;
	drive_start(d, 2);
	drive_expect(d, OP_REMOVE, FAKE_EXECUTE_CLOSE, 1);
	d->fake.refuse = true;
	job_remove(&job, d, 0);
	job_succeeds(&job);
	assert_int_equal(d->fake.executed[OP_REMOVE], 1);
	assert_int_equal(d->fake.replays, 1);
	assert_false(job.replayed);
	d->fake.refuse = false;
}

static void test_sibling_breaks_as_well(void **state)
{
	struct drive *d = *state;
	struct job job;
	drive_start(d, 2);
	lose_the_first(d);
	/* on the sibling */
	drive_expect(d, OP_REMOVE, FAKE_EXECUTE_CLOSE, 1);
	drive_for(d, 50 * DRIVE_MS);
	job_remove(&job, d, 0);
	drive_until_count(d, &d->plan.seen, 1);
	d->fake.refuse = false;
	job_succeeds(&job);
	assert_int_equal(d->fake.executed[OP_REMOVE], 1);
	assert_int_equal(d->fake.sessions, 1);
}

static void test_abandoned_while_lent(void **state)
{
	struct drive *d = *state;
	struct job job, next;
	drive_start(d, 2);
	lose_the_first(d);
	drive_expect(d, OP_REMOVE, FAKE_SILENT, 1);
	job_remove(&job, d, 0);
	drive_until_count(d, &d->plan.seen, 1);
	nfs_compound_abandon(job.c);
	d->fake.refuse = false;
	fake_cut(&d->fake);
	job_getattr(&next, d, 0);
	job_succeeds(&next);
	assert_false(job.done);
	assert_int_equal(d->fake.executed[OP_REMOVE], 0);
	assert_int_equal(d->fake.sessions, 1);
}

static void test_soft_gives_up_while_lent(void **state)
{
	struct drive *d = *state;
	struct job job;
	d->config.soft = true;
	d->config.timeo_ns = 1000 * DRIVE_MS;
	drive_start(d, 2);
	lose_the_first(d);
	drive_expect(d, OP_REMOVE, FAKE_SILENT, 1);
	job_remove(&job, d, 0);
	job_ends(&job, -EIO);
	assert_int_equal(d->plan.seen, 1);
	d->fake.refuse = false;
}

static void test_stop_while_lent(void **state)
{
	struct drive *d = *state;
	struct job job;
	drive_start(d, 2);
	lose_the_first(d);
	drive_expect(d, OP_REMOVE, FAKE_SILENT, 1);
	job_remove(&job, d, 0);
	drive_until_count(d, &d->plan.seen, 1);
	drive_stop(d);
	job_ends(&job, -EIO);
}

/* A session that ends meanwhile ends for what is lent, too. */
static void test_session_ends_while_lent(void **state)
{
	struct drive *d = *state;
	struct job job;
	drive_start(d, 2);
	lose_the_first(d);
	drive_for(d, 50 * DRIVE_MS);
	fake_lose_session(&d->fake);
	job_remove(&job, d, 0);
	drive_for(d, 100 * DRIVE_MS);
	assert_false(job.done);
	d->fake.refuse = false;
	job_succeeds(&job);
	assert_int_equal(d->fake.executed[OP_REMOVE], 1);
	assert_int_equal(d->fake.sessions, 2);
}

static enum fake_verdict nonsense(struct fake *fake, struct fake_call *call)
{
	struct drive *d = fake->arg;
	if (fake_last_op(call) != OP_REMOVE || d->plan.times == 0)
		return FAKE_NORMAL;
	d->plan.times--;
	fake_reply(call->conn, call->xid, "nonsense", 8);
	return FAKE_ANSWERED;
}

static void test_garbage_for_another(void **state)
{
	struct drive *d = *state;
	struct job job;
	drive_start(d, 2);
	lose_the_first(d);
	d->plan.times = 1;
	d->fake.script = nonsense;
	job_remove(&job, d, 0);
	/* the connection that brought it is given up */
	for (unsigned i = 0; i < 100 && connects(d, 1) < 2; i++)
		drive_for(d, 20 * DRIVE_MS);
	assert_true(connects(d, 1) >= 2);
	assert_false(job.done);
	d->fake.refuse = false;
	job_succeeds(&job);
	assert_int_equal(d->fake.executed[OP_REMOVE], 1);
}

#define STREAM(name) cmocka_unit_test_setup_teardown(test_##name, drive_setup, drive_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		STREAM(idle_streams_are_dead),
		STREAM(one_watches_for_all),
		STREAM(standing_still_is_no_silence),
		STREAM(the_next_one_watches),
		STREAM(patience_grows),
		STREAM(siblings_send_what_waits),
		STREAM(sibling_fetches_the_reply),
		STREAM(sibling_breaks_as_well),
		STREAM(abandoned_while_lent),
		STREAM(soft_gives_up_while_lent),
		STREAM(stop_while_lent),
		STREAM(session_ends_while_lent),
		STREAM(garbage_for_another),
	};
	return cmocka_run_group_tests_name("streams", tests, NULL, NULL);
}
