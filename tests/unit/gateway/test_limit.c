/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "gateway/limit.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define SECOND UINT64_C(1000000000)

static void test_none(void **state)
{
	struct limit limit;

	limit_init(&limit, 0, 0, 0);
	limit_take(&limit, UINT64_MAX / 4, 1);
	assert_true(limit_ok(&limit, 1));
	assert_int_equal(limit_when(&limit, 7), 7);
}

static void test_burst_and_refill(void **state)
{
	struct limit limit;

	limit_init(&limit, 10, 5, SECOND);
	for (int i = 0; i < 5; i++) {
		assert_true(limit_ok(&limit, SECOND));
		limit_take(&limit, 1, SECOND);
	}
	assert_false(limit_ok(&limit, SECOND));
	assert_false(limit_ok(&limit, SECOND + SECOND / 10 - 1));
	uint64_t when = limit_when(&limit, SECOND);
	assert_in_range(when, SECOND + SECOND / 10, SECOND + SECOND / 10 + 1);
	assert_true(limit_ok(&limit, when));
	/* no more than the burst, however long it was left alone */
	assert_true(limit_ok(&limit, 1000 * SECOND));
	limit_take(&limit, 5, 1000 * SECOND);
	assert_false(limit_ok(&limit, 1000 * SECOND));
}

static void test_debt(void **state)
{
	struct limit limit;

	limit_init(&limit, 1000, 100, 0);
	limit_take(&limit, 1100, 0);
	assert_false(limit_ok(&limit, SECOND));
	assert_true(limit_ok(&limit, SECOND + SECOND / 1000));
	/* looking often does not lose the fractions */
	limit_init(&limit, 3, 1, 0);
	limit_take(&limit, 1, 0);
	uint64_t now = 0;
	while (!limit_ok(&limit, now))
		now += SECOND / 100;
	assert_in_range(now, SECOND / 3, SECOND / 3 + SECOND / 50);
}

static void test_at_once(void **state)
{
	struct limit limit;

	limit_init(&limit, 10, 100, 0);
	assert_int_equal(limit_at_once(&limit, 0), UINT64_MAX);
	limit_take(&limit, 80, 0);
	assert_int_equal(limit_at_once(&limit, 0), UINT64_MAX);
	limit_take(&limit, 1, 0);
	assert_int_equal(limit_at_once(&limit, 0), 9);
	limit_take(&limit, 9, 0);
	assert_int_equal(limit_at_once(&limit, 0), 0);
	limit_take(&limit, 110, 0);
	assert_int_equal(limit_at_once(&limit, 10 * SECOND), 0);
	assert_int_equal(limit_at_once(&limit, 11 * SECOND + SECOND / 2), 5);
	assert_int_equal(limit_at_once(&limit, 12 * SECOND), UINT64_MAX);
	limit_init(&limit, 0, 0, 0);
	assert_int_equal(limit_at_once(&limit, 0), UINT64_MAX);
}

static void test_change(void **state)
{
	struct limit limit;

	limit_init(&limit, 1000, 1000, 0);
	limit_take(&limit, 3000, 0);
	limit_change(&limit, 1000000, 10, 0);
	assert_false(limit_ok(&limit, SECOND / 1000));
	assert_true(limit_ok(&limit, SECOND / 100));
	limit_change(&limit, 0, 0, SECOND);
	assert_true(limit_ok(&limit, SECOND));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_none),
		cmocka_unit_test(test_burst_and_refill),
		cmocka_unit_test(test_debt),
		cmocka_unit_test(test_at_once),
		cmocka_unit_test(test_change),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
