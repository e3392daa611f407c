/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Replies that are garbage, once and for ever: what becomes of the compounds. */
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "drive.h"
#include "nfs41/conn.h"
#include "util/log.h"

enum damage {
	DAMAGE_RESULTS, /* of another operation than the last one asked for */
	DAMAGE_LENGTH,	/* a record longer than the compound's results may be */
	DAMAGE_XID,	/* nobody's */
};

static struct plan {
	enum damage damage;
	uint32_t op;	/* the last one of the compounds that suffer */
	unsigned times; /* so many of them */
	unsigned seen;
	bool executes;
} plan;

static enum fake_verdict spoil(struct fake *fake, struct fake_call *call)
{
	static uint8_t data[FAKE_REPLY];
	struct wire_out out;
	if (fake_last_op(call) != plan.op || plan.times == 0)
		return FAKE_NORMAL;
	plan.times--;
	plan.seen++;
	wire_out_init(&out, data, sizeof(data));
	fake_put_reply_head(&out, call->xid + (plan.damage == DAMAGE_XID ? 1000 : 0));
	size_t start = out.len;
	if (plan.executes)
		fake_execute(fake, call, &out);
	/* status, an empty tag, number of results, then SEQUENCE's: its opcode */
	if (plan.executes && plan.damage == DAMAGE_RESULTS)
		wire_store_u32(data + start + 12, OP_RENAME);
	if (plan.damage == DAMAGE_LENGTH)
		wire_put_raw(&out, 6000);
	fake_send_record(call->conn, data, out.len);
	return FAKE_ANSWERED;
}

static void expect(struct drive *d, enum damage damage, uint32_t op, unsigned times, bool executes)
{
	plan = (struct plan){.damage = damage, .op = op, .times = times, .executes = executes};
	d->fake.script = spoil;
}

static const struct fake_call_note *note(struct drive *d, unsigned back)
{
	return &d->fake.calls[d->fake.nsequenced - 1 - back];
}

/* The same request goes out again in its slot, and the server executes it once. */
static void test_once(void **state)
{
	struct drive *d = *state;
	struct job job;
	drive_start(d, 1);
	for (enum damage damage = DAMAGE_RESULTS; damage <= DAMAGE_XID; damage++) {
		unsigned executed = d->fake.executed[OP_REMOVE];
		unsigned replays = d->fake.replays;
		expect(d, damage, OP_REMOVE, 1, true);
		job_remove(&job, d, 0);
		job_succeeds(&job);
		assert_int_equal(plan.seen, 1);
		assert_int_equal(note(d, 0)->slot, note(d, 1)->slot);
		assert_int_equal(note(d, 0)->sequence, note(d, 1)->sequence);
		assert_int_not_equal(note(d, 0)->xid, note(d, 1)->xid);
		assert_int_equal(d->fake.executed[OP_REMOVE], executed + 1);
		assert_int_equal(d->fake.replays, replays + 1);
		assert_int_equal(d->fake.accepted, damage + 2);
	}
	assert_int_equal(d->fake.sessions, 1);
}

/* The second time it is given up, and nothing else is. */
static void test_twice(void **state)
{
	struct drive *d = *state;
	struct job job, other;
	drive_start(d, 1);
	for (enum damage damage = DAMAGE_RESULTS; damage <= DAMAGE_LENGTH; damage++) {
		expect(d, damage, OP_REMOVE, 100, true);
		job_remove(&job, d, 0);
		job_getattr(&other, d, 0);
		job_ends(&job, -EIO);
		assert_int_equal(plan.seen, 2);
		job_succeeds(&other);
		assert_int_equal(d->fake.accepted, 1 + 2 * (damage + 1));
	}
	job_getattr(&other, d, 0);
	job_succeeds(&other);
	assert_int_equal(d->fake.sessions, 1);
}

/* A payload's reply that cannot be right is seen before it has come, and counts as well. */
static void test_twice_in_front_of_a_payload(void **state)
{
	struct drive *d = *state;
	struct job job;
	drive_start(d, 1);
	expect(d, DAMAGE_RESULTS, OP_READ, 100, true);
	job_read(&job, d, 0);
	job_ends(&job, -EIO);
	assert_int_equal(plan.seen, 2);
}

