/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "preopen.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define SECOND UINT64_C(1000000000)
#define LEN    1000
#define CHANGE 77

static const uint64_t now = 5 * SECOND;

static struct preopen_pool *pool;
static struct buf *buf;

static int setup(void **state)
{
	(void)state;
	buf = buf_alloc(LEN);
	return buf ? preopen_pool_new(&pool) : -1;
}

static int teardown(void **state)
{
	(void)state;
	preopen_pool_free(pool);
	buf_unref(buf);
	return 0;
}

static void assert_stats(uint64_t files, uint64_t used, uint64_t dropped)
{
	struct preopen_stats stats;
	preopen_get_stats(pool, &stats);
	assert_int_equal(stats.files, files);
	assert_int_equal(stats.used, used);
	assert_int_equal(stats.dropped, dropped);
}

static void open_ahead(uint64_t id)
{
	assert_true(preopen_begin(pool, id, LEN));
	preopen_end(pool, id, buf, LEN, CHANGE, now);
}

static bool take(uint64_t id)
{
	uint64_t change = 0;
	uint32_t len = 0;
	struct buf *taken = preopen_take(pool, id, &len, &change);
	if (!taken)
		return false;
	assert_ptr_equal(taken, buf);
	assert_int_equal(len, LEN);
	assert_int_equal(change, CHANGE);
	buf_unref(taken);
	return true;
}

static void test_data_is_taken_once(void **state)
{
	(void)state;
	assert_false(take(3));
	assert_true(preopen_begin(pool, 3, LEN));
	assert_false(take(3));
	preopen_end(pool, 3, buf, LEN, CHANGE, now);
	assert_stats(1, 0, 0);
	assert_true(take(3));
	assert_false(take(3));
	assert_stats(1, 1, 0);
}

static void test_not_twice_at_the_same_time(void **state)
{
	(void)state;
	assert_true(preopen_begin(pool, 3, LEN));
	assert_false(preopen_begin(pool, 3, LEN));
	preopen_end(pool, 3, buf, LEN, CHANGE, now);
	assert_false(preopen_begin(pool, 3, LEN));
	assert_true(take(3));
	open_ahead(3);
}

static void test_one_that_failed_is_none(void **state)
{
	(void)state;
	assert_true(preopen_begin(pool, 3, LEN));
	preopen_end(pool, 3, NULL, 0, 0, 0);
	assert_false(take(3));
	assert_false(preopen_tick(pool, now));
	assert_stats(0, 0, 0);
	open_ahead(3);
}

static void test_what_nobody_wants_goes(void **state)
{
	(void)state;
	open_ahead(3);
	assert_true(preopen_begin(pool, 4, LEN));
	preopen_end(pool, 4, buf, LEN, CHANGE, now + SECOND);
	assert_true(preopen_begin(pool, 5, LEN));
	assert_true(preopen_tick(pool, now + 2 * SECOND - 1));
	assert_stats(2, 0, 0);
	assert_true(preopen_tick(pool, now + 2 * SECOND));
	assert_false(take(3));
	assert_stats(2, 0, 1);
	assert_false(preopen_tick(pool, now + 3 * SECOND));
	assert_stats(2, 0, 2);
	/* not what is under way */
	preopen_end(pool, 5, buf, LEN, CHANGE, now + 3 * SECOND);
	assert_true(take(5));
	assert_stats(3, 1, 2);
}

static void test_all_goes(void **state)
{
	(void)state;
	open_ahead(3), open_ahead(4);
	preopen_drop_all(pool);
	assert_false(take(3));
	assert_false(take(4));
	assert_false(preopen_tick(pool, now));
	assert_stats(2, 0, 2);
}

static void test_there_is_a_limit(void **state)
{
	uint64_t id = 1;
	(void)state;
	while (preopen_begin(pool, id, LEN))
		id++;
	assert_int_equal(id, PREOPEN_MAX / LEN + 1);
	assert_true(preopen_begin(pool, id++, PREOPEN_MAX % LEN));
	assert_false(preopen_begin(pool, id, 1));
	/* of what came there is less */
	preopen_end(pool, 1, buf, LEN / 2, CHANGE, now);
	assert_false(preopen_begin(pool, id, LEN / 2 + 1));
	assert_true(preopen_begin(pool, id++, LEN / 2));
	preopen_end(pool, 2, NULL, 0, 0, 0);
	assert_true(preopen_begin(pool, id++, LEN));
	assert_false(preopen_begin(pool, id, 1));
	for (uint64_t i = 3; i < id; i++)
		preopen_end(pool, i, NULL, 0, 0, 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_data_is_taken_once),
		TEST(test_not_twice_at_the_same_time),
		TEST(test_one_that_failed_is_none),
		TEST(test_what_nobody_wants_goes),
		TEST(test_all_goes),
		TEST(test_there_is_a_limit),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
