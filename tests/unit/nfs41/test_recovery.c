/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "recovery_drive.h"

static void test_start(void **state)
{
	struct recovery r = ready();
	assert_int_equal(r.minor, 2);
	assert_false(r.first);
}

static void test_minor_version_is_negotiated(void **state)
{
	struct recovery r = started(-1);
	PUT(&r, UP);
	unsigned got = result(&r, NFS4ERR_MINOR_VERS_MISMATCH);
	expect(&r, RECOVERY_EXCHANGE, got, RECOVERY_DO_EXCHANGE_ID);
	assert_int_equal(r.minor, 1);
	got = result(&r, NFS4ERR_MINOR_VERS_MISMATCH);
	expect(&r, RECOVERY_CLOSING, got, RECOVERY_DO_HOLD | RECOVERY_DO_CLOSE);
	expect(&r, RECOVERY_IDLE, PUT(&r, CLOSED), RECOVERY_DO_FAILED);
	assert_int_equal(r.status, NFS4ERR_MINOR_VERS_MISMATCH);
	assert_int_equal(r.failed_in, RECOVERY_EXCHANGE);
}

static void test_minor_version_asked_for(void **state)
{
	struct recovery r = started(2);
	PUT(&r, UP);
	assert_int_equal(r.minor, 2);
	unsigned got = result(&r, NFS4ERR_MINOR_VERS_MISMATCH);
	expect(&r, RECOVERY_CLOSING, got, RECOVERY_DO_HOLD | RECOVERY_DO_CLOSE);
}

static void test_start_fails_to_connect(void **state)
{
	struct recovery r = started(-1);
	unsigned got = PUT(&r, DOWN, .status = -ECONNREFUSED);
	expect(&r, RECOVERY_CLOSING, got, RECOVERY_DO_HOLD | RECOVERY_DO_CLOSE);
	expect(&r, RECOVERY_IDLE, PUT(&r, CLOSED), RECOVERY_DO_FAILED);
	assert_int_equal(r.status, -ECONNREFUSED);
	/* and may be tried again */
	got = PUT(&r, START, .timeout = SECOND);
	expect(&r, RECOVERY_EXCHANGE, got, RECOVERY_DO_HOLD | RECOVERY_DO_CONNECT);
}

static void test_start_fails_in_each_step(void **state)
{
	struct recovery r = started(-1);
	PUT(&r, UP);
	result(&r, NFS4ERR_CLID_INUSE);
	assert_int_equal(r.state, RECOVERY_CLOSING);
	assert_int_equal(r.failed_in, RECOVERY_EXCHANGE);
	r = creating();
	result(&r, NFS4ERR_NOSPC);
	assert_int_equal(r.state, RECOVERY_CLOSING);
	assert_int_equal(r.failed_in, RECOVERY_CREATE);
	r = creating();
	PUT(&r, RESULT, .step = RECOVERY_CREATE, .generation = 1);
	result(&r, NFS4ERR_ACCESS);
	assert_int_equal(r.state, RECOVERY_CLOSING);
	assert_int_equal(r.failed_in, RECOVERY_COMPLETE);
	assert_int_equal(r.status, NFS4ERR_ACCESS);
}

static void test_start_loses_the_connection(void **state)
{
	struct recovery r = creating();
	expect(&r, RECOVERY_CREATE, result(&r, -ECONNRESET), 0);
	PUT(&r, DOWN, .status = -EPROTO);
	assert_int_equal(r.state, RECOVERY_CLOSING);
	assert_int_equal(r.status, -EPROTO);
}

static void test_start_times_out(void **state)
{
	struct recovery r = started(-1);
	assert_true(recovery_deadline(&r) == now + 60 * SECOND);
	PUT(&r, UP);
	now += 60 * SECOND - 1;
	expect(&r, RECOVERY_EXCHANGE, PUT(&r, TIME), 0);
	now += 1;
	expect(&r, RECOVERY_CLOSING, PUT(&r, TIME), RECOVERY_DO_HOLD | RECOVERY_DO_CLOSE);
	assert_int_equal(r.status, -ETIMEDOUT);
}

