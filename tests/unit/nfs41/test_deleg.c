/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The record of delegations: who may open, what becomes due and when. */
#include <stdio.h>

#include "deleg_fixture.h"

#define READ	OPEN4_SHARE_ACCESS_READ
#define WRITE	OPEN4_SHARE_ACCESS_WRITE
#define NO_WANT OPEN4_SHARE_ACCESS_WANT_NO_DELEG

static bool opens(
	struct fixture *f, const struct nfs_fh *of, uint32_t access, struct rpc_cred *cred)
{
	struct nfs_stateid stateid;
	struct nfs_open *open = deleg_open(f->state, of, access, 1, cred);
	if (!open)
		return false;
	assert_true(nfs_open_is_local(f->state, open));
	assert_int_equal(nfs_open_use(f->state, open, &stateid), 0);
	/* nothing for the server to close */
	assert_false(nfs_open_close(f->state, open, &stateid));
	nfs_open_unref(f->state, open);
	return true;
}

static void finish(struct fixture *f, struct nfs_deleg *deleg)
{
	assert_non_null(deleg);
	deleg_end(f->state, deleg, true);
}

static uint32_t wants(struct fixture *f, const struct nfs_fh *of, uint32_t access, bool xor)
{
	struct deleg_asking asking;
	uint32_t want = deleg_ask(f->state, of, access, xor, &asking);
	deleg_answered(f->state, &asking, NULL);
	return want;
}

static void test_what_is_asked_for(void **state)
{
	struct fixture *f = *state;
	const uint32_t xor_bit = OPEN4_SHARE_ACCESS_WANT_OPEN_XOR_DELEGATION;
	assert_int_equal(wants(f, &fh, READ, true), OPEN4_SHARE_ACCESS_WANT_READ_DELEG);
	assert_int_equal(wants(f, NULL, READ | WRITE, false), OPEN4_SHARE_ACCESS_WANT_WRITE_DELEG);
	deleg_use_xor(f->state);
	assert_int_equal(wants(f, &fh, READ, true), OPEN4_SHARE_ACCESS_WANT_READ_DELEG | xor_bit);
	assert_int_equal(wants(f, &fh, READ, false), OPEN4_SHARE_ACCESS_WANT_READ_DELEG);
	/* not a second one, and none while it goes back */
	assert_true(grant(f, &fh, OPEN_DELEGATE_READ, 1));
	assert_int_equal(wants(f, &fh, READ, true), NO_WANT);
	deleg_return(f->state, &fh);
	assert_int_equal(wants(f, &fh, READ, true), NO_WANT);
	finish(f, deleg_take_due(f->state));
	assert_int_not_equal(wants(f, &fh, READ, true), NO_WANT);
}

static void test_only_for_reading(void **state)
{
	struct fixture *f = *state;
	assert_int_equal(wants(f, &fh, READ, true), OPEN4_SHARE_ACCESS_WANT_READ_DELEG);
	assert_int_equal(wants(f, &fh, WRITE, true), NO_WANT);
	assert_int_equal(wants(f, &fh, READ | WRITE, true), NO_WANT);
}

static void test_none(void **state)
{
	struct fixture *f = *state;
	assert_int_equal(wants(f, &fh, READ, true), NO_WANT);
	/* a server that gives one unasked gets it back */
	assert_false(grant(f, &fh, OPEN_DELEGATE_READ, 1));
	assert_int_equal(f->due, 1);
	assert_false(opens(f, &fh, READ, f->cred));
	finish(f, deleg_take_due(f->state));
	assert_null(deleg_take_due(f->state));
}

static void test_who_may_open(void **state)
{
	struct fixture *f = *state;
	struct deleg_asking asking;
	assert_false(opens(f, &fh, READ, f->cred));
	assert_true(grant(f, &fh, OPEN_DELEGATE_READ, 1));
	assert_true(opens(f, &fh, READ, f->cred));
	/* not what the delegation does not cover, whatever the opener may do */
	assert_false(opens(f, &fh, WRITE, f->cred));
	assert_false(opens(f, &fh2, READ, f->cred));
	/* nor whom the server has not been asked about yet */
	assert_false(opens(f, &fh, READ, f->other));
	const struct nfs_open_res res = {.delegation_type = OPEN_DELEGATE_NONE};
	const struct deleg_grant granted = {
		.fh = &fh, .cred = f->other, .access = READ, .res = &res};
	deleg_ask(f->state, &fh, READ, false, &asking);
	assert_true(deleg_answered(f->state, &asking, &granted));
	assert_true(opens(f, &fh, READ, f->other));
	assert_true(opens(f, &fh, READ, f->cred));
	deleg_forget_access(f->state, &fh);
	assert_true(deleg_holds(f->state, &fh));
	assert_false(opens(f, &fh, READ, f->other));
	assert_false(opens(f, &fh, READ, f->cred));
}

