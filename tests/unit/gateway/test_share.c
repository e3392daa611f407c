/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "gateway/share.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define SECOND UINT64_C(1000000000)
#define STEP   (SECOND / 1000)
#define RATE   100

struct guest {
	struct share share;
	uint64_t calls;
};

static void begin(struct share_pool *pool, struct guest *guests, unsigned n)
{
	share_pool_init(pool, RATE, 0);
	for (unsigned i = 0; i < n; i++) {
		share_init(&guests[i].share, pool, 0);
		guests[i].calls = 0;
	}
}

/* Calls as often as it may. */
static void flood(struct guest *guest, struct share_pool *pool, uint64_t now)
{
	for (int i = 0; i < 10 && share_when(&guest->share, pool, now) <= now; i++) {
		share_take(&guest->share, pool, 1, now);
		guest->calls++;
	}
}

static void test_alone(void **state)
{
	struct share_pool pool;
	struct guest guest;

	begin(&pool, &guest, 1);
	for (uint64_t now = 0; now < 100 * SECOND; now += STEP)
		flood(&guest, &pool, now);
	assert_int_equal(guest.calls, 10 * 100 * 1000);
	assert_int_equal(share_at_once(&guest.share, &pool, 100 * SECOND), UINT64_MAX);
	/* another one has come and gone */
	struct guest other = {.calls = 0};
	share_init(&other.share, &pool, 100 * SECOND);
	share_take(&other.share, &pool, 1, 100 * SECOND);
	assert_int_equal(share_at_once(&guest.share, &pool, 100 * SECOND), 0);
	share_take(&guest.share, &pool, 2, 100 * SECOND);
	assert_true(share_when(&guest.share, &pool, 100 * SECOND) > 100 * SECOND);
	assert_int_equal(share_when(&guest.share, &pool, 102 * SECOND), 102 * SECOND);
	share_deinit(&other.share, &pool);
	share_deinit(&guest.share, &pool);
	assert_int_equal(pool.count, 0);
}

/* Of two, one calls now and then: it never waits, and the other has what it leaves. */
static void test_hands_on(void **state)
{
	struct share_pool pool;
	struct guest guests[2], *busy = &guests[0], *calm = &guests[1];
	uint64_t before = 0, begun = 20 * SECOND, now = 0;

	begin(&pool, guests, 2);
	for (; now < begun; now += STEP)
		flood(busy, &pool, now);
	for (; now < begun + 100 * SECOND; now += STEP) {
		if (now % (SECOND / 20) == 0) {
			assert_int_equal(share_when(&calm->share, &pool, now), now);
			share_take(&calm->share, &pool, 1, now);
			calm->calls++;
		}
		if (now == begun)
			before = busy->calls;
		flood(busy, &pool, now);
	}
	assert_int_equal(calm->calls, 20 * 100);
	assert_in_range(busy->calls - before, 180 * 100 - RATE, 180 * 100 + 2 * RATE);
}

static void test_two_floods(void **state)
{
	struct share_pool pool;
	struct guest guests[2];
	uint64_t before[2] = {0};

	begin(&pool, guests, 2);
	for (uint64_t now = 0; now < 120 * SECOND; now += STEP)
		for (int i = 0; i < 2; i++) {
			if (now == 20 * SECOND)
				before[i] = guests[i].calls;
			flood(&guests[i], &pool, now);
		}
	for (int i = 0; i < 2; i++)
		assert_in_range(
			guests[i].calls - before[i], RATE * 100 * 9 / 10, RATE * 100 * 11 / 10);
}

/* What it had of the others' is not held against it once it calls less. */
static void test_no_debt(void **state)
{
	struct share_pool pool;
	struct guest guests[2];
	uint64_t now = 0;

	begin(&pool, guests, 2);
	for (; now < 60 * SECOND; now += STEP) {
		if (now % (SECOND / 20) == 0)
			share_take(&guests[1].share, &pool, 1, now);
		flood(&guests[0], &pool, now);
	}
	assert_int_equal(share_at_once(&guests[0].share, &pool, now), 0);
	share_take(&guests[1].share, &pool, 1, now + 3 * SECOND / 2);
	assert_in_range(
		share_at_once(&guests[0].share, &pool, now + 3 * SECOND / 2), RATE / 3, RATE);
	share_take(&guests[1].share, &pool, 1, now + 3 * SECOND);
	assert_int_equal(share_at_once(&guests[0].share, &pool, now + 3 * SECOND), UINT64_MAX);
}

static void test_change(void **state)
{
	struct share_pool pool;
	struct guest guests[2];

	begin(&pool, guests, 2);
	share_pool_change(&pool, 0, 0);
	for (uint64_t now = 0; now < 30 * SECOND; now += STEP)
		for (int i = 0; i < 2; i++)
			flood(&guests[i], &pool, now);
	assert_int_equal(guests[0].calls, 10 * 30 * 1000);
	assert_int_equal(guests[1].calls, guests[0].calls);
	share_pool_change(&pool, RATE, 30 * SECOND);
	for (uint64_t now = 30 * SECOND; now < 60 * SECOND; now += STEP)
		for (int i = 0; i < 2; i++)
			flood(&guests[i], &pool, now);
	assert_in_range(guests[1].calls, 10 * 30 * 1000, 10 * 30 * 1000 + 45 * RATE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_alone),
		cmocka_unit_test(test_hands_on),
		cmocka_unit_test(test_two_floods),
		cmocka_unit_test(test_no_debt),
		cmocka_unit_test(test_change),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
