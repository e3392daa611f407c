/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Every row of the tables in handling.c, at every place where its status may come. */
#include <errno.h>
#include <stdio.h>

#include "drive.h"
#include "nfs41/error.h"
#include "nfs41/handling.h"

static struct {
	enum handling_stage stage;
	uint32_t status;
	unsigned times;
	bool cachethis; /* of the last REMOVE */
} plan;

static bool is_meant(const struct fake_call *call)
{
	switch (plan.stage) {
	case HANDLING_AT_PROBE: return fake_is_probe(call);
	case HANDLING_AT_BIND: return fake_last_op(call) == OP_BIND_CONN_TO_SESSION;
	default: return fake_last_op(call) == OP_REMOVE;
	}
}

static enum fake_verdict follow_plan(struct fake *fake, struct fake_call *call)
{
	if (!is_meant(call))
		return FAKE_NORMAL;
	plan.cachethis = call->cachethis;
	if (plan.times == 0)
		return FAKE_NORMAL;
	plan.times--;
	call->fail_at = plan.stage == HANDLING_AT_OPERATION ? call->nops - 1 : 0;
	call->fail_status = plan.status;
	/* seen before, it says */
	if (handling_of(plan.status, plan.stage) == HANDLING_REPEATED && call->fail_at == 0)
		fake->slot[call->slot] = (struct fake_slot){.sequence = call->sequence};
	return FAKE_NORMAL;
}

/* Of the row's session and client id. */
static void expect_new_session(struct drive *d, const struct handling_row *row)
{
	assert_int_equal(d->fake.sessions, 2);
	assert_int_equal(d->fake.executed[OP_DESTROY_SESSION], row->loss == HANDLING_UNUSABLE);
	assert_int_equal(d->fake.executed[OP_EXCHANGE_ID], row->loss == HANDLING_NO_CLIENT ? 2 : 1);
}

static void expect_of_compound(struct drive *d, const struct handling_row *row)
{
	enum handling handling = row->handling[plan.stage];
	/* no handle has moved, but a name */
	bool for_owner = handling == HANDLING_OWNER || handling == HANDLING_STATE ||
			 handling == HANDLING_MOVED;
	struct job job;
	job_remove(&job, d, 0);
	job_ends(&job, for_owner ? (int)row->status : 0);
	assert_int_equal(plan.times, 0);
	assert_int_equal(d->fake.executed[OP_REMOVE], for_owner ? 0 : 1);
	assert_int_equal(job.replayed, handling == HANDLING_REPEATED);
	assert_int_equal(plan.cachethis, handling != HANDLING_UNCACHED);
	if (handling == HANDLING_SESSION || handling == HANDLING_STRIPPED)
		expect_new_session(d, row);
	else
		assert_int_equal(d->fake.sessions, 1);
	assert_int_equal(d->fake.accepted, handling == HANDLING_BIND ? 2 : 1);
	/* and everything goes on */
	job_remove(&job, d, 0);
	job_succeeds(&job);
}

static void expect_of_new_connection(struct drive *d, const struct handling_row *row)
{
	enum handling handling = row->handling[plan.stage];
	struct job job;
	fake_cut(&d->fake);
	job_remove(&job, d, 0);
	job_succeeds(&job);
	assert_int_equal(plan.times, 0);
	assert_int_equal(d->fake.executed[OP_REMOVE], 1);
	if (handling == HANDLING_SESSION) {
		expect_new_session(d, row);
	} else if (handling == HANDLING_USED || handling == HANDLING_TWIN) {
		assert_int_equal(d->fake.executed[OP_EXCHANGE_ID], 2);
		assert_int_equal(d->fake.executed[OP_DESTROY_SESSION], 0);
	} else {
		assert_int_equal(d->fake.sessions, 1);
	}
}

static void test_stage(enum handling_stage stage)
{
	const struct handling_row *row;
	for (unsigned i = 0; (row = handling_row(i)) != NULL; i++) {
		void *state;
		fprintf(stderr, "%s\n", nfs_error_name(row->status));
		assert_int_equal(drive_setup(&state), 0);
		struct drive *d = state;
		drive_start(d, 1);
		plan.stage = stage;
		plan.status = row->status;
		plan.times = 1;
		d->fake.script = follow_plan;
		if (stage == HANDLING_AT_PROBE || stage == HANDLING_AT_BIND)
			expect_of_new_connection(d, row);
		else
			expect_of_compound(d, row);
		assert_int_equal(drive_teardown(&state), 0);
	}
}

static void test_of_sequence(void **state)
{
	test_stage(HANDLING_AT_SEQUENCE);
}

static void test_of_an_operation(void **state)
{
	test_stage(HANDLING_AT_OPERATION);
}

static void test_of_a_probe(void **state)
{
	test_stage(HANDLING_AT_PROBE);
}

static void test_of_bind(void **state)
{
	test_stage(HANDLING_AT_BIND);
}

/* What is not in the table. */
static void test_of_others(void **state)
{
	for (unsigned stage = 0; stage < HANDLING_STAGES; stage++)
		assert_int_equal(handling_of(NFS4ERR_NOENT, stage), HANDLING_OWNER);
	assert_int_equal(handling_loss(NFS4ERR_NOENT), HANDLING_UNUSABLE);
}

static void expect_of_flag(struct drive *d, const struct handling_flag *flag)
{
	unsigned binds = d->fake.executed[OP_BIND_CONN_TO_SESSION];
	struct job job;
	d->fake.status_flags = flag->flag;
	job_remove(&job, d, 0);
	job_succeeds(&job);
	d->fake.status_flags = 0;
	if (flag->handling == HANDLING_FLAG_SESSION)
		drive_until_count(d, &d->fake.sessions, 2);
	drive_for(d, 20 * DRIVE_MS);
	job_remove(&job, d, 0);
	job_succeeds(&job);
	bool state =
		flag->handling == HANDLING_FLAG_STATE || flag->handling == HANDLING_FLAG_RECLAIM;
	assert_int_equal(d->reclaims, state);
	assert_int_equal(d->reclaim_grace, flag->handling == HANDLING_FLAG_RECLAIM);
	assert_int_equal(d->fake.sessions, flag->handling == HANDLING_FLAG_SESSION ? 2 : 1);
	assert_int_equal(d->fake.executed[OP_BIND_CONN_TO_SESSION] - binds,
		flag->handling == HANDLING_FLAG_PATH);
}

static void test_flags(void **unused)
{
	const struct handling_flag *flag;
	uint32_t all = 0;
	for (unsigned i = 0; (flag = handling_flag(i)) != NULL; i++) {
		void *state;
		all |= flag->flag;
		assert_int_equal(drive_setup(&state), 0);
		struct drive *d = state;
		drive_start(d, 1);
		drive_reclaims(d);
		expect_of_flag(d, flag);
		assert_int_equal(drive_teardown(&state), 0);
	}
	/* all that RFC 8881 has */
	assert_int_equal(all, 0x1fff);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_of_sequence),
		cmocka_unit_test(test_of_an_operation),
		cmocka_unit_test(test_of_a_probe),
		cmocka_unit_test(test_of_bind),
		cmocka_unit_test(test_of_others),
		cmocka_unit_test(test_flags),
	};
	return cmocka_run_group_tests_name("handling", tests, NULL, NULL);
}