static void test_delay_is_waited_for(void **state)
{
	struct recovery r = started(-1);
	PUT(&r, UP);
	expect(&r, RECOVERY_EXCHANGE, result(&r, NFS4ERR_DELAY), 0);
	assert_true(recovery_deadline(&r) == now + 100 * MS);
	now += 99 * MS;
	expect(&r, RECOVERY_EXCHANGE, PUT(&r, TIME), 0);
	now += MS;
	expect(&r, RECOVERY_EXCHANGE, PUT(&r, TIME), RECOVERY_DO_EXCHANGE_ID);
	result(&r, NFS4ERR_DELAY);
	assert_true(recovery_deadline(&r) == now + 200 * MS);
}

static void test_backoff_has_a_limit(void **state)
{
	struct recovery r = ready();
	PUT(&r, LOST, .generation = 1, .status = NFS4ERR_BADSESSION);
	for (unsigned i = 0; i < 20; i++) {
		result(&r, NFS4ERR_DELAY);
		now = recovery_deadline(&r);
		assert_int_equal(PUT(&r, TIME), RECOVERY_DO_CREATE_SESSION);
	}
	result(&r, NFS4ERR_DELAY);
	assert_true(recovery_deadline(&r) == now + 5 * SECOND);
}

static void test_session_lost_client_id_kept(void **state)
{
	static const int causes[] = {NFS4ERR_BADSESSION, NFS4ERR_DEADSESSION};
	for (unsigned i = 0; i < 2; i++) {
		struct recovery r = ready();
		unsigned got = PUT(&r, LOST, .generation = 1, .status = causes[i]);
		expect(&r, RECOVERY_CREATE, got, RECOVERY_DO_HOLD | RECOVERY_DO_CREATE_SESSION);
		/* others notice as well */
		assert_int_equal(PUT(&r, LOST, .generation = 1, .status = causes[i]), 0);
		got = PUT(&r, RESULT, .step = RECOVERY_CREATE, .generation = 2);
		expect(&r, RECOVERY_READY, got, RECOVERY_DO_FLOW);
		/* and late */
		assert_int_equal(PUT(&r, LOST, .generation = 1, .status = causes[i]), 0);
		assert_int_equal(r.state, RECOVERY_READY);
	}
}

static void test_session_unusable(void **state)
{
	struct recovery r = ready();
	unsigned got = PUT(&r, LOST, .generation = 1, .status = NFS4ERR_SEQ_MISORDERED);
	expect(&r, RECOVERY_DISCARD, got, RECOVERY_DO_HOLD | RECOVERY_DO_DESTROY_SESSION);
	got = result(&r, NFS4ERR_BADSESSION);
	expect(&r, RECOVERY_CREATE, got, RECOVERY_DO_CREATE_SESSION);
}

/* Up to where the new client id's session stands. */
static struct recovery server_restarted(void)
{
	struct recovery r = ready();
	PUT(&r, LOST, .generation = 1, .status = NFS4ERR_BADSESSION);
	unsigned got = result(&r, NFS4ERR_STALE_CLIENTID);
	expect(&r, RECOVERY_EXCHANGE, got, RECOVERY_DO_EXCHANGE_ID);
	got = PUT(&r, RESULT, .step = RECOVERY_EXCHANGE, .new_client = true);
	expect(&r, RECOVERY_CREATE, got, RECOVERY_DO_CREATE_SESSION);
	got = PUT(&r, RESULT, .step = RECOVERY_CREATE, .generation = 2);
	expect(&r, RECOVERY_RECLAIM, got, RECOVERY_DO_RECLAIM);
	assert_true(r.grace);
	return r;
}

