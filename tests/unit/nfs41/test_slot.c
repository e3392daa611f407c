/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "nfs41/slot.h"

static const uint8_t session_a[NFS4_SESSIONID_SIZE] = "session a";
static const uint8_t session_b[NFS4_SESSIONID_SIZE] = "session b";

struct worker {
	struct slot_waiter waiter;
	unsigned woken;
};

static void worker_wake(struct slot_waiter *waiter)
{
	((struct worker *)waiter)->woken++;
}

struct fixture {
	struct slot_table table;
	struct worker w[3];
};

static int setup_slots(void **state, uint32_t wanted, uint32_t granted)
{
	static struct fixture f;
	memset(&f, 0, sizeof(f));
	slot_table_init(&f.table, wanted);
	assert_int_equal(slot_table_reset(&f.table, session_a, granted), 1);
	slot_table_open(&f.table, true);
	for (unsigned i = 0; i < 3; i++)
		f.w[i].waiter.wake = worker_wake;
	*state = &f;
	return 0;
}

static int setup(void **state)
{
	return setup_slots(state, 4, 5);
}

static int teardown(void **state)
{
	slot_table_deinit(&((struct fixture *)*state)->table);
	return 0;
}

static struct slot_grant take(struct fixture *f, unsigned worker)
{
	struct slot_grant grant;
	assert_true(slot_take(&f->table, &f->w[worker].waiter, false, &grant));
	return grant;
}

static void refuse(struct fixture *f, unsigned worker)
{
	struct slot_grant grant;
	assert_false(slot_take(&f->table, &f->w[worker].waiter, false, &grant));
}

static void release(struct fixture *f, unsigned worker, const struct slot_grant *grant)
{
	slot_release(&f->table, &f->w[worker].waiter, grant, true, SLOT_NO_TARGET);
}

static void test_doubt(void **state)
{
	struct fixture *f = *state;
	struct slot_grant grant = take(f, 0);
	assert_false(grant.doubtful);
	slot_release(&f->table, &f->w[0].waiter, &grant, false, SLOT_NO_TARGET);
	grant = take(f, 1);
	assert_true(grant.doubtful);
	assert_false(take(f, 1).doubtful);
	release(f, 1, &grant);
	assert_false(take(f, 0).doubtful);
	grant = take(f, 0);
	slot_release(&f->table, &f->w[0].waiter, &grant, false, SLOT_NO_TARGET);
	slot_table_reset(&f->table, session_b, 5);
	for (unsigned i = 0; i < 4; i++)
		assert_false(take(f, 0).doubtful);
}

static void test_lowest_first(void **state)
{
	struct fixture *f = *state;
	struct slot_grant a = take(f, 0), b = take(f, 0), c = take(f, 1);
	assert_int_equal(a.slot, 1);
	assert_int_equal(b.slot, 2);
	assert_int_equal(c.slot, 3);
	assert_int_equal(a.highest, 1);
	assert_int_equal(c.highest, 3);
	assert_memory_equal(c.sessionid, session_a, sizeof(session_a));
	release(f, 0, &a);
	struct slot_grant d = take(f, 1);
	assert_int_equal(d.slot, 1);
	assert_int_equal(d.sequence, 2);
	assert_int_equal(d.highest, 3);
}

static void test_sequence_counts_only_what_the_server_took(void **state)
{
	struct fixture *f = *state;
	struct slot_grant a = take(f, 0);
	assert_int_equal(a.sequence, 1);
	slot_release(&f->table, &f->w[0].waiter, &a, false, SLOT_NO_TARGET);
	a = take(f, 0);
	assert_int_equal(a.sequence, 1);
	release(f, 0, &a);
	assert_int_equal(take(f, 0).sequence, 2);
}

static void test_double_release_is_harmless(void **state)
{
	struct fixture *f = *state;
	struct slot_grant a = take(f, 0);
	release(f, 0, &a);
	release(f, 0, &a);
	assert_int_equal(take(f, 0).sequence, 2);
}

