/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Each error that the session layer itself deals with. */
#include <errno.h>

#include "drive.h"

#define SECOND (1000 * DRIVE_MS)

/* What the script does with the next compounds that end in `op`. */
static struct plan {
	uint32_t op, fail_at, status;
	unsigned times;
	uint32_t xid, sequence, slot; /* of the last one seen */
	uint64_t at[16];	      /* when they came */
	unsigned seen;
} plan;

static enum fake_verdict follow_plan(struct fake *fake, struct fake_call *call)
{
	if (fake_last_op(call) != plan.op)
		return FAKE_NORMAL;
	if (plan.seen < 16)
		plan.at[plan.seen] = loop_now(fake->loop);
	plan.seen++;
	if (plan.times > 0) {
		plan.times--;
		call->fail_at = plan.fail_at;
		call->fail_status = plan.status;
	}
	return FAKE_NORMAL;
}

static void expect(struct drive *d, uint32_t op, uint32_t fail_at, uint32_t status, unsigned times)
{
	plan = (struct plan){.op = op, .fail_at = fail_at, .status = status, .times = times};
	d->fake.script = follow_plan;
}

static const struct fake_call_note *note(struct drive *d, unsigned back)
{
	return &d->fake.calls[d->fake.nsequenced - 1 - back];
}

static void test_delay_of_an_operation(void **state)
{
	struct drive *d = *state;
	struct job job;
	drive_start(d, 1);
	expect(d, OP_REMOVE, 2, NFS4ERR_DELAY, 3);
	job_remove(&job, d, 0);
	job_succeeds(&job);
	assert_int_equal(plan.seen, 4);
	assert_int_equal(d->fake.executed[OP_REMOVE], 1);
	/* 10, 20, 40 ms */
	assert_in_range(plan.at[1] - plan.at[0], 9 * DRIVE_MS, 500 * DRIVE_MS);
	assert_true(plan.at[3] - plan.at[2] >= 39 * DRIVE_MS);
	/* each time is a new request */
	assert_int_equal(note(d, 0)->sequence, note(d, 1)->sequence + 1);
	assert_int_equal(atomic_load(&drive_stats(d, 0, OP_REMOVE)->calls), 4);
	assert_int_equal(atomic_load(&drive_stats(d, 0, OP_REMOVE)->retransmits), 3);
	assert_int_equal(atomic_load(&drive_stats(d, 0, OP_REMOVE)->errors), 3);
	assert_false(job.replayed);
}

static void test_delay_of_sequence(void **state)
{
	struct drive *d = *state;
	struct job job;
	drive_start(d, 1);
	expect(d, OP_REMOVE, 0, NFS4ERR_DELAY, 2);
	job_remove(&job, d, 0);
	job_succeeds(&job);
	/* the sequence id was not used up */
	assert_int_equal(note(d, 0)->sequence, note(d, 2)->sequence);
	assert_int_equal(d->fake.executed[OP_REMOVE], 1);
}

static void test_delay_gives_the_slot_away(void **state)
{
	struct drive *d = *state;
	struct job slow, quick;
	d->config.max_requests = 1;
	drive_start(d, 1);
	expect(d, OP_REMOVE, 2, NFS4ERR_DELAY, 4);
	job_remove(&slow, d, 0);
	job_getattr(&quick, d, 0);
	job_succeeds(&quick);
	assert_false(slow.done);
	job_succeeds(&slow);
}

static void test_delay_after_something_was_done(void **state)
{
	struct drive *d = *state;
	struct job job;
	drive_start(d, 1);
	struct nfs_compound *c = job_new(&job, d, 0, OP_REMOVE);
	nfs_op_putrootfh(c);
	nfs_op_remove(c, "name", 4, &job.cinfo);
	nfs_op_getfsattr(c, &(struct nfs_bitmap){{1u << FATTR4_LEASE_TIME}}, &job.attr);
	expect(d, OP_GETATTR, 3, NFS4ERR_DELAY, 1);
	job_send(&job);
	job_ends(&job, NFS4ERR_DELAY);
	assert_int_equal(job.ops_ok, 2);
	assert_int_equal(d->fake.executed[OP_REMOVE], 1);
}

static void test_grace(void **state)
{
	struct drive *d = *state;
	struct job job;
	drive_start(d, 1);
	expect(d, OP_REMOVE, 2, NFS4ERR_GRACE, 1);
	job_remove(&job, d, 0);
	job_succeeds(&job);
	assert_in_range(plan.at[1] - plan.at[0], SECOND - DRIVE_MS, 4 * SECOND);
}