static enum fake_verdict delay(struct fake *fake, struct fake_call *call)
{
	enum fake_verdict verdict = FAKE_NORMAL;
	if (fake_last_op(call) != OP_REMOVE)
		return verdict;
	if (plan.seen % 2 == 0) {
		plan.times = 1;
		verdict = spoil(fake, call);
	} else {
		call->fail_at = 1;
		call->fail_status = NFS4ERR_DELAY;
		plan.seen++;
	}
	if (plan.seen == 6)
		fake->script = NULL;
	return verdict;
}

/* Garbage, a good answer that asks to come again, garbage: not in a row. */
static void test_not_in_a_row(void **state)
{
	struct drive *d = *state;
	struct job job;
	drive_start(d, 1);
	expect(d, DAMAGE_RESULTS, OP_REMOVE, 1, false);
	d->fake.script = delay;
	job_remove(&job, d, 0);
	job_succeeds(&job);
	assert_int_equal(plan.seen, 6);
}

/* Whose reply it was cannot be told: it takes longer, but ends. */
static void test_for_nobody(void **state)
{
	struct drive *d = *state;
	struct job job;
	drive_start(d, 1);
	expect(d, DAMAGE_XID, OP_REMOVE, 3, false);
	job_remove(&job, d, 0);
	job_succeeds(&job);
	assert_int_equal(plan.seen, 3);
}

/* Binding a connection is no use when its answer is garbage: nothing is sent over it. */
static void test_binding(void **state)
{
	struct drive *d = *state;
	struct job job;
	drive_start(d, 1);
	expect(d, DAMAGE_LENGTH, OP_BIND_CONN_TO_SESSION, 3, false);
	fake_cut(&d->fake);
	job_remove(&job, d, 0);
	job_succeeds(&job);
	assert_int_equal(plan.seen, 3);
	assert_int_equal(d->fake.sessions, 1);
	assert_int_equal(d->fake.executed[OP_REMOVE], 1);
	assert_in_range(atomic_load(&drive_stats(d, 0, OP_REMOVE)->calls), 1, 2);
}

/* Nothing but garbage, even to what binds connections: whoever waits is let go. */
static void test_for_ever(void **state)
{
	struct drive *d = *state;
	struct job job, queued;
	drive_start(d, 1);
	expect(d, DAMAGE_LENGTH, OP_BIND_CONN_TO_SESSION, 1000, false);
	fake_cut(&d->fake);
	job_remove(&job, d, 0);
	d->conn[0]->garbage = 7; /* as after the seconds that these take */
	drive_until(d, &job.done);
	assert_int_equal(job.status, -EIO);
	job_getattr(&queued, d, 0);
	job_ends(&queued, -EIO);
	d->fake.script = NULL;
	job_remove(&job, d, 0);
	job_succeeds(&job);
}

/* A server of which every second reply is garbage: neither the CPU nor the log are kept busy. */
static void test_pace(void **state)
{
	struct drive *d = *state;
	struct job job;
	char text[8192] = "";
	drive_start(d, 1);
	int log = memfd_create("log", MFD_CLOEXEC), saved = dup(STDERR_FILENO);
	assert_true(log >= 0 && saved >= 0);
	dup2(log, STDERR_FILENO);
	unsigned turns = 0;
	for (uint64_t start = loop_clock(); loop_clock() - start < 1500 * DRIVE_MS; turns++) {
		expect(d, DAMAGE_RESULTS, OP_REMOVE, 1, true);
		job_remove(&job, d, 0);
		drive_until(d, &job.done);
	}
	dup2(saved, STDERR_FILENO);
	close(saved);
	assert_true(pread(log, text, sizeof(text) - 1, 0) >= 0);
	close(log);
	unsigned lines = 0;
	for (const char *at = text; (at = strstr(at, "connection closed")) != NULL; at++)
		lines++;
	assert_in_range(turns, 11, 17);
	assert_int_equal(lines, LOG_LIMIT_BURST);
}

#define GARBAGE(name) cmocka_unit_test_setup_teardown(test_##name, drive_setup, drive_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		GARBAGE(once),
		GARBAGE(twice),
		GARBAGE(twice_in_front_of_a_payload),
		GARBAGE(not_in_a_row),
		GARBAGE(for_nobody),
		GARBAGE(binding),
		GARBAGE(for_ever),
		GARBAGE(pace),
	};
	return cmocka_run_group_tests_name("garbage again", tests, NULL, NULL);
}