static void test_server_restarted(void **state)
{
	struct recovery r = server_restarted();
	expect(&r, RECOVERY_COMPLETE, PUT(&r, RECLAIMED), RECOVERY_DO_RECLAIM_COMPLETE);
	expect(&r, RECOVERY_READY, result(&r, 0), RECOVERY_DO_FLOW);
}

static void test_client_id_is_gone(void **state)
{
	struct recovery r = ready();
	unsigned got = PUT(&r, LOST, .generation = 1, .status = NFS4ERR_STALE_CLIENTID);
	expect(&r, RECOVERY_EXCHANGE, got, RECOVERY_DO_HOLD | RECOVERY_DO_EXCHANGE_ID);
}

static void test_client_id_was_confirmed_after_all(void **state)
{
	struct recovery r = ready();
	PUT(&r, LOST, .generation = 1, .status = NFS4ERR_BADSESSION);
	result(&r, NFS4ERR_SEQ_MISORDERED);
	assert_int_equal(r.state, RECOVERY_EXCHANGE);
	PUT(&r, RESULT, .step = RECOVERY_EXCHANGE, .new_client = false);
	unsigned got = PUT(&r, RESULT, .step = RECOVERY_CREATE, .generation = 2);
	expect(&r, RECOVERY_READY, got, RECOVERY_DO_FLOW);
}

static void test_stale_for_ever_is_slow(void **state)
{
	struct recovery r = ready();
	PUT(&r, LOST, .generation = 1, .status = NFS4ERR_BADSESSION);
	assert_int_equal(result(&r, NFS4ERR_STALE_CLIENTID), RECOVERY_DO_EXCHANGE_ID);
	PUT(&r, RESULT, .step = RECOVERY_EXCHANGE, .new_client = true);
	expect(&r, RECOVERY_EXCHANGE, result(&r, NFS4ERR_STALE_CLIENTID), 0);
	assert_true(recovery_deadline(&r) > now);
	assert_true(recovery_deadline(&r) <= now + SECOND);
}

static void test_session_lost_again_at_once_is_slow(void **state)
{
	struct recovery r = ready();
	PUT(&r, LOST, .generation = 1, .status = NFS4ERR_BADSESSION);
	PUT(&r, RESULT, .step = RECOVERY_CREATE, .generation = 2);
	unsigned got = PUT(&r, LOST, .generation = 2, .status = NFS4ERR_BADSESSION);
	expect(&r, RECOVERY_CREATE, got, RECOVERY_DO_HOLD);
	now = recovery_deadline(&r);
	expect(&r, RECOVERY_CREATE, PUT(&r, TIME), RECOVERY_DO_CREATE_SESSION);
}

static void test_restarted_twice_while_reclaiming(void **state)
{
	struct recovery r = server_restarted();
	now += 10 * SECOND;
	unsigned got = PUT(&r, LOST, .generation = 2, .status = NFS4ERR_BADSESSION);
	expect(&r, RECOVERY_CREATE, got, RECOVERY_DO_HOLD | RECOVERY_DO_CREATE_SESSION);
	result(&r, NFS4ERR_STALE_CLIENTID);
	PUT(&r, RESULT, .step = RECOVERY_EXCHANGE, .new_client = true);
	/* the first reclaim has not ended: no second one beside it, and no RECLAIM_COMPLETE */
	got = PUT(&r, RESULT, .step = RECOVERY_CREATE, .generation = 3);
	expect(&r, RECOVERY_RECLAIM, got, 0);
	expect(&r, RECOVERY_RECLAIM, PUT(&r, RECLAIMED), RECOVERY_DO_RECLAIM);
	expect(&r, RECOVERY_COMPLETE, PUT(&r, RECLAIMED), RECOVERY_DO_RECLAIM_COMPLETE);
}

