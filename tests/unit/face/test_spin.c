/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
/* after the above */
#include <cmocka.h>

#include "spin.h"

#define US    UINT64_C(1000) /* ns */
#define MS    (1000 * US)
#define LIMIT (50 * US)

/* A worker with a clock of its own: it works for 10 us, then waits. */
struct life {
	struct spin spin;
	uint64_t now, active, spun;
	unsigned spins;
};

static struct life life_new(uint64_t limit)
{
	struct life life = {.now = 1000 * MS, .active = 0};
	spin_init(&life.spin, limit);
	return life;
}

/* What it waits for comes after `after` ns; others have the CPU for `away` of them. */
static bool life_wait_away(struct life *life, enum spin_wait wait, uint64_t after, uint64_t away)
{
	life->now += 10 * US;
	uint64_t limit = spin_begin(&life->spin, wait, life->active, life->now);
	uint64_t spun = after < limit ? after : limit;
	if (limit > 0) {
		life->spins++;
		life->spun += spun;
		spin_end(&life->spin, after <= limit, away, life->now + spun);
	}
	life->now += after;
	life->active = life->now;
	return limit > 0;
}

static bool life_wait(struct life *life, enum spin_wait wait, uint64_t after)
{
	return life_wait_away(life, wait, after, 0);
}

static void test_spins_while_events_come_soon(void **state)
{
	struct life life = life_new(LIMIT);
	(void)state;
	assert_false(life_wait(&life, SPIN_REQUEST, 0));
	for (int i = 0; i < 1000; i++) {
		assert_true(life_wait(&life, SPIN_REPLY, 40 * US));
		assert_true(life_wait(&life, SPIN_REQUEST, 5 * US));
	}
}

static void test_never_without_a_limit(void **state)
{
	struct life life = life_new(0);
	(void)state;
	for (int i = 0; i < 1000; i++) {
		assert_false(life_wait(&life, SPIN_REPLY, US));
		assert_false(life_wait(&life, SPIN_REQUEST, US));
	}
}

/* A lease is renewed, a timer fires: after that nothing is to be expected. */
static void test_never_when_idle(void **state)
{
	struct life life = life_new(LIMIT);
	(void)state;
	for (int i = 0; i < 1000; i++) {
		assert_false(life_wait(&life, SPIN_REQUEST, i % 2 ? 20 * US : 20 * MS));
		life.active = 0;
	}
}

/* A server that takes longer than the limit costs a 256th of the waits at most. */
static void test_gives_up_what_is_in_vain(void **state)
{
	struct life life = life_new(LIMIT);
	unsigned before;
	(void)state;
	for (int i = 0; i < 600; i++)
		life_wait(&life, SPIN_REPLY, 200 * US);
	before = life.spins;
	assert_true(before < 12);
	for (int i = 0; i < 257 * 100; i++)
		life_wait(&life, SPIN_REPLY, 200 * US);
	assert_in_range(life.spins - before, 99, 101);
}

static void test_comes_back_when_it_pays_again(void **state)
{
	struct life life = life_new(LIMIT);
	unsigned waits = 0;
	(void)state;
	for (int i = 0; i < 2000; i++)
		life_wait(&life, SPIN_REPLY, 200 * US);
	life.spins = 0;
	while (life.spins < 10)
		life_wait(&life, SPIN_REPLY, 20 * US), waits++;
	/* 256 at most before the first, half as many before each of the next */
	assert_true(waits < 2 * SPIN_SKIP_MAX + 20);
	for (int i = 0; i < 100; i++)
		assert_true(life_wait(&life, SPIN_REPLY, 20 * US));
}

/* A slow server says nothing about the program, which asks again at once. */
static void test_requests_and_replies_are_told_apart(void **state)
{
	struct life life = life_new(LIMIT);
	unsigned requests = 0;
	(void)state;
	for (int i = 0; i < 1000; i++) {
		life_wait(&life, SPIN_REPLY, 500 * US);
		requests += life_wait(&life, SPIN_REQUEST, 5 * US);
	}
	assert_int_equal(requests, 1000);
	assert_true(life.spins - requests < 16);
}

/* What every second wait finds is worth every second one of those that it spins for. */
static void test_half_of_the_waits_in_vain(void **state)
{
	struct life life = life_new(LIMIT);
	unsigned vain = 0;
	(void)state;
	for (int i = 0; i < 1000; i++) {
		life_wait(&life, SPIN_REQUEST, 5 * US);
		vain += life_wait(&life, SPIN_REQUEST, 300 * US);
	}
	assert_true(vain <= 500);
}

static void test_rests_when_others_want_the_cpu(void **state)
{
	struct life life = life_new(LIMIT);
	uint64_t start, rest = SPIN_REST_NS;
	(void)state;
	for (int i = 0; i < 12; i++) {
		assert_true(life_wait_away(&life, SPIN_REPLY, 20 * US, SPIN_AWAY_NS));
		start = life.now;
		while (!life_wait(&life, SPIN_REPLY, 20 * US))
			;
		assert_in_range(life.now - start, rest - 100 * US, rest + 100 * US);
		rest = rest * 2 < SPIN_REST_MAX_NS ? rest * 2 : SPIN_REST_MAX_NS;
	}
}

