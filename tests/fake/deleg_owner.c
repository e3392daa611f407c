/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "deleg_owner.h"

struct deleg_owner owner;

static void on_task(struct loop_task *task)
{
	owner.posted = false;
	deleg_return_due(owner.state, owner.d->conn[0], 8);
}

static void on_due(void *arg, bool urgent)
{
	if (owner.posted)
		return;
	owner.posted = true;
	owner.task.run = on_task;
	loop_post(owner.d->loop, &owner.task);
}

static void on_flush(void *arg, struct deleg_flush *flush)
{
	/* what is trusted goes before the delegation does */
	assert_int_equal(deleg_use_dir(owner.state, &flush->fh), 0);
	owner.flushes++;
	owner.gone = flush->gone;
	flush->done(flush);
}

static const struct deleg_ops deleg_ops = {.due = on_due, .flush = on_flush};

static uint32_t on_recall(void *arg, const struct nfs_fh *of, const struct nfs_stateid *stateid)
{
	return deleg_recalled(owner.state, of, stateid);
}

static void on_recall_any(void *arg, uint32_t keep, struct deleg_kinds kinds)
{
	deleg_keep(owner.state, keep, kinds);
}

static uint32_t on_getattr(void *arg, const struct nfs_fh *of, uint64_t *change, uint64_t *size)
{
	*change = 5;
	*size = 6;
	return deleg_holds_write(owner.state, of) ? NFS4_OK : NFS4ERR_BADHANDLE;
}

static const struct callback_ops callback_ops = {
	.recall = on_recall, .recall_any = on_recall_any, .getattr = on_getattr};

int owner_setup(void **state, enum deleg_mode mode)
{
	drive_setup(state);
	struct drive *d = *state;
	memset(&owner, 0, sizeof(owner));
	owner.d = d;
	owner.next_sequence = 1;
	assert_int_equal(nfs_state_new(&owner.state), 0);
	const struct reclaim_config config = {.state = owner.state};
	assert_int_equal(reclaim_new(&config, &owner.reclaim), 0);
	deleg_configure(owner.state, mode, &deleg_ops, NULL);
	drive_start(d, 1);
	nfs_client_set_callbacks(d->client, &callback_ops, NULL);
	nfs_client_set_reclaim(d->client, &reclaim_ops, owner.reclaim);
	return 0;
}

int owner_teardown(void **state)
{
	drive_teardown(state);
	reclaim_free(owner.reclaim);
	nfs_state_free(owner.state);
	return 0;
}

void call_back_as(struct drive *d, uint32_t sequence, void (*put)(struct wire_out *out))
{
	uint8_t data[512];
	struct wire_out args;
	wire_out_init(&args, data, sizeof(data));
	wire_put_u32(&args, 0);
	wire_put_u32(&args, 1);
	wire_put_u32(&args, 0);
	wire_put_u32(&args, 2);
	wire_put_u32(&args, OP_CB_SEQUENCE);
	wire_put_fixed(&args, d->fake.sessionid, NFS4_SESSIONID_SIZE);
	wire_put_u32(&args, sequence);
	for (unsigned i = 0; i < 4; i++)
		wire_put_u32(&args, 0);
	put(&args);
	assert_false(args.bad);
	fake_callback(&d->fake, NFS4_CALLBACK, NFS_CB_VERSION, CB_COMPOUND, args.data, args.len);
}

void call_back(struct drive *d, void (*put)(struct wire_out *out))
{
	call_back_as(d, owner.next_sequence++, put);
}

void put_recall_of(struct wire_out *out, const struct nfs_fh *fh)
{
	wire_put_u32(out, OP_CB_RECALL);
	wire_put_u32(out, 1);
	const char *stateid = owner.d->fake.delegation;
	wire_put_fixed(out, stateid ? stateid : "a delegation", 12);
	wire_put_bool(out, false);
	wire_put_opaque(out, fh->data, fh->len);
}

void put_recall_any_of(struct wire_out *out, uint32_t types)
{
	wire_put_u32(out, OP_CB_RECALL_ANY);
	wire_put_u32(out, 0);
	wire_put_u32(out, 1);
	wire_put_u32(out, types);
}

uint32_t answered(struct drive *d, unsigned replies)
{
	struct wire_in in;
	drive_until_count(d, &d->fake.cb_replies, replies);
	wire_in_init(&in, d->fake.cb_reply, d->fake.cb_reply_len);
	wire_get_raw(&in, 24);
	return wire_get_u32(&in);
}

uint32_t call(struct drive *d, void (*put)(struct wire_out *out))
{
	unsigned before = d->fake.cb_replies;
	call_back(d, put);
	return answered(d, before + 1);
}

void until_returned(struct drive *d, unsigned times)
{
	uint64_t deadline = loop_clock() + DRIVE_PATIENCE;
	drive_until_count(d, &d->fake.executed[OP_DELEGRETURN], times);
	/* executed is not answered yet: the answer may come on another connection */
	while (deleg_wait_returned(owner.state, 0) > 0 && loop_clock() < deadline)
		drive_for(d, DRIVE_MS);
	drive_for(d, 20 * DRIVE_MS);
	assert_int_equal(d->fake.executed[OP_DELEGRETURN], times);
	assert_int_equal(deleg_wait_returned(owner.state, 0), 0);
}