static void test_reclaim_ends_without_a_session(void **state)
{
	struct recovery r = server_restarted();
	now += 10 * SECOND;
	PUT(&r, LOST, .generation = 2, .status = NFS4ERR_BADSESSION);
	expect(&r, RECOVERY_CREATE, PUT(&r, RECLAIMED), 0);
	unsigned got = PUT(&r, RESULT, .step = RECOVERY_CREATE, .generation = 3);
	expect(&r, RECOVERY_COMPLETE, got, RECOVERY_DO_RECLAIM_COMPLETE);
}

/* The rest of a reclaim is opened anew after RECLAIM_COMPLETE, before which servers do not let it.
 */
static void test_what_cannot_be_reclaimed_comes_after_completion(void **state)
{
	struct recovery r = server_restarted();
	unsigned got = PUT(&r, RECLAIMED, .status = -EAGAIN);
	expect(&r, RECOVERY_COMPLETE, got, RECOVERY_DO_RECLAIM_COMPLETE);
	got = PUT(&r, RESULT, .step = RECOVERY_COMPLETE);
	expect(&r, RECOVERY_RECLAIM, got, RECOVERY_DO_RECLAIM);
	assert_false(r.grace);
	expect(&r, RECOVERY_READY, PUT(&r, RECLAIMED), RECOVERY_DO_FLOW);
}

static void test_interrupted_reclaim_is_repeated_with_grace(void **state)
{
	struct recovery r = server_restarted();
	now += 10 * SECOND;
	PUT(&r, LOST, .generation = 2, .status = NFS4ERR_BADSESSION);
	expect(&r, RECOVERY_CREATE, PUT(&r, RECLAIMED, .status = -ESTALE), 0);
	unsigned got = PUT(&r, RESULT, .step = RECOVERY_CREATE, .generation = 3);
	expect(&r, RECOVERY_RECLAIM, got, RECOVERY_DO_RECLAIM);
	assert_true(r.grace);
	/* and goes on without, if only that is left */
	PUT(&r, RECLAIMED, .status = -EAGAIN);
	PUT(&r, RESULT, .step = RECOVERY_COMPLETE);
	assert_false(r.grace);
	PUT(&r, LOST, .generation = 3, .status = NFS4ERR_BADSESSION);
	PUT(&r, RECLAIMED, .status = -ESTALE);
	now += 10 * SECOND;
	PUT(&r, TIME);
	got = PUT(&r, RESULT, .step = RECOVERY_CREATE, .generation = 4);
	expect(&r, RECOVERY_RECLAIM, got, RECOVERY_DO_RECLAIM);
	assert_false(r.grace);
}

/* A restart during a reclaim: what the first one left is part of what the second one does. */
static void test_restart_outweighs_what_was_left(void **state)
{
	struct recovery r = server_restarted();
	now += 10 * SECOND;
	PUT(&r, LOST, .generation = 2, .status = NFS4ERR_BADSESSION);
	result(&r, NFS4ERR_STALE_CLIENTID);
	PUT(&r, RESULT, .step = RECOVERY_EXCHANGE, .new_client = true);
	PUT(&r, RESULT, .step = RECOVERY_CREATE, .generation = 3);
	unsigned got = PUT(&r, RECLAIMED, .status = -EAGAIN);
	expect(&r, RECOVERY_RECLAIM, got, RECOVERY_DO_RECLAIM);
	assert_true(r.grace);
}

static void test_session_lost_while_completing(void **state)
{
	struct recovery r = server_restarted();
	PUT(&r, RECLAIMED);
	now += 10 * SECOND;
	PUT(&r, LOST, .generation = 2, .status = NFS4ERR_BADSESSION);
	assert_int_equal(r.state, RECOVERY_CREATE);
	/* the one sent into the lost session is nobody's answer now */
	assert_int_equal(PUT(&r, RESULT, .step = RECOVERY_COMPLETE, .status = -ESTALE), 0);
	assert_int_equal(r.state, RECOVERY_CREATE);
	unsigned got = PUT(&r, RESULT, .step = RECOVERY_CREATE, .generation = 3);
	expect(&r, RECOVERY_COMPLETE, got, RECOVERY_DO_RECLAIM_COMPLETE);
	got = PUT(&r, RESULT, .step = RECOVERY_COMPLETE, .status = -ESTALE);
	expect(&r, RECOVERY_COMPLETE, got, RECOVERY_DO_RECLAIM_COMPLETE);
	expect(&r, RECOVERY_READY, result(&r, NFS4ERR_COMPLETE_ALREADY), RECOVERY_DO_FLOW);
}

