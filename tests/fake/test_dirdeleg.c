/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Delegations of directories between client and server. */
#include <errno.h>

#include "deleg_owner.h"

static const struct nfs_fh fh = {.len = 4, .data = "dir."};

static int setup(void **state)
{
	owner_setup(state, DELEG_READ);
	return 0;
}

static void put_recall(struct wire_out *out)
{
	put_recall_of(out, &fh);
}

static void put_recall_any_dir(struct wire_out *out)
{
	put_recall_any_of(out, 1u << RCA4_TYPE_MASK_DIR_DLG);
}

/* PUTFH, GET_DIR_DELEGATION and what reads the directory: here GETATTR. */
struct asking {
	struct job job;
	struct nfs_dir_delegation_res res;
	struct deleg_asking asking;
};

static void ask_send(struct drive *d, struct asking *a)
{
	static const struct nfs_bitmap want = {.word = {1u << FATTR4_CHANGE}};
	static struct nfs_attr attr;
	*a = (struct asking){0};
	assert_true(deleg_ask_dir(owner.state, &fh, d->cred, &a->asking));
	struct nfs_compound *c = job_new(&a->job, d, 0, OP_READDIR);
	nfs_op_putfh(c, &fh);
	nfs_op_get_dir_delegation(c, &a->res);
	nfs_op_getattr(c, &want, &attr);
	job_send(&a->job);
}

/* Is it delegated then? */
static bool ask_end(struct asking *a)
{
	job_succeeds(&a->job);
	deleg_answered_dir(owner.state, &a->asking, &fh, a->job.d->cred, &a->res);
	return deleg_use_dir(owner.state, &fh) != 0;
}

static void take(struct drive *d)
{
	struct asking a;
	ask_send(d, &a);
	assert_true(ask_end(&a));
}

static void test_granted_and_recalled(void **state)
{
	struct drive *d = *state;
	take(d);
	assert_int_equal(call(d, put_recall), NFS4_OK);
	until_returned(d, 1);
	assert_int_equal(owner.flushes, 1);
	assert_int_equal(deleg_use_dir(owner.state, &fh), 0);
	/* and again */
	take(d);
	assert_int_equal(call(d, put_recall), NFS4_OK);
	until_returned(d, 2);
}

static void test_refused(void **state)
{
	struct drive *d = *state;
	struct asking a;
	d->fake.refuse_dirs = true;
	ask_send(d, &a);
	assert_false(ask_end(&a));
	assert_int_equal(d->fake.executed[OP_GET_DIR_DELEGATION], 1);
}

static enum fake_verdict not_supported(struct fake *fake, struct fake_call *call)
{
	if (call->nops == 4 && call->op[2] == OP_GET_DIR_DELEGATION) {
		call->fail_at = 2;
		call->fail_status = NFS4ERR_NOTSUPP;
	}
	return FAKE_NORMAL;
}

static void test_not_known_to_the_server(void **state)
{
	struct drive *d = *state;
	struct asking a;
	d->fake.script = not_supported;
	ask_send(d, &a);
	job_ends(&a.job, NFS4ERR_NOTSUPP);
	assert_int_equal(a.job.ops_ok, 1);
	deleg_answered_dir(owner.state, &a.asking, &fh, d->cred, NULL);
	assert_int_equal(deleg_use_dir(owner.state, &fh), 0);
}

static enum fake_verdict recall_first(struct fake *fake, struct fake_call *call)
{
	struct drive *d = fake->arg;
	if (call->nops == 4 && call->op[2] == OP_GET_DIR_DELEGATION && d->flag++ == 0)
		call_back(d, put_recall);
	return FAKE_NORMAL;
}

static void test_recalled_while_it_is_read(void **state)
{
	struct drive *d = *state;
	struct asking a;
	d->fake.script = recall_first;
	ask_send(d, &a);
	assert_int_equal(answered(d, 1), NFS4_OK);
	assert_false(ask_end(&a));
	until_returned(d, 1);
}

static void test_recalled_twice(void **state)
{
	struct drive *d = *state;
	take(d);
	call_back(d, put_recall);
	call_back(d, put_recall);
	assert_int_equal(answered(d, 2), NFS4_OK);
	until_returned(d, 1);
}

static enum fake_verdict delay_reading(struct fake *fake, struct fake_call *call)
{
	struct drive *d = fake->arg;
	if (call->nops != 4 || call->op[2] != OP_GET_DIR_DELEGATION)
		return FAKE_NORMAL;
	if (d->flag++ == 0) {
		call->fail_at = 3;
		call->fail_status = NFS4ERR_DELAY;
	} else {
		/* this client has one */
		fake->refuse_dirs = true;
	}
	return FAKE_NORMAL;
}

static void test_what_was_granted_at_first_stays(void **state)
{
	struct drive *d = *state;
	struct asking a;
	d->fake.script = delay_reading;
	ask_send(d, &a);
	assert_true(ask_end(&a));
	assert_int_equal(d->flag, 2);
	assert_int_equal(call(d, put_recall), NFS4_OK);
	until_returned(d, 1);
}

static enum fake_verdict lose_answer(struct fake *fake, struct fake_call *call)
{
	struct drive *d = fake->arg;
	if (call->nops != 4 || call->op[2] != OP_GET_DIR_DELEGATION)
		return FAKE_NORMAL;
	/* then this client has one */
	fake->refuse_dirs = d->flag > 0;
	return d->flag++ == 0 ? FAKE_EXECUTE_CLOSE : FAKE_NORMAL;
}

/* Executed, and the answer lost with the connection: whoever waits for its return gets it. */
static void test_answer_is_lost(void **state)
{
	struct drive *d = *state;
	struct asking a;
	d->fake.script = lose_answer;
	ask_send(d, &a);
	assert_false(ask_end(&a));
	assert_true(d->flag >= 2);
	assert_int_equal(call(d, put_recall), NFS4_OK);
	until_returned(d, 1);
}

static void test_server_restarts(void **state)
{
	struct drive *d = *state;
	struct job job;
	take(d);
	fake_restart(&d->fake);
	job_getattr(&job, d, 0);
	job_succeeds(&job);
	drive_for(d, 20 * DRIVE_MS);
	assert_int_equal(deleg_use_dir(owner.state, &fh), 0);
	assert_int_equal(owner.flushes, 1);
	assert_true(owner.gone);
	assert_int_equal(d->fake.executed[OP_DELEGRETURN], 0);
	assert_int_equal(d->fake.executed[OP_OPEN], 0);
	assert_int_equal(deleg_wait_returned(owner.state, 0), 0);
	owner.next_sequence = 1;
	take(d);
}

static void test_recall_any(void **state)
{
	struct drive *d = *state;
	take(d);
	assert_int_equal(call(d, put_recall_any_dir), NFS4_OK);
	until_returned(d, 1);
}

static void test_lease_stands_while_the_server_answers(void **state)
{
	struct drive *d = *state;
	take(d);
	assert_true(nfs_client_lease_stands(d->client));
}

#define POINT(name) cmocka_unit_test_setup_teardown(test_##name, setup, owner_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		POINT(granted_and_recalled),
		POINT(refused),
		POINT(not_known_to_the_server),
		POINT(recalled_while_it_is_read),
		POINT(recalled_twice),
		POINT(what_was_granted_at_first_stays),
		POINT(answer_is_lost),
		POINT(server_restarts),
		POINT(recall_any),
		POINT(lease_stands_while_the_server_answers),
	};
	return cmocka_run_group_tests_name("dirdeleg", tests, NULL, NULL);
}
