/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* How delegations go back, against a server that is a script: see test_reclaim.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>
#include <errno.h>

#include "nfs41/deleg.h"
#include "nfs41/op.h"
#include "nfs41/reclaim.h"
#include "nfs41/state_priv.h"

#define SENT_MAX 128

static struct nfs_compound *sent[SENT_MAX];
static unsigned nsent;
static struct nfs_state *state;
static struct rpc_cred *cred, *cred2;
static struct loop *loop;
static unsigned due, flushes;
static bool hurried;		     /* the last time */
static struct deleg_flush *flushing; /* the last that was asked for */
static bool flush_waits, flush_gone;
static unsigned made, tested;
static int tested_err;

static const struct nfs_fh fh = {.len = 4, .data = "file"};

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

static void on_due(void *arg, bool urgent)
{
	due++;
	hurried = urgent;
}

static void on_flush(void *arg, struct deleg_flush *flush)
{
	flushes++;
	flushing = flush;
	flush_gone = flush->gone;
	if (!flush_waits)
		flush->done(flush);
}

static const struct deleg_ops ops = {.due = on_due, .flush = on_flush};

static int setup(void **arg)
{
	nsent = due = flushes = made = tested = 0;
	flush_waits = false;
	assert_int_equal(loop_new(LOOP_POLL, &loop), 0);
	assert_int_equal(nfs_state_new(&state), 0);
	assert_int_equal(rpc_cred_new_sys("m", 1, 1, NULL, 0, &cred), 0);
	assert_int_equal(rpc_cred_new_sys("m", 2, 2, NULL, 0, &cred2), 0);
	deleg_configure(state, DELEG_ALL, &ops, NULL);
	return 0;
}

static int teardown(void **arg)
{
	assert_int_equal(nsent, 0);
	nfs_state_free(state);
	rpc_cred_unref(cred);
	rpc_cred_unref(cred2);
	loop_free(loop);
	return 0;
}

static const struct nfs_stateid delegation = {.seqid = 1, .other = "delegation"};
static const struct nfs_stateid real = {.seqid = 1, .other = "real"};

static void grant_of(const struct nfs_fh *of, const struct nfs_stateid *stateid,
	struct rpc_cred *to, uint32_t type)
{
	struct deleg_asking asking;
	const struct nfs_open_res res = {.delegation_type = type, .delegation = *stateid};
	const struct deleg_grant granted = {
		.fh = of, .cred = to, .access = OPEN4_SHARE_ACCESS_BOTH, .res = &res};
	deleg_ask(state, of, OPEN4_SHARE_ACCESS_READ, false, &asking);
	deleg_answered(state, &asking, &granted);
}

static void grant(struct rpc_cred *to, uint32_t type)
{
	grant_of(&fh, &delegation, to, type);
}

static struct nfs_fh numbered(unsigned i)
{
	return (struct nfs_fh){.len = 2, .data = {'f', (uint8_t)i}};
}

/* So many delegations, the last of another user; all become due. */
static void grant_and_return(unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		const struct nfs_fh of = numbered(i);
		const struct nfs_stateid stateid = {.seqid = 1, .other = {'d', (uint8_t)i}};
		grant_of(&of, &stateid, i + 1 < count ? cred : cred2, OPEN_DELEGATE_READ);
	}
	for (unsigned i = 0; i < count; i++) {
		const struct nfs_fh of = numbered(i);
		deleg_return(state, &of);
	}
}

static void assert_returns(const struct nfs_compound *c, struct rpc_cred *by, unsigned count)
{
	assert_ptr_equal(c->cred, by);
	assert_int_equal(c->nops, 2 * count);
	for (unsigned i = 0; i < count; i++)
		assert_int_equal(c->ops[2 * i + 1].op, OP_DELEGRETURN);
}

