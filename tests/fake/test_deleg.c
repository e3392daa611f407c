/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Delegations between client and server, with callbacks on the same connection. */
#include <errno.h>

#include "deleg_owner.h"

static const struct nfs_fh fh = {.len = 4, .data = "file"};

static int setup(void **state)
{
	owner_setup(state, DELEG_ALL);
	struct drive *d = *state;
	d->fake.delegate = OPEN_DELEGATE_READ;
	return 0;
}

static void put_recall(struct wire_out *out)
{
	put_recall_of(out, &fh);
}

static void put_recall_any(struct wire_out *out)
{
	put_recall_any_of(out, 1u << RCA4_TYPE_MASK_RDATA_DLG | 1u << RCA4_TYPE_MASK_WDATA_DLG);
}

/* One OPEN of the file, as a program's open(2) makes it. */
struct opening {
	uint32_t access; /* 0: to read */
	struct job job;
	struct nfs_open_res res;
	struct deleg_asking asking;
};

static void open_send(struct drive *d, struct opening *o)
{
	uint32_t access = o->access ? o->access : OPEN4_SHARE_ACCESS_READ;
	struct nfs_open_args args = {
		.access = access | deleg_ask(owner.state, &fh, access, true, &o->asking),
		.owner = 1,
		.claim = NFS_CLAIM_FH};
	struct nfs_compound *c = job_new(&o->job, d, 0, OP_OPEN);
	nfs_op_putfh(c, &fh);
	nfs_op_open(c, &args, &o->res);
	job_send(&o->job);
}

/* Its end; whether the file is delegated then. */
static bool open_end(struct opening *o)
{
	job_succeeds(&o->job);
	const struct deleg_grant grant = {.fh = &fh,
		.cred = o->job.d->cred,
		.access = OPEN4_SHARE_ACCESS_READ,
		.res = &o->res};
	return deleg_answered(owner.state, &o->asking, &grant);
}

static void take(struct drive *d)
{
	struct opening o = {0};
	open_send(d, &o);
	assert_true(open_end(&o));
}

static void put_getattr(struct wire_out *out)
{
	wire_put_u32(out, OP_CB_GETATTR);
	wire_put_opaque(out, fh.data, fh.len);
	wire_put_u32(out, 1);
	wire_put_u32(out, 1u << FATTR4_CHANGE | 1u << FATTR4_SIZE);
}

static void test_recalled_while_open(void **state)
{
	struct drive *d = *state;
	struct nfs_stateid stateid;
	take(d);
	struct nfs_open *open = deleg_open(owner.state, &fh, OPEN4_SHARE_ACCESS_READ, 2, d->cred);
	assert_non_null(open);
	assert_int_equal(d->fake.executed[OP_OPEN], 1);
	assert_int_equal(call(d, put_recall), NFS4_OK);
	until_returned(d, 1);
	assert_int_equal(owner.flushes, 1);
	assert_int_equal(d->fake.executed[OP_OPEN], 2);
	assert_int_equal(d->fake.open_claim, 5);
	assert_int_equal(nfs_open_use(owner.state, open, &stateid), 0);
	assert_memory_equal(stateid.other, "an open file", NFS4_OTHER_SIZE);
	assert_true(nfs_open_close(owner.state, open, &stateid));
	nfs_open_unref(owner.state, open);
	assert_int_equal(call(d, put_recall), NFS4ERR_BADHANDLE);
}

/* The callback comes on the connection in front of the answer that it is about. */
static enum fake_verdict recall_first(struct fake *fake, struct fake_call *call)
{
	struct drive *d = fake->arg;
	if (fake_last_op(call) == OP_OPEN && d->flag++ == 0)
		call_back(d, put_recall);
	return FAKE_NORMAL;
}

static void test_recalled_before_it_is_granted(void **state)
{
	struct drive *d = *state;
	struct opening o = {0};
	d->fake.script = recall_first;
	open_send(d, &o);
	assert_int_equal(answered(d, 1), NFS4_OK);
	assert_false(open_end(&o));
	until_returned(d, 1);
}

static void test_recall_is_replayed(void **state)
{
	struct drive *d = *state;
	take(d);
	call_back_as(d, 1, put_recall);
	assert_int_equal(answered(d, 1), NFS4_OK);
	until_returned(d, 1);
	/* from the cache: asked anew it would be an error by now */
	call_back_as(d, 1, put_recall);
	assert_int_equal(answered(d, 2), NFS4_OK);
	until_returned(d, 1);
}

static enum fake_verdict delay_twice(struct fake *fake, struct fake_call *call)
{
	struct drive *d = fake->arg;
	if (fake_last_op(call) == OP_DELEGRETURN && d->flag++ < 2) {
		call->fail_at = 2;
		call->fail_status = NFS4ERR_DELAY;
	}
	return FAKE_NORMAL;
}