static void test_writing(void **state)
{
	struct fixture *f = *state;
	struct deleg_stats stats;
	assert_true(grant(f, &fh, OPEN_DELEGATE_WRITE, 1));
	assert_true(opens(f, &fh, READ | WRITE, f->cred));
	assert_true(deleg_holds_write(f->state, &fh));
	assert_true(grant(f, &fh2, OPEN_DELEGATE_READ_ATTRS_DELEG, 2));
	assert_false(deleg_holds_write(f->state, &fh2));
	deleg_get_stats(f->state, &stats);
	assert_int_equal(stats.write, 1);
	assert_int_equal(stats.read, 1);
	assert_int_equal(stats.granted, 2);
	assert_int_equal(stats.opens, 1);
	/* CB_GETATTR may come while it goes back */
	deleg_return(f->state, &fh);
	assert_true(deleg_holds_write(f->state, &fh));
	assert_false(opens(f, &fh, READ, f->cred));
}

static uint32_t recall(struct fixture *f, const struct nfs_fh *of, unsigned number)
{
	const struct nfs_stateid stateid = stateid_of(number);
	return deleg_recalled(f->state, of, &stateid);
}

static void test_recall(void **state)
{
	struct fixture *f = *state;
	struct deleg_stats stats;
	assert_int_equal(recall(f, &fh, 1), NFS4ERR_BADHANDLE);
	assert_true(grant(f, &fh, OPEN_DELEGATE_READ, 1));
	assert_int_equal(recall(f, &fh, 2), NFS4ERR_BAD_STATEID);
	assert_int_equal(recall(f, &fh2, 1), NFS4ERR_BADHANDLE);
	assert_int_equal(f->due, 0);
	assert_int_equal(recall(f, &fh, 1), NFS4_OK);
	assert_int_equal(f->due, 1);
	assert_false(deleg_holds(f->state, &fh));
	assert_false(opens(f, &fh, READ, f->cred));
	/* the server asks again while it is on its way */
	assert_int_equal(recall(f, &fh, 1), NFS4_OK);
	struct nfs_deleg *deleg = deleg_take_due(f->state);
	assert_int_equal(recall(f, &fh, 1), NFS4_OK);
	assert_null(deleg_take_due(f->state));
	finish(f, deleg);
	assert_int_equal(recall(f, &fh, 1), NFS4ERR_BADHANDLE);
	deleg_get_stats(f->state, &stats);
	assert_int_equal(stats.recalled, 1);
	assert_int_equal(stats.returned, 1);
	assert_int_equal(stats.read, 0);
}

static void test_recall_comes_before_the_grant(void **state)
{
	struct fixture *f = *state;
	struct deleg_asking first, second;
	deleg_ask(f->state, &fh, READ, false, &first);
	deleg_ask(f->state, &fh2, READ, false, &second);
	assert_int_equal(recall(f, &fh, 1), NFS4_OK);
	const struct nfs_open_res res = answer(OPEN_DELEGATE_READ, 1),
				  res2 = answer(OPEN_DELEGATE_READ, 2);
	const struct deleg_grant granted = {.fh = &fh, .cred = f->cred, .res = &res},
				 granted2 = {.fh = &fh2, .cred = f->cred, .res = &res2};
	assert_true(deleg_answered(f->state, &second, &granted2));
	assert_int_equal(f->due, 0);
	assert_false(deleg_answered(f->state, &first, &granted));
	assert_int_equal(f->due, 1);
	struct nfs_deleg *deleg = deleg_take_due(f->state);
	assert_true(nfs_fh_equal(&deleg->fh, &fh));
	finish(f, deleg);
	/* it is forgotten with the last OPEN that it could have been about */
	assert_int_equal(recall(f, &fh, 1), NFS4ERR_BADHANDLE);
	assert_true(grant(f, &fh, OPEN_DELEGATE_READ, 1));
}

static void test_many_early_recalls(void **state)
{
	struct fixture *f = *state;
	struct deleg_asking asking;
	deleg_ask(f->state, &fh, READ, false, &asking);
	for (unsigned i = 0; i < 10 * DELEG_EARLY; i++)
		assert_int_equal(recall(f, &fh, i), NFS4_OK);
	const struct nfs_open_res res = answer(OPEN_DELEGATE_READ, 10 * DELEG_EARLY - 1);
	const struct deleg_grant granted = {.fh = &fh, .cred = f->cred, .res = &res};
	assert_false(deleg_answered(f->state, &asking, &granted));
	finish(f, deleg_take_due(f->state));
}