static struct nfs_open *open_local(struct rpc_cred *by, uint64_t owner)
{
	struct nfs_open *open = deleg_open(state, &fh, OPEN4_SHARE_ACCESS_READ, owner, by);
	assert_non_null(open);
	return open;
}

static void close_local(struct nfs_open *open, bool real_one)
{
	struct nfs_stateid stateid;
	assert_int_equal(nfs_open_close(state, open, &stateid), real_one);
	nfs_open_unref(state, open);
}

static uint32_t word_at(const struct nfs_compound *c, size_t at)
{
	const uint8_t *p = c->head + at;
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* Of an OPEN: claim and, for a claim of one, whether the delegation's stateid is named. */
enum { CLAIM_FH_WORD = 4, CLAIM_DELEG_CUR_FH_WORD = 5 };

static uint32_t claim_of(const struct nfs_compound *c)
{
	size_t end = c->out.len;
	if (word_at(c, end - 4) == CLAIM_FH_WORD)
		return CLAIM_FH_WORD;
	assert_memory_equal(c->head + end - NFS4_OTHER_SIZE, delegation.other, NFS4_OTHER_SIZE);
	return word_at(c, end - NFS4_OTHER_SIZE - 8);
}

/* Answers the oldest compound, which must be about `op`. */
static void answer(uint32_t op, int status)
{
	assert_true(nsent > 0);
	struct nfs_compound *c = sent[0];
	memmove(sent, sent + 1, --nsent * sizeof(sent[0]));
	struct nfs_op_slot *slot = &c->ops[c->nops - 1];
	assert_int_equal(slot->op, op);
	c->status = status;
	if (op == OP_TEST_STATEID && status >= 0) {
		c->status = 0;
		*(uint32_t *)slot->res = (uint32_t)status;
	} else if (op == OP_OPEN && status == 0) {
		((struct nfs_open_res *)slot->res)->stateid = real;
	}
	c->done(c);
}

static void recall(void)
{
	assert_int_equal(deleg_recalled(state, &fh, &delegation), NFS4_OK);
	assert_int_equal(due, 1);
	deleg_return_due(state, NULL, 2);
}

static void expect_returned(unsigned returned, unsigned lost)
{
	struct deleg_stats stats;
	deleg_get_stats(state, &stats);
	assert_int_equal(stats.returned, returned);
	assert_int_equal(stats.lost, lost);
	assert_int_equal(stats.read + stats.write, 0);
	assert_int_equal(deleg_wait_returned(state, 0), 0);
}

static void test_nothing_open(void **arg)
{
	grant(cred, OPEN_DELEGATE_READ);
	recall();
	assert_int_equal(flushes, 1);
	assert_ptr_equal(sent[0]->cred, cred);
	answer(OP_DELEGRETURN, 0);
	expect_returned(1, 0);
}

static void test_the_flush_comes_first(void **arg)
{
	flush_waits = true;
	grant(cred, OPEN_DELEGATE_WRITE);
	struct nfs_open *open = open_local(cred, 7);
	recall();
	assert_int_equal(nsent, 0);
	assert_true(nfs_fh_equal(&flushing->fh, &fh));
	assert_false(flush_gone);
	/* meanwhile the open is good, and no other begins */
	struct nfs_stateid stateid;
	assert_int_equal(nfs_open_use(state, open, &stateid), 0);
	assert_null(deleg_open(state, &fh, OPEN4_SHARE_ACCESS_READ, 1, cred));
	flushing->done(flushing);
	answer(OP_OPEN, 0);
	answer(OP_DELEGRETURN, 0);
	close_local(open, true);
}

static void test_opens_are_made_real_by_who_opened(void **arg)
{
	struct nfs_stateid stateid;
	struct deleg_asking asking;
	grant(cred, OPEN_DELEGATE_READ);
	const struct nfs_open_res res = {.delegation_type = OPEN_DELEGATE_NONE};
	const struct deleg_grant granted = {
		.fh = &fh, .cred = cred2, .access = OPEN4_SHARE_ACCESS_READ, .res = &res};
	deleg_ask(state, &fh, OPEN4_SHARE_ACCESS_READ, false, &asking);
	deleg_answered(state, &asking, &granted);
	struct nfs_open *open[] = {open_local(cred, 7), open_local(cred2, 8)};
	recall();
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(nsent, 1);
		const struct nfs_open *by = sent[0]->cred == cred ? open[0] : open[1];
		assert_ptr_equal(sent[0]->cred, by->cred);
		assert_int_equal(claim_of(sent[0]), CLAIM_DELEG_CUR_FH_WORD);
		answer(OP_OPEN, 0);
		assert_int_equal(nfs_open_use(state, by, &stateid), 0);
		assert_memory_equal(stateid.other, real.other, NFS4_OTHER_SIZE);
	}
	answer(OP_DELEGRETURN, 0);
	expect_returned(1, 0);
	close_local(open[0], true);
	close_local(open[1], true);
}

