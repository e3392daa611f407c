/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A server that answers with rubbish: the connection ends, nothing else does. */
#include <errno.h>

#include "drive.h"

/* Changes a good reply to REMOVE into something else; record mark not included. */
typedef void (*spoil_fn)(struct wire_out *out);

static struct plan {
	spoil_fn spoil;
	uint32_t op;
	unsigned times, seen;
} plan;

#define RPC_HEAD 24 /* of a reply */
#define COUNT_AT (RPC_HEAD + 8)
#define SEQ_AT	 (RPC_HEAD + 12)

static enum fake_verdict follow_plan(struct fake *fake, struct fake_call *call)
{
	uint8_t data[FAKE_REPLY];
	struct wire_out out;
	if (plan.times == 0 || fake_last_op(call) != plan.op)
		return FAKE_NORMAL;
	plan.times--;
	plan.seen++;
	wire_out_init(&out, data, sizeof(data));
	fake_put_reply_head(&out, call->xid);
	fake_execute(fake, call, &out);
	plan.spoil(&out);
	fake_send_record(call->conn, data, out.len);
	return FAKE_ANSWERED;
}

/* Once garbage, then good: the compound succeeds over another connection. */
static void survives(struct drive *d, uint32_t op, spoil_fn spoil)
{
	struct job job, next;
	drive_start(d, 1);
	plan = (struct plan){.spoil = spoil, .op = op, .times = 1};
	d->fake.script = follow_plan;
	if (op == OP_READ)
		job_read(&job, d, 0);
	else
		job_remove(&job, d, 0);
	job_succeeds(&job);
	assert_int_equal(plan.seen, 1);
	assert_int_equal(d->fake.accepted, 2);
	if (op == OP_REMOVE)
		assert_int_equal(d->fake.executed[OP_REMOVE], 1);
	job_getattr(&next, d, 0);
	job_succeeds(&next);
	assert_int_equal(d->fake.sessions, 1);
}

static void add_u32(struct wire_out *out, size_t at, uint32_t n)
{
	wire_store_u32(out->data + at, wire_load_u32(out->data + at) + n);
}

static void spoil_truncate(struct wire_out *out)
{
	out->len -= 4;
}

static void test_truncated(void **state)
{
	survives(*state, OP_REMOVE, spoil_truncate);
}

static void spoil_nothing_left(struct wire_out *out)
{
	out->len = RPC_HEAD;
}

static void test_empty_results(void **state)
{
	survives(*state, OP_REMOVE, spoil_nothing_left);
}

static void spoil_append(struct wire_out *out)
{
	wire_put_u32(out, 0);
}

static void test_trailing_bytes(void **state)
{
	survives(*state, OP_REMOVE, spoil_append);
}

static void spoil_xid(struct wire_out *out)
{
	add_u32(out, 0, 1000);
}

static void test_unknown_xid(void **state)
{
	survives(*state, OP_REMOVE, spoil_xid);
}

static void spoil_kind(struct wire_out *out)
{
	add_u32(out, 4, 5);
}

static void test_neither_call_nor_reply(void **state)
{
	survives(*state, OP_REMOVE, spoil_kind);
}

static void spoil_more_results(struct wire_out *out)
{
	add_u32(out, COUNT_AT, 1);
	wire_put_u32(out, OP_PUTROOTFH);
	wire_put_u32(out, NFS4_OK);
}

static void test_results_nobody_asked_for(void **state)
{
	survives(*state, OP_REMOVE, spoil_more_results);
}

static void spoil_fewer_results(struct wire_out *out)
{
	add_u32(out, COUNT_AT, (uint32_t)-1);
	out->len -= 28;
}

static void test_missing_results(void **state)
{
	survives(*state, OP_REMOVE, spoil_fewer_results);
}

static void spoil_count(struct wire_out *out)
{
	wire_store_u32(out->data + COUNT_AT, UINT32_MAX);
}

static void test_count_that_lies(void **state)
{
	survives(*state, OP_REMOVE, spoil_count);
}

static void spoil_status(struct wire_out *out)
{
	wire_store_u32(out->data + RPC_HEAD, NFS4ERR_NOENT);
}

static void test_status_that_nobody_explains(void **state)
{
	survives(*state, OP_REMOVE, spoil_status);
}

static void spoil_tag(struct wire_out *out)
{
	wire_store_u32(out->data + RPC_HEAD + 4, 0x7fffffff);
}

static void test_tag_that_lies(void **state)
{
	survives(*state, OP_REMOVE, spoil_tag);
}

static void spoil_session(struct wire_out *out)
{
	out->data[SEQ_AT + 8] ^= 1;
}

static void test_another_session(void **state)
{
	survives(*state, OP_REMOVE, spoil_session);
}

static void spoil_sequence(struct wire_out *out)
{
	add_u32(out, SEQ_AT + 8 + 16, 1);
}

static void test_another_sequence(void **state)
{
	survives(*state, OP_REMOVE, spoil_sequence);
}

