/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>

#include "nfs41/range.h"

#define END UINT64_MAX

static int setup(void **arg)
{
	static struct range_set set;
	set = (struct range_set){0};
	*arg = &set;
	return 0;
}

static int teardown(void **arg)
{
	range_set_deinit(*arg);
	return 0;
}

static void change(struct range_set *set, uint64_t first, uint64_t last, enum range_kind kind)
{
	const struct range range = {first, last, kind};
	assert_int_equal(range_set_reserve(set, 1), 0);
	assert_true(range_set_change(set, &range));
}

/* The set is exactly these. */
static void expect(const struct range_set *set, unsigned count, const struct range *ranges)
{
	assert_int_equal(set->count, count);
	for (unsigned i = 0; i < count; i++) {
		assert_int_equal(set->at[i].first, ranges[i].first);
		assert_int_equal(set->at[i].last, ranges[i].last);
		assert_int_equal(set->at[i].kind, ranges[i].kind);
	}
}

#define EXPECT(set, ...)                                                    \
	do {                                                                \
		const struct range ranges_[] = {__VA_ARGS__};               \
		expect(set, sizeof(ranges_) / sizeof(ranges_[0]), ranges_); \
	} while (0)

static void test_range_from_offset_and_length(void **arg)
{
	struct range range = range_of(10, 5, RANGE_READ);
	assert_int_equal(range.first, 10);
	assert_int_equal(range.last, 14);
	assert_int_equal(range_length(&range), 5);
	range = range_of(10, UINT64_MAX, RANGE_READ);
	assert_true(range.last == END && range_length(&range) == UINT64_MAX);
	range = range_of(10, UINT64_MAX - 5, RANGE_READ);
	assert_true(range.last == END);
}

static void test_neighbours_of_a_kind_become_one(void **arg)
{
	struct range_set *set = *arg;
	change(set, 0, 9, RANGE_WRITE);
	change(set, 20, 29, RANGE_WRITE);
	EXPECT(set, {0, 9, RANGE_WRITE}, {20, 29, RANGE_WRITE});
	change(set, 10, 19, RANGE_WRITE);
	EXPECT(set, {0, 29, RANGE_WRITE});
	change(set, 30, 39, RANGE_READ);
	EXPECT(set, {0, 29, RANGE_WRITE}, {30, 39, RANGE_READ});
	change(set, 25, 50, RANGE_READ);
	EXPECT(set, {0, 24, RANGE_WRITE}, {25, 50, RANGE_READ});
	change(set, 40, END, RANGE_READ);
	EXPECT(set, {0, 24, RANGE_WRITE}, {25, END, RANGE_READ});
}

static void test_unlock_splits(void **arg)
{
	struct range_set *set = *arg;
	change(set, 0, END, RANGE_WRITE);
	change(set, 100, 199, RANGE_FREE);
	EXPECT(set, {0, 99, RANGE_WRITE}, {200, END, RANGE_WRITE});
	change(set, 0, 49, RANGE_FREE);
	change(set, 300, END, RANGE_FREE);
	EXPECT(set, {50, 99, RANGE_WRITE}, {200, 299, RANGE_WRITE});
	change(set, 99, 200, RANGE_FREE);
	EXPECT(set, {50, 98, RANGE_WRITE}, {201, 299, RANGE_WRITE});
	change(set, 0, END, RANGE_FREE);
	assert_int_equal(set->count, 0);
}

static void test_upgrade_in_the_middle(void **arg)
{
	struct range_set *set = *arg;
	change(set, 0, 99, RANGE_READ);
	change(set, 10, 19, RANGE_WRITE);
	EXPECT(set, {0, 9, RANGE_READ}, {10, 19, RANGE_WRITE}, {20, 99, RANGE_READ});
	change(set, 10, 19, RANGE_READ);
	EXPECT(set, {0, 99, RANGE_READ});
}

static void test_find_goes_on_from_an_offset(void **arg)
{
	struct range_set *set = *arg;
	struct range range;
	assert_false(range_set_find(set, 0, &range));
	change(set, 10, 19, RANGE_READ);
	change(set, 30, 39, RANGE_WRITE);
	assert_true(range_set_find(set, 0, &range) && range.first == 10);
	assert_true(range_set_find(set, 19, &range) && range.first == 10);
	assert_true(range_set_find(set, 20, &range) && range.first == 30);
	assert_false(range_set_find(set, 40, &range));
}

static void test_memory_is_bounded(void **arg)
{
	struct range_set *set = *arg;
	unsigned i = 0;
	while (range_set_reserve(set, 1) == 0) {
		const struct range range = {i * 10, i * 10 + 4, RANGE_READ};
		assert_true(range_set_change(set, &range));
		i++;
	}
	assert_true(i >= RANGE_SET_MAX - RANGE_CHANGE_MAX && i <= RANGE_SET_MAX);
	assert_int_equal(range_set_reserve(set, 1), -ENOLCK);
	/* everything can always be freed */
	const struct range all = {0, END, RANGE_FREE};
	assert_true(range_set_change(set, &all));
	assert_int_equal(set->count, 0);
}

static void test_no_room_no_change(void **arg)
{
	struct range_set *set = *arg;
	const struct range range = {0, 9, RANGE_READ};
	assert_false(range_set_change(set, &range));
	assert_int_equal(set->count, 0);
}

/* Against a map of bytes. */
static void test_random_changes_match_a_map(void **arg)
{
	enum { SIZE = 64 };
	struct range_set *set = *arg;
	enum range_kind map[SIZE] = {RANGE_FREE};
	srandom(1);
	for (unsigned round = 0; round < 20000; round++) {
		uint64_t a = (uint64_t)random() % SIZE, b = (uint64_t)random() % SIZE;
		uint64_t first = a < b ? a : b, last = a < b ? b : a;
		enum range_kind kind = (enum range_kind)(random() % 3);
		change(set, first, last, kind);
		for (uint64_t i = first; i <= last; i++)
			map[i] = kind;
		unsigned n = 0;
		for (uint64_t i = 0; i < SIZE; n++) {
			while (i < SIZE && map[i] == RANGE_FREE)
				i++;
			if (i == SIZE)
				break;
			assert_true(n < set->count);
			assert_int_equal(set->at[n].first, i);
			assert_int_equal(set->at[n].kind, map[i]);
			while (i < SIZE && map[i] == set->at[n].kind)
				i++;
			assert_int_equal(set->at[n].last, i - 1);
		}
		assert_int_equal(set->count, n);
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(test_##name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(range_from_offset_and_length),
		TEST(neighbours_of_a_kind_become_one),
		TEST(unlock_splits),
		TEST(upgrade_in_the_middle),
		TEST(find_goes_on_from_an_offset),
		TEST(memory_is_bounded),
		TEST(no_room_no_change),
		TEST(random_changes_match_a_map),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
