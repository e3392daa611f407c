/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Connections that end, servers that stay silent or talk nonsense. */
#include <errno.h>

#include "drive.h"

static const struct fake_call_note *note(struct drive *d, unsigned back)
{
	return &d->fake.calls[d->fake.nsequenced - 1 - back];
}

static void same_request_again(struct drive *d)
{
	assert_int_equal(note(d, 0)->slot, note(d, 1)->slot);
	assert_int_equal(note(d, 0)->sequence, note(d, 1)->sequence);
	assert_int_not_equal(note(d, 0)->xid, note(d, 1)->xid);
}

static void test_cut_before_execution(void **state)
{
	struct drive *d = *state;
	struct job job;
	drive_start(d, 1);
	drive_expect(d, OP_REMOVE, FAKE_CLOSE, 1);
	job_remove(&job, d, 0);
	job_succeeds(&job);
	same_request_again(d);
	assert_int_equal(d->fake.executed[OP_REMOVE], 1);
	assert_int_equal(d->fake.executed[OP_BIND_CONN_TO_SESSION], 1);
	assert_int_equal(d->fake.sessions, 1);
	assert_int_equal(d->fake.replays, 0);
	assert_int_equal(atomic_load(&nfs_conn_stats(d->conn[0])->connects), 2);
	assert_int_equal(atomic_load(&drive_stats(d, 0, OP_REMOVE)->calls), 2);
	assert_int_equal(atomic_load(&drive_stats(d, 0, OP_REMOVE)->replies), 1);
	assert_int_equal(atomic_load(&drive_stats(d, 0, OP_REMOVE)->retransmits), 1);
}

static void test_cut_after_execution(void **state)
{
	struct drive *d = *state;
	struct job job;
	drive_start(d, 1);
	drive_expect(d, OP_REMOVE, FAKE_EXECUTE_CLOSE, 1);
	job_remove(&job, d, 0);
	job_succeeds(&job);
	same_request_again(d);
	/* answered from the server's cache */
	assert_int_equal(d->fake.executed[OP_REMOVE], 1);
	assert_int_equal(d->fake.replays, 1);
	assert_int_equal(job.cinfo.after, 2);
	assert_false(job.replayed);
}

/* The first copy is still at work: the server wants the second one to wait. */
static unsigned copies;
static bool finished;

static enum fake_verdict busy_with_the_first(struct fake *fake, struct fake_call *call)
{
	if (fake_last_op(call) != OP_REMOVE)
		return FAKE_NORMAL;
	copies++;
	if (copies == 1)
		return FAKE_CLOSE;
	if (!finished) {
		call->fail_at = 0;
		call->fail_status = NFS4ERR_DELAY;
	}
	return FAKE_NORMAL;
}

static void test_cut_while_it_is_executed(void **state)
{
	struct drive *d = *state;
	struct job job, other;
	copies = 0;
	finished = false;
	drive_start(d, 1);
	d->fake.script = busy_with_the_first;
	job_remove(&job, d, 0);
	drive_until_count(d, &copies, 2);
	/* its slot is not for others meanwhile */
	job_getattr(&other, d, 0);
	job_succeeds(&other);
	unsigned back = 0;
	while (note(d, back)->op == OP_REMOVE)
		back++;
	assert_int_equal(note(d, back)->slot, 2);
	drive_until_count(d, &copies, copies + 1);
	finished = true;
	job_succeeds(&job);
	same_request_again(d);
	assert_int_equal(note(d, 0)->slot, 1);
	assert_int_equal(d->fake.sessions, 1);
}

static void test_soft_gives_up_while_it_is_executed(void **state)
{
	struct drive *d = *state;
	struct job job;
	copies = 0;
	finished = false;
	d->config.soft = true;
	d->config.timeo_ns = 50 * DRIVE_MS;
	drive_start(d, 1);
	d->fake.script = busy_with_the_first;
	job_remove(&job, d, 0);
	drive_until_count(d, &copies, 2);
	job_ends(&job, -EIO);
	/* the teardown finds it where it waits */
}

static void test_cut_after_execution_uncached(void **state)
{
	struct drive *d = *state;
	struct job job;
	drive_start(d, 1);
	drive_expect(d, OP_READ, FAKE_EXECUTE_CLOSE, 1);
	job_read(&job, d, 0);
	job_succeeds(&job);
	/* reading again does no harm */
	assert_int_equal(d->fake.executed[OP_READ], 2);
	assert_int_equal(note(d, 0)->sequence, note(d, 1)->sequence + 1);
	assert_int_equal(job.read.len, 1000);
}