static void test_delay_abandoned(void **state)
{
	struct drive *d = *state;
	struct job job, next;
	drive_start(d, 1);
	expect(d, OP_REMOVE, 2, NFS4ERR_DELAY, 100);
	job_remove(&job, d, 0);
	drive_until_count(d, &plan.seen, 3);
	drive_for(d, 2 * DRIVE_MS);
	nfs_compound_abandon(job.c);
	unsigned seen = plan.seen;
	drive_for(d, 100 * DRIVE_MS);
	assert_int_equal(plan.seen, seen);
	assert_false(job.done);
	job_getattr(&next, d, 0);
	job_succeeds(&next);
}

/* The session must be another one, and the compound be executed once. */
static void lose_by(struct drive *d, uint32_t status, bool destroyed)
{
	struct job a, b;
	drive_start(d, 2);
	expect(d, OP_REMOVE, 0, status, 1);
	job_remove(&a, d, 1);
	job_getattr(&b, d, 0);
	job_succeeds(&a);
	job_succeeds(&b);
	assert_false(a.replayed);
	assert_int_equal(d->fake.sessions, 2);
	assert_int_equal(d->fake.executed[OP_REMOVE], 1);
	assert_int_equal(d->fake.executed[OP_DESTROY_SESSION], destroyed);
	assert_int_equal(d->fake.executed[OP_EXCHANGE_ID], 1);
	/* the same client id: nothing to reclaim */
	assert_int_equal(d->fake.executed[OP_RECLAIM_COMPLETE], 1);
	/* a probe goes first where it has no slot of its own */
	assert_in_range(note(d, 0)->sequence, 1, d->fake.slots > 1 ? 1 : 3);
}

static void test_badsession(void **state)
{
	lose_by(*state, NFS4ERR_BADSESSION, false);
}

static void test_deadsession(void **state)
{
	lose_by(*state, NFS4ERR_DEADSESSION, false);
}

static void test_misordered(void **state)
{
	lose_by(*state, NFS4ERR_SEQ_MISORDERED, true);
}

static void test_false_retry(void **state)
{
	lose_by(*state, NFS4ERR_SEQ_FALSE_RETRY, true);
}

static void test_badslot_of_the_last_slot(void **state)
{
	struct drive *d = *state;
	d->fake.granted_slots = 1;
	lose_by(d, NFS4ERR_BADSLOT, true);
}

static void test_bad_slot(void **state)
{
	struct drive *d = *state;
	struct job job[8];
	drive_start(d, 1);
	/* the server took slots back without a word */
	d->fake.slots = 2;
	for (unsigned i = 0; i < 8; i++)
		job_remove(&job[i], d, 0);
	for (unsigned i = 0; i < 8; i++)
		job_succeeds(&job[i]);
	assert_int_equal(d->fake.sessions, 1);
	assert_int_equal(d->fake.executed[OP_REMOVE], 8);
}

static void test_connection_not_bound(void **state)
{
	struct drive *d = *state;
	struct job job;
	drive_start(d, 1);
	drive_for(d, 1100 * DRIVE_MS);
	struct fake_conn *conn = TAILQ_FIRST(&d->fake.conns);
	d->fake.strict_bind = true;
	conn->bound = false;
	job_remove(&job, d, 0);
	job_succeeds(&job);
	assert_int_equal(d->fake.executed[OP_BIND_CONN_TO_SESSION], 1);
	assert_int_equal(d->fake.sessions, 1);
	assert_int_equal(d->fake.accepted, 1);
	/* the same request, in the same slot */
	assert_int_equal(note(d, 0)->sequence, note(d, 1)->sequence);
	/* again at once: the connection is given up */
	conn->bound = false;
	job_remove(&job, d, 0);
	job_succeeds(&job);
	assert_int_equal(d->fake.accepted, 2);
}

static void test_too_big_to_cache(void **state)
{
	struct drive *d = *state;
	struct job job;
	for (uint32_t at = 0; at <= 2; at += 2) {
		if (!d->client)
			drive_start(d, 1);
		expect(d, OP_REMOVE, at, NFS4ERR_REP_TOO_BIG_TO_CACHE, 1);
		job_remove(&job, d, 0);
		job_succeeds(&job);
		assert_true(note(d, 1)->cachethis);
		assert_false(note(d, 0)->cachethis);
	}
	expect(d, OP_REMOVE, 2, NFS4ERR_REP_TOO_BIG_TO_CACHE, 10);
	job_remove(&job, d, 0);
	job_ends(&job, NFS4ERR_REP_TOO_BIG_TO_CACHE);
	assert_int_equal(plan.seen, 2);
}

