/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>

#include "nfs41/state_priv.h"

static const struct nfs_fh fh = {.len = 4, .data = {1, 2, 3, 4}};
static const struct nfs_fh other_fh = {.len = 4, .data = {1, 2, 3, 5}};
static const struct nfs_stateid stateid = {.seqid = 1, .other = {7}};
static const struct nfs_stateid lock_stateid = {.seqid = 3, .other = {8}};

static const struct range whole = {0, UINT64_MAX, RANGE_WRITE};

struct fixture {
	struct nfs_state *state;
	struct rpc_cred *cred;
};

static int setup(void **arg)
{
	static struct fixture f;
	assert_int_equal(nfs_state_new(&f.state), 0);
	assert_int_equal(rpc_cred_new_none(&f.cred), 0);
	*arg = &f;
	return 0;
}

static int teardown(void **arg)
{
	struct fixture *f = *arg;
	nfs_state_free(f->state);
	rpc_cred_unref(f->cred);
	return 0;
}

static struct nfs_open *open_for(struct fixture *f, const struct nfs_fh *of, uint32_t access)
{
	struct nfs_open *open = nfs_open_new(f->state, of, access, 5, f->cred, &stateid);
	assert_non_null(open);
	return open;
}

static struct nfs_open *open_file(struct fixture *f, const struct nfs_fh *of)
{
	return open_for(f, of, OPEN4_SHARE_ACCESS_BOTH);
}

static unsigned noted, gone;

static void note_open(void *arg, struct nfs_open *open, bool is_gone)
{
	*(is_gone ? &gone : &noted) += 1;
}

static void note_lock(void *arg, struct nfs_lock *lock, bool is_gone)
{
}

/* A CLOSE that another daemon may have to send. */
static void test_the_journal_hears_of_the_end_when_it_is_answered(void **arg)
{
	static const struct nfs_state_journal journal = {.open = note_open, .lock = note_lock};
	struct fixture *f = *arg;
	struct nfs_stateid got;
	noted = gone = 0;
	nfs_state_set_journal(f->state, &journal, NULL);
	struct nfs_open *open = open_file(f, &fh);
	assert_int_equal(noted, 1);
	assert_true(nfs_open_close(f->state, open, &got));
	assert_int_equal(gone, 0);
	nfs_open_forget(f->state, open);
	assert_int_equal(gone, 1);
	assert_int_equal(noted, 1);
}

static void test_open_is_recorded_until_closed(void **arg)
{
	struct fixture *f = *arg;
	struct nfs_open *open = open_file(f, &fh);
	struct nfs_stateid got = nfs_open_stateid(f->state, open);
	assert_memory_equal(&got, &stateid, sizeof(got));
	assert_ptr_equal(LIST_FIRST(&f->state->opens), open);
	memset(&got, 0, sizeof(got));
	assert_true(nfs_open_close(f->state, open, &got));
	assert_memory_equal(&got, &stateid, sizeof(got));
	nfs_open_unref(f->state, open);
	assert_true(LIST_EMPTY(&f->state->opens));
}

static void test_one_lock_owner_for_all_opens_of_a_file(void **arg)
{
	struct fixture *f = *arg;
	struct nfs_open *a = open_file(f, &fh), *b = open_file(f, &fh),
			*c = open_file(f, &other_fh);
	struct nfs_lock *lock = nfs_lock_get(f->state, a, 99, NFS_LOCK_OF_PROCESS, 1);
	struct nfs_lock *same = nfs_lock_get(f->state, b, 99, NFS_LOCK_OF_PROCESS, 2);
	struct nfs_lock *elsewhere = nfs_lock_get(f->state, c, 99, NFS_LOCK_OF_PROCESS, 3);
	struct nfs_lock *another = nfs_lock_get(f->state, a, 98, NFS_LOCK_OF_PROCESS, 4);
	assert_ptr_equal(lock, same);
	assert_int_equal(same->owner, 1);
	assert_ptr_not_equal(lock, elsewhere);
	assert_ptr_not_equal(lock, another);
	nfs_lock_unref(f->state, lock);
	nfs_lock_unref(f->state, same);
	nfs_lock_unref(f->state, elsewhere);
	nfs_lock_unref(f->state, another);
}