static void test_server_without_the_claim(void **arg)
{
	grant(cred, OPEN_DELEGATE_READ);
	struct nfs_open *open = open_local(cred, 7);
	recall();
	answer(OP_OPEN, NFS4ERR_NOTSUPP);
	assert_int_equal(claim_of(sent[0]), CLAIM_FH_WORD);
	answer(OP_OPEN, 0);
	answer(OP_DELEGRETURN, 0);
	assert_false(nfs_open_is_local(state, open));
	close_local(open, true);
}

static void test_open_is_refused(void **arg)
{
	grant(cred, OPEN_DELEGATE_READ);
	struct nfs_open *open = open_local(cred, 7);
	recall();
	answer(OP_OPEN, NFS4ERR_NOTSUPP);
	answer(OP_OPEN, NFS4ERR_ACCESS);
	/* The delegation goes back all the same; the open's next use finds out. */
	answer(OP_DELEGRETURN, 0);
	expect_returned(1, 0);
	assert_true(nfs_open_is_stale(state, open));
	close_local(open, false);
}

static void test_closed_meanwhile(void **arg)
{
	grant(cred, OPEN_DELEGATE_READ);
	struct nfs_open *open = open_local(cred, 7);
	recall();
	close_local(open, false);
	answer(OP_OPEN, 0);
	answer(OP_CLOSE, 0);
	answer(OP_DELEGRETURN, 0);
	expect_returned(1, 0);
}

static void test_return_fails(void **arg)
{
	grant(cred, OPEN_DELEGATE_READ);
	recall();
	answer(OP_DELEGRETURN, NFS4ERR_BAD_STATEID);
	expect_returned(0, 1);
}

static void test_several_go_back_together(void **arg)
{
	grant_and_return(6);
	assert_false(hurried);
	deleg_return_due(state, NULL, 4);
	assert_int_equal(nsent, 3);
	assert_returns(sent[0], cred, 4);
	assert_returns(sent[1], cred, 1);
	assert_returns(sent[2], cred2, 1);
	for (unsigned i = 0; i < 3; i++)
		answer(OP_DELEGRETURN, 0);
	expect_returned(6, 0);
}

/* 32 at the same time; the others follow when these have gone back. */
static void test_no_more_than_are_kept_track_of(void **arg)
{
	grant_and_return(40);
	deleg_return_due(state, NULL, 100);
	assert_int_equal(nsent, 1);
	assert_returns(sent[0], cred, 32);
	/* none has room before */
	deleg_return_due(state, NULL, 100);
	assert_int_equal(nsent, 1);
	answer(OP_DELEGRETURN, 0);
	assert_int_equal(nsent, 2);
	assert_returns(sent[0], cred, 7);
	assert_returns(sent[1], cred2, 1);
	answer(OP_DELEGRETURN, 0);
	answer(OP_DELEGRETURN, 0);
	expect_returned(40, 0);
}

