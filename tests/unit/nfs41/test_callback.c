/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "nfs41/callback.h"

static const uint8_t sid[NFS4_SESSIONID_SIZE] = "this session";

struct fixture {
	struct callback cb;
	uint8_t args[2048], reply[2048];
	struct wire_out in, out;
	struct wire_in res;
	/* what the handlers saw */
	struct nfs_fh fh;
	struct nfs_stateid stateid;
	uint64_t owner;
	unsigned locks, recalls, keep, target, types;
	struct callback_offload offload;
	unsigned offloads;
	uint32_t getattr_status; /* for the handler to return */
};

static void on_notify_lock(void *arg, const struct nfs_fh *fh, uint64_t owner)
{
	struct fixture *f = arg;
	f->locks++;
	f->fh = *fh;
	f->owner = owner;
}

static void on_recall_slot(void *arg, uint32_t target)
{
	((struct fixture *)arg)->target = target;
}

static uint32_t on_recall(void *arg, const struct nfs_fh *fh, const struct nfs_stateid *stateid)
{
	struct fixture *f = arg;
	f->recalls++;
	f->fh = *fh;
	f->stateid = *stateid;
	return NFS4_OK;
}

static void on_recall_any(void *arg, uint32_t keep, struct deleg_kinds kinds)
{
	struct fixture *f = arg;
	f->keep = keep;
	f->types = (kinds.read ? 1u : 0) | (kinds.write ? 2u : 0) | (kinds.dirs ? 4u : 0);
}

static uint32_t on_getattr(void *arg, const struct nfs_fh *fh, uint64_t *change, uint64_t *size)
{
	struct fixture *f = arg;
	f->fh = *fh;
	*change = 11;
	*size = 22;
	return f->getattr_status;
}

static uint32_t on_offload(void *arg, const struct nfs_fh *fh, const struct nfs_stateid *stateid,
	const struct callback_offload *result)
{
	struct fixture *f = arg;
	f->offloads++;
	f->fh = *fh;
	f->stateid = *stateid;
	f->offload = *result;
	return NFS4_OK;
}

static const struct callback_ops ops = {
	on_notify_lock, on_recall_slot, on_recall, on_recall_any, on_getattr, on_offload};

static int setup(void **state)
{
	static struct fixture f;
	memset(&f, 0, sizeof(f));
	callback_init(&f.cb, sid, &ops, &f);
	*state = &f;
	return 0;
}

static struct wire_out *begin(struct fixture *f, uint32_t minor, uint32_t nops)
{
	wire_out_init(&f->in, f->args, sizeof(f->args));
	wire_put_opaque(&f->in, "tag!!", 5);
	wire_put_u32(&f->in, minor);
	wire_put_u32(&f->in, 0);
	wire_put_u32(&f->in, nops);
	return &f->in;
}

static void put_sequence(struct fixture *f, uint32_t sequence, uint32_t slot, uint32_t highest)
{
	wire_put_u32(&f->in, OP_CB_SEQUENCE);
	wire_put_fixed(&f->in, sid, sizeof(sid));
	wire_put_u32(&f->in, sequence);
	wire_put_u32(&f->in, slot);
	wire_put_u32(&f->in, highest);
	wire_put_bool(&f->in, false);
	wire_put_u32(&f->in, 1); /* one list with two referring calls */
	wire_put_fixed(&f->in, sid, sizeof(sid));
	wire_put_u32(&f->in, 2);
	for (unsigned i = 0; i < 4; i++)
		wire_put_u32(&f->in, i);
}

/* Runs what was built; returns the compound's status and leaves f->res at the first result. */
static uint32_t run(struct fixture *f, uint32_t *nres)
{
	assert_false(f->in.bad);
	wire_out_init(&f->out, f->reply, sizeof(f->reply));
	assert_int_equal(callback_compound(&f->cb, f->args, f->in.len, &f->out), 0);
	wire_in_init(&f->res, f->reply, f->out.len);
	uint32_t status = wire_get_u32(&f->res), len;
	const uint8_t *tag = wire_get_opaque(&f->res, 64, &len);
	assert_int_equal(len, 5);
	assert_memory_equal(tag, "tag!!", 5);
	*nres = wire_get_u32(&f->res);
	assert_false(f->res.bad);
	return status;
}

