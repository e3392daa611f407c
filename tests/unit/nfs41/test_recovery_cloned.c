/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "recovery_drive.h"

/* Up to its RECLAIM_COMPLETE as another client. */
static void become_other(struct recovery *r, uint32_t generation)
{
	unsigned got = PUT(r, CLONED, .generation = generation);
	expect(r, RECOVERY_EXCHANGE, got, RECOVERY_DO_HOLD | RECOVERY_DO_BECOME_OTHER);
	assert_int_equal(PUT(r, DOWN, .status = -ESTALE), 0);
	expect(r, RECOVERY_EXCHANGE, PUT(r, UP), RECOVERY_DO_EXCHANGE_ID);
	got = PUT(r, RESULT, .step = RECOVERY_EXCHANGE, .new_client = true);
	expect(r, RECOVERY_CREATE, got, RECOVERY_DO_CREATE_SESSION);
	got = PUT(r, RESULT, .step = RECOVERY_CREATE, .generation = 2);
	expect(r, RECOVERY_COMPLETE, got, RECOVERY_DO_RECLAIM_COMPLETE);
}

static void test_cloned(void **state)
{
	struct recovery r = ready();
	assert_int_equal(PUT(&r, CLONED, .generation = 7), 0);
	become_other(&r, 1);
	/* news of the session before */
	assert_int_equal(PUT(&r, CLONED, .generation = 1), 0);
	/* nothing of it can be reclaimed, all of it is opened anew */
	expect(&r, RECOVERY_RECLAIM, result(&r, 0), RECOVERY_DO_RECLAIM);
	assert_false(r.grace);
	expect(&r, RECOVERY_READY, PUT(&r, RECLAIMED), RECOVERY_DO_FLOW);
	assert_false(r.cloned);
	/* before the session is destroyed that seems to be unusable */
	r = ready();
	PUT(&r, LOST, .generation = 1, .status = NFS4ERR_SEQ_MISORDERED);
	assert_int_equal(r.state, RECOVERY_DISCARD);
	become_other(&r, 1);
	result(&r, 0);
	PUT(&r, RECLAIMED);
	/* as another machine, says the machine itself */
	become_other(&r, 0);
}

static void test_cloned_while_recovering(void **state)
{
	struct recovery r = ready();
	/* reclaiming */
	PUT(&r, LOST, .generation = 1, .status = NFS4ERR_STALE_CLIENTID);
	PUT(&r, RESULT, .step = RECOVERY_EXCHANGE, .new_client = true);
	unsigned got = PUT(&r, RESULT, .step = RECOVERY_CREATE, .generation = 2);
	expect(&r, RECOVERY_RECLAIM, got, RECOVERY_DO_RECLAIM);
	PUT(&r, CLONED, .generation = 2);
	PUT(&r, UP);
	PUT(&r, RESULT, .step = RECOVERY_EXCHANGE, .new_client = true);
	got = PUT(&r, RESULT, .step = RECOVERY_CREATE, .generation = 3);
	expect(&r, RECOVERY_RECLAIM, got, 0);
	got = PUT(&r, RECLAIMED, .status = -ESTALE);
	expect(&r, RECOVERY_COMPLETE, got, RECOVERY_DO_RECLAIM_COMPLETE);
	expect(&r, RECOVERY_RECLAIM, result(&r, 0), RECOVERY_DO_RECLAIM);
	assert_false(r.grace);
}

/* The old session's news while there is none. */
static void test_cloned_says_the_old_session(void **state)
{
	struct recovery r = ready();
	PUT(&r, LOST, .generation = 1, .status = NFS4ERR_STALE_CLIENTID);
	assert_int_equal(r.state, RECOVERY_EXCHANGE);
	assert_int_equal(PUT(&r, CLONED, .generation = 1), 0);
	assert_false(r.cloned);
}

/* The server restarts before it knows the new client: there is still nothing to reclaim. */
static void test_cloned_and_server_restarted(void **state)
{
	struct recovery r = ready();
	PUT(&r, CLONED, .generation = 1);
	PUT(&r, UP);
	PUT(&r, RESULT, .step = RECOVERY_EXCHANGE, .new_client = true);
	expect(&r, RECOVERY_EXCHANGE, result(&r, NFS4ERR_STALE_CLIENTID), 0);
	now = recovery_deadline(&r);
	expect(&r, RECOVERY_EXCHANGE, PUT(&r, TIME), RECOVERY_DO_EXCHANGE_ID);
	PUT(&r, RESULT, .step = RECOVERY_EXCHANGE, .new_client = true);
	PUT(&r, RESULT, .step = RECOVERY_CREATE, .generation = 2);
	result(&r, 0);
	assert_int_equal(r.state, RECOVERY_RECLAIM);
	assert_false(r.grace);
}

static void test_cloned_while_ending(void **state)
{
	struct recovery r = stopping();
	PUT(&r, DRAINED);
	assert_int_equal(r.state, RECOVERY_DESTROY_SESSION);
	unsigned got = PUT(&r, CLONED);
	expect(&r, RECOVERY_CLOSING, got, RECOVERY_DO_HOLD | RECOVERY_DO_CLOSE);
	assert_int_equal(PUT(&r, CLONED), 0);
	expect(&r, RECOVERY_IDLE, PUT(&r, CLOSED), RECOVERY_DO_STOPPED);
	assert_int_equal(PUT(&r, CLONED), 0);
	/* what is destroyed is not the other one's */
	r = stopping();
	PUT(&r, CLONED, .generation = 1);
	got = PUT(&r, DRAINED);
	expect(&r, RECOVERY_CLOSING, got, RECOVERY_DO_HOLD | RECOVERY_DO_CLOSE);
}

#define TEST(name) cmocka_unit_test(test_##name)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(cloned),
		TEST(cloned_while_recovering),
		TEST(cloned_says_the_old_session),
		TEST(cloned_and_server_restarted),
		TEST(cloned_while_ending),
	};
	return cmocka_run_group_tests_name("recovery_cloned", tests, NULL, NULL);
}