static void test_granted_with_a_recall(void **state)
{
	struct fixture *f = *state;
	struct deleg_asking asking;
	struct nfs_open_res res = answer(OPEN_DELEGATE_READ, 1);
	res.delegation_recall = true;
	const struct deleg_grant granted = {.fh = &fh, .cred = f->cred, .res = &res};
	deleg_ask(f->state, &fh, READ, false, &asking);
	assert_false(deleg_answered(f->state, &asking, &granted));
	finish(f, deleg_take_due(f->state));
}

static void test_second_grant(void **state)
{
	struct fixture *f = *state;
	assert_true(grant(f, &fh, OPEN_DELEGATE_READ, 1));
	/* the same again is no news */
	assert_true(grant(f, &fh, OPEN_DELEGATE_READ, 1));
	assert_null(deleg_take_due(f->state));
	/* another one goes back, and the first is still good */
	assert_true(grant(f, &fh, OPEN_DELEGATE_READ, 2));
	struct nfs_deleg *deleg = deleg_take_due(f->state);
	assert_memory_equal(deleg->stateid.other, stateid_of(2).other, NFS4_OTHER_SIZE);
	assert_true(opens(f, &fh, READ, f->cred));
	finish(f, deleg);
	assert_true(opens(f, &fh, READ, f->cred));
}

static void test_open_instead_of_stateid(void **state)
{
	struct fixture *f = *state;
	struct deleg_asking asking;
	struct nfs_stateid stateid;
	struct nfs_open_res res = answer(OPEN_DELEGATE_READ, 1);
	res.rflags = OPEN4_RESULT_NO_OPEN_STATEID;
	const struct deleg_grant granted = {
		.fh = &fh, .cred = f->cred, .access = READ, .res = &res};
	deleg_ask(f->state, &fh, READ, true, &asking);
	struct nfs_open *open = deleg_record(f->state, &granted, READ, 5);
	assert_true(deleg_answered(f->state, &asking, &granted));
	assert_true(nfs_open_is_local(f->state, open));
	assert_int_equal(nfs_open_use(f->state, open, &stateid), 0);
	assert_memory_equal(stateid.other, res.delegation.other, NFS4_OTHER_SIZE);
	/* to be made real when it is recalled, once */
	assert_int_equal(recall(f, &fh, 1), NFS4_OK);
	struct nfs_deleg *deleg = deleg_take_due(f->state);
	assert_ptr_equal(deleg_next_open(f->state, deleg), open);
	nfs_open_unref(f->state, open);
	assert_true(nfs_open_regained(f->state, open, &res.stateid));
	assert_null(deleg_next_open(f->state, deleg));
	assert_false(nfs_open_is_local(f->state, open));
	finish(f, deleg);
	assert_true(nfs_open_close(f->state, open, &stateid));
	assert_memory_equal(stateid.other, res.stateid.other, NFS4_OTHER_SIZE);
	nfs_open_unref(f->state, open);
}

static void test_no_stateid_and_no_delegation_either(void **state)
{
	struct fixture *f = *state;
	struct nfs_open_res res = answer(OPEN_DELEGATE_NONE, 1);
	res.rflags = OPEN4_RESULT_NO_OPEN_STATEID;
	const struct deleg_grant granted = {.fh = &fh, .cred = f->cred, .res = &res};
	struct nfs_open *open = deleg_record(f->state, &granted, READ, 5);
	assert_false(nfs_open_is_local(f->state, open));
	struct nfs_stateid stateid;
	nfs_open_close(f->state, open, &stateid);
	nfs_open_unref(f->state, open);
}

static struct nfs_fh numbered(unsigned i)
{
	struct nfs_fh number = {.len = 4};
	memcpy(number.data, &i, 4);
	return number;
}

static void test_bound(void **state)
{
	struct fixture *f = *state;
	for (unsigned i = 0; i < DELEG_MAX; i++) {
		const struct nfs_fh number = numbered(i);
		assert_true(grant(f, &number, OPEN_DELEGATE_READ, i));
	}
	assert_int_equal(f->due, 0);
	const struct nfs_fh first = numbered(0), second = numbered(1);
	assert_true(opens(f, &first, READ, f->cred));
	assert_true(grant(f, &fh, OPEN_DELEGATE_READ, DELEG_MAX));
	/* that used longest ago */
	assert_true(deleg_holds(f->state, &first));
	assert_false(deleg_holds(f->state, &second));
	assert_int_equal(f->due, 1);
}

