/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "nfs41/offload.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

static struct offload_table table;
static struct loop *loop;
static unsigned done, hints;

static const struct nfs_stateid one = {1, "the one copy"}, other = {1, "other copies"};
static const struct nfs_fh here = {4, "here"}, there = {5, "there"};
static const struct callback_offload result = {.count = 42, .committed = FILE_SYNC4};

static void on_done(struct offload_wait *wait)
{
	done++;
}

static void on_hint(struct offload_wait *wait)
{
	hints++;
}

static int setup(void **state)
{
	offload_init(&table);
	done = hints = 0;
	return loop_new(LOOP_POLL, &loop);
}

static int teardown(void **state)
{
	loop_free(loop);
	offload_deinit(&table);
	return 0;
}

static void stop(struct loop_task *task)
{
	loop_stop(loop);
}

/* What was posted is run. */
static void turn(void)
{
	struct loop_task last = {.run = stop};
	loop_post(loop, &last);
	assert_int_equal(loop_run(loop), 0);
}

static void begin(struct offload_wait *wait)
{
	*wait = (struct offload_wait){
		.done = on_done, .hint = on_hint, .loop = loop, .stateid = one, .fh = here};
	offload_begin(&table, wait);
}

static void test_told_while_waiting(void **state)
{
	struct offload_wait wait;
	struct nfs_stateid later = one;
	later.seqid = 9;
	offload_ask(&table);
	begin(&wait);
	assert_int_equal(offload_told(&table, &here, &other, &result), NFS4ERR_BAD_STATEID);
	assert_int_equal(offload_told(&table, &there, &later, &result), NFS4_OK);
	assert_false(offload_end(&table, &wait));
	assert_int_equal(done, 0);
	turn();
	assert_int_equal(done, 1);
	assert_int_equal(hints, 0);
	assert_int_equal(wait.result.count, 42);
	assert_int_equal(wait.result.committed, FILE_SYNC4);
	/* it was told of once */
	assert_int_equal(offload_told(&table, &here, &one, &result), NFS4ERR_BAD_STATEID);
}

static void test_told_before_the_reply(void **state)
{
	struct offload_wait wait;
	assert_int_equal(offload_told(&table, &here, &one, &result), NFS4ERR_BAD_STATEID);
	offload_ask(&table);
	offload_ask(&table);
	assert_int_equal(offload_told(&table, &here, &other, &result), NFS4_OK);
	assert_int_equal(offload_told(&table, &here, &one, &result), NFS4_OK);
	begin(&wait);
	turn();
	assert_int_equal(done, 1);
	assert_int_equal(wait.result.count, 42);
	/* what is nobody's is forgotten with the last question */
	offload_begin(&table, NULL);
	offload_ask(&table);
	begin(&wait);
	wait.stateid = other;
	turn();
	assert_int_equal(done, 1);
	assert_true(offload_end(&table, &wait));
}

static void test_more_calls_than_are_kept(void **state)
{
	struct offload_wait wait;
	offload_ask(&table);
	for (unsigned i = 0; i < 2 * OFFLOAD_EARLY_MAX; i++)
		assert_int_equal(offload_told(&table, &there, &other, &result), NFS4_OK);
	assert_int_equal(offload_told(&table, &here, &one, &result), NFS4_OK);
	begin(&wait);
	turn();
	assert_int_equal(done, 0);
	assert_true(offload_end(&table, &wait));
}

static void test_a_call_without_a_stateid_is_a_hint(void **state)
{
	struct offload_wait wait;
	offload_ask(&table);
	assert_int_equal(offload_told(&table, &here, &nfs_stateid_anonymous, &result), NFS4_OK);
	begin(&wait);
	assert_false(offload_end(&table, &wait));
	turn();
	assert_int_equal(hints, 1);
	assert_int_equal(
		offload_told(&table, &there, &nfs_stateid_anonymous, &result), NFS4ERR_BAD_STATEID);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(
			offload_told(&table, &here, &nfs_stateid_anonymous, &result), NFS4_OK);
	turn();
	assert_int_equal(hints, 2);
	assert_int_equal(done, 0);
	/* and what it was about */
	offload_told(&table, &here, &nfs_stateid_anonymous, &result);
	assert_int_equal(offload_told(&table, &here, &one, &result), NFS4_OK);
	turn();
	assert_int_equal(hints, 2);
	assert_int_equal(done, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_told_while_waiting, setup, teardown),
		cmocka_unit_test_setup_teardown(test_told_before_the_reply, setup, teardown),
		cmocka_unit_test_setup_teardown(test_more_calls_than_are_kept, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_a_call_without_a_stateid_is_a_hint, setup, teardown),
	};
	return cmocka_run_group_tests_name("offload", tests, NULL, NULL);
}