static void test_waits_and_wakes_another_worker(void **state)
{
	struct fixture *f = *state;
	struct slot_grant held[4];
	for (unsigned i = 0; i < 4; i++)
		held[i] = take(f, 0);
	refuse(f, 1);
	refuse(f, 2);
	assert_int_equal(f->w[1].woken + f->w[2].woken, 0);
	release(f, 0, &held[2]);
	assert_int_equal(f->w[1].woken, 1);
	assert_int_equal(f->w[2].woken, 0);
	/* promised to worker 1: nobody else may have it */
	refuse(f, 0);
	assert_int_equal(take(f, 1).slot, 3);
	release(f, 1, &held[3]);
	assert_int_equal(f->w[2].woken, 1);
	assert_int_equal(take(f, 2).slot, 4);
}

static void test_own_slot_first_but_not_for_ever(void **state)
{
	struct fixture *f = *state;
	struct slot_grant held[4];
	for (unsigned i = 0; i < 4; i++)
		held[i] = take(f, 0);
	refuse(f, 1);
	for (unsigned i = 0; i < SLOT_PASS_MAX; i++) {
		refuse(f, 0);
		release(f, 0, &held[0]);
		held[0] = take(f, 0);
		assert_int_equal(f->w[1].woken, 0);
	}
	refuse(f, 0);
	release(f, 0, &held[0]);
	assert_int_equal(f->w[1].woken, 1);
	refuse(f, 0);
	assert_int_equal(take(f, 1).slot, 1);
}

static void test_renounced_promise_goes_on(void **state)
{
	struct fixture *f = *state;
	struct slot_grant held[4];
	for (unsigned i = 0; i < 4; i++)
		held[i] = take(f, 0);
	refuse(f, 1);
	refuse(f, 2);
	release(f, 0, &held[0]);
	assert_int_equal(f->w[1].woken, 1);
	slot_renounce(&f->table, &f->w[1].waiter);
	assert_int_equal(f->w[2].woken, 1);
	slot_renounce(&f->table, &f->w[2].waiter);
	assert_int_equal(take(f, 0).slot, 1);
}

static void test_target_shrinks_and_grows(void **state)
{
	struct fixture *f = *state;
	struct slot_grant held[4];
	for (unsigned i = 0; i < 4; i++)
		held[i] = take(f, 0);
	slot_release(&f->table, &f->w[0].waiter, &held[0], true, 2);
	slot_release(&f->table, &f->w[0].waiter, &held[3], true, 2);
	assert_int_equal(take(f, 0).slot, 1);
	/* slot 3 still runs, slot 4 is retired */
	refuse(f, 1);
	slot_release(&f->table, &f->w[0].waiter, &held[2], true, 2);
	assert_int_equal(f->w[1].woken, 0);
	/* back to all four: the retired ones go on with their sequence ids */
	slot_release(&f->table, &f->w[0].waiter, &held[1], true, 4);
	assert_int_equal(f->w[1].woken, 1);
	for (unsigned i = 1; i < 4; i++) {
		struct slot_grant g = take(f, 1);
		assert_int_equal(g.slot, i + 1);
		assert_int_equal(g.sequence, 2);
	}
	refuse(f, 1);
}

static void test_grows_up_to_what_was_wanted(void **state)
{
	teardown(state);
	setup_slots(state, 100, 3);
	struct fixture *f = *state;
	struct slot_grant a = take(f, 0);
	take(f, 0);
	refuse(f, 0);
	slot_release(&f->table, &f->w[0].waiter, &a, true, 500);
	for (unsigned i = 0; i < 99; i++)
		take(f, 0);
	refuse(f, 0);
	assert_int_equal(f->table.limit, 101);
}

static void test_recalled_slots(void **state)
{
	struct fixture *f = *state;
	slot_table_shrink(&f->table, 1, 2);
	take(f, 0);
	take(f, 0);
	refuse(f, 0);
	slot_table_shrink(&f->table, 1, 4);
	refuse(f, 0);
}