static void test_many_under_way(void **state)
{
	struct drive *d = *state;
	static struct job job[3][40];
	d->config.max_requests = 8;
	drive_start(d, 3);
	for (unsigned round = 0; round < 10; round++) {
		for (unsigned i = 0; i < 40; i++)
			for (unsigned w = 0; w < 3; w++)
				job_remove(&job[w][i], d, w);
		drive_until(d, &job[round % 3][round].done);
		fake_cut(&d->fake);
		for (unsigned i = 0; i < 40; i++)
			for (unsigned w = 0; w < 3; w++)
				job_succeeds(&job[w][i]);
	}
	assert_int_equal(d->fake.executed[OP_REMOVE], 1200);
	assert_int_equal(d->fake.sessions, 1);
}

static void test_server_away_for_a_while(void **state)
{
	struct drive *d = *state;
	struct job job;
	drive_start(d, 1);
	d->fake.refuse = true;
	fake_cut(&d->fake);
	job_remove(&job, d, 0);
	drive_for(d, 1000 * DRIVE_MS);
	assert_false(job.done);
	/* at once, then after 100, 200, 400 ms, ... */
	assert_in_range(d->fake.accepted, 3, 6);
	d->fake.refuse = false;
	job_succeeds(&job);
	assert_int_equal(d->fake.executed[OP_REMOVE], 1);
}

static void test_abandoned_is_not_executed_later(void **state)
{
	struct drive *d = *state;
	struct job job, next;
	d->config.max_requests = 1;
	drive_start(d, 1);
	drive_expect(d, OP_REMOVE, FAKE_CLOSE, 1);
	job_remove(&job, d, 0);
	drive_until_count(d, &d->plan.seen, 1);
	nfs_compound_abandon(job.c);
	job_getattr(&next, d, 0);
	job_succeeds(&next);
	assert_int_equal(d->fake.executed[OP_REMOVE], 0);
	/* a bare SEQUENCE told that the slot was free */
	assert_int_equal(note(d, 1)->op, OP_SEQUENCE);
	assert_int_equal(note(d, 1)->sequence, note(d, 2)->sequence);
	assert_int_equal(d->fake.sessions, 1);
	assert_false(job.done);
}

static void test_abandoned_was_executed(void **state)
{
	struct drive *d = *state;
	for (unsigned i = 0; i < 2; i++) {
		struct job job, next;
		if (!d->client) {
			d->config.max_requests = 1;
			drive_start(d, 1);
		}
		/* with a cached reply to another request, and with none */
		drive_expect(d, i ? OP_READ : OP_REMOVE, FAKE_EXECUTE_CLOSE, 1);
		if (i)
			job_read(&job, d, 0);
		else
			job_remove(&job, d, 0);
		drive_until_count(d, &d->plan.seen, 1);
		nfs_compound_abandon(job.c);
		job_getattr(&next, d, 0);
		job_succeeds(&next);
		assert_int_equal(d->fake.replays, i + 1);
		assert_int_equal(d->fake.sessions, 1);
	}
}

/* Long enough that a machine with much to do answers a NULL call in it: or else the connection is
 * replaced, and what was to be given up is sent again. */
static void soft(struct drive *d)
{
	d->config.soft = true;
	d->config.timeo_ns = 700 * DRIVE_MS;
	d->config.retrans = 1;
}

static void test_soft_gives_up(void **state)
{
	struct drive *d = *state;
	struct job job, next;
	soft(d);
	drive_start(d, 1);
	drive_expect(d, OP_REMOVE, FAKE_SILENT, 1);
	uint64_t start = loop_clock();
	job_remove(&job, d, 0);
	job_ends(&job, -EIO);
	assert_in_range(loop_clock() - start, 1390 * DRIVE_MS, 9000 * DRIVE_MS);
	assert_int_equal(atomic_load(&drive_stats(d, 0, OP_REMOVE)->timeouts), 1);
	job_getattr(&next, d, 0);
	job_succeeds(&next);
	/* the slot is still waiting for its reply */
	assert_int_equal(note(d, 0)->slot, 2);
}

/* softerr, and more patience: timeo * (retrans + 1). */
static void test_softerr_times_out(void **state)
{
	struct drive *d = *state;
	struct job job;
	soft(d);
	d->config.softerr = true;
	d->config.retrans = 2;
	drive_start(d, 1);
	drive_expect(d, OP_REMOVE, FAKE_SILENT, 1);
	uint64_t start = loop_clock();
	job_remove(&job, d, 0);
	job_ends(&job, -ETIMEDOUT);
	assert_true(loop_clock() - start >= 2090 * DRIVE_MS);
}