static void spoil_slot(struct wire_out *out)
{
	add_u32(out, SEQ_AT + 8 + 20, 1);
}

static void test_another_slot(void **state)
{
	survives(*state, OP_REMOVE, spoil_slot);
}

static void spoil_op(struct wire_out *out)
{
	wire_store_u32(out->data + SEQ_AT, OP_PUTROOTFH);
}

static void test_another_operation(void **state)
{
	survives(*state, OP_REMOVE, spoil_op);
}

static void spoil_read_len(struct wire_out *out)
{
	/* the data are 1000 bytes at the end */
	wire_store_u32(out->data + out->len - 1004, 1000000);
}

static void test_read_longer_than_asked(void **state)
{
	survives(*state, OP_READ, spoil_read_len);
}

static void spoil_read_short(struct wire_out *out)
{
	out->len -= 100;
}

static void test_read_shorter_than_it_says(void **state)
{
	survives(*state, OP_READ, spoil_read_short);
}

/* Garbage without end: the compound fails, the mount does not. */
static void test_garbage_for_ever(void **state)
{
	struct drive *d = *state;
	struct job job, next;
	drive_start(d, 1);
	plan = (struct plan){.spoil = spoil_append, .op = OP_REMOVE, .times = 1000};
	d->fake.script = follow_plan;
	job_remove(&job, d, 0);
	job_ends(&job, -EIO);
	assert_int_equal(plan.seen, 2);
	job_getattr(&next, d, 0);
	job_succeeds(&next);
	assert_int_equal(d->fake.sessions, 1);
}

/* A record of which nothing can be told. */
static enum fake_verdict flood(struct fake *fake, struct fake_call *call)
{
	static const uint8_t huge[8] = {0xff, 0xff, 0xff, 0xff};
	if (plan.times == 0 || fake_last_op(call) != OP_REMOVE)
		return FAKE_NORMAL;
	plan.times--;
	plan.seen++;
	fake_send_raw(call->conn, huge, sizeof(huge));
	return FAKE_ANSWERED;
}

static void test_endless_record(void **state)
{
	struct drive *d = *state;
	struct job job, other;
	drive_start(d, 1);
	plan = (struct plan){.times = 2};
	d->fake.script = flood;
	job_remove(&job, d, 0);
	job_getattr(&other, d, 0);
	job_succeeds(&job);
	job_succeeds(&other);
	assert_int_equal(d->fake.accepted, 3);
	assert_int_equal(d->fake.executed[OP_REMOVE], 1);
}

static void test_garbage_at_the_start(void **state)
{
	struct drive *d = *state;
	plan = (struct plan){.spoil = spoil_append, .op = OP_EXCHANGE_ID, .times = 1};
	d->fake.script = follow_plan;
	drive_start_failing(d);
	assert_int_equal(d->ready_err, -EPROTO);
	assert_non_null(strstr(d->why, "not an NFSv4.1 server"));
	drive_start(d, 1);
}

/* Every word of every kind of reply, turned over. */
static uint32_t flip_at, flip_mask;

static void spoil_flip(struct wire_out *out)
{
	size_t at = flip_at * 4;
	if (at + 4 <= out->len)
		wire_store_u32(out->data + at, wire_load_u32(out->data + at) ^ flip_mask);
}

static void test_every_word(void **state)
{
	static const uint32_t masks[] = {1, 0x80000000, 0xffffffff};
	struct drive *d = *state;
	drive_start(d, 1);
	d->fake.script = follow_plan;
	for (unsigned i = 0; i < 33; i++)
		for (unsigned m = 0; m < 3; m++) {
			struct job job, next;
			flip_at = i;
			flip_mask = masks[m];
			plan = (struct plan){.spoil = spoil_flip, .op = OP_REMOVE, .times = 1};
			job_remove(&job, d, 0);
			drive_until(d, &job.done);
			plan.times = 0;
			job_getattr(&next, d, 0);
			job_succeeds(&next);
		}
}

#define GARBAGE(name) cmocka_unit_test_setup_teardown(test_##name, drive_setup, drive_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		GARBAGE(truncated),
		GARBAGE(empty_results),
		GARBAGE(trailing_bytes),
		GARBAGE(unknown_xid),
		GARBAGE(neither_call_nor_reply),
		GARBAGE(results_nobody_asked_for),
		GARBAGE(missing_results),
		GARBAGE(count_that_lies),
		GARBAGE(status_that_nobody_explains),
		GARBAGE(tag_that_lies),
		GARBAGE(another_session),
		GARBAGE(another_sequence),
		GARBAGE(another_slot),
		GARBAGE(another_operation),
		GARBAGE(read_longer_than_asked),
		GARBAGE(read_shorter_than_it_says),
		GARBAGE(garbage_for_ever),
		GARBAGE(endless_record),
		GARBAGE(garbage_at_the_start),
		GARBAGE(every_word),
	};
	return cmocka_run_group_tests_name("garbage", tests, NULL, NULL);
}
