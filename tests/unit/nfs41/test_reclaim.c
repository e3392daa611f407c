/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>

#include "nfs41/reclaim.h"

#include "nfs41/op.h"
#include "util/loop.h"

/*
 * The reclaim against a server that is a script: what it sends is kept here and answered by the
 * test. What sends compounds is this program's own instead of call.c and conn.c.
 */
#define SENT_MAX 64

static struct nfs_compound *sent[SENT_MAX];
static unsigned nsent;
static struct loop *loop;
static struct nfs_state *state;
static struct reclaim *reclaim;
static struct rpc_cred *cred;
static struct nfs_stateid given; /* by the last OPEN or LOCK */
static int ended, end_err;
static unsigned lost_opens, lost_locks;
static int lost_err;

void nfs_compound_send(struct nfs_compound *c, void (*done)(struct nfs_compound *c), void *arg)
{
	assert_true(nsent < SENT_MAX);
	c->done = done;
	c->arg = arg;
	sent[nsent++] = c;
}

void nfs_compound_abandon(struct nfs_compound *c)
{
	fail_msg("a compound is freed before it has ended");
}

struct loop *nfs_conn_loop(const struct nfs_conn *conn)
{
	return loop;
}

static void on_done(void *arg, int err)
{
	ended++;
	end_err = err;
}

static void on_lost(void *arg, const struct nfs_fh *fh, bool lock, int err)
{
	lost_locks += lock;
	lost_opens += !lock;
	lost_err = err;
}

static int setup(void **arg)
{
	const struct reclaim_config config = {.lost = on_lost};
	struct reclaim_config with_state = config;
	nsent = 0;
	ended = 0;
	lost_opens = lost_locks = 0;
	given = (struct nfs_stateid){.seqid = 1, .other = {100}};
	assert_int_equal(loop_new(LOOP_POLL, &loop), 0);
	assert_int_equal(nfs_state_new(&state), 0);
	assert_int_equal(rpc_cred_new_none(&cred), 0);
	with_state.state = state;
	assert_int_equal(reclaim_new(&with_state, &reclaim), 0);
	return 0;
}

static int teardown(void **arg)
{
	reclaim_free(reclaim);
	nfs_state_free(state);
	rpc_cred_unref(cred);
	loop_free(loop);
	return 0;
}

static struct nfs_open *make_open_for(uint8_t number, uint32_t access)
{
	const struct nfs_fh fh = {.len = 1, .data = {number}};
	const struct nfs_stateid old = {.seqid = 1, .other = {number}};
	struct nfs_open *open = nfs_open_new(state, &fh, access, number, cred, &old);
	assert_non_null(open);
	return open;
}

static struct nfs_open *make_open(uint8_t number)
{
	return make_open_for(number, OPEN4_SHARE_ACCESS_BOTH);
}

/* A lock-owner with its ranges: 0-9 for writing and 20-29 for reading. */
static struct nfs_lock *make_lock(struct nfs_open *open)
{
	const struct nfs_stateid old = {.seqid = 7, .other = {77}};
	const struct range a = {0, 9, RANGE_WRITE}, b = {20, 29, RANGE_READ};
	struct nfs_lock *lock = nfs_lock_get(state, open, 5, NFS_LOCK_OF_PROCESS, 50);
	assert_non_null(lock);
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(nfs_lock_reserve(state, lock), 0);
		nfs_lock_changed(state, lock, &old, i ? &b : &a);
	}
	return lock;
}

/* The operation that a compound is about. */
static uint32_t op_of(const struct nfs_compound *c)
{
	assert_true(c->one_session);
	return c->ops[c->nops - 1].op;
}

/* Answers the oldest compound, which must be about `op`. */
static void answer(uint32_t op, int status)
{
	assert_true(nsent > 0);
	struct nfs_compound *c = sent[0];
	memmove(sent, sent + 1, --nsent * sizeof(sent[0]));
	assert_int_equal(op_of(c), op);
	struct nfs_op_slot *slot = &c->ops[c->nops - 1];
	c->status = status;
	if (op == OP_TEST_STATEID) {
		/* the operation itself succeeds */
		c->status = 0;
		*(uint32_t *)slot->res = (uint32_t)status;
	} else if (status == 0 && (op == OP_OPEN || op == OP_LOCK)) {
		given.other[0]++;
		if (op == OP_OPEN)
			((struct nfs_open_res *)slot->res)->stateid = given;
		else
			*(struct nfs_stateid *)slot->res = given;
	}
	c->done(c);
}