static void test_lock_is_found_once_granted(void **arg)
{
	struct fixture *f = *arg;
	struct nfs_stateid got;
	struct nfs_open *open = open_file(f, &fh);
	struct nfs_lock *lock = nfs_lock_get(f->state, open, 99, NFS_LOCK_OF_PROCESS, 1);
	assert_null(nfs_lock_find(f->state, open, 99, NFS_LOCK_OF_PROCESS));
	assert_false(nfs_lock_stateid(f->state, lock, &got));
	nfs_lock_reserve(f->state, lock);
	nfs_lock_changed(f->state, lock, &lock_stateid, &whole);
	assert_true(nfs_lock_stateid(f->state, lock, &got));
	assert_memory_equal(&got, &lock_stateid, sizeof(got));
	struct nfs_lock *found = nfs_lock_find(f->state, open, 99, NFS_LOCK_OF_PROCESS);
	assert_ptr_equal(found, lock);
	nfs_lock_unref(f->state, found);
	nfs_lock_unref(f->state, lock);
}

static void test_lock_ends_with_its_open(void **arg)
{
	struct fixture *f = *arg;
	struct nfs_stateid got;
	struct nfs_open *open = open_file(f, &fh);
	struct nfs_lock *lock = nfs_lock_get(f->state, open, 99, NFS_LOCK_OF_PROCESS, 1);
	nfs_lock_reserve(f->state, lock);
	nfs_lock_changed(f->state, lock, &lock_stateid, &whole);
	nfs_open_close(f->state, open, &got);
	assert_null(nfs_lock_find(f->state, open, 99, NFS_LOCK_OF_PROCESS));
	nfs_open_unref(f->state, open);
	assert_false(nfs_lock_stateid(f->state, lock, &got));
	/* An answer that comes too late does not bring it back. */
	nfs_lock_reserve(f->state, lock);
	nfs_lock_changed(f->state, lock, &lock_stateid, &whole);
	assert_false(nfs_lock_stateid(f->state, lock, &got));
	nfs_lock_unref(f->state, lock);
}

static void test_what_an_open_locked_is_no_others(void **arg)
{
	struct fixture *f = *arg;
	struct nfs_open *a = open_file(f, &fh), *b = open_file(f, &fh);
	/* The kernel gives the number of one that was closed to the next. */
	struct nfs_lock *old = nfs_lock_get(f->state, a, 99, NFS_LOCK_OF_OPEN, 1);
	nfs_lock_reserve(f->state, old);
	nfs_lock_changed(f->state, old, &lock_stateid, &whole);
	struct nfs_lock *lock = nfs_lock_get(f->state, b, 99, NFS_LOCK_OF_OPEN, 2);
	assert_ptr_not_equal(lock, old);
	assert_ptr_equal(lock->open, b);
	assert_null(nfs_lock_find(f->state, b, 99, NFS_LOCK_OF_OPEN));
	nfs_lock_unref(f->state, old);
	nfs_lock_unref(f->state, lock);
}

static void test_who_has_no_lock_locks_by_the_open_at_hand(void **arg)
{
	const struct range none = {.last = UINT64_MAX, .kind = RANGE_FREE};
	struct fixture *f = *arg;
	struct nfs_open *a = open_file(f, &fh), *b = open_file(f, &fh);
	struct nfs_lock *lock = nfs_lock_get(f->state, a, 99, NFS_LOCK_OF_PROCESS, 1);
	nfs_lock_reserve(f->state, lock);
	nfs_lock_changed(f->state, lock, &lock_stateid, &whole);
	nfs_lock_changed(f->state, lock, &lock_stateid, &none);
	nfs_lock_unref(f->state, lock);
	/* `a` may be about to be closed. */
	struct nfs_lock *next = nfs_lock_get(f->state, b, 99, NFS_LOCK_OF_PROCESS, 2);
	assert_ptr_equal(next->open, b);
	nfs_lock_unref(f->state, next);
	next = nfs_lock_get(f->state, a, 99, NFS_LOCK_OF_PROCESS, 3);
	assert_ptr_equal(next, lock);
	nfs_lock_unref(f->state, next);
}

static struct nfs_open *due;

static void note_due(void *arg, struct nfs_open *open)
{
	(void)arg;
	due = open;
}

static void test_an_open_with_locks_is_closed_after_them(void **arg)
{
	const struct range none = {.last = UINT64_MAX, .kind = RANGE_FREE};
	struct fixture *f = *arg;
	struct nfs_stateid got;
	struct nfs_open *a = open_file(f, &fh), *b = open_file(f, &fh);
	nfs_state_set_closer(f->state, note_due, NULL);
	due = NULL;
	assert_false(nfs_open_close_later(f->state, a));
	struct nfs_lock *lock = nfs_lock_get(f->state, a, 99, NFS_LOCK_OF_PROCESS, 1);
	assert_ptr_equal(nfs_lock_get(f->state, b, 99, NFS_LOCK_OF_PROCESS, 2), lock);
	assert_true(nfs_open_close_later(f->state, a));
	nfs_lock_reserve(f->state, lock);
	nfs_lock_changed(f->state, lock, &lock_stateid, &whole);
	nfs_lock_unref(f->state, lock);
	nfs_lock_unref(f->state, lock);
	assert_null(due);
	assert_ptr_equal(nfs_lock_find(f->state, b, 99, NFS_LOCK_OF_PROCESS), lock);
	nfs_lock_changed(f->state, lock, &lock_stateid, &none);
	nfs_lock_unref(f->state, lock);
	assert_ptr_equal(due, a);
	assert_true(nfs_open_close(f->state, a, &got));
	nfs_open_unref(f->state, a);
}

