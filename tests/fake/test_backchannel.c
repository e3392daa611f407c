/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Calls of the server over the connections of the client. */
#include <errno.h>

#include "drive.h"

static struct {
	unsigned locks, recalls, anys, slots;
	uint64_t owner;
} seen;

static void on_notify_lock(void *arg, const struct nfs_fh *fh, uint64_t owner)
{
	seen.locks++;
	seen.owner = owner;
}

static void on_recall_slot(void *arg, uint32_t target)
{
	seen.slots++;
}

static uint32_t on_recall(void *arg, const struct nfs_fh *fh, const struct nfs_stateid *stateid)
{
	seen.recalls++;
	return NFS4_OK;
}

static void on_recall_any(void *arg, uint32_t keep, struct deleg_kinds kinds)
{
	seen.anys++;
}

static const struct callback_ops ops = {on_notify_lock, on_recall_slot, on_recall, on_recall_any};

static struct wire_out args;
static uint8_t args_data[1024];
static uint32_t next_sequence;

static void begin(struct drive *d, uint32_t nops)
{
	wire_out_init(&args, args_data, sizeof(args_data));
	wire_put_u32(&args, 0);
	wire_put_u32(&args, 1);
	wire_put_u32(&args, 0);
	wire_put_u32(&args, nops);
	wire_put_u32(&args, OP_CB_SEQUENCE);
	wire_put_fixed(&args, d->fake.sessionid, NFS4_SESSIONID_SIZE);
	wire_put_u32(&args, ++next_sequence);
	for (unsigned i = 0; i < 4; i++)
		wire_put_u32(&args, 0);
}

/* Status of the RPC reply's acceptance, and the CB_COMPOUND's. */
static uint32_t answer(struct drive *d, uint32_t *accept_stat)
{
	unsigned before = d->fake.cb_replies;
	drive_until_count(d, &d->fake.cb_replies, before + 1);
	struct wire_in in;
	wire_in_init(&in, d->fake.cb_reply, d->fake.cb_reply_len);
	assert_int_equal(wire_get_u32(&in), 0x5ca1ab1e);
	assert_int_equal(wire_get_u32(&in), 1);
	assert_int_equal(wire_get_u32(&in), 0);
	wire_get_u64(&in); /* verifier */
	*accept_stat = wire_get_u32(&in);
	return *accept_stat == 0 ? wire_get_u32(&in) : 0;
}

static uint32_t call_compound(struct drive *d)
{
	uint32_t accept_stat;
	assert_false(args.bad);
	fake_callback(&d->fake, NFS4_CALLBACK, NFS_CB_VERSION, CB_COMPOUND, args.data, args.len);
	uint32_t status = answer(d, &accept_stat);
	assert_int_equal(accept_stat, 0);
	return status;
}

static int setup(void **state)
{
	drive_setup(state);
	struct drive *d = *state;
	memset(&seen, 0, sizeof(seen));
	next_sequence = 0;
	drive_start(d, 1);
	nfs_client_set_callbacks(d->client, &ops, d);
	return 0;
}

static void test_null(void **state)
{
	struct drive *d = *state;
	uint32_t accept_stat;
	fake_callback(&d->fake, NFS4_CALLBACK, NFS_CB_VERSION, CB_NULL, "", 0);
	answer(d, &accept_stat);
	assert_int_equal(accept_stat, 0);
	assert_int_equal(d->fake.cb_reply_len, 24);
	assert_int_equal(atomic_load(&nfs_conn_stats(d->conn[0])->callbacks), 1);
}

static void test_other_programs(void **state)
{
	struct drive *d = *state;
	uint32_t accept_stat;
	fake_callback(&d->fake, 100003, 4, 0, "", 0);
	answer(d, &accept_stat);
	assert_int_equal(accept_stat, 1); /* PROG_UNAVAIL */
	fake_callback(&d->fake, NFS4_CALLBACK, 7, 0, "", 0);
	answer(d, &accept_stat);
	assert_int_equal(accept_stat, 2); /* PROG_MISMATCH */
	assert_int_equal(d->fake.cb_reply_len, 32);
	fake_callback(&d->fake, NFS4_CALLBACK, NFS_CB_VERSION, 9, "", 0);
	answer(d, &accept_stat);
	assert_int_equal(accept_stat, 3); /* PROC_UNAVAIL */
	fake_callback(&d->fake, NFS4_CALLBACK, NFS_CB_VERSION, CB_COMPOUND, "tag", 4);
	answer(d, &accept_stat);
	assert_int_equal(accept_stat, 4); /* GARBAGE_ARGS */
}