static void skip_sequence(struct fixture *f, uint32_t sequence, uint32_t slot)
{
	assert_int_equal(wire_get_u32(&f->res), OP_CB_SEQUENCE);
	assert_int_equal(wire_get_u32(&f->res), NFS4_OK);
	assert_memory_equal(wire_get_fixed(&f->res, sizeof(sid)), sid, sizeof(sid));
	assert_int_equal(wire_get_u32(&f->res), sequence);
	assert_int_equal(wire_get_u32(&f->res), slot);
	assert_int_equal(wire_get_u32(&f->res), CALLBACK_SLOTS - 1);
	assert_int_equal(wire_get_u32(&f->res), CALLBACK_SLOTS - 1);
}

/* The last result: opcode and status, and nothing behind it. */
static void expect_last(struct fixture *f, uint32_t op, uint32_t status)
{
	assert_int_equal(wire_get_u32(&f->res), op);
	assert_int_equal(wire_get_u32(&f->res), status);
	assert_false(f->res.bad);
	assert_int_equal(wire_left(&f->res), 0);
}

static void put_recall(struct fixture *f)
{
	wire_put_u32(&f->in, OP_CB_RECALL);
	wire_put_u32(&f->in, 7);
	wire_put_fixed(&f->in, "twelve bytes", 12);
	wire_put_bool(&f->in, false);
	wire_put_opaque(&f->in, "handle", 6);
}

static void test_recall(void **state)
{
	struct fixture *f = *state;
	uint32_t n;
	begin(f, 1, 2);
	put_sequence(f, 1, 3, 3);
	put_recall(f);
	assert_int_equal(run(f, &n), NFS4_OK);
	assert_int_equal(n, 2);
	skip_sequence(f, 1, 3);
	expect_last(f, OP_CB_RECALL, NFS4_OK);
	assert_int_equal(f->recalls, 1);
	assert_int_equal(f->stateid.seqid, 7);
	assert_memory_equal(f->stateid.other, "twelve bytes", 12);
	assert_int_equal(f->fh.len, 6);
	assert_memory_equal(f->fh.data, "handle", 6);
}

static void test_recall_without_handler(void **state)
{
	struct fixture *f = *state;
	uint32_t n;
	callback_init(&f->cb, sid, NULL, NULL);
	begin(f, 2, 2);
	put_sequence(f, 1, 0, 0);
	put_recall(f);
	assert_int_equal(run(f, &n), NFS4ERR_BADHANDLE);
	skip_sequence(f, 1, 0);
	expect_last(f, OP_CB_RECALL, NFS4ERR_BADHANDLE);
}

static void recall_any(struct fixture *f, uint32_t words, uint32_t first, uint32_t status)
{
	uint32_t n, sequence = f->cb.slots[0].sequence + 1;
	f->keep = f->types = 99;
	begin(f, 1, 2);
	put_sequence(f, sequence, 0, 0);
	wire_put_u32(&f->in, OP_CB_RECALL_ANY);
	wire_put_u32(&f->in, 5);
	wire_put_u32(&f->in, words);
	for (uint32_t i = 0; i < words; i++)
		wire_put_u32(&f->in, i == 0 ? first : 1);
	assert_int_equal(run(f, &n), status);
	skip_sequence(f, sequence, 0);
	expect_last(f, OP_CB_RECALL_ANY, status);
}

static void test_recall_any_by_type(void **state)
{
	struct fixture *f = *state;
	recall_any(f, 1, 1, NFS4_OK);
	assert_int_equal(f->keep, 5);
	assert_int_equal(f->types, 1);
	recall_any(f, 1, 2, NFS4_OK);
	assert_int_equal(f->types, 2);
	recall_any(f, 1, 4, NFS4_OK);
	assert_int_equal(f->types, 4);
	f->types = 99;
	/* known to the protocol, and nothing that is held here */
	recall_any(f, 1, 0x8 | 0x10 | 0x300 | 0xf000 | 0x30000, NFS4_OK);
	assert_int_equal(f->types, 99);
	recall_any(f, 0, 0, NFS4_OK);
	assert_int_equal(f->types, 99);
	recall_any(f, 1, 0x20 | 1, NFS4ERR_INVAL);
	recall_any(f, 2, 1, NFS4ERR_INVAL);
	assert_int_equal(f->types, 99);
}

