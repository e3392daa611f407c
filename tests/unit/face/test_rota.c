/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* after the above */
#include <cmocka.h>

#include "rota.h"

#define NOW UINT64_C(1000000000)

static void test_one_watches(void **state)
{
	struct rota rota = {.single = true};
	(void)state;
	assert_false(rota_covered(&rota, NOW));
	assert_true(rota_join(&rota, NOW));
	assert_true(rota_covered(&rota, NOW));
	assert_false(rota_join(&rota, NOW));
	rota_leave(&rota);
	assert_false(rota_covered(&rota, NOW));
	assert_true(rota_join(&rota, NOW));
}

static void test_all_watch_in_a_crowd(void **state)
{
	struct rota rota = {.single = true};
	(void)state;
	assert_true(rota_join(&rota, NOW));
	/* who sees it tells the others, once */
	assert_true(rota_crowd(&rota, NOW));
	assert_false(rota_crowd(&rota, NOW));
	assert_false(rota_covered(&rota, NOW));
	assert_true(rota_join(&rota, NOW));
	assert_true(rota_join(&rota, NOW));
	/* they stay while it lasts, and need not be told again */
	assert_false(rota_crowd(&rota, NOW + ROTA_CROWD_NS - 1));
	assert_false(rota_covered(&rota, NOW + ROTA_CROWD_NS));
	assert_true(rota_covered(&rota, NOW + 2 * ROTA_CROWD_NS));
	assert_true(rota_crowd(&rota, NOW + 2 * ROTA_CROWD_NS));
}

static void test_a_crowd_lasts_while_requests_come(void **state)
{
	struct rota rota = {.single = true};
	(void)state;
	assert_true(rota_join(&rota, NOW));
	assert_true(rota_crowd(&rota, NOW));
	/* most of it is still to come: it is left as it is */
	assert_false(rota_crowd(&rota, NOW + ROTA_CROWD_NS / 2 - 1));
	assert_false(rota_covered(&rota, NOW + ROTA_CROWD_NS - 1));
	assert_true(rota_covered(&rota, NOW + ROTA_CROWD_NS));
	/* the other watchers may be gone by then */
	assert_true(rota_crowd(&rota, NOW + ROTA_CROWD_NS));
	assert_false(rota_crowd(&rota, NOW + 3 * ROTA_CROWD_NS / 2));
	assert_false(rota_covered(&rota, NOW + 5 * ROTA_CROWD_NS / 2 - 1));
	assert_true(rota_covered(&rota, NOW + 5 * ROTA_CROWD_NS / 2));
}

static void test_one_is_left_after_a_crowd(void **state)
{
	struct rota rota = {.single = true};
	(void)state;
	rota_crowd(&rota, NOW);
	assert_true(rota_join(&rota, NOW));
	assert_true(rota_join(&rota, NOW));
	rota_leave(&rota);
	assert_false(rota_join(&rota, NOW + ROTA_CROWD_NS));
	rota_leave(&rota);
	assert_true(rota_join(&rota, NOW + ROTA_CROWD_NS));
}

static void test_all_watch_always(void **state)
{
	struct rota rota = {0};
	(void)state;
	assert_true(rota_join(&rota, NOW));
	assert_false(rota_covered(&rota, NOW));
	assert_true(rota_join(&rota, NOW));
	assert_false(rota_crowd(&rota, NOW));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_one_watches),
		cmocka_unit_test(test_all_watch_in_a_crowd),
		cmocka_unit_test(test_a_crowd_lasts_while_requests_come),
		cmocka_unit_test(test_one_is_left_after_a_crowd),
		cmocka_unit_test(test_all_watch_always),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