/* Of the compound that is next to be answered: a word of its arguments behind PUTFH, and the last.
 */
#define BEHIND_PUTFH (NFS_COMPOUND_FIRST_AT + 12)
enum { CLAIM_PREVIOUS_WORD = 1, CLAIM_FH_WORD = 4 };

static uint32_t word_at(size_t at)
{
	const uint8_t *p = sent[0]->head + at;
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static uint32_t word_from_end(size_t words)
{
	return word_at(sent[0]->out.len - 4 * words);
}

static uint32_t open_access(void)
{
	return word_at(BEHIND_PUTFH + 8) & OPEN4_SHARE_ACCESS_BOTH;
}

static bool lock_is_reclaim(void)
{
	return word_at(BEHIND_PUTFH + 8) != 0;
}

static void run(bool grace)
{
	ended = 0;
	reclaim_ops.reclaim(reclaim, NULL, grace, on_done, NULL);
}

static void expect_end(int err)
{
	assert_int_equal(nsent, 0);
	assert_int_equal(ended, 1);
	assert_int_equal(end_err, err);
}

static void expect_stateid(const struct nfs_open *open, uint8_t first)
{
	struct nfs_stateid stateid;
	assert_int_equal(nfs_open_use(state, open, &stateid), 0);
	assert_int_equal(stateid.other[0], first);
}

static void close_open(struct nfs_open *open)
{
	struct nfs_stateid closed;
	assert_true(nfs_open_close(state, open, &closed));
	nfs_open_unref(state, open);
}

static void test_nothing_to_reclaim(void **arg)
{
	run(true);
	expect_end(0);
}

static void test_open_and_ranges_are_reclaimed(void **arg)
{
	struct nfs_open *open = make_open(1);
	struct nfs_lock *lock = make_lock(open);
	struct nfs_stateid stateid;
	run(true);
	assert_true(sent[0]->privileged);
	/* and no delegation with it */
	assert_int_equal(word_from_end(2), CLAIM_PREVIOUS_WORD);
	assert_int_equal(word_from_end(1), OPEN_DELEGATE_NONE);
	answer(OP_OPEN, 0);
	assert_false(nfs_lock_stateid(state, lock, &stateid));
	assert_int_equal(word_at(BEHIND_PUTFH + 4), WRITE_LT);
	assert_true(lock_is_reclaim());
	answer(OP_LOCK, 0);
	assert_int_equal(word_at(BEHIND_PUTFH + 4), READ_LT);
	assert_true(lock_is_reclaim());
	answer(OP_LOCK, 0);
	expect_end(0);
	expect_stateid(open, 101);
	assert_true(nfs_lock_stateid(state, lock, &stateid));
	assert_int_equal(stateid.other[0], 103);
	nfs_lock_unref(state, lock);
}

/* Opened for reading, and for its locks for writing as well. */
static struct nfs_open *make_widened(uint8_t number)
{
	const struct nfs_stateid next = {.seqid = 2, .other = {number}};
	struct nfs_open *open = make_open_for(number, OPEN4_SHARE_ACCESS_READ);
	nfs_open_widened(state, open, OPEN4_SHARE_ACCESS_WRITE, &next);
	return open;
}

static void test_what_locks_needed_is_reclaimed_with_the_open(void **arg)
{
	struct nfs_open *open = make_widened(1);
	struct nfs_lock *lock = make_lock(open);
	struct nfs_stateid stateid;
	run(true);
	assert_int_equal(open_access(), OPEN4_SHARE_ACCESS_BOTH);
	answer(OP_OPEN, 0);
	answer(OP_LOCK, 0);
	answer(OP_LOCK, 0);
	expect_end(0);
	assert_false(nfs_open_lacks(state, open, OPEN4_SHARE_ACCESS_BOTH));
	assert_true(nfs_lock_stateid(state, lock, &stateid));
	nfs_lock_unref(state, lock);
}

/* Who opened it may not be allowed to write. */
static void test_what_lost_locks_needed_is_not_asked_for(void **arg)
{
	struct nfs_open *open = make_widened(1);
	struct nfs_lock *lock = make_lock(open);
	run(false);
	answer(OP_TEST_STATEID, NFS4ERR_BAD_STATEID);
	assert_int_equal(open_access(), OPEN4_SHARE_ACCESS_READ);
	answer(OP_OPEN, 0);
	expect_end(0);
	assert_int_equal(lost_opens, 0);
	assert_int_equal(lost_locks, 1);
	assert_true(nfs_open_lacks(state, open, OPEN4_SHARE_ACCESS_WRITE));
	nfs_lock_unref(state, lock);
}

static void test_many_opens_a_few_at_a_time(void **arg)
{
	for (unsigned i = 0; i < 20; i++)
		make_open((uint8_t)i);
	run(true);
	assert_true(nsent > 1 && nsent < 20);
	for (unsigned i = 0; i < 20; i++)
		answer(OP_OPEN, 0);
	expect_end(0);
}

static void test_no_grace_leaves_all_for_later(void **arg)
{
	struct nfs_open *open = make_open(1);
	struct nfs_lock *lock = make_lock(open);
	for (unsigned i = 0; i < 20; i++)
		make_open((uint8_t)(2 + i));
	run(true);
	unsigned first = nsent;
	for (unsigned i = 0; i < first; i++)
		answer(OP_OPEN, NFS4ERR_NO_GRACE);
	expect_end(-EAGAIN);
	/* and then nothing is asked about that is known to be gone */
	run(false);
	while (nsent > 0) {
		assert_int_equal(word_from_end(1), CLAIM_FH_WORD);
		answer(OP_OPEN, 0);
	}
	expect_end(0);
	assert_int_equal(lost_opens, 0);
	/* others may have held the lock meanwhile */
	assert_int_equal(lost_locks, 1);
	assert_true(nfs_lock_is_lost(state, lock));
	nfs_lock_unref(state, lock);
}

static void test_locks_of_a_clone_are_lost(void **arg)
{
	struct nfs_open *locked = make_open(1), *other = make_open(2);
	struct nfs_lock *lock = make_lock(locked);
	struct nfs_stateid stateid;
	reclaim_ops.cloned(reclaim);
	assert_int_equal(nsent, 0);
	assert_int_equal(lost_locks, 1);
	assert_int_equal(lost_err, -EIO);
	assert_true(nfs_lock_is_lost(state, lock));
	assert_false(nfs_lock_stateid(state, lock, &stateid));
	run(false);
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(word_from_end(1), CLAIM_FH_WORD);
		answer(OP_OPEN, 0);
	}
	expect_end(0);
	assert_int_equal(nfs_open_use(state, other, &stateid), 0);
	assert_int_equal(nfs_open_use(state, locked, &stateid), -EIO);
	assert_int_equal(lost_opens, 0);
	nfs_lock_unref(state, lock);
}

