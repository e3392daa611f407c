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
	int a = 0, b = 0;

	assert_int_equal(gate_when(&gate, NOW), NOW);
	gate_close(&gate, &a, NOW);
	assert_int_equal(gate_when(&gate, NOW), NOW + GATE_PATIENCE);
	assert_int_equal(gate_when(&gate, NOW + 1), NOW + GATE_PATIENCE);
	/* what comes on another stream answers nothing */
	gate_answer(&gate, &b);
	assert_int_equal(gate_when(&gate, NOW + 2), NOW + GATE_PATIENCE);
	gate_answer(&gate, &a);
	assert_int_equal(gate_when(&gate, NOW + 3), NOW + 3);
}

static void test_patience(void **state)
{
	struct gate gate = {0};
	uint64_t later = NOW + GATE_PATIENCE;
	int a = 0, b = 0;

	gate_close(&gate, &a, NOW);
	assert_int_equal(gate_when(&gate, later - 1), later);
	assert_int_equal(gate_when(&gate, later), later);
	assert_int_equal(gate_when(&gate, later + 1), later + 1);
	/* an answer that is so late opens it for nobody else's call */
	gate_close(&gate, &b, later);
	gate_answer(&gate, &a);
	assert_int_equal(gate_when(&gate, later), later + GATE_PATIENCE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_one_at_a_time),
		cmocka_unit_test(test_patience),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