static void test_recall_any(void **state)
{
	struct fixture *f = *state;
	for (unsigned i = 0; i < 10; i++) {
		const struct nfs_fh number = numbered(i);
		grant(f, &number, i < 5 ? OPEN_DELEGATE_READ : OPEN_DELEGATE_WRITE, i);
	}
	deleg_keep(f->state, 3, (struct deleg_kinds){.read = true});
	for (unsigned i = 0; i < 10; i++) {
		const struct nfs_fh number = numbered(i);
		assert_int_equal(deleg_holds(f->state, &number), i >= 2);
	}
	deleg_keep(f->state, 1, (struct deleg_kinds){.read = true, .write = true});
	const struct nfs_fh last = numbered(9), other = numbered(8);
	assert_true(deleg_holds(f->state, &last));
	assert_false(deleg_holds(f->state, &other));
}

static void test_idle_and_all(void **state)
{
	struct fixture *f = *state;
	grant(f, &fh, OPEN_DELEGATE_READ, 1);
	uint64_t between = loop_clock() + 1;
	while (loop_clock() <= between)
		;
	grant(f, &fh2, OPEN_DELEGATE_READ, 2);
	deleg_return_idle(f->state, between);
	assert_false(deleg_holds(f->state, &fh));
	assert_true(deleg_holds(f->state, &fh2));
	assert_int_equal(deleg_wait_returned(f->state, 0), 2);
	deleg_return_all(f->state, loop_clock() + UINT64_C(3600000000000));
	assert_false(deleg_holds(f->state, &fh2));
	/* the guest is about to be suspended: nothing new */
	assert_int_equal(wants(f, &fh2, READ, true), NO_WANT);
	finish(f, deleg_take_due(f->state));
	finish(f, deleg_take_due(f->state));
	assert_int_equal(deleg_wait_returned(f->state, 0), 0);
	assert_false(grant(f, &fh, OPEN_DELEGATE_READ, 3));
}

static void test_all_gone(void **state)
{
	struct fixture *f = *state;
	struct deleg_asking asking;
	grant(f, &fh, OPEN_DELEGATE_READ, 1);
	struct nfs_open *open = deleg_open(f->state, &fh, READ, 1, f->cred);
	deleg_ask(f->state, &fh2, READ, false, &asking);
	nfs_state_rewind(f->state, true);
	/* what is known stays so, but nothing is opened under it */
	assert_int_equal(f->due, 0);
	assert_true(deleg_holds(f->state, &fh));
	assert_false(opens(f, &fh, READ, f->cred));
	deleg_reclaim_over(f->state);
	assert_int_equal(f->due, 1);
	assert_false(deleg_holds(f->state, &fh));
	/* reclaimed as any other */
	assert_true(nfs_open_is_stale(f->state, open));
	assert_ptr_equal(nfs_state_next(f->state), open);
	nfs_open_unref(f->state, open);
	struct nfs_deleg *deleg = deleg_take_due(f->state);
	assert_true(deleg->flush.gone);
	assert_null(deleg_next_open(f->state, deleg));
	finish(f, deleg);
	/* an answer from before is of no worth */
	const struct nfs_open_res res = answer(OPEN_DELEGATE_READ, 2);
	const struct deleg_grant granted = {.fh = &fh2, .cred = f->cred, .res = &res};
	assert_false(deleg_answered(f->state, &asking, &granted));
	struct nfs_stateid stateid;
	assert_false(nfs_open_close(f->state, open, &stateid));
	nfs_open_unref(f->state, open);
}

/* The OPEN of a reclaim for `access`, which asks for `asks` and brings `brings`. */
static void reclaim(struct fixture *f, uint32_t access, uint32_t asks, uint32_t brings)
{
	const struct nfs_open open = {.fh = fh, .access = access, .cred = f->cred};
	const struct nfs_open_res res = answer(brings, 9);
	const struct deleg_grant granted = {.fh = &fh, .cred = f->cred, .res = &res};
	assert_int_equal(deleg_reclaim_ask(f->state, &open), asks);
	deleg_reclaim_answered(f->state, &granted);
}