static void test_connection_lost_while_recovering(void **state)
{
	struct recovery r = ready();
	PUT(&r, LOST, .generation = 1, .status = NFS4ERR_BADSESSION);
	expect(&r, RECOVERY_CREATE, result(&r, -ECONNRESET), 0);
	expect(&r, RECOVERY_CREATE, PUT(&r, DOWN, .status = -ECONNRESET), 0);
	expect(&r, RECOVERY_CREATE, PUT(&r, DOWN, .status = -ECONNREFUSED), 0);
	expect(&r, RECOVERY_CREATE, PUT(&r, UP), RECOVERY_DO_CREATE_SESSION);
}

static void test_connection_lost_while_ready(void **state)
{
	struct recovery r = ready();
	expect(&r, RECOVERY_READY, PUT(&r, DOWN, .status = -ECONNRESET), 0);
	unsigned got = PUT(&r, LOST, .generation = 1, .status = NFS4ERR_BADSESSION);
	expect(&r, RECOVERY_CREATE, got, RECOVERY_DO_HOLD);
	expect(&r, RECOVERY_CREATE, PUT(&r, UP), RECOVERY_DO_CREATE_SESSION);
}

static void test_pause_without_connection_is_no_deadline(void **state)
{
	struct recovery r = ready();
	PUT(&r, LOST, .generation = 1, .status = NFS4ERR_STALE_CLIENTID);
	expect(&r, RECOVERY_EXCHANGE, result(&r, -EPROTO), 0);
	uint64_t end = recovery_deadline(&r);
	assert_true(end > now && end < UINT64_MAX);
	PUT(&r, DOWN, .status = -EPROTO);
	assert_true(recovery_deadline(&r) == UINT64_MAX);
	now = end;
	expect(&r, RECOVERY_EXCHANGE, PUT(&r, UP), RECOVERY_DO_EXCHANGE_ID);
}

static void test_later_failures_are_never_final(void **state)
{
	struct recovery r = ready();
	PUT(&r, LOST, .generation = 1, .status = NFS4ERR_STALE_CLIENTID);
	expect(&r, RECOVERY_EXCHANGE, result(&r, NFS4ERR_ACCESS), 0);
	now = recovery_deadline(&r);
	expect(&r, RECOVERY_EXCHANGE, PUT(&r, TIME), RECOVERY_DO_EXCHANGE_ID);
	/* the minor version stays */
	expect(&r, RECOVERY_EXCHANGE, result(&r, NFS4ERR_MINOR_VERS_MISMATCH), 0);
	assert_int_equal(r.minor, 2);
	now = recovery_deadline(&r);
	PUT(&r, TIME);
	PUT(&r, RESULT, .step = RECOVERY_EXCHANGE, .new_client = true);
	expect(&r, RECOVERY_EXCHANGE, result(&r, NFS4ERR_NOSPC), 0);
	now = recovery_deadline(&r);
	PUT(&r, TIME);
	PUT(&r, RESULT, .step = RECOVERY_EXCHANGE, .new_client = false);
	PUT(&r, RESULT, .step = RECOVERY_CREATE, .generation = 2);
	PUT(&r, RECLAIMED);
	expect(&r, RECOVERY_READY, result(&r, NFS4ERR_SERVERFAULT), RECOVERY_DO_FLOW);
}