static void test_what_is_locked_by_an_open_that_ends_is_free_for_others(void **arg)
{
	const struct range none = {.last = UINT64_MAX, .kind = RANGE_FREE};
	struct fixture *f = *arg;
	struct nfs_open *a = open_file(f, &fh), *b = open_file(f, &fh);
	struct nfs_lock *old = nfs_lock_get(f->state, a, 99, NFS_LOCK_OF_PROCESS, 1);
	nfs_lock_reserve(f->state, old);
	nfs_lock_changed(f->state, old, &lock_stateid, &whole);
	nfs_lock_unref(f->state, old);
	assert_int_equal(nfs_lock_end(f->state, 1), NFS_LOCK_STANDS);
	assert_ptr_equal(nfs_open_end(f->state, a), old);
	assert_int_equal(nfs_lock_end(f->state, 1), NFS_LOCK_ENDING);
	/* The number of an open file description that has gone is the next one's already. */
	struct nfs_lock *lock = nfs_lock_get(f->state, b, 99, NFS_LOCK_OF_PROCESS, 2);
	assert_ptr_not_equal(lock, old);
	assert_int_equal(nfs_lock_end(f->state, 2), NFS_LOCK_STANDS);
	nfs_lock_unref(f->state, lock);
	nfs_lock_changed(f->state, old, &lock_stateid, &none);
	nfs_lock_unref(f->state, old);
	assert_null(nfs_open_end(f->state, a));
	assert_int_equal(nfs_lock_end(f->state, 1), NFS_LOCK_ENDED);
	assert_int_equal(nfs_lock_end(f->state, 3), NFS_LOCK_ENDED);
}

static void test_who_locked_by_an_open_last_ends_with_it(void **arg)
{
	struct fixture *f = *arg;
	struct nfs_open *a = open_file(f, &fh), *b = open_file(f, &fh);
	struct nfs_lock *lock = nfs_lock_get(f->state, a, 99, NFS_LOCK_OF_PROCESS, 1);
	assert_ptr_equal(nfs_lock_get(f->state, b, 99, NFS_LOCK_OF_PROCESS, 2), lock);
	nfs_lock_reserve(f->state, lock);
	nfs_lock_changed(f->state, lock, &lock_stateid, &whole);
	nfs_lock_unref(f->state, lock);
	nfs_lock_unref(f->state, lock);
	/* It locks by the other one now, and that goes on. */
	assert_null(nfs_open_end(f->state, a));
	assert_ptr_equal(nfs_open_end(f->state, b), lock);
	nfs_lock_unref(f->state, lock);
}

static void test_an_open_is_widened_for_locks(void **arg)
{
	static const struct nfs_state_journal journal = {.open = note_open, .lock = note_lock};
	static const struct nfs_stateid next = {.seqid = 2, .other = {7}},
					another = {.seqid = 9, .other = {6}};
	struct fixture *f = *arg;
	struct nfs_open *open = open_for(f, &fh, OPEN4_SHARE_ACCESS_READ);
	nfs_state_set_journal(f->state, &journal, NULL);
	noted = 0;
	assert_false(nfs_open_lacks(f->state, open, OPEN4_SHARE_ACCESS_READ));
	assert_true(nfs_open_lacks(f->state, open, OPEN4_SHARE_ACCESS_WRITE));
	/* The server has forgotten the one on record. */
	nfs_open_widened(f->state, open, OPEN4_SHARE_ACCESS_WRITE, &another);
	assert_true(nfs_open_lacks(f->state, open, OPEN4_SHARE_ACCESS_WRITE));
	assert_int_equal(nfs_open_stateid(f->state, open).seqid, 1);
	assert_int_equal(noted, 0);
	nfs_open_widened(f->state, open, OPEN4_SHARE_ACCESS_WRITE, &next);
	assert_false(nfs_open_lacks(f->state, open, OPEN4_SHARE_ACCESS_BOTH));
	assert_int_equal(nfs_open_stateid(f->state, open).seqid, 2);
	assert_int_equal(noted, 1);
	/* an answer that comes late */
	nfs_open_widened(f->state, open, OPEN4_SHARE_ACCESS_WRITE, &stateid);
	assert_int_equal(nfs_open_stateid(f->state, open).seqid, 2);
	assert_int_equal(open->access, OPEN4_SHARE_ACCESS_READ);
}

