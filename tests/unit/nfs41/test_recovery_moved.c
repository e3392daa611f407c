/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "recovery_drive.h"

#define LEFT (RECOVERY_DO_HOLD | RECOVERY_DO_CHANGE_SERVER)

/* From MOVED until the session there is given back. */
static struct recovery leaving(void)
{
	struct recovery r = ready();
	unsigned got = PUT(&r, MOVED);
	expect(&r, RECOVERY_DISCARD, got, RECOVERY_DO_HOLD | RECOVERY_DO_DESTROY_SESSION);
	return r;
}

/* The end of the old connection, and the new one. */
static void arrive(struct recovery *r)
{
	assert_int_equal(PUT(r, DOWN, .status = -ESTALE), 0);
	expect(r, RECOVERY_EXCHANGE, PUT(r, UP), RECOVERY_DO_EXCHANGE_ID);
}

static void test_another_server(void **state)
{
	struct recovery r = leaving();
	expect(&r, RECOVERY_EXCHANGE, result(&r, 0), LEFT);
	arrive(&r);
	unsigned got = PUT(&r, RESULT, .step = RECOVERY_EXCHANGE, .new_client = true);
	expect(&r, RECOVERY_CREATE, got, RECOVERY_DO_CREATE_SESSION);
	got = PUT(&r, RESULT, .step = RECOVERY_CREATE, .generation = 2);
	expect(&r, RECOVERY_RECLAIM, got, RECOVERY_DO_RECLAIM);
	assert_true(r.grace);
	expect(&r, RECOVERY_COMPLETE, PUT(&r, RECLAIMED), RECOVERY_DO_RECLAIM_COMPLETE);
	expect(&r, RECOVERY_READY, result(&r, 0), RECOVERY_DO_FLOW);
	assert_true(recovery_deadline(&r) == UINT64_MAX);
}

static void test_same_server(void **state)
{
	struct recovery r = leaving();
	expect(&r, RECOVERY_EXCHANGE, result(&r, NFS4ERR_BADSESSION), LEFT);
	arrive(&r);
	unsigned got = PUT(&r, RESULT, .step = RECOVERY_EXCHANGE, .new_client = false);
	expect(&r, RECOVERY_CREATE, got, RECOVERY_DO_CREATE_SESSION);
	got = PUT(&r, RESULT, .step = RECOVERY_CREATE, .generation = 2);
	expect(&r, RECOVERY_READY, got, RECOVERY_DO_FLOW);
}

static void test_old_server_is_not_waited_for(void **state)
{
	/* silent */
	struct recovery r = leaving();
	assert_true(recovery_deadline(&r) == now + 2 * SECOND);
	now += 2 * SECOND - 1;
	expect(&r, RECOVERY_DISCARD, PUT(&r, TIME), 0);
	now++;
	expect(&r, RECOVERY_EXCHANGE, PUT(&r, TIME), LEFT);
	/* gone */
	r = leaving();
	expect(&r, RECOVERY_EXCHANGE, PUT(&r, DOWN, .status = -ECONNRESET), LEFT);
	r = leaving();
	expect(&r, RECOVERY_EXCHANGE, result(&r, -ECONNRESET), LEFT);
	arrive(&r);
	/* busy */
	r = leaving();
	expect(&r, RECOVERY_EXCHANGE, result(&r, NFS4ERR_DELAY), LEFT);
	assert_true(recovery_deadline(&r) == UINT64_MAX);
	/* never there */
	r = ready();
	PUT(&r, DOWN, .status = -ECONNRESET);
	expect(&r, RECOVERY_EXCHANGE, PUT(&r, MOVED), LEFT);
}

static void test_while_recovering(void **state)
{
	/* the session has just been lost */
	struct recovery r = ready();
	PUT(&r, LOST, .generation = 1, .status = NFS4ERR_STALE_CLIENTID);
	expect(&r, RECOVERY_EXCHANGE, PUT(&r, MOVED), LEFT);
	/* an answer from there is none from here */
	assert_int_equal(result(&r, 0), 0);
	/* state is being reclaimed */
	r = ready();
	PUT(&r, LOST, .generation = 1, .status = NFS4ERR_STALE_CLIENTID);
	PUT(&r, RESULT, .step = RECOVERY_EXCHANGE, .new_client = true);
	PUT(&r, RESULT, .step = RECOVERY_CREATE, .generation = 2);
	unsigned got = PUT(&r, MOVED);
	expect(&r, RECOVERY_DISCARD, got, RECOVERY_DO_HOLD | RECOVERY_DO_DESTROY_SESSION);
	assert_int_equal(PUT(&r, RECLAIMED, .status = -ESTALE), 0);
	expect(&r, RECOVERY_EXCHANGE, result(&r, 0), LEFT);
	arrive(&r);
	PUT(&r, RESULT, .step = RECOVERY_EXCHANGE, .new_client = true);
	got = PUT(&r, RESULT, .step = RECOVERY_CREATE, .generation = 3);
	expect(&r, RECOVERY_RECLAIM, got, RECOVERY_DO_RECLAIM);
}

static void test_news_of_the_old_session(void **state)
{
	struct recovery r = leaving();
	assert_int_equal(PUT(&r, LOST, .generation = 1, .status = NFS4ERR_BADSESSION), 0);
	assert_int_equal(PUT(&r, REVOKED, .grace = true), 0);
	assert_int_equal(PUT(&r, MOVED), 0);
	assert_int_equal(r.state, RECOVERY_DISCARD);
	/* somebody else's: nothing of it is destroyed any more, and here is where to begin */
	unsigned got = PUT(&r, CLONED, .generation = 1);
	expect(&r, RECOVERY_EXCHANGE, got, RECOVERY_DO_HOLD | RECOVERY_DO_BECOME_OTHER);
	expect(&r, RECOVERY_EXCHANGE, PUT(&r, UP), RECOVERY_DO_EXCHANGE_ID);
	assert_false(r.leaving);
}

static void test_not_at_the_ends(void **state)
{
	struct recovery r = creating();
	assert_int_equal(PUT(&r, MOVED), 0);
	r = stopping();
	assert_int_equal(PUT(&r, MOVED), 0);
	/* and the other way round */
	r = leaving();
	assert_int_equal(PUT(&r, STOP, .timeout = SECOND), RECOVERY_DO_DRAIN);
	expect(&r, RECOVERY_CLOSING, PUT(&r, DRAINED), RECOVERY_DO_HOLD | RECOVERY_DO_CLOSE);
	expect(&r, RECOVERY_IDLE, PUT(&r, CLOSED), RECOVERY_DO_STOPPED);
	assert_int_equal(PUT(&r, MOVED), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_another_server),
		cmocka_unit_test(test_same_server),
		cmocka_unit_test(test_old_server_is_not_waited_for),
		cmocka_unit_test(test_while_recovering),
		cmocka_unit_test(test_news_of_the_old_session),
		cmocka_unit_test(test_not_at_the_ends),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