static void test_state_revoked(void **state)
{
	struct recovery r = ready();
	unsigned got = PUT(&r, REVOKED, .grace = false);
	expect(&r, RECOVERY_RECLAIM, got, RECOVERY_DO_HOLD | RECOVERY_DO_RECLAIM);
	assert_false(r.grace);
	expect(&r, RECOVERY_READY, PUT(&r, RECLAIMED), RECOVERY_DO_FLOW);
	/* a persistent session of a server that restarted */
	PUT(&r, REVOKED, .grace = true);
	assert_true(r.grace);
	expect(&r, RECOVERY_COMPLETE, PUT(&r, RECLAIMED), RECOVERY_DO_RECLAIM_COMPLETE);
	/* news while there is no session is no news */
	r = creating();
	assert_int_equal(PUT(&r, REVOKED), 0);
	assert_false(r.reclaim);
}

static void test_stop(void **state)
{
	struct recovery r = stopping();
	assert_int_equal(PUT(&r, STOP, .timeout = 1), 0);
	unsigned got = PUT(&r, DRAINED);
	expect(&r, RECOVERY_DESTROY_SESSION, got, RECOVERY_DO_HOLD | RECOVERY_DO_DESTROY_SESSION);
	got = result(&r, 0);
	expect(&r, RECOVERY_DESTROY_CLIENTID, got, RECOVERY_DO_DESTROY_CLIENTID);
	got = result(&r, NFS4ERR_CLIENTID_BUSY);
	expect(&r, RECOVERY_CLOSING, got, RECOVERY_DO_HOLD | RECOVERY_DO_CLOSE);
	expect(&r, RECOVERY_IDLE, PUT(&r, CLOSED), RECOVERY_DO_STOPPED);
	assert_int_equal(PUT(&r, STOP), RECOVERY_DO_STOPPED);
}

static void test_stop_before_start(void **state)
{
	struct recovery r;
	recovery_init(&r, -1);
	expect(&r, RECOVERY_IDLE, PUT(&r, STOP), RECOVERY_DO_STOPPED);
}

static void test_stop_while_starting(void **state)
{
	struct recovery r = creating();
	unsigned got = PUT(&r, STOP, .timeout = SECOND);
	expect(&r, RECOVERY_CLOSING, got, RECOVERY_DO_HOLD | RECOVERY_DO_CLOSE);
	assert_int_equal(r.status, -ECANCELED);
	got = PUT(&r, CLOSED);
	expect(&r, RECOVERY_IDLE, got, RECOVERY_DO_FAILED | RECOVERY_DO_STOPPED);
}

static void test_stop_with_compounds_that_never_end(void **state)
{
	struct recovery r = stopping();
	now += 10 * SECOND;
	expect(&r, RECOVERY_CLOSING, PUT(&r, TIME), RECOVERY_DO_HOLD | RECOVERY_DO_CLOSE);
	expect(&r, RECOVERY_IDLE, PUT(&r, CLOSED), RECOVERY_DO_STOPPED);
}

static void test_stop_with_a_silent_server(void **state)
{
	struct recovery r = stopping();
	PUT(&r, DRAINED);
	now += 10 * SECOND;
	expect(&r, RECOVERY_CLOSING, PUT(&r, TIME), RECOVERY_DO_HOLD | RECOVERY_DO_CLOSE);
}

static void test_stop_loses_the_connection(void **state)
{
	struct recovery r = stopping();
	PUT(&r, DRAINED);
	assert_int_equal(r.state, RECOVERY_DESTROY_SESSION);
	expect(&r, RECOVERY_CLOSING, PUT(&r, DOWN), RECOVERY_DO_HOLD | RECOVERY_DO_CLOSE);
	r = stopping();
	PUT(&r, DRAINED);
	result(&r, 0);
	assert_int_equal(r.state, RECOVERY_DESTROY_CLIENTID);
	expect(&r, RECOVERY_CLOSING, PUT(&r, DOWN), RECOVERY_DO_HOLD | RECOVERY_DO_CLOSE);
	/* both are told in any order */
	assert_int_equal(PUT(&r, DRAINED), 0);
	assert_int_equal(PUT(&r, STOP, .timeout = SECOND), 0);
	expect(&r, RECOVERY_IDLE, PUT(&r, CLOSED), RECOVERY_DO_STOPPED);
}

