/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "recovery_drive.h"

/* The start of a process that takes another's client id over. */

static struct recovery resuming(void)
{
	struct recovery r;
	now = 1000 * SECOND;
	recovery_init(&r, -1);
	unsigned got = PUT(&r, START, .timeout = 60 * SECOND, .resume = true);
	expect(&r, RECOVERY_EXCHANGE, got, RECOVERY_DO_HOLD | RECOVERY_DO_CONNECT);
	expect(&r, RECOVERY_EXCHANGE, PUT(&r, UP), RECOVERY_DO_EXCHANGE_ID);
	return r;
}

static void test_the_session_goes_first(void **state)
{
	struct recovery r = resuming();
	unsigned got = PUT(&r, RESULT, .step = RECOVERY_EXCHANGE);
	expect(&r, RECOVERY_DISCARD, got, RECOVERY_DO_DESTROY_SESSION);
	/* its requests are being executed still */
	assert_int_equal(result(&r, NFS4ERR_DELAY), 0);
	now += SECOND;
	expect(&r, RECOVERY_DISCARD, PUT(&r, TIME), RECOVERY_DO_DESTROY_SESSION);
	expect(&r, RECOVERY_CREATE, result(&r, 0), RECOVERY_DO_CREATE_SESSION);
	got = PUT(&r, RESULT, .step = RECOVERY_CREATE, .generation = 1);
	expect(&r, RECOVERY_COMPLETE, got, RECOVERY_DO_RECLAIM_COMPLETE);
	/* opens and locks stand: nothing is reclaimed */
	got = result(&r, NFS4ERR_COMPLETE_ALREADY);
	expect(&r, RECOVERY_READY, got, RECOVERY_DO_FLOW | RECOVERY_DO_READY);
	assert_false(r.resume);
}

static void test_a_session_that_is_gone(void **state)
{
	struct recovery r = resuming();
	PUT(&r, RESULT, .step = RECOVERY_EXCHANGE);
	expect(&r, RECOVERY_CREATE, result(&r, NFS4ERR_BADSESSION), RECOVERY_DO_CREATE_SESSION);
}

static void test_the_server_has_restarted_too(void **state)
{
	struct recovery r = resuming();
	unsigned got = PUT(&r, RESULT, .step = RECOVERY_EXCHANGE, .new_client = true);
	expect(&r, RECOVERY_CREATE, got, RECOVERY_DO_CREATE_SESSION);
	got = PUT(&r, RESULT, .step = RECOVERY_CREATE, .generation = 1);
	expect(&r, RECOVERY_RECLAIM, got, RECOVERY_DO_RECLAIM);
	assert_true(r.grace);
	expect(&r, RECOVERY_COMPLETE, PUT(&r, RECLAIMED), RECOVERY_DO_RECLAIM_COMPLETE);
	expect(&r, RECOVERY_READY, result(&r, 0), RECOVERY_DO_FLOW | RECOVERY_DO_READY);
}

static void test_a_failure_is_final(void **state)
{
	struct recovery r = resuming();
	unsigned got = result(&r, NFS4ERR_CLID_INUSE);
	expect(&r, RECOVERY_CLOSING, got, RECOVERY_DO_HOLD | RECOVERY_DO_CLOSE);
	expect(&r, RECOVERY_IDLE, PUT(&r, CLOSED), RECOVERY_DO_FAILED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_session_goes_first),
		cmocka_unit_test(test_a_session_that_is_gone),
		cmocka_unit_test(test_the_server_has_restarted_too),
		cmocka_unit_test(test_a_failure_is_final),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
