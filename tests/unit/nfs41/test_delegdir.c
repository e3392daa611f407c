/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The record of delegated directories. */
#include <stdio.h>

#include "deleg_fixture.h"

static void finish(struct fixture *f, struct nfs_deleg *deleg)
{
	assert_non_null(deleg);
	deleg_end(f->state, deleg, true);
}

static struct nfs_fh numbered(unsigned i)
{
	struct nfs_fh number = {.len = 4};
	memcpy(number.data, &i, 4);
	return number;
}

/* GET_DIR_DELEGATION by f->cred; false: it was not to be sent. */
static bool grant_dir(struct fixture *f, const struct nfs_fh *of, unsigned number, bool notifies)
{
	struct deleg_asking asking;
	const struct nfs_dir_delegation_res res = {
		.granted = true, .notifies = notifies, .stateid = stateid_of(number)};
	if (!deleg_ask_dir(f->state, of, f->cred, &asking))
		return false;
	deleg_answered_dir(f->state, &asking, of, f->cred, &res);
	return true;
}

static void test_directories(void **state)
{
	struct fixture *f = *state;
	struct deleg_stats stats;
	struct deleg_asking asking;
	const struct nfs_dir_delegation_res none = {0};
	assert_int_equal(deleg_use_dir(f->state, &fh), 0);
	assert_true(deleg_ask_dir(f->state, &fh, f->cred, &asking));
	deleg_answered_dir(f->state, &asking, &fh, f->cred, &none);
	assert_int_equal(deleg_use_dir(f->state, &fh), 0);
	assert_true(grant_dir(f, &fh, 1, false));
	uint64_t first = deleg_use_dir(f->state, &fh);
	assert_int_not_equal(first, 0);
	deleg_get_stats(f->state, &stats);
	assert_int_equal(stats.dirs, 1);
	assert_int_equal(stats.read, 0);
	/* with one in hand, or on its way back, none is asked for */
	assert_false(deleg_ask_dir(f->state, &fh, f->cred, &asking));
	const struct nfs_stateid recalled = stateid_of(1);
	assert_int_equal(deleg_recalled(f->state, &fh, &recalled), NFS4_OK);
	assert_int_equal(f->due, 1);
	assert_int_equal(deleg_use_dir(f->state, &fh), 0);
	assert_int_equal(deleg_recalled(f->state, &fh, &recalled), NFS4_OK);
	assert_false(deleg_ask_dir(f->state, &fh, f->cred, &asking));
	finish(f, deleg_take_due(f->state));
	deleg_get_stats(f->state, &stats);
	assert_int_equal(stats.dirs, 0);
	/* another one has another number */
	assert_true(grant_dir(f, &fh, 2, false));
	assert_int_not_equal(deleg_use_dir(f->state, &fh), first);
	/* a file's is none */
	grant(f, &fh2, OPEN_DELEGATE_READ, 3);
	assert_int_equal(deleg_use_dir(f->state, &fh2), 0);
}

static void test_directory_with_notifications_goes_back(void **state)
{
	struct fixture *f = *state;
	assert_true(grant_dir(f, &fh, 1, true));
	assert_int_equal(deleg_use_dir(f->state, &fh), 0);
	assert_int_equal(f->due, 1);
}

static void test_directories_are_forgotten_at_a_restart(void **state)
{
	struct fixture *f = *state;
	struct deleg_stats stats;
	assert_true(grant_dir(f, &fh, 1, false));
	nfs_state_rewind(f->state, true);
	assert_int_equal(deleg_use_dir(f->state, &fh), 0);
	assert_int_equal(f->due, 1);
	struct nfs_deleg *deleg = deleg_take_due(f->state);
	assert_true(deleg->flush.gone);
	deleg_end(f->state, deleg, false);
	deleg_get_stats(f->state, &stats);
	assert_int_equal(stats.lost, 1);
}

static void test_recall_any_of_directories(void **state)
{
	struct fixture *f = *state;
	assert_true(grant_dir(f, &fh, 1, false));
	grant(f, &fh2, OPEN_DELEGATE_READ, 2);
	deleg_keep(f->state, 0, (struct deleg_kinds){.write = true});
	assert_true(deleg_holds(f->state, &fh));
	deleg_keep(f->state, 0, (struct deleg_kinds){.dirs = true});
	assert_false(deleg_holds(f->state, &fh));
	assert_true(deleg_holds(f->state, &fh2));
}

static void test_too_many_directories(void **state)
{
	struct fixture *f = *state;
	grant(f, &fh2, OPEN_DELEGATE_READ, 7000);
	for (unsigned i = 0; i < DELEG_DIRS_MAX; i++) {
		const struct nfs_fh number = numbered(i);
		assert_true(grant_dir(f, &number, i, false));
	}
	const struct nfs_fh first = numbered(0), second = numbered(1);
	assert_int_not_equal(deleg_use_dir(f->state, &first), 0);
	assert_int_equal(f->due, 0);
	assert_true(grant_dir(f, &fh, 8000, false));
	/* the directory used longest ago, not the file */
	assert_true(deleg_holds(f->state, &first));
	assert_true(deleg_holds(f->state, &fh2));
	assert_false(deleg_holds(f->state, &second));
	assert_int_equal(f->due, 1);
}

/* Its answer was lost: nobody else would return it. */
static void test_a_directory_that_never_came_is_returned(void **state)
{
	struct fixture *f = *state;
	struct deleg_asking asking;
	const struct nfs_stateid stateid = stateid_of(1);
	assert_int_equal(deleg_recalled(f->state, &fh, &stateid), NFS4ERR_BADHANDLE);
	assert_true(deleg_ask_dir(f->state, &fh, f->cred, &asking));
	deleg_answered_dir(f->state, &asking, &fh, f->cred, NULL);
	assert_int_equal(deleg_recalled(f->state, &fh, &stateid), NFS4_OK);
	assert_int_equal(deleg_use_dir(f->state, &fh), 0);
	struct nfs_deleg *deleg = deleg_take_due(f->state);
	assert_memory_equal(&deleg->stateid, &stateid, sizeof(stateid));
	finish(f, deleg);
	/* the same while the answer is still to come */
	assert_true(deleg_ask_dir(f->state, &fh, f->cred, &asking));
	assert_int_equal(deleg_recalled(f->state, &fh, &stateid), NFS4_OK);
	assert_null(deleg_take_due(f->state));
	deleg_answered_dir(f->state, &asking, &fh, f->cred, NULL);
	finish(f, deleg_take_due(f->state));
}

static void test_no_directories_wanted(void **state)
{
	struct fixture *f = *state;
	assert_false(grant_dir(f, &fh, 1, false));
}

#define POINT(name, up) cmocka_unit_test_setup_teardown(test_##name, up, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		POINT(directories, setup_read),
		POINT(directory_with_notifications_goes_back, setup),
		POINT(directories_are_forgotten_at_a_restart, setup),
		POINT(recall_any_of_directories, setup),
		POINT(too_many_directories, setup),
		POINT(a_directory_that_never_came_is_returned, setup),
		POINT(no_directories_wanted, setup_none),
	};
	return cmocka_run_group_tests_name("delegdir", tests, NULL, NULL);
}