static void test_errors_for_the_owner(void **state)
{
	static const uint32_t errors[] = {NFS4ERR_REQ_TOO_BIG, NFS4ERR_REP_TOO_BIG,
		NFS4ERR_TOO_MANY_OPS, NFS4ERR_OP_NOT_IN_SESSION, NFS4ERR_SERVERFAULT};
	struct drive *d = *state;
	struct job job;
	drive_start(d, 1);
	for (unsigned i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
		expect(d, OP_REMOVE, 0, errors[i], 1);
		job_remove(&job, d, 0);
		job_ends(&job, (int)errors[i]);
		assert_int_equal(job.ops_ok, 0);
		job_remove(&job, d, 0);
		job_succeeds(&job);
	}
	assert_int_equal(d->fake.sessions, 1);
}

/* RFC 5531: AUTH_ERROR with AUTH_TOOWEAK. */
static enum fake_verdict reject(struct fake *fake, struct fake_call *call)
{
	uint8_t data[32];
	struct wire_out out;
	if (fake_last_op(call) != OP_REMOVE)
		return FAKE_NORMAL;
	wire_out_init(&out, data, sizeof(data));
	wire_put_u32(&out, call->xid);
	wire_put_u32(&out, 1);
	wire_put_u32(&out, 1);
	wire_put_u32(&out, 1);
	wire_put_u32(&out, 5);
	fake_send_record(call->conn, data, out.len);
	return FAKE_ANSWERED;
}

static void test_rejected_credentials(void **state)
{
	struct drive *d = *state;
	struct job job;
	drive_start(d, 1);
	d->fake.script = reject;
	job_remove(&job, d, 0);
	job_ends(&job, -EACCES);
	job_getattr(&job, d, 0);
	job_succeeds(&job);
	assert_int_equal(d->fake.sessions, 1);
}

static void test_state_revoked(void **state)
{
	struct drive *d = *state;
	struct job job;
	drive_start(d, 1);
	drive_reclaims(d);
	d->fake.status_flags = SEQ4_STATUS_EXPIRED_SOME_STATE_REVOKED;
	for (unsigned i = 0; i < 3; i++) {
		job_getattr(&job, d, 0);
		job_succeeds(&job);
	}
	drive_until_count(d, &d->reclaims, 1);
	assert_false(d->reclaim_grace);
	d->fake.status_flags = 0;
	job_getattr(&job, d, 0);
	job_succeeds(&job);
	d->fake.status_flags = SEQ4_STATUS_RESTART_RECLAIM_NEEDED;
	d->fake.reclaim_completed = false;
	job_getattr(&job, d, 0);
	job_succeeds(&job);
	drive_until_count(d, &d->reclaims, 2);
	assert_true(d->reclaim_grace);
	drive_until_count(d, &d->fake.executed[OP_RECLAIM_COMPLETE], 2);
	job_getattr(&job, d, 0);
	job_succeeds(&job);
	assert_int_equal(d->reclaims, 2);
	assert_int_equal(d->fake.sessions, 1);
}

static void test_backchannel_is_down(void **state)
{
	struct drive *d = *state;
	struct job job;
	drive_start(d, 2);
	d->fake.status_flags = SEQ4_STATUS_CB_PATH_DOWN;
	for (unsigned i = 0; i < 5; i++) {
		job_getattr(&job, d, i % 2);
		job_succeeds(&job);
		drive_for(d, 5 * DRIVE_MS);
	}
	/* of the second connection at the start, and of the first now: once */
	assert_int_equal(d->fake.executed[OP_BIND_CONN_TO_SESSION], 2);
	assert_int_equal(d->fake.sessions, 1);
}

static void test_backchannel_is_beyond_repair(void **state)
{
	struct drive *d = *state;
	struct job job;
	drive_start(d, 2);
	d->fake.status_flags = SEQ4_STATUS_BACKCHANNEL_FAULT;
	job_remove(&job, d, 1);
	job_succeeds(&job);
	d->fake.status_flags = 0;
	drive_until_count(d, &d->fake.sessions, 2);
	job_remove(&job, d, 1);
	job_succeeds(&job);
	assert_int_equal(d->fake.executed[OP_REMOVE], 2);
}

#define REPLY(name) cmocka_unit_test_setup_teardown(test_##name, drive_setup, drive_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		REPLY(delay_of_an_operation),
		REPLY(delay_of_sequence),
		REPLY(delay_gives_the_slot_away),
		REPLY(delay_after_something_was_done),
		REPLY(delay_abandoned),
		REPLY(grace),
		REPLY(badsession),
		REPLY(deadsession),
		REPLY(misordered),
		REPLY(false_retry),
		REPLY(badslot_of_the_last_slot),
		REPLY(bad_slot),
		REPLY(connection_not_bound),
		REPLY(too_big_to_cache),
		REPLY(errors_for_the_owner),
		REPLY(rejected_credentials),
		REPLY(state_revoked),
		REPLY(backchannel_is_down),
		REPLY(backchannel_is_beyond_repair),
	};
	return cmocka_run_group_tests_name("replies", tests, NULL, NULL);
}