static void test_return_is_delayed(void **state)
{
	struct drive *d = *state;
	take(d);
	d->fake.script = delay_twice;
	assert_int_equal(call(d, put_recall), NFS4_OK);
	until_returned(d, 1);
	assert_int_equal(d->flag, 3);
}

static enum fake_verdict cut_once(struct fake *fake, struct fake_call *call)
{
	struct drive *d = fake->arg;
	return fake_last_op(call) == OP_DELEGRETURN && d->flag++ == 0 ? FAKE_EXECUTE_CLOSE
								      : FAKE_NORMAL;
}

/* A server that recalls a delegation for reading from the very client that wants to write. */
static enum fake_verdict delay_until_returned(struct fake *fake, struct fake_call *call)
{
	struct drive *d = fake->arg;
	if (fake_last_op(call) != OP_OPEN || !(fake->open_access & OPEN4_SHARE_ACCESS_WRITE) ||
		fake->executed[OP_DELEGRETURN] > 0)
		return FAKE_NORMAL;
	if (d->flag++ == 0)
		call_back(d, put_recall);
	call->fail_at = 2;
	call->fail_status = NFS4ERR_DELAY;
	return FAKE_NORMAL;
}

static void test_own_delegation_is_in_the_way(void **state)
{
	struct drive *d = *state;
	struct opening o = {.access = OPEN4_SHARE_ACCESS_BOTH};
	take(d);
	struct nfs_open *reader = deleg_open(owner.state, &fh, OPEN4_SHARE_ACCESS_READ, 2, d->cred);
	d->fake.delegate = OPEN_DELEGATE_NONE;
	d->fake.script = delay_until_returned;
	open_send(d, &o);
	assert_false(open_end(&o));
	assert_true(d->flag > 0);
	assert_int_equal(d->fake.executed[OP_DELEGRETURN], 1);
	assert_int_equal(owner.flushes, 1);
	assert_false(nfs_open_is_local(owner.state, reader));
	struct nfs_stateid stateid;
	assert_true(nfs_open_close(owner.state, reader, &stateid));
	nfs_open_unref(owner.state, reader);
}

static void test_connection_ends_in_the_return(void **state)
{
	struct drive *d = *state;
	struct deleg_stats stats;
	take(d);
	d->fake.script = cut_once;
	assert_int_equal(call(d, put_recall), NFS4_OK);
	until_returned(d, 1);
	assert_int_equal(d->fake.replays, 1);
	deleg_get_stats(owner.state, &stats);
	assert_int_equal(stats.returned, 1);
	assert_int_equal(stats.lost, 0);
}

static void test_recall_of_any(void **state)
{
	struct drive *d = *state;
	take(d);
	assert_int_equal(call(d, put_recall_any), NFS4_OK);
	until_returned(d, 1);
}

static void test_getattr(void **state)
{
	struct drive *d = *state;
	d->fake.delegate = OPEN_DELEGATE_WRITE;
	assert_int_equal(call(d, put_getattr), NFS4ERR_BADHANDLE);
	take(d);
	assert_int_equal(call(d, put_getattr), NFS4_OK);
	assert_int_equal(d->fake.executed[OP_DELEGRETURN], 0);
}

static void test_open_or_delegation(void **state)
{
	struct drive *d = *state;
	struct opening o = {0};
	struct nfs_stateid stateid;
	deleg_use_xor(owner.state);
	d->fake.open_rflags = OPEN4_RESULT_NO_OPEN_STATEID;
	open_send(d, &o);
	job_succeeds(&o.job);
	assert_true(d->fake.open_access & OPEN4_SHARE_ACCESS_WANT_OPEN_XOR_DELEGATION);
	const struct deleg_grant grant = {
		.fh = &fh, .cred = d->cred, .access = OPEN4_SHARE_ACCESS_READ, .res = &o.res};
	struct nfs_open *open = deleg_record(owner.state, &grant, OPEN4_SHARE_ACCESS_READ, 1);
	assert_true(deleg_answered(owner.state, &o.asking, &grant));
	assert_true(nfs_open_is_local(owner.state, open));
	d->fake.open_rflags = 0;
	assert_int_equal(call(d, put_recall), NFS4_OK);
	until_returned(d, 1);
	assert_true(nfs_open_close(owner.state, open, &stateid));
	nfs_open_unref(owner.state, open);
}

static void restart(struct drive *d)
{
	struct job job;
	fake_restart(&d->fake);
	d->fake.delegation = "another one.";
	job_getattr(&job, d, 0);
	job_succeeds(&job);
	drive_for(d, 20 * DRIVE_MS);
	assert_int_equal(d->fake.executed[OP_RECLAIM_COMPLETE], 2);
}

static struct nfs_open *open_locally(struct drive *d)
{
	struct nfs_open *open = deleg_open(owner.state, &fh, OPEN4_SHARE_ACCESS_READ, 2, d->cred);
	assert_non_null(open);
	return open;
}