static void test_file_is_gone(void **arg)
{
	struct nfs_stateid stateid;
	struct nfs_open *open = make_open(1);
	run(true);
	answer(OP_OPEN, NFS4ERR_STALE);
	expect_end(0);
	assert_int_equal(lost_opens, 1);
	assert_int_equal(nfs_open_use(state, open, &stateid), -ESTALE);
	/* it stays lost, and is not tried again */
	run(true);
	expect_end(0);
}

static void test_open_is_refused(void **arg)
{
	struct nfs_stateid stateid;
	struct nfs_open *open = make_open(1);
	run(true);
	answer(OP_OPEN, NFS4ERR_RECLAIM_BAD);
	expect_end(-EAGAIN);
	assert_int_equal(lost_opens, 0);
	run(false);
	answer(OP_OPEN, NFS4ERR_ACCESS);
	expect_end(0);
	assert_int_equal(lost_opens, 1);
	assert_int_equal(lost_err, -EIO);
	assert_int_equal(nfs_open_use(state, open, &stateid), -EIO);
}

static void test_lost_lock_fails_io_until_unlocked(void **arg)
{
	const struct range all = {0, UINT64_MAX, RANGE_FREE};
	struct nfs_stateid stateid;
	struct nfs_open *open = make_open(1);
	struct nfs_lock *lock = make_lock(open);
	run(true);
	answer(OP_OPEN, 0);
	answer(OP_LOCK, NFS4ERR_RECLAIM_CONFLICT);
	expect_end(0);
	assert_int_equal(lost_locks, 1);
	assert_int_equal(nfs_open_use(state, open, &stateid), -EIO);
	assert_true(nfs_lock_is_lost(state, lock));
	/* the server holds none of it */
	assert_false(nfs_lock_held(state, lock, &stateid));
	nfs_lock_changed(state, lock, NULL, &all);
	assert_int_equal(nfs_open_use(state, open, &stateid), 0);
	nfs_lock_unref(state, lock);
}