static void test_one_that_fails_keeps_no_other(void **arg)
{
	grant_and_return(6);
	deleg_return_due(state, NULL, 8);
	assert_returns(sent[0], cred, 5);
	/* the second is unknown, then the server has no time for the fourth */
	sent[0]->ops_ok = 3;
	answer(OP_DELEGRETURN, NFS4ERR_BAD_STATEID);
	answer(OP_DELEGRETURN, 0);
	assert_returns(sent[0], cred, 3);
	sent[0]->ops_ok = 3;
	answer(OP_DELEGRETURN, NFS4ERR_DELAY);
	assert_returns(sent[0], cred, 2);
	answer(OP_DELEGRETURN, 0);
	expect_returned(5, 1);
}

static void test_without_a_server_all_are_lost(void **arg)
{
	grant_and_return(3);
	deleg_return_due(state, NULL, 8);
	answer(OP_DELEGRETURN, -EIO);
	answer(OP_DELEGRETURN, -EIO);
	expect_returned(0, 3);
}

static void test_what_is_asked_for_does_not_wait(void **arg)
{
	grant(cred, OPEN_DELEGATE_READ);
	deleg_return(state, &fh);
	assert_int_equal(due, 1);
	assert_false(hurried);
	/* the server asks for what waits to go back */
	assert_int_equal(deleg_recalled(state, &fh, &delegation), NFS4_OK);
	assert_int_equal(due, 2);
	assert_true(hurried);
	deleg_return_due(state, NULL, 8);
	answer(OP_DELEGRETURN, 0);
	grant(cred, OPEN_DELEGATE_READ);
	deleg_return_all(state, 0);
	assert_true(hurried);
	deleg_return_due(state, NULL, 8);
	answer(OP_DELEGRETURN, 0);
	expect_returned(2, 0);
}

static void test_gone_before_it_could_go_back(void **arg)
{
	flush_waits = true;
	grant(cred, OPEN_DELEGATE_READ);
	nfs_state_rewind(state, true);
	deleg_reclaim_over(state);
	deleg_return_due(state, NULL, 2);
	assert_true(flush_gone);
	flushing->done(flushing);
	assert_int_equal(nsent, 0);
	expect_returned(0, 1);
}

static void on_made(void *arg)
{
	made++;
}

static void test_lock_needs_a_real_open(void **arg)
{
	grant(cred, OPEN_DELEGATE_READ);
	struct nfs_open *open = open_local(cred, 7);
	assert_true(deleg_make_real(state, open, NULL, on_made, NULL));
	assert_int_equal(claim_of(sent[0]), CLAIM_DELEG_CUR_FH_WORD);
	assert_int_equal(made, 0);
	answer(OP_OPEN, 0);
	assert_int_equal(made, 1);
	/* the delegation stays */
	assert_true(deleg_holds(state, &fh));
	assert_false(deleg_make_real(state, open, NULL, on_made, NULL));
	recall();
	answer(OP_DELEGRETURN, 0);
	close_local(open, true);
}

static void test_lock_when_the_open_is_refused(void **arg)
{
	grant(cred, OPEN_DELEGATE_READ);
	struct nfs_open *open = open_local(cred, 7);
	assert_true(deleg_make_real(state, open, NULL, on_made, NULL));
	answer(OP_OPEN, NFS4ERR_NOTSUPP);
	answer(OP_OPEN, NFS4ERR_ACCESS);
	assert_int_equal(made, 1);
	assert_true(nfs_open_is_local(state, open));
	close_local(open, false);
}

static void on_tested(void *arg, int err)
{
	tested++;
	tested_err = err;
}

static void test_round(uint32_t status)
{
	grant(cred, OPEN_DELEGATE_READ);
	nfs_state_rewind(state, false);
	deleg_test(state, NULL, on_tested, NULL);
	assert_true(sent[0]->privileged && sent[0]->one_session);
	answer(OP_TEST_STATEID, (int)status);
}