static void test_handlers(void **state)
{
	struct drive *d = *state;
	begin(d, 3);
	wire_put_u32(&args, OP_CB_NOTIFY_LOCK);
	wire_put_opaque(&args, "fh", 2);
	nfs_op_put_owner(&args, 0xabcdef);
	wire_put_u32(&args, OP_CB_RECALL);
	wire_put_u32(&args, 1);
	wire_put_fixed(&args, "twelve bytes", 12);
	wire_put_u32(&args, 0);
	wire_put_opaque(&args, "fh", 2);
	assert_int_equal(call_compound(d), NFS4_OK);
	assert_int_equal(seen.locks, 1);
	assert_int_equal(seen.owner, 0xabcdef);
	assert_int_equal(seen.recalls, 1);
	/* a retransmission is answered, and not executed */
	assert_int_equal(call_compound(d), NFS4_OK);
	assert_int_equal(seen.recalls, 1);
}

static void test_recalled_slots(void **state)
{
	struct drive *d = *state;
	static struct job job[30];
	begin(d, 2);
	wire_put_u32(&args, OP_CB_RECALL_SLOT);
	wire_put_u32(&args, 2);
	/* otherwise every reply would say that they may be used again */
	d->fake.target = 2;
	assert_int_equal(call_compound(d), NFS4_OK);
	assert_int_equal(seen.slots, 1);
	d->fake.highest_used = 0;
	for (unsigned i = 0; i < 30; i++)
		job_getattr(&job[i], d, 0);
	for (unsigned i = 0; i < 30; i++)
		job_succeeds(&job[i]);
	assert_int_equal(d->fake.highest_used, 2);
}

static void test_nobody_holds_anything(void **state)
{
	struct drive *d = *state;
	nfs_client_set_callbacks(d->client, NULL, NULL);
	begin(d, 2);
	wire_put_u32(&args, OP_CB_RECALL);
	wire_put_u32(&args, 1);
	wire_put_fixed(&args, "twelve bytes", 12);
	wire_put_u32(&args, 0);
	wire_put_opaque(&args, "fh", 2);
	assert_int_equal(call_compound(d), NFS4ERR_BADHANDLE);
}

static void test_another_session(void **state)
{
	struct drive *d = *state;
	struct job job;
	begin(d, 1);
	struct wire_out old = args;
	uint8_t old_data[1024];
	memcpy(old_data, args_data, sizeof(old_data));
	assert_int_equal(call_compound(d), NFS4_OK);
	fake_lose_session(&d->fake);
	job_getattr(&job, d, 0);
	job_succeeds(&job);
	memcpy(args_data, old_data, sizeof(old_data));
	args = old;
	assert_int_equal(call_compound(d), NFS4ERR_BADSESSION);
	next_sequence = 0;
	begin(d, 1);
	assert_int_equal(call_compound(d), NFS4_OK);
}

static struct fake_call create;

static enum fake_verdict note_create(struct fake *fake, struct fake_call *call)
{
	if (call->nops == 1 && call->op[0] == OP_CREATE_SESSION)
		create = *call;
	return FAKE_NORMAL;
}

static void test_channel_that_is_offered(void **state)
{
	struct drive *d = *state;
	drive_stop(d);
	d->fake.script = note_create;
	drive_start(d, 1);
	assert_int_equal(create.cb_program, NFS4_CALLBACK);
	assert_int_equal(create.flags, CREATE_SESSION4_FLAG_CONN_BACK_CHAN);
	assert_int_equal(create.back[5], CALLBACK_SLOTS);
	assert_int_equal(create.fore[5], d->config.max_requests + 1);
	next_sequence = 0;
	begin(d, 1);
	assert_int_equal(call_compound(d), NFS4_OK);
}

#define BACK(name) cmocka_unit_test_setup_teardown(test_##name, setup, drive_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		BACK(null),
		BACK(other_programs),
		BACK(handlers),
		BACK(recalled_slots),
		BACK(nobody_holds_anything),
		BACK(another_session),
		BACK(channel_that_is_offered),
	};
	return cmocka_run_group_tests_name("backchannel", tests, NULL, NULL);
}