static void put_getattr(struct fixture *f, uint32_t attributes)
{
	wire_put_u32(&f->in, OP_CB_GETATTR);
	wire_put_opaque(&f->in, "handle", 6);
	wire_put_u32(&f->in, 1);
	wire_put_u32(&f->in, attributes);
}

static void test_getattr(void **state)
{
	struct fixture *f = *state;
	const uint32_t change = 1u << FATTR4_CHANGE, size = 1u << FATTR4_SIZE;
	const uint32_t asked[] = {change | size, size, change | size | 1u << FATTR4_TYPE, 0};
	uint32_t n;
	for (uint32_t i = 0; i < 4; i++) {
		uint32_t given = asked[i] & (change | size);
		begin(f, 1, 2);
		put_sequence(f, i + 1, 0, 0);
		put_getattr(f, asked[i]);
		assert_int_equal(run(f, &n), NFS4_OK);
		skip_sequence(f, i + 1, 0);
		assert_int_equal(wire_get_u32(&f->res), OP_CB_GETATTR);
		assert_int_equal(wire_get_u32(&f->res), NFS4_OK);
		assert_int_equal(wire_get_u32(&f->res), given ? 1 : 0);
		if (given)
			assert_int_equal(wire_get_u32(&f->res), given);
		assert_int_equal(wire_get_u32(&f->res), 8 * __builtin_popcount(given));
		if (given & change)
			assert_int_equal(wire_get_u64(&f->res), 11);
		if (given & size)
			assert_int_equal(wire_get_u64(&f->res), 22);
		assert_false(f->res.bad);
		assert_int_equal(wire_left(&f->res), 0);
		assert_int_equal(f->fh.len, 6);
	}
}

static void test_getattr_of_what_is_not_delegated(void **state)
{
	struct fixture *f = *state;
	uint32_t n;
	f->getattr_status = NFS4ERR_BADHANDLE;
	begin(f, 1, 2);
	put_sequence(f, 1, 0, 0);
	put_getattr(f, 8);
	assert_int_equal(run(f, &n), NFS4ERR_BADHANDLE);
	skip_sequence(f, 1, 0);
	expect_last(f, OP_CB_GETATTR, NFS4ERR_BADHANDLE);
}

/* Every operation whose arguments end too early is NFS4ERR_BADXDR, whatever the length. */
static void test_short_arguments(void **state)
{
	struct fixture *f = *state;
	const uint32_t operations[] = {OP_CB_GETATTR, OP_CB_RECALL, OP_CB_RECALL_ANY,
		OP_CB_RECALL_SLOT, OP_CB_NOTIFY_LOCK, OP_CB_OFFLOAD};
	uint32_t n, sequence = 1;
	for (unsigned i = 0; i < 6; i++)
		for (unsigned words = 0; words < 3; words++) {
			if (words > 0 && operations[i] == OP_CB_RECALL_SLOT)
				continue;
			begin(f, 1, 2);
			put_sequence(f, sequence, 0, 0);
			wire_put_u32(&f->in, operations[i]);
			/* a bitmap or a handle that promises more than follows */
			for (unsigned w = 0; w < words; w++)
				wire_put_u32(&f->in, 100);
			assert_int_equal(run(f, &n), NFS4ERR_BADXDR);
			skip_sequence(f, sequence++, 0);
			expect_last(f, operations[i], NFS4ERR_BADXDR);
		}
	assert_int_equal(f->recalls + f->locks + f->offloads, 0);
}

static void put_offload(struct fixture *f, uint32_t status)
{
	wire_put_u32(&f->in, OP_CB_OFFLOAD);
	wire_put_opaque(&f->in, "handle", 6);
	wire_put_u32(&f->in, 3);
	wire_put_fixed(&f->in, "of one copy.", NFS4_OTHER_SIZE);
	wire_put_u32(&f->in, status);
	if (status == NFS4_OK)
		wire_put_u32(&f->in, 0); /* stateids */
	wire_put_u64(&f->in, UINT64_C(5000000000));
	if (status != NFS4_OK)
		return;
	wire_put_u32(&f->in, DATA_SYNC4);
	wire_put_fixed(&f->in, "verifier", NFS4_VERIFIER_SIZE);
}