static void test_promise_broken_by_a_shrink(void **state)
{
	struct fixture *f = *state;
	struct slot_grant held[4];
	for (unsigned i = 0; i < 4; i++)
		held[i] = take(f, 0);
	refuse(f, 1);
	release(f, 0, &held[3]);
	assert_int_equal(f->w[1].woken, 1);
	slot_table_shrink(&f->table, 1, 3);
	refuse(f, 1);
	release(f, 0, &held[1]);
	assert_int_equal(f->w[1].woken, 2);
	assert_int_equal(take(f, 1).slot, 2);
	assert_int_equal(f->table.reserved, 0);
}

static void test_closed_to_all_but_the_privileged(void **state)
{
	struct fixture *f = *state;
	struct slot_grant grant;
	slot_table_open(&f->table, false);
	refuse(f, 0);
	assert_true(slot_take(&f->table, &f->w[0].waiter, true, &grant));
	slot_table_open(&f->table, true);
	take(f, 0);
}

static void test_buried_session(void **state)
{
	struct fixture *f = *state;
	struct slot_grant grant;
	bool alive;
	slot_table_bury(&f->table, 2);
	slot_table_session(&f->table, NULL, &alive);
	assert_true(alive);
	slot_table_bury(&f->table, 1);
	assert_int_equal(slot_table_session(&f->table, NULL, &alive), 1);
	assert_false(alive);
	refuse(f, 0);
	assert_false(slot_take(&f->table, &f->w[0].waiter, true, &grant));
	slot_table_reset(&f->table, session_b, 5);
	take(f, 0);
}

static void test_new_session_forgets_the_old(void **state)
{
	struct fixture *f = *state;
	struct slot_grant old[4];
	for (unsigned i = 0; i < 4; i++)
		old[i] = take(f, 0);
	refuse(f, 1);
	release(f, 0, &old[0]);
	assert_int_equal(slot_table_reset(&f->table, session_b, 2), 2);
	/* the promise to worker 1 was of the old session */
	assert_int_equal(f->table.reserved, 0);
	struct slot_grant new = take(f, 0);
	assert_int_equal(new.generation, 2);
	assert_int_equal(new.sequence, 1);
	assert_memory_equal(new.sessionid, session_b, sizeof(session_b));
	/* a late reply of the old session frees nothing here */
	old[1].slot = 1;
	slot_release(&f->table, &f->w[0].waiter, &old[1], true, 3);
	refuse(f, 2);
	assert_int_equal(f->table.limit, 2);
}

static void test_no_session_no_slot(void **state)
{
	struct slot_table table;
	struct slot_waiter waiter = {.wake = worker_wake};
	struct slot_grant grant;
	slot_table_init(&table, 8);
	slot_table_open(&table, true);
	assert_false(slot_take(&table, &waiter, true, &grant));
	slot_renounce(&table, &waiter);
	slot_table_deinit(&table);
}

static void test_large_table(void **state)
{
	teardown(state);
	setup_slots(state, 5000, 5000);
	struct fixture *f = *state;
	struct slot_grant grant;
	for (unsigned i = 0; i < SLOT_TABLE_MAX - 1; i++)
		grant = take(f, 0);
	assert_int_equal(grant.slot, SLOT_TABLE_MAX - 1);
	assert_int_equal(grant.highest, SLOT_TABLE_MAX - 1);
	refuse(f, 1);
	release(f, 0, &grant);
	assert_int_equal(f->w[1].woken, 1);
	assert_int_equal(take(f, 1).slot, SLOT_TABLE_MAX - 1);
}

static struct slot_grant take_kept(struct fixture *f)
{
	struct slot_grant grant;
	assert_int_equal(slot_take_kept(&f->table, &grant), SLOT_KEPT_TAKEN);
	assert_int_equal(grant.slot, 0);
	return grant;
}