static void test_revoked(void **arg)
{
	test_round(NFS4ERR_DELEG_REVOKED);
	assert_false(deleg_holds(state, &fh));
	/* the server says that something was revoked until it is acknowledged */
	answer(OP_FREE_STATEID, 0);
	assert_int_equal(tested, 1);
	assert_int_equal(tested_err, 0);
	deleg_return_due(state, NULL, 2);
	assert_true(flush_gone);
	expect_returned(0, 1);
}

static void test_unknown_to_the_server(void **arg)
{
	test_round(NFS4ERR_BAD_STATEID);
	assert_int_equal(tested, 1);
	assert_false(deleg_holds(state, &fh));
	deleg_return_due(state, NULL, 2);
	expect_returned(0, 1);
}

static void test_still_good(void **arg)
{
	test_round(NFS4_OK);
	assert_int_equal(tested, 1);
	assert_true(deleg_holds(state, &fh));
	assert_int_equal(flushes, 0);
}

static void test_session_ends_while_testing(void **arg)
{
	grant(cred, OPEN_DELEGATE_READ);
	nfs_state_rewind(state, false);
	deleg_test(state, NULL, on_tested, NULL);
	answer(OP_TEST_STATEID, -ESTALE);
	assert_int_equal(tested_err, -ESTALE);
	assert_true(deleg_holds(state, &fh));
}

/* I/O finds the delegation revoked: the open is made anew, and the program does not notice. */
static bool again_called;
static void on_again(struct reclaim_use *use)
{
	again_called = true;
}

static void test_revoked_while_in_use(void **arg)
{
	const struct reclaim_config config = {.state = state};
	struct reclaim *reclaim;
	struct reclaim_use use = {0};
	assert_int_equal(reclaim_new(&config, &reclaim), 0);
	grant(cred, OPEN_DELEGATE_READ);
	struct nfs_open *open = open_local(cred, 7);
	assert_int_equal(reclaim_use_open(reclaim, &use, open), 0);
	assert_true(reclaim_refused(reclaim, &use, NULL, NFS4ERR_DELEG_REVOKED, on_again));
	answer(OP_TEST_STATEID, NFS4ERR_DELEG_REVOKED);
	answer(OP_FREE_STATEID, 0);
	assert_false(deleg_holds(state, &fh));
	assert_int_equal(claim_of(sent[0]), CLAIM_FH_WORD);
	answer(OP_OPEN, 0);
	assert_false(nfs_open_is_local(state, open));
	/* `again` comes as a task of the loop */
	use.task.run(&use.task);
	assert_true(again_called);
	assert_int_equal(reclaim_use_open(reclaim, &use, open), 0);
	assert_memory_equal(use.stateid.other, real.other, NFS4_OTHER_SIZE);
	deleg_return_due(state, NULL, 2);
	expect_returned(0, 1);
	close_local(open, true);
	reclaim_free(reclaim);
}

#define POINT(name) cmocka_unit_test_setup_teardown(test_##name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		POINT(nothing_open),
		POINT(the_flush_comes_first),
		POINT(opens_are_made_real_by_who_opened),
		POINT(server_without_the_claim),
		POINT(open_is_refused),
		POINT(closed_meanwhile),
		POINT(return_fails),
		POINT(several_go_back_together),
		POINT(no_more_than_are_kept_track_of),
		POINT(one_that_fails_keeps_no_other),
		POINT(without_a_server_all_are_lost),
		POINT(what_is_asked_for_does_not_wait),
		POINT(gone_before_it_could_go_back),
		POINT(lock_needs_a_real_open),
		POINT(lock_when_the_open_is_refused),
		POINT(revoked),
		POINT(unknown_to_the_server),
		POINT(still_good),
		POINT(session_ends_while_testing),
		POINT(revoked_while_in_use),
	};
	return cmocka_run_group_tests_name("delegreturn", tests, NULL, NULL);
}