static void test_offload(void **state)
{
	static const uint32_t statuses[] = {NFS4_OK, NFS4ERR_NOSPC};
	struct fixture *f = *state;
	uint32_t n;
	for (uint32_t i = 0; i < 2; i++) {
		begin(f, 2, 2);
		put_sequence(f, i + 1, 0, 0);
		put_offload(f, statuses[i]);
		assert_int_equal(run(f, &n), NFS4_OK);
		skip_sequence(f, i + 1, 0);
		expect_last(f, OP_CB_OFFLOAD, NFS4_OK);
		assert_int_equal(f->offloads, i + 1);
		assert_memory_equal(f->fh.data, "handle", 6);
		assert_int_equal(f->stateid.seqid, 3);
		assert_memory_equal(f->stateid.other, "of one copy.", NFS4_OTHER_SIZE);
		assert_int_equal(f->offload.status, statuses[i]);
		assert_true(f->offload.count == UINT64_C(5000000000));
		if (statuses[i] != NFS4_OK)
			continue;
		assert_int_equal(f->offload.committed, DATA_SYNC4);
		assert_memory_equal(f->offload.verifier, "verifier", NFS4_VERIFIER_SIZE);
	}
	callback_init(&f->cb, sid, NULL, NULL);
	begin(f, 2, 2);
	put_sequence(f, 1, 0, 0);
	put_offload(f, NFS4_OK);
	assert_int_equal(run(f, &n), NFS4ERR_BAD_STATEID);
}

static void test_notify_lock_and_recalls_of_slots(void **state)
{
	struct fixture *f = *state;
	uint32_t n;
	begin(f, 1, 4);
	put_sequence(f, 1, 0, 0);
	wire_put_u32(&f->in, OP_CB_NOTIFY_LOCK);
	wire_put_opaque(&f->in, "fh", 2);
	wire_put_u64(&f->in, 99);
	wire_put_u32(&f->in, 8);
	wire_put_u64(&f->in, UINT64_C(0x1122334455667788));
	wire_put_u32(&f->in, OP_CB_RECALL_ANY);
	wire_put_u32(&f->in, 12);
	wire_put_u32(&f->in, 1);
	wire_put_u32(&f->in, 3);
	wire_put_u32(&f->in, OP_CB_RECALL_SLOT);
	wire_put_u32(&f->in, 5);
	assert_int_equal(run(f, &n), NFS4_OK);
	assert_int_equal(n, 4);
	assert_int_equal(f->locks, 1);
	assert_true(f->owner == UINT64_C(0x1122334455667788));
	assert_int_equal(f->keep, 12);
	assert_int_equal(f->target, 5);
}

static void test_lock_owner_of_somebody_else(void **state)
{
	struct fixture *f = *state;
	uint32_t n;
	begin(f, 1, 2);
	put_sequence(f, 1, 0, 0);
	wire_put_u32(&f->in, OP_CB_NOTIFY_LOCK);
	wire_put_opaque(&f->in, "fh", 2);
	wire_put_u64(&f->in, 99);
	wire_put_opaque(&f->in, "stranger's", 10);
	assert_int_equal(run(f, &n), NFS4_OK);
	assert_int_equal(f->locks, 0);
}

static void test_retry_is_answered_from_the_cache(void **state)
{
	struct fixture *f = *state;
	uint32_t n;
	uint8_t first[sizeof(f->reply)];
	for (uint32_t sequence = 1; sequence < 4; sequence++) {
		begin(f, 1, 2);
		put_sequence(f, sequence, 0, 0);
		put_recall(f);
		assert_int_equal(run(f, &n), NFS4_OK);
		assert_int_equal(f->recalls, sequence);
		size_t len = f->out.len;
		memcpy(first, f->reply, len);
		assert_int_equal(run(f, &n), NFS4_OK);
		assert_int_equal(f->out.len, len);
		assert_memory_equal(first, f->reply, len);
		assert_int_equal(f->recalls, sequence);
	}
}