static void test_events_out_of_place(void **state)
{
	struct recovery r = ready();
	assert_int_equal(PUT(&r, CLOSED), 0);
	assert_int_equal(PUT(&r, DRAINED), 0);
	assert_int_equal(PUT(&r, START), 0);
	assert_int_equal(PUT(&r, RECLAIMED), 0);
	assert_int_equal(PUT(&r, TIME), 0);
	assert_int_equal(r.state, RECOVERY_READY);
	recovery_init(&r, 1);
	assert_int_equal(PUT(&r, DRAINED), 0);
	assert_int_equal(PUT(&r, LOST, .generation = 0, .status = NFS4ERR_BADSESSION), 0);
	assert_int_equal(r.state, RECOVERY_IDLE);
}

/* Whichever is first: what is tried again, or the end of the patience. */
static void test_deadlines(void **state)
{
	struct recovery r = started(-1);
	uint64_t end = now + 60 * SECOND;
	PUT(&r, UP);
	assert_true(recovery_deadline(&r) == end);
	result(&r, NFS4ERR_DELAY);
	assert_true(recovery_deadline(&r) == now + 100 * MS);
	now = end - 50 * MS;
	PUT(&r, TIME);
	result(&r, NFS4ERR_DELAY);
	assert_true(recovery_deadline(&r) == end);
	now = end;
	PUT(&r, TIME);
	assert_int_equal(r.state, RECOVERY_CLOSING);
}

static void test_stop_without_connection(void **state)
{
	struct recovery r = stopping();
	PUT(&r, DOWN, .status = -ECONNRESET);
	assert_int_equal(r.state, RECOVERY_READY);
	expect(&r, RECOVERY_CLOSING, PUT(&r, DRAINED), RECOVERY_DO_HOLD | RECOVERY_DO_CLOSE);
	r = stopping();
	PUT(&r, DRAINED);
	result(&r, -ECONNRESET);
	unsigned got = PUT(&r, DOWN, .status = -ECONNRESET);
	expect(&r, RECOVERY_CLOSING, got, RECOVERY_DO_HOLD | RECOVERY_DO_CLOSE);
}

static void test_stop_recovers_for_those_who_wait(void **state)
{
	struct recovery r = stopping();
	PUT(&r, LOST, .generation = 1, .status = NFS4ERR_BADSESSION);
	unsigned got = PUT(&r, RESULT, .step = RECOVERY_CREATE, .generation = 2);
	expect(&r, RECOVERY_READY, got, RECOVERY_DO_FLOW);
	PUT(&r, DRAINED);
	assert_int_equal(r.state, RECOVERY_DESTROY_SESSION);
}

static void test_stop_while_recovering_and_nobody_waits(void **state)
{
	struct recovery r = stopping();
	PUT(&r, LOST, .generation = 1, .status = NFS4ERR_BADSESSION);
	expect(&r, RECOVERY_CLOSING, PUT(&r, DRAINED), RECOVERY_DO_HOLD | RECOVERY_DO_CLOSE);
	/* what is still under way ends into nothing */
	assert_int_equal(PUT(&r, RESULT, .step = RECOVERY_CREATE, .generation = 2), 0);
	assert_int_equal(PUT(&r, UP), 0);
	expect(&r, RECOVERY_IDLE, PUT(&r, CLOSED), RECOVERY_DO_STOPPED);
}