static void test_what_was_had_of_a_lost_lock_can_be_unlocked(void **arg)
{
	struct nfs_stateid stateid;
	struct nfs_open *open = make_open(1);
	struct nfs_lock *lock = make_lock(open);
	run(true);
	answer(OP_OPEN, 0);
	answer(OP_LOCK, 0);
	answer(OP_LOCK, NFS4ERR_RECLAIM_CONFLICT);
	expect_end(0);
	assert_int_equal(lost_locks, 1);
	assert_true(nfs_lock_held(state, lock, &stateid));
	assert_int_equal(stateid.other[0], 102);
	nfs_lock_unref(state, lock);
}

static void test_closed_meanwhile_is_given_back(void **arg)
{
	struct nfs_open *open = make_open(1);
	run(true);
	close_open(open);
	answer(OP_OPEN, 0);
	answer(OP_CLOSE, 0);
	expect_end(0);
}

static void test_session_ends_meanwhile(void **arg)
{
	struct nfs_open *open = make_open(1);
	run(true);
	answer(OP_OPEN, -ESTALE);
	expect_end(-ESTALE);
	assert_int_equal(lost_opens, 0);
	run(true);
	answer(OP_OPEN, 0);
	expect_end(0);
	expect_stateid(open, 101);
}

static void test_revoked_state_is_told_from_what_stands(void **arg)
{
	struct nfs_stateid stateid;
	struct nfs_open *good = make_open(1);
	run(false);
	answer(OP_TEST_STATEID, NFS4_OK);
	expect_end(0);
	expect_stateid(good, 1);
	close_open(good);

	struct nfs_open *bad = make_open(2);
	struct nfs_lock *lock = make_lock(bad);
	run(false);
	answer(OP_TEST_STATEID, NFS4ERR_EXPIRED);
	answer(OP_FREE_STATEID, 0);
	answer(OP_OPEN, 0);
	expect_end(0);
	assert_int_equal(lost_opens, 0);
	assert_int_equal(lost_locks, 1);
	assert_int_equal(nfs_open_use(state, bad, &stateid), -EIO);
	nfs_lock_unref(state, lock);
}

static void test_revoked_lock_of_a_good_open(void **arg)
{
	struct nfs_stateid stateid;
	struct nfs_open *open = make_open(1);
	struct nfs_lock *lock = make_lock(open);
	run(false);
	answer(OP_TEST_STATEID, NFS4_OK);
	answer(OP_TEST_STATEID, NFS4ERR_ADMIN_REVOKED);
	answer(OP_FREE_STATEID, 0);
	expect_end(0);
	assert_int_equal(lost_locks, 1);
	assert_int_equal(nfs_open_use(state, open, &stateid), -EIO);
	/* it is told once, and asked about no more */
	run(false);
	answer(OP_TEST_STATEID, NFS4_OK);
	expect_end(0);
	assert_int_equal(lost_locks, 1);
	nfs_lock_unref(state, lock);
}

static void test_lock_that_stands_is_kept(void **arg)
{
	struct nfs_stateid stateid;
	struct nfs_open *open = make_open(1);
	struct nfs_lock *lock = make_lock(open);
	run(false);
	answer(OP_TEST_STATEID, NFS4_OK);
	answer(OP_TEST_STATEID, NFS4_OK);
	expect_end(0);
	assert_int_equal(lost_locks, 0);
	assert_int_equal(nfs_open_use(state, open, &stateid), 0);
	nfs_lock_unref(state, lock);
}