static void test_false_retry(void **state)
{
	struct fixture *f = *state;
	uint32_t n;
	begin(f, 1, 1);
	put_sequence(f, 1, 0, 0);
	assert_int_equal(run(f, &n), NFS4_OK);
	begin(f, 1, 2);
	put_sequence(f, 1, 0, 0);
	put_recall(f);
	assert_int_equal(run(f, &n), NFS4ERR_SEQ_FALSE_RETRY);
	assert_int_equal(n, 1);
	expect_last(f, OP_CB_SEQUENCE, NFS4ERR_SEQ_FALSE_RETRY);
	assert_int_equal(f->recalls, 0);
}

static void sequence_error(struct fixture *f, uint32_t status)
{
	uint32_t n;
	put_recall(f);
	assert_int_equal(run(f, &n), status);
	assert_int_equal(n, 1);
	expect_last(f, OP_CB_SEQUENCE, status);
	assert_int_equal(f->recalls, 0);
}

static void test_sequence_errors(void **state)
{
	struct fixture *f = *state;
	begin(f, 1, 2);
	put_sequence(f, 2, 0, 0);
	sequence_error(f, NFS4ERR_SEQ_MISORDERED);
	begin(f, 1, 2);
	put_sequence(f, 0, 0, 0);
	sequence_error(f, NFS4ERR_SEQ_MISORDERED);
	begin(f, 1, 2);
	put_sequence(f, 1, CALLBACK_SLOTS, CALLBACK_SLOTS);
	sequence_error(f, NFS4ERR_BADSLOT);
	begin(f, 1, 2);
	put_sequence(f, 1, 0, CALLBACK_SLOTS);
	sequence_error(f, NFS4ERR_BAD_HIGH_SLOT);
	begin(f, 1, 2);
	put_sequence(f, 1, 0, 0);
	f->args[12 + 12 + 4] ^= 1; /* sessionid */
	sequence_error(f, NFS4ERR_BADSESSION);
	/* none of these used slot 0 up */
	uint32_t n;
	begin(f, 1, 1);
	put_sequence(f, 1, 0, 0);
	assert_int_equal(run(f, &n), NFS4_OK);
}

static void test_position_of_sequence(void **state)
{
	struct fixture *f = *state;
	uint32_t n;
	begin(f, 1, 1);
	put_recall(f);
	assert_int_equal(run(f, &n), NFS4ERR_OP_NOT_IN_SESSION);
	expect_last(f, OP_CB_RECALL, NFS4ERR_OP_NOT_IN_SESSION);
	begin(f, 1, 2);
	put_sequence(f, 1, 0, 0);
	put_sequence(f, 2, 0, 0);
	assert_int_equal(run(f, &n), NFS4ERR_SEQUENCE_POS);
	skip_sequence(f, 1, 0);
	expect_last(f, OP_CB_SEQUENCE, NFS4ERR_SEQUENCE_POS);
}

static void test_unknown_and_unsupported(void **state)
{
	static const uint32_t unsupported[] = {OP_CB_LAYOUTRECALL, OP_CB_NOTIFY, OP_CB_PUSH_DELEG,
		OP_CB_RECALLABLE_OBJ_AVAIL, OP_CB_WANTS_CANCELLED, OP_CB_NOTIFY_DEVICEID};
	struct fixture *f = *state;
	uint32_t n, sequence = 1;
	for (size_t i = 0; i < sizeof(unsupported) / sizeof(unsupported[0]); i++, sequence++) {
		begin(f, 1, 2);
		put_sequence(f, sequence, 0, 0);
		wire_put_u32(&f->in, unsupported[i]);
		assert_int_equal(run(f, &n), NFS4ERR_NOTSUPP);
		skip_sequence(f, sequence, 0);
		expect_last(f, unsupported[i], NFS4ERR_NOTSUPP);
	}
	begin(f, 1, 3);
	put_sequence(f, sequence, 0, 0);
	wire_put_u32(&f->in, 77);
	wire_put_u32(&f->in, OP_CB_RECALL_SLOT);
	assert_int_equal(run(f, &n), NFS4ERR_OP_ILLEGAL);
	assert_int_equal(n, 2);
	skip_sequence(f, sequence, 0);
	expect_last(f, OP_CB_ILLEGAL, NFS4ERR_OP_ILLEGAL);
}