/* No sequence of events whatever leads out of the states or issues two RPCs at once. */
static void test_random_walk(void **state)
{
	static const int statuses[] = {0, 0, 0, -ECONNRESET, -EPROTO, -ESTALE, NFS4ERR_DELAY,
		NFS4ERR_BADSESSION, NFS4ERR_STALE_CLIENTID, NFS4ERR_SEQ_MISORDERED, NFS4ERR_ACCESS,
		NFS4ERR_MINOR_VERS_MISMATCH};
	const unsigned rpcs = RECOVERY_DO_EXCHANGE_ID | RECOVERY_DO_CREATE_SESSION |
			      RECOVERY_DO_DESTROY_SESSION | RECOVERY_DO_DESTROY_CLIENTID |
			      RECOVERY_DO_RECLAIM_COMPLETE;
	struct recovery r;
	uint64_t seed = 1;
	recovery_init(&r, -1);
	for (unsigned i = 0; i < 200000; i++) {
		seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407;
		unsigned random = (unsigned)(seed >> 33);
		struct recovery_event ev = {
			.type = random % (RECOVERY_EV_CLOSED + 1),
			.step = (random >> 4) % 4 == 0 ? (random >> 6) % 10 : r.state,
			.status = statuses[(random >> 8) % 12],
			.new_client = random & 0x10000,
			.generation = r.generation,
			.grace = random & 0x20000,
			.timeout = SECOND,
		};
		if (ev.type == RECOVERY_EV_DOWN)
			ev.status = -ECONNRESET;
		if (ev.type == RECOVERY_EV_CLOSED && r.state != RECOVERY_CLOSING)
			continue;
		now += random % (200 * MS);
		unsigned actions = recovery_event(&r, &ev, now);
		assert_true(r.state <= RECOVERY_CLOSING);
		if (ev.type == RECOVERY_EV_TIME)
			assert_true(recovery_deadline(&r) > now);
		assert_true(__builtin_popcount(actions & rpcs) <= 1);
		if (actions & RECOVERY_DO_FLOW)
			assert_int_equal(r.state, RECOVERY_READY);
		if (r.state == RECOVERY_READY || r.state == RECOVERY_IDLE)
			assert_false(r.issued);
		assert_false(r.issued && (actions & RECOVERY_DO_CLOSE));
	}
}

#define TEST(name) cmocka_unit_test(test_##name)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(start),
		TEST(minor_version_is_negotiated),
		TEST(minor_version_asked_for),
		TEST(start_fails_to_connect),
		TEST(start_fails_in_each_step),
		TEST(start_loses_the_connection),
		TEST(start_times_out),
		TEST(delay_is_waited_for),
		TEST(backoff_has_a_limit),
		TEST(session_lost_client_id_kept),
		TEST(session_unusable),
		TEST(server_restarted),
		TEST(client_id_is_gone),
		TEST(client_id_was_confirmed_after_all),
		TEST(stale_for_ever_is_slow),
		TEST(session_lost_again_at_once_is_slow),
		TEST(restarted_twice_while_reclaiming),
		TEST(reclaim_ends_without_a_session),
		TEST(what_cannot_be_reclaimed_comes_after_completion),
		TEST(interrupted_reclaim_is_repeated_with_grace),
		TEST(restart_outweighs_what_was_left),
		TEST(session_lost_while_completing),
		TEST(connection_lost_while_recovering),
		TEST(connection_lost_while_ready),
		TEST(pause_without_connection_is_no_deadline),
		TEST(later_failures_are_never_final),
		TEST(state_revoked),
		TEST(stop),
		TEST(stop_before_start),
		TEST(stop_while_starting),
		TEST(stop_with_compounds_that_never_end),
		TEST(stop_with_a_silent_server),
		TEST(stop_loses_the_connection),
		TEST(events_out_of_place),
		TEST(deadlines),
		TEST(stop_without_connection),
		TEST(stop_recovers_for_those_who_wait),
		TEST(stop_while_recovering_and_nobody_waits),
		TEST(random_walk),
	};
	return cmocka_run_group_tests_name("recovery", tests, NULL, NULL);
}