static void close_real(struct nfs_open *open)
{
	struct nfs_stateid stateid;
	assert_true(nfs_open_close(owner.state, open, &stateid));
	nfs_open_unref(owner.state, open);
}

static unsigned count_lost(void)
{
	struct deleg_stats stats;
	deleg_get_stats(owner.state, &stats);
	return (unsigned)stats.lost;
}

static void test_server_restarts(void **state)
{
	struct drive *d = *state;
	struct nfs_stateid stateid;
	take(d);
	struct nfs_open *open = open_locally(d), *second = open_locally(d);
	restart(d);
	/* both opens are established, and one of them brings the delegation back */
	assert_int_equal(d->fake.open_claim, 1);
	assert_int_equal(d->fake.executed[OP_OPEN], 3);
	assert_false(nfs_open_is_local(owner.state, open));
	assert_false(nfs_open_is_local(owner.state, second));
	assert_int_equal(count_lost(), 0);
	assert_int_equal(owner.flushes, 0);
	assert_int_equal(d->fake.executed[OP_DELEGRETURN], 0);
	/* it is good for more opens, until it is recalled under its new stateid */
	struct nfs_open *third = open_locally(d);
	assert_int_equal(d->fake.executed[OP_OPEN], 3);
	owner.next_sequence = 1;
	assert_int_equal(call(d, put_recall), NFS4_OK);
	until_returned(d, 1);
	assert_int_equal(d->fake.executed[OP_OPEN], 4);
	assert_int_equal(nfs_open_use(owner.state, third, &stateid), 0);
	close_real(open);
	close_real(second);
	close_real(third);
}

static void test_restarted_server_does_not_give_it_back(void **state)
{
	struct drive *d = *state;
	take(d);
	struct nfs_open *open = open_locally(d);
	d->fake.delegate = OPEN_DELEGATE_NONE;
	restart(d);
	assert_int_equal(d->fake.open_delegate, OPEN_DELEGATE_READ);
	assert_int_equal(count_lost(), 1);
	assert_int_equal(owner.flushes, 1);
	assert_int_equal(d->fake.executed[OP_DELEGRETURN], 0);
	close_real(open);
}

static void test_restarted_server_recalls_it_at_once(void **state)
{
	struct drive *d = *state;
	take(d);
	struct nfs_open *open = open_locally(d);
	d->fake.recall = true;
	restart(d);
	until_returned(d, 1);
	assert_int_equal(owner.flushes, 1);
	close_real(open);
}

static void test_nothing_open_under_it_when_the_server_restarts(void **state)
{
	struct drive *d = *state;
	take(d);
	restart(d);
	assert_int_equal(count_lost(), 1);
	assert_int_equal(d->fake.executed[OP_OPEN], 1);
	assert_int_equal(deleg_wait_returned(owner.state, 0), 0);
}

static void test_restarted_server_gives_what_nobody_asked_for(void **state)
{
	struct drive *d = *state;
	const struct nfs_stateid stateid = {.seqid = 1, .other = "an open file"};
	struct nfs_open *open =
		nfs_open_new(owner.state, &fh, OPEN4_SHARE_ACCESS_READ, 1, d->cred, &stateid);
	d->fake.delegate_unasked = true;
	restart(d);
	assert_int_equal(d->fake.open_delegate, OPEN_DELEGATE_NONE);
	until_returned(d, 1);
	close_real(open);
}

static void test_some_are_revoked(void **state)
{
	struct drive *d = *state;
	struct job job;
	take(d);
	d->fake.status_flags = SEQ4_STATUS_RECALLABLE_STATE_REVOKED;
	job_getattr(&job, d, 0);
	drive_until_count(d, &d->fake.executed[OP_TEST_STATEID], 1);
	d->fake.status_flags = 0;
	job_succeeds(&job);
	/* this one was not */
	drive_for(d, 20 * DRIVE_MS);
	assert_true(deleg_holds(owner.state, &fh));
}

#define POINT(name) cmocka_unit_test_setup_teardown(test_##name, setup, owner_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		POINT(recalled_while_open),
		POINT(recalled_before_it_is_granted),
		POINT(recall_is_replayed),
		POINT(return_is_delayed),
		POINT(own_delegation_is_in_the_way),
		POINT(connection_ends_in_the_return),
		POINT(recall_of_any),
		POINT(getattr),
		POINT(open_or_delegation),
		POINT(server_restarts),
		POINT(restarted_server_does_not_give_it_back),
		POINT(restarted_server_recalls_it_at_once),
		POINT(nothing_open_under_it_when_the_server_restarts),
		POINT(restarted_server_gives_what_nobody_asked_for),
		POINT(some_are_revoked),
	};
	return cmocka_run_group_tests_name("deleg", tests, NULL, NULL);
}
