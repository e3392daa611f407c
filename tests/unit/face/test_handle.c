/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "handle.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

static int objects[5000];

static int setup(void **state)
{
	struct handle_table *table;
	if (handle_table_new(7, &table))
		return -1;
	*state = table;
	return 0;
}

static int teardown(void **state)
{
	handle_table_free(*state);
	return 0;
}

static void test_each_finds_its_own(void **state)
{
	struct handle_table *table = *state;
	static uint64_t handles[5000];
	for (unsigned i = 0; i < 5000; i++) {
		handles[i] = handle_new(table, &objects[i]);
		assert_int_not_equal(handles[i], 0);
	}
	for (unsigned i = 0; i < 5000; i++)
		assert_ptr_equal(handle_find(table, handles[i]), &objects[i]);
	assert_null(handle_find(table, 0));
	assert_null(handle_find(table, UINT64_MAX));
	assert_null(handle_find(table, handles[0] + (UINT64_C(1) << 32)));
}

static void test_a_dropped_one_is_not_found(void **state)
{
	struct handle_table *table = *state;
	uint64_t a = handle_new(table, &objects[0]);
	handle_drop(table, a);
	assert_null(handle_find(table, a));
	uint64_t b = handle_new(table, &objects[1]);
	assert_int_equal((uint32_t)a, (uint32_t)b);
	assert_int_not_equal(a, b);
	assert_null(handle_find(table, a));
	handle_drop(table, a);
	assert_ptr_equal(handle_find(table, b), &objects[1]);
}

static void test_never_zero(void **state)
{
	struct handle_table *table;
	assert_int_equal(handle_table_new(0, &table), 0);
	for (unsigned i = 0; i < 70000 * 2; i++) {
		uint64_t handle = handle_new(table, &objects[0]);
		assert_int_not_equal(handle >> 32, 0);
		handle_drop(table, handle);
	}
	handle_table_free(table);
}

static void test_restored(void **state)
{
	struct handle_table *table = *state;
	const uint64_t old = UINT64_C(6) << 48 | UINT64_C(9) << 32 | 3000;
	assert_int_equal(handle_restore(table, old, &objects[0]), 0);
	assert_int_equal(handle_restore(table, old, &objects[1]), -EINVAL);
	assert_int_equal(handle_restore(table, old + 1, &objects[1]), 0);
	assert_ptr_equal(handle_find(table, old), &objects[0]);
	assert_ptr_equal(handle_find(table, old + 1), &objects[1]);
	for (unsigned i = 2; i < 5000; i++) {
		uint64_t handle = handle_new(table, &objects[i]);
		assert_ptr_equal(handle_find(table, handle), &objects[i]);
	}
	assert_ptr_equal(handle_find(table, old), &objects[0]);
}

static void test_nonsense_is_not_restored(void **state)
{
	struct handle_table *table = *state;
	assert_int_equal(handle_restore(table, 0, &objects[0]), -EINVAL);
	assert_int_equal(handle_restore(table, 5, &objects[0]), -EINVAL);
	assert_int_equal(handle_restore(table, UINT64_MAX, &objects[0]), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_each_finds_its_own, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_dropped_one_is_not_found, setup, teardown),
		cmocka_unit_test(test_never_zero),
		cmocka_unit_test_setup_teardown(test_restored, setup, teardown),
		cmocka_unit_test_setup_teardown(test_nonsense_is_not_restored, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
