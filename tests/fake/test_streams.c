/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Streams that are dead and do not say so, and what siblings do for each other. */
#include <errno.h>

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

#define STREAM(name) cmocka_unit_test_setup_teardown(test_##name, drive_setup, drive_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		STREAM(idle_streams_are_dead),
		STREAM(one_watches_for_all),
		STREAM(the_next_one_watches),
		STREAM(patience_grows),
	};
	return cmocka_run_group_tests_name("streams", tests, NULL, NULL);
}
