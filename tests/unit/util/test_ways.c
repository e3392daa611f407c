/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "util/ways.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define COUNT 16

struct thing {
	char before[8];
	uint64_t id;
	uint64_t used_at;
};

static const struct ways ways = WAYS_INIT(struct thing, COUNT, id, used_at);
static struct thing things[COUNT];

static int setup(void **state)
{
	(void)state;
	memset(things, 0, sizeof(things));
	return 0;
}

/* What was in the place that it gets. */
static uint64_t put(uint64_t id, uint64_t used_at)
{
	struct thing *thing = ways_place(&ways, things, id);
	uint64_t before = thing->id;
	memset(thing, 0xff, sizeof(*thing));
	thing->id = id;
	thing->used_at = used_at;
	return before;
}

static void test_each_has_its_place(void **state)
{
	(void)state;
	for (uint64_t id = 100; id < 100 + COUNT; id++)
		assert_int_equal(put(id, 50), 0);
	for (uint64_t id = 100; id < 100 + COUNT; id++) {
		struct thing *thing = ways_find(&ways, things, id);
		assert_non_null(thing);
		assert_int_equal(thing->id, id);
		assert_ptr_equal(thing, ways_place(&ways, things, id));
	}
	assert_null(ways_find(&ways, things, 99));
	assert_null(ways_find(&ways, things, 100 + COUNT));
}

/* All that follow begin at the same place. */
static void test_a_few_in_a_row(void **state)
{
	(void)state;
	for (unsigned i = 0; i < WAYS; i++)
		assert_int_equal(put(COUNT - 1 + i * COUNT, 50), 0);
	for (unsigned i = 0; i < WAYS; i++)
		assert_non_null(ways_find(&ways, things, COUNT - 1 + i * COUNT));
	/* they go on at the beginning of the array, and no farther */
	assert_int_equal(things[COUNT - 1].id, COUNT - 1);
	assert_true(things[WAYS - 2].id != 0);
	assert_int_equal(things[WAYS - 1].id, 0);
}

static void test_the_least_gives_way(void **state)
{
	(void)state;
	put(16, 60), put(32, 40), put(48, 50), put(64, 70);
	assert_int_equal(put(80, 100), 32);
	assert_null(ways_find(&ways, things, 32));
	assert_int_equal(put(96, 100), 48);
	assert_int_equal(put(112, 100), 16);
	assert_int_equal(put(128, 100), 64);
	/* of equals the first */
	assert_int_equal(put(144, 100), 112);
}

static void test_one_that_is_there_stays_where_it_is(void **state)
{
	(void)state;
	put(16, 60), put(32, 40);
	/* though there is a free place before it */
	memset(&things[0], 0, sizeof(things[0]));
	assert_int_equal(put(32, 90), 32);
	assert_int_equal(things[1].used_at, 90);
	assert_int_equal(things[0].id, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_each_has_its_place, setup),
		cmocka_unit_test_setup(test_a_few_in_a_row, setup),
		cmocka_unit_test_setup(test_the_least_gives_way, setup),
		cmocka_unit_test_setup(test_one_that_is_there_stays_where_it_is, setup),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