static void test_kept_slot(void **state)
{
	struct fixture *f = *state;
	struct slot_grant other;
	for (unsigned i = 0; i < 4; i++)
		take(f, 0);
	refuse(f, 0);
	slot_table_open(&f->table, false);
	struct slot_grant kept = take_kept(f);
	assert_int_equal(kept.sequence, 1);
	assert_int_equal(slot_take_kept(&f->table, &other), SLOT_KEPT_WAIT);
	/* not answered: the same one again, in doubt */
	assert_true(slot_release(&f->table, NULL, &kept, false, SLOT_NO_TARGET));
	kept = take_kept(f);
	assert_int_equal(kept.sequence, 1);
	assert_true(kept.doubtful);
	assert_false(slot_release(&f->table, NULL, &kept, true, SLOT_NO_TARGET));
	kept = take_kept(f);
	assert_int_equal(kept.sequence, 2);
	assert_false(kept.doubtful);
	assert_int_equal(f->w[0].woken, 0);
	slot_table_bury(&f->table, 1);
	assert_int_equal(slot_take_kept(&f->table, &other), SLOT_KEPT_DEAD);
	/* the next session knows nothing of it */
	slot_table_reset(&f->table, session_b, 5);
	kept = take_kept(f);
	assert_int_equal(kept.sequence, 1);
	assert_false(kept.doubtful);
}

static void test_kept_slot_is_the_only_one(void **state)
{
	struct fixture *f = *state;
	struct slot_grant other;
	slot_table_reset(&f->table, session_b, 1);
	struct slot_grant shared = take(f, 0);
	assert_int_equal(shared.slot, 0);
	refuse(f, 1);
	assert_int_equal(slot_take_kept(&f->table, &other), SLOT_KEPT_USED);
	assert_false(slot_release(&f->table, &f->w[0].waiter, &shared, true, SLOT_NO_TARGET));
	/* promised to a compound, but the probe goes first */
	assert_int_equal(f->w[1].woken, 1);
	struct slot_grant kept = take_kept(f);
	assert_int_equal(kept.sequence, 2);
	refuse(f, 1);
	assert_false(slot_release(&f->table, NULL, &kept, true, SLOT_NO_TARGET));
	assert_int_equal(f->w[1].woken, 2);
	shared = take(f, 1);
	assert_int_equal(shared.sequence, 3);
	/* there are others again */
	slot_release(&f->table, &f->w[1].waiter, &shared, true, 4);
	assert_int_equal(take(f, 0).slot, 1);
	assert_int_equal(take_kept(f).sequence, 4);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_lowest_first, setup, teardown),
		cmocka_unit_test_setup_teardown(test_doubt, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_sequence_counts_only_what_the_server_took, setup, teardown),
		cmocka_unit_test_setup_teardown(test_double_release_is_harmless, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_waits_and_wakes_another_worker, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_own_slot_first_but_not_for_ever, setup, teardown),
		cmocka_unit_test_setup_teardown(test_renounced_promise_goes_on, setup, teardown),
		cmocka_unit_test_setup_teardown(test_target_shrinks_and_grows, setup, teardown),
		cmocka_unit_test_setup_teardown(test_grows_up_to_what_was_wanted, setup, teardown),
		cmocka_unit_test_setup_teardown(test_recalled_slots, setup, teardown),
		cmocka_unit_test_setup_teardown(test_promise_broken_by_a_shrink, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_closed_to_all_but_the_privileged, setup, teardown),
		cmocka_unit_test_setup_teardown(test_buried_session, setup, teardown),
		cmocka_unit_test_setup_teardown(test_new_session_forgets_the_old, setup, teardown),
		cmocka_unit_test(test_no_session_no_slot),
		cmocka_unit_test_setup_teardown(test_large_table, setup, teardown),
		cmocka_unit_test_setup_teardown(test_kept_slot, setup, teardown),
		cmocka_unit_test_setup_teardown(test_kept_slot_is_the_only_one, setup, teardown),
	};
	return cmocka_run_group_tests_name("slot", tests, NULL, NULL);
}