static void test_an_open_stays_while_its_lock_is_freed_by_another(void **arg)
{
	struct fixture *f = *arg;
	struct nfs_open *a = open_file(f, &fh), *b = open_file(f, &fh);
	struct nfs_lock *lock = nfs_lock_get(f->state, a, 99, NFS_LOCK_OF_PROCESS, 1);
	nfs_lock_reserve(f->state, lock);
	nfs_lock_changed(f->state, lock, &lock_stateid, &whole);
	nfs_lock_unref(f->state, lock);
	assert_false(nfs_open_close_later(f->state, a));
	lock = nfs_lock_find(f->state, b, 99, NFS_LOCK_OF_PROCESS);
	assert_ptr_equal(nfs_lock_open(f->state, lock), a);
	assert_true(nfs_open_close_later(f->state, a));
	nfs_lock_unref(f->state, lock);
}

/* By which opens it was taken is not on record. */
static void test_a_lock_of_an_earlier_daemon_keeps_its_open(void **arg)
{
	const struct range none = {.last = UINT64_MAX, .kind = RANGE_FREE};
	struct fixture *f = *arg;
	struct nfs_open *open = open_file(f, &fh);
	nfs_state_set_closer(f->state, note_due, NULL);
	due = NULL;
	assert_non_null(nfs_lock_restore(f->state, open, 99, 1, &whole, 1));
	assert_true(nfs_open_close_later(f->state, open));
	struct nfs_lock *lock = nfs_lock_find(f->state, open, 99, NFS_LOCK_OF_PROCESS);
	nfs_lock_changed(f->state, lock, &lock_stateid, &none);
	nfs_lock_unref(f->state, lock);
	assert_ptr_equal(due, open);
}

static void test_a_lost_lock_is_of_the_open_it_was_taken_by_too(void **arg)
{
	const struct range none = {.last = UINT64_MAX, .kind = RANGE_FREE};
	struct fixture *f = *arg;
	struct nfs_stateid got;
	struct nfs_open *a = open_file(f, &fh), *b = open_file(f, &fh), *c = open_file(f, &fh);
	struct nfs_lock *lock = nfs_lock_get(f->state, a, 99, NFS_LOCK_OF_PROCESS, 1);
	nfs_lock_unref(f->state, nfs_lock_get(f->state, b, 99, NFS_LOCK_OF_PROCESS, 2));
	nfs_lock_reserve(f->state, lock);
	nfs_lock_changed(f->state, lock, &lock_stateid, &whole);
	nfs_lock_settled(f->state, lock, NULL, true);
	/* which asks, and is refused */
	nfs_lock_unref(f->state, nfs_lock_get(f->state, c, 99, NFS_LOCK_OF_PROCESS, 3));
	assert_int_equal(nfs_open_use(f->state, a, &got), -EIO);
	assert_int_equal(nfs_open_use(f->state, b, &got), -EIO);
	assert_int_equal(nfs_open_use(f->state, c, &got), 0);
	nfs_lock_changed(f->state, lock, NULL, &none);
	assert_int_equal(nfs_open_use(f->state, a, &got), 0);
	assert_int_equal(nfs_open_use(f->state, b, &got), 0);
	nfs_lock_unref(f->state, lock);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			test_open_is_recorded_until_closed, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_the_journal_hears_of_the_end_when_it_is_answered, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_one_lock_owner_for_all_opens_of_a_file, setup, teardown),
		cmocka_unit_test_setup_teardown(test_lock_is_found_once_granted, setup, teardown),
		cmocka_unit_test_setup_teardown(test_lock_ends_with_its_open, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_what_an_open_locked_is_no_others, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_who_has_no_lock_locks_by_the_open_at_hand, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_an_open_with_locks_is_closed_after_them, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_what_is_locked_by_an_open_that_ends_is_free_for_others, setup,
			teardown),
		cmocka_unit_test_setup_teardown(
			test_who_locked_by_an_open_last_ends_with_it, setup, teardown),
		cmocka_unit_test_setup_teardown(test_an_open_is_widened_for_locks, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_an_open_stays_while_its_lock_is_freed_by_another, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_a_lock_of_an_earlier_daemon_keeps_its_open, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_a_lost_lock_is_of_the_open_it_was_taken_by_too, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