static void test_minor_version(void **state)
{
	struct fixture *f = *state;
	uint32_t n;
	for (uint32_t minor = 0; minor < 4; minor++) {
		if (minor == 1 || minor == 2)
			continue;
		begin(f, minor, 1);
		put_sequence(f, 1, 0, 0);
		assert_int_equal(run(f, &n), NFS4ERR_MINOR_VERS_MISMATCH);
		assert_int_equal(n, 0);
	}
}

static void test_too_many_operations(void **state)
{
	struct fixture *f = *state;
	uint32_t n;
	begin(f, 1, UINT32_MAX);
	put_sequence(f, 1, 0, 0);
	assert_int_equal(run(f, &n), NFS4ERR_TOO_MANY_OPS);
	assert_int_equal(n, 0);
}

static void test_truncated_anywhere(void **state)
{
	struct fixture *f = *state;
	begin(f, 1, 2);
	put_sequence(f, 1, 0, 0);
	put_recall(f);
	for (size_t len = 0; len < f->in.len; len++) {
		callback_init(&f->cb, sid, &ops, f);
		wire_out_init(&f->out, f->reply, sizeof(f->reply));
		int err = callback_compound(&f->cb, f->args, len, &f->out);
		if (len < 24) {
			assert_int_equal(err, -EPROTO);
			continue;
		}
		assert_int_equal(err, 0);
		assert_int_equal(wire_load_u32(f->reply), NFS4ERR_BADXDR);
	}
	assert_int_equal(f->recalls, 0);
}

static void test_lengths_that_lie(void **state)
{
	struct fixture *f = *state;
	uint32_t n;
	begin(f, 1, 2);
	put_sequence(f, 1, 0, 0);
	wire_put_u32(&f->in, OP_CB_RECALL_ANY);
	wire_put_u32(&f->in, 1);
	wire_put_u32(&f->in, UINT32_MAX);
	assert_int_equal(run(f, &n), NFS4ERR_BADXDR);
	begin(f, 1, 2);
	put_sequence(f, 2, 0, 0);
	wire_put_u32(&f->in, OP_CB_NOTIFY_LOCK);
	wire_put_u32(&f->in, NFS4_FHSIZE + 1);
	for (unsigned i = 0; i < 100; i++)
		wire_put_u32(&f->in, 0);
	assert_int_equal(run(f, &n), NFS4ERR_BADXDR);
	assert_int_equal(f->locks, 0);
}

static void test_no_room_for_results(void **state)
{
	struct fixture *f = *state;
	begin(f, 1, 1);
	put_sequence(f, 1, 0, 0);
	wire_out_init(&f->out, f->reply, 16);
	assert_int_equal(callback_compound(&f->cb, f->args, f->in.len, &f->out), -EPROTO);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_recall, setup),
		cmocka_unit_test_setup(test_recall_without_handler, setup),
		cmocka_unit_test_setup(test_recall_any_by_type, setup),
		cmocka_unit_test_setup(test_getattr, setup),
		cmocka_unit_test_setup(test_getattr_of_what_is_not_delegated, setup),
		cmocka_unit_test_setup(test_short_arguments, setup),
		cmocka_unit_test_setup(test_offload, setup),
		cmocka_unit_test_setup(test_notify_lock_and_recalls_of_slots, setup),
		cmocka_unit_test_setup(test_lock_owner_of_somebody_else, setup),
		cmocka_unit_test_setup(test_retry_is_answered_from_the_cache, setup),
		cmocka_unit_test_setup(test_false_retry, setup),
		cmocka_unit_test_setup(test_sequence_errors, setup),
		cmocka_unit_test_setup(test_position_of_sequence, setup),
		cmocka_unit_test_setup(test_unknown_and_unsupported, setup),
		cmocka_unit_test_setup(test_minor_version, setup),
		cmocka_unit_test_setup(test_too_many_operations, setup),
		cmocka_unit_test_setup(test_truncated_anywhere, setup),
		cmocka_unit_test_setup(test_lengths_that_lie, setup),
		cmocka_unit_test_setup(test_no_room_for_results, setup),
	};
	return cmocka_run_group_tests_name("callback", tests, NULL, NULL);
}
