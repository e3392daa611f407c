/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "gateway/gate.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define NOW UINT64_C(1000000000)

static void test_one_at_a_time(void **state)
{
	struct gate gate = {0};

	assert_int_equal(gate_when(&gate, 1, NOW), NOW);
	gate_sent(&gate, 0, 1, NOW);
	assert_int_equal(gate_when(&gate, 1, NOW), NOW);
	gate_sent(&gate, 1, 1, NOW);
	assert_true(gate_is_full(&gate, 1));
	assert_int_equal(gate_when(&gate, 1, NOW + 1), NOW + GATE_PATIENCE);
	gate_answered(&gate, 1);
	assert_false(gate_is_full(&gate, 1));
	assert_int_equal(gate_when(&gate, 1, NOW + 2), NOW + 2);
}

/* Those that were under way when it became narrower are waited for. */
static void test_narrower(void **state)
{
	struct gate gate = {0};

	gate_sent(&gate, 300, 256, NOW);
	assert_int_equal(gate_when(&gate, 256, NOW), NOW + GATE_PATIENCE);
	gate_answered(&gate, 45);
	assert_int_equal(gate_when(&gate, 256, NOW), NOW);
	gate_answered(&gate, 254);
	assert_int_equal(gate_when(&gate, 1, NOW), NOW + GATE_PATIENCE);
	gate_answered(&gate, 1);
	assert_int_equal(gate_when(&gate, 1, NOW), NOW);
}

/* A slow one is waited for once; its answer opens the gate for nothing that it did not open for. */
static void test_patience(void **state)
{
	struct gate gate = {0};
	uint64_t later = NOW + GATE_PATIENCE;

	gate_sent(&gate, 1, 1, NOW);
	assert_int_equal(gate_when(&gate, 1, later - 1), later);
	assert_int_equal(gate_when(&gate, 1, later), later);
	assert_true(gate_is_full(&gate, 1));
	gate_sent(&gate, 1, 1, later);
	assert_int_equal(gate_when(&gate, 1, later), later + GATE_PATIENCE);
	for (int i = 0; i < 10; i++) {
		gate_answered(&gate, 1);
		assert_int_equal(gate_when(&gate, 1, later), later);
		gate_sent(&gate, 1, 1, later);
		assert_true(gate_is_full(&gate, 1));
	}
	gate_answered(&gate, 2);
	gate_sent(&gate, 1, 1, later);
	assert_true(gate_is_full(&gate, 1));
}

static void test_callbacks(void **state)
{
	struct gate gate = {0};

	gate_answered(&gate, 1);
	gate_sent(&gate, 1, 1, NOW);
	assert_false(gate_is_full(&gate, 1));
	/* a server that is made to call back without end gives no leave to call without end */
	gate_answered(&gate, 1000000);
	gate_sent(&gate, GATE_CALLBACKS + 1, 1, NOW);
	assert_true(gate_is_full(&gate, 1));
	/* a stream ends with callbacks that have no answer */
	gate_answered(&gate, 11);
	gate_answered(&gate, -10);
	assert_false(gate_is_full(&gate, 1));
	gate_sent(&gate, 1, 1, NOW);
	assert_true(gate_is_full(&gate, 1));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_one_at_a_time),
		cmocka_unit_test(test_narrower),
		cmocka_unit_test(test_patience),
		cmocka_unit_test(test_callbacks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