static void test_soft_gives_up_in_the_queue(void **state)
{
	struct drive *d = *state;
	struct job job[3];
	soft(d);
	d->config.max_requests = 1;
	drive_start(d, 1);
	drive_expect(d, OP_REMOVE, FAKE_SILENT, 1);
	for (unsigned i = 0; i < 3; i++)
		job_remove(&job[i], d, 0);
	for (unsigned i = 0; i < 3; i++)
		job_ends(&job[i], -EIO);
	assert_int_equal(d->plan.seen, 1);
}

static void test_soft_without_connection(void **state)
{
	struct drive *d = *state;
	struct job sent, queued, next;
	soft(d);
	drive_start(d, 1);
	drive_expect(d, OP_REMOVE, FAKE_SILENT, 1);
	job_remove(&sent, d, 0);
	drive_until_count(d, &d->plan.seen, 1);
	d->fake.refuse = true;
	fake_cut(&d->fake);
	job_remove(&queued, d, 0);
	job_ends(&sent, -EIO);
	job_ends(&queued, -EIO);
	d->fake.refuse = false;
	/* long enough for one of the attempts */
	drive_for(d, 1000 * DRIVE_MS);
	job_getattr(&next, d, 0);
	job_succeeds(&next);
	/* what was given up is not executed behind the program's back */
	assert_int_equal(d->fake.executed[OP_REMOVE], 0);
	assert_int_equal(note(d, 0)->slot, 1);
}

static void test_soft_late_reply(void **state)
{
	struct drive *d = *state;
	struct job job, next;
	soft(d);
	d->config.max_requests = 1;
	drive_start(d, 1);
	drive_expect(d, OP_REMOVE, FAKE_SILENT, 1);
	job_remove(&job, d, 0);
	job.keep = true;
	job_ends(&job, -EIO);
	/* the answer comes after all */
	struct fake_call call = d->fake.last;
	uint8_t data[1024];
	struct wire_out out;
	wire_out_init(&out, data, sizeof(data));
	fake_execute(&d->fake, &call, &out);
	fake_reply(TAILQ_FIRST(&d->fake.conns), call.xid, data, out.len);
	job_getattr(&next, d, 0);
	job_succeeds(&next);
	assert_int_equal(note(d, 0)->sequence, note(d, 1)->sequence + 1);
	assert_int_equal(job.c->status, -EIO);
	assert_int_equal(job.cinfo.after, 0);
	nfs_compound_free(job.c);
}

static void test_hard_server_is_silent(void **state)
{
	struct drive *d = *state;
	struct job job;
	d->config.timeo_ns = 200 * DRIVE_MS;
	drive_start(d, 1);
	drive_expect(d, OP_REMOVE, FAKE_SILENT, 1);
	job_remove(&job, d, 0);
	/* NULL is answered: the connection stays */
	drive_for(d, 500 * DRIVE_MS);
	assert_true(d->fake.pings >= 2);
	assert_int_equal(d->fake.accepted, 1);
	assert_false(job.done);
	/* now it is dead, and the next one brings the answer */
	drive_expect(d, 0, FAKE_SILENT, 100);
	drive_until_count(d, &d->fake.accepted, 2);
	job_succeeds(&job);
	same_request_again(d);
	assert_int_equal(d->fake.executed[OP_REMOVE], 1);
	uint64_t pings = atomic_load(&drive_stats(d, 0, 0)->calls);
	assert_int_equal(pings, d->fake.pings);
}

#define CUT(name) cmocka_unit_test_setup_teardown(test_##name, drive_setup, drive_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CUT(cut_before_execution),
		CUT(cut_after_execution),
		CUT(cut_after_execution_uncached),
		CUT(cut_while_it_is_executed),
		CUT(soft_gives_up_while_it_is_executed),
		CUT(many_under_way),
		CUT(server_away_for_a_while),
		CUT(abandoned_is_not_executed_later),
		CUT(abandoned_was_executed),
		CUT(soft_gives_up),
		CUT(softerr_times_out),
		CUT(soft_gives_up_in_the_queue),
		CUT(soft_without_connection),
		CUT(soft_late_reply),
		CUT(hard_server_is_silent),
	};
	return cmocka_run_group_tests_name("cut", tests, NULL, NULL);
}