static void test_a_moment_away_is_no_reason(void **state)
{
	struct life life = life_new(LIMIT);
	(void)state;
	for (int i = 0; i < 100; i++)
		assert_true(life_wait_away(&life, SPIN_REPLY, 20 * US, SPIN_AWAY_NS - 1));
}

static void test_rests_are_forgotten(void **state)
{
	struct life life = life_new(LIMIT);
	(void)state;
	for (int i = 0; i < 3; i++) {
		life_wait_away(&life, SPIN_REPLY, 20 * US, MS);
		while (!life_wait(&life, SPIN_REPLY, 20 * US))
			;
	}
	for (int i = 0; i < 30000; i++)
		assert_true(life_wait(&life, SPIN_REPLY, 20 * US));
	life_wait_away(&life, SPIN_REPLY, 20 * US, MS);
	uint64_t start = life.now;
	while (!life_wait(&life, SPIN_REPLY, 20 * US))
		;
	assert_in_range(life.now - start, SPIN_REST_NS - 100 * US, SPIN_REST_NS + 100 * US);
}

/* Waits that are left out before the next try, which finds something or does not. */
static unsigned left_out(struct life *life, bool found)
{
	unsigned waits = 0;
	while (!life_wait(life, SPIN_REPLY, found ? 20 * US : 200 * US))
		waits++;
	return waits;
}

static void test_tries_grow_rare_and_come_back_by_halves(void **state)
{
	static const unsigned rarer[] = {0, 1, 3, 7, 15, 31, 63, 127, 255, 256, 256};
	struct life life = life_new(LIMIT);
	(void)state;
	for (size_t i = 0; i < sizeof(rarer) / sizeof(rarer[0]); i++)
		assert_int_equal(left_out(&life, false), rarer[i]);
	for (unsigned waits = SPIN_SKIP_MAX; waits > 0; waits /= 2)
		assert_int_equal(left_out(&life, true), waits);
	/* as if there had been none in vain */
	assert_int_equal(left_out(&life, false), 0);
	assert_int_equal(left_out(&life, true), 1);
	assert_int_equal(left_out(&life, true), 0);
}

static void test_looks_for_as_long_as_it_may(void **state)
{
	const uint64_t now = 1000 * MS;
	struct spin spin;
	(void)state;
	/* whatever it was before */
	memset(&spin, 0xff, sizeof(spin));
	spin_init(&spin, LIMIT);
	assert_int_equal(spin_begin(&spin, SPIN_REPLY, now, now), LIMIT);
	spin_end(&spin, true, 0, now);
	/* a program is at work until this long after its last request */
	assert_int_equal(spin_begin(&spin, SPIN_REQUEST, now, now + SPIN_IDLE_NS), LIMIT);
	spin_end(&spin, true, 0, now);
	assert_int_equal(spin_begin(&spin, SPIN_REQUEST, now, now + SPIN_IDLE_NS + 1), 0);
	assert_int_equal(spin_begin(&spin, SPIN_REPLY, now, now + SPIN_IDLE_NS + 1), LIMIT);
}

/* Another thread had the CPU at `now`: how long it rests. */
static uint64_t rest_at(struct spin *spin, uint64_t now)
{
	assert_int_equal(spin_begin(spin, SPIN_REPLY, now, now), LIMIT);
	spin_end(spin, false, SPIN_AWAY_NS, now);
	uint64_t until = now;
	while (spin_begin(spin, SPIN_REPLY, now, until) == 0)
		until += US;
	spin_end(spin, true, 0, until);
	return until - now;
}

static void test_how_long_it_rests(void **state)
{
	uint64_t now = 1000 * MS, rest = SPIN_REST_NS;
	struct spin spin;
	(void)state;
	spin_init(&spin, LIMIT);
	/* what was in vain then says nothing of the next try */
	assert_int_equal(rest_at(&spin, now), rest);
	/* again within four times as long as the last one: twice as long */
	now += rest + 4 * rest;
	assert_int_equal(rest_at(&spin, now), 2 * rest);
	now += 2 * rest + 4 * 2 * rest + 1;
	assert_int_equal(rest_at(&spin, now), rest);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_spins_while_events_come_soon),
		cmocka_unit_test(test_never_without_a_limit),
		cmocka_unit_test(test_never_when_idle),
		cmocka_unit_test(test_gives_up_what_is_in_vain),
		cmocka_unit_test(test_comes_back_when_it_pays_again),
		cmocka_unit_test(test_requests_and_replies_are_told_apart),
		cmocka_unit_test(test_half_of_the_waits_in_vain),
		cmocka_unit_test(test_rests_when_others_want_the_cpu),
		cmocka_unit_test(test_a_moment_away_is_no_reason),
		cmocka_unit_test(test_rests_are_forgotten),
		cmocka_unit_test(test_tries_grow_rare_and_come_back_by_halves),
		cmocka_unit_test(test_looks_for_as_long_as_it_may),
		cmocka_unit_test(test_how_long_it_rests),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