static unsigned agains;

static void count_again(struct reclaim_use *use)
{
	if (++agains == 2)
		loop_stop(loop);
}

static void test_requests_wait_for_one_recovery_of_their_file(void **arg)
{
	struct nfs_open *open = make_open(1);
	struct reclaim_use a = {0}, b = {0};
	agains = 0;
	assert_int_equal(reclaim_use_open(reclaim, &a, open), 0);
	assert_int_equal(reclaim_use_open(reclaim, &b, open), 0);
	assert_false(reclaim_refused(reclaim, &a, NULL, NFS4ERR_NOSPC, count_again));
	assert_true(reclaim_refused(reclaim, &a, NULL, NFS4ERR_BAD_STATEID, count_again));
	assert_true(reclaim_refused(reclaim, &b, NULL, NFS4ERR_STALE_STATEID, count_again));
	assert_int_equal(nsent, 1);
	assert_false(sent[0]->privileged);
	answer(OP_TEST_STATEID, NFS4ERR_BAD_STATEID);
	answer(OP_OPEN, 0);
	assert_int_equal(agains, 0);
	assert_int_equal(loop_run(loop), 0);
	assert_int_equal(agains, 2);
	assert_int_equal(nsent, 0);
	expect_stateid(open, 101);
}

static void test_old_stateid_is_replaced_at_once(void **arg)
{
	struct nfs_open *open = make_open(1);
	struct reclaim_use use = {0};
	agains = 0;
	reclaim_use_open(reclaim, &use, open);
	run(true);
	answer(OP_OPEN, 0);
	assert_true(reclaim_refused(reclaim, &use, NULL, NFS4ERR_BAD_STATEID, count_again));
	assert_int_equal(agains, 1);
	assert_int_equal(nsent, 0);
}

static void test_seqid_that_was_lost_with_its_answer(void **arg)
{
	struct nfs_open *open = make_open(1);
	struct reclaim_use use = {0};
	agains = 0;
	reclaim_use_open(reclaim, &use, open);
	assert_true(reclaim_refused(reclaim, &use, NULL, NFS4ERR_OLD_STATEID, count_again));
	assert_int_equal(agains, 1);
	assert_int_equal(nsent, 0);
	/* the stateid is good, whatever its seqid is by now */
	reclaim_use_open(reclaim, &use, open);
	assert_int_equal(use.stateid.seqid, 0);
	assert_memory_equal(use.stateid.other, open->stateid.other, NFS4_OTHER_SIZE);
}

static void test_a_request_does_not_try_for_ever(void **arg)
{
	struct nfs_open *open = make_open(1);
	struct reclaim_use use = {0};
	unsigned tries = 0;
	do {
		struct nfs_stateid next = {.seqid = 2 + tries, .other = {1}};
		reclaim_use_open(reclaim, &use, open);
		nfs_open_regained(state, open, &next);
	} while (tries++ < 100 &&
		 reclaim_refused(reclaim, &use, NULL, NFS4ERR_BAD_STATEID, count_again));
	assert_true(tries > 2 && tries < 20);
}

#define TEST(name) cmocka_unit_test_setup_teardown(test_##name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(nothing_to_reclaim),
		TEST(open_and_ranges_are_reclaimed),
		TEST(what_locks_needed_is_reclaimed_with_the_open),
		TEST(what_lost_locks_needed_is_not_asked_for),
		TEST(many_opens_a_few_at_a_time),
		TEST(no_grace_leaves_all_for_later),
		TEST(locks_of_a_clone_are_lost),
		TEST(file_is_gone),
		TEST(open_is_refused),
		TEST(lost_lock_fails_io_until_unlocked),
		TEST(what_was_had_of_a_lost_lock_can_be_unlocked),
		TEST(closed_meanwhile_is_given_back),
		TEST(session_ends_meanwhile),
		TEST(revoked_state_is_told_from_what_stands),
		TEST(revoked_lock_of_a_good_open),
		TEST(lock_that_stands_is_kept),
		TEST(requests_wait_for_one_recovery_of_their_file),
		TEST(old_stateid_is_replaced_at_once),
		TEST(seqid_that_was_lost_with_its_answer),
		TEST(a_request_does_not_try_for_ever),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