static void test_reclaimed(void **state)
{
	struct fixture *f = *state;
	struct deleg_stats stats;
	grant(f, &fh, OPEN_DELEGATE_WRITE, 1);
	nfs_state_rewind(f->state, true);
	/* a file that is open for reading gets a delegation for reading at most */
	reclaim(f, READ, OPEN_DELEGATE_NONE, OPEN_DELEGATE_NONE);
	reclaim(f, READ | WRITE, OPEN_DELEGATE_WRITE, OPEN_DELEGATE_WRITE);
	reclaim(f, READ | WRITE, OPEN_DELEGATE_NONE, OPEN_DELEGATE_NONE);
	/* the same once more */
	reclaim(f, READ | WRITE, OPEN_DELEGATE_NONE, OPEN_DELEGATE_WRITE);
	deleg_reclaim_over(f->state);
	assert_int_equal(f->due, 0);
	assert_true(opens(f, &fh, WRITE, f->cred));
	const struct nfs_stateid anew = stateid_of(9);
	assert_int_equal(deleg_recalled(f->state, &fh, &anew), NFS4_OK);
	finish(f, deleg_take_due(f->state));
	deleg_get_stats(f->state, &stats);
	assert_int_equal(stats.granted, 1);
	assert_int_equal(stats.lost, 0);
}

static void test_reclaimed_for_reading(void **state)
{
	struct fixture *f = *state;
	struct deleg_stats stats;
	grant(f, &fh, OPEN_DELEGATE_WRITE, 1);
	nfs_state_rewind(f->state, true);
	reclaim(f, WRITE, OPEN_DELEGATE_WRITE, OPEN_DELEGATE_READ);
	deleg_reclaim_over(f->state);
	assert_true(opens(f, &fh, READ, f->cred));
	assert_false(opens(f, &fh, WRITE, f->cred));
	deleg_get_stats(f->state, &stats);
	assert_int_equal(stats.read, 1);
	assert_int_equal(stats.write, 0);
}

static void test_lapsed_and_not_wanted_any_more(void **state)
{
	struct fixture *f = *state;
	grant(f, &fh, OPEN_DELEGATE_READ, 1);
	nfs_state_rewind(f->state, true);
	deleg_return(f->state, &fh);
	/* so that what comes is one too many, and goes back */
	reclaim(f, READ, OPEN_DELEGATE_NONE, OPEN_DELEGATE_READ);
	struct nfs_deleg *old = deleg_take_due(f->state), *late = deleg_take_due(f->state);
	assert_true(old->flush.gone);
	assert_false(late->flush.gone);
	finish(f, old);
	finish(f, late);
}

static void test_one_revoked(void **state)
{
	struct fixture *f = *state;
	grant(f, &fh, OPEN_DELEGATE_READ, 1);
	grant(f, &fh2, OPEN_DELEGATE_READ, 2);
	struct nfs_open *open = deleg_open(f->state, &fh, READ, 1, f->cred);
	nfs_open_gone(f->state, open);
	assert_false(deleg_holds(f->state, &fh));
	assert_true(deleg_holds(f->state, &fh2));
	struct nfs_deleg *deleg = deleg_take_due(f->state);
	assert_true(deleg->flush.gone);
	finish(f, deleg);
	struct nfs_stateid stateid;
	nfs_open_close(f->state, open, &stateid);
	nfs_open_unref(f->state, open);
}

static void test_many_return_a_few_at_a_time(void **state)
{
	struct fixture *f = *state;
	struct nfs_deleg *deleg[100];
	unsigned n = 0;
	for (unsigned i = 0; i < 100; i++) {
		const struct nfs_fh number = numbered(i);
		grant(f, &number, OPEN_DELEGATE_READ, i);
	}
	deleg_return_all(f->state, 0);
	while (n < 100 && (deleg[n] = deleg_take_due(f->state)))
		n++;
	assert_true(n > 0 && n < 100);
	/* what is recalled comes first */
	finish(f, deleg[--n]);
	assert_non_null(deleg[n] = deleg_take_due(f->state));
	assert_null(deleg_take_due(f->state));
}

#define POINT(name, up) cmocka_unit_test_setup_teardown(test_##name, up, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		POINT(what_is_asked_for, setup),
		POINT(only_for_reading, setup_read),
		POINT(none, setup_none),
		POINT(who_may_open, setup),
		POINT(writing, setup),
		POINT(recall, setup),
		POINT(recall_comes_before_the_grant, setup),
		POINT(many_early_recalls, setup),
		POINT(granted_with_a_recall, setup),
		POINT(second_grant, setup),
		POINT(open_instead_of_stateid, setup),
		POINT(no_stateid_and_no_delegation_either, setup),
		POINT(bound, setup),
		POINT(recall_any, setup),
		POINT(idle_and_all, setup),
		POINT(all_gone, setup),
		POINT(reclaimed, setup),
		POINT(reclaimed_for_reading, setup),
		POINT(lapsed_and_not_wanted_any_more, setup),
		POINT(one_revoked, setup),
		POINT(many_return_a_few_at_a_time, setup),
	};
	return cmocka_run_group_tests_name("deleg", tests, NULL, NULL);
}
