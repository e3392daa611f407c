/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* after the above */
#include <cmocka.h>

#include "changes.h"
#include "util/loop.h"

static uint32_t object(uint32_t number)
{
	return changes_object((const uint8_t *)&number, sizeof(number));
}

static int setup(void **state)
{
	return changes_new((struct changes **)state);
}

static int teardown(void **state)
{
	changes_free(*state);
	return 0;
}

static void change(struct changes *changes, uint32_t what)
{
	struct changes_held held = {0};
	changes_hold(changes, &held, what);
	changes_release(changes, &held);
}

static void test_a_change_is_seen_while_it_is_made_and_after(void **state)
{
	struct changes *changes = *state;
	struct changes_held held = {0};
	uint64_t before = loop_clock();
	assert_true(changes_none(changes, object(1), before));
	changes_hold(changes, &held, object(1));
	changes_hold(changes, &held, CHANGES_LINKS);
	assert_false(changes_none(changes, object(1), loop_clock() + 1000));
	assert_false(changes_none(changes, CHANGES_LINKS, loop_clock() + 1000));
	assert_true(changes_none(changes, object(2), before));
	changes_release(changes, &held);
	assert_false(changes_none(changes, object(1), before));
	assert_false(changes_none(changes, CHANGES_LINKS, before));
	assert_true(changes_none(changes, object(1), loop_clock() + 1));
}

static void test_of_two_changes_at_once_the_first_to_end_does_not_end_the_other(void **state)
{
	struct changes *changes = *state;
	struct changes_held one = {0}, other = {0};
	changes_hold(changes, &one, object(1));
	changes_hold(changes, &other, object(1));
	changes_release(changes, &one);
	assert_false(changes_none(changes, object(1), loop_clock() + 1000));
	changes_release(changes, &other);
	assert_true(changes_none(changes, object(1), loop_clock() + 1));
}

static void test_no_change_is_missed_and_few_are_made_up(void **state)
{
	struct changes *changes = *state;
	const uint32_t changed = 5000, others = 10000;
	uint64_t before = loop_clock();
	unsigned made_up = 0;
	for (uint32_t i = 0; i < changed; i++)
		change(changes, object(i));
	for (uint32_t i = 0; i < changed; i++)
		assert_false(changes_none(changes, object(i), before));
	for (uint32_t i = 0; i < others; i++)
		made_up += !changes_none(changes, object(changed + i), before);
	assert_in_range(made_up, 0, others / 80);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			test_a_change_is_seen_while_it_is_made_and_after, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_of_two_changes_at_once_the_first_to_end_does_not_end_the_other, setup,
			teardown),
		cmocka_unit_test_setup_teardown(
			test_no_change_is_missed_and_few_are_made_up, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
