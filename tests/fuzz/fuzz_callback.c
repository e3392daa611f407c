/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fuzz.h"

#include <errno.h>

#include "nfs41/callback.h"
#include "nfs41/proto.h"

/*
 * The backchannel. The input is a run of CB_COMPOUNDs, each with its length in front; they come to
 * one session, and each comes twice: a replay is answered as the first time, and does nothing.
 */

static const uint8_t sessionid[NFS4_SESSIONID_SIZE] = {0x5e, 0x55, [15] = 0x1d};
static unsigned handled;

static void check_fh(const struct nfs_fh *fh)
{
	fuzz_check(fh->len <= NFS4_FHSIZE);
	handled++;
}

static void on_notify_lock(void *arg, const struct nfs_fh *fh, uint64_t owner)
{
	check_fh(fh);
	fuzz_check(owner != 0);
}

static void on_recall_slot(void *arg, uint32_t target_highest_slot)
{
	handled++;
}

static uint32_t on_recall(void *arg, const struct nfs_fh *fh, const struct nfs_stateid *stateid)
{
	check_fh(fh);
	return stateid->seqid % 2 ? NFS4_OK : NFS4ERR_BAD_STATEID;
}

static void on_recall_any(void *arg, uint32_t keep, struct deleg_kinds kinds)
{
	fuzz_check(kinds.read || kinds.write || kinds.dirs);
	handled++;
}

static uint32_t on_getattr(void *arg, const struct nfs_fh *fh, uint64_t *change, uint64_t *size)
{
	check_fh(fh);
	*change = *size = fh->len;
	return fh->len % 2 ? NFS4_OK : NFS4ERR_BADHANDLE;
}

static const struct callback_ops ops = {.notify_lock = on_notify_lock,
	.recall_slot = on_recall_slot,
	.recall = on_recall,
	.recall_any = on_recall_any,
	.getattr = on_getattr};

/* Whether `reply` says that its first operation, CB_SEQUENCE, was accepted. */
static bool accepted(const struct wire_out *reply)
{
	struct wire_in in;
	uint32_t tag_len;

	wire_in_init(&in, reply->data, reply->len);
	wire_get_u32(&in);
	wire_get_opaque(&in, NFS4_OPAQUE_LIMIT, &tag_len);
	uint32_t count = wire_get_u32(&in);
	fuzz_check(!in.bad);
	return count > 0 && wire_get_u32(&in) == OP_CB_SEQUENCE && wire_get_u32(&in) == NFS4_OK;
}

static void run_call(struct callback *cb, const uint8_t *data, size_t len)
{
	uint8_t first_room[2048], again_room[2048];
	struct wire_out first, again;

	wire_out_init(&first, first_room, sizeof(first_room));
	wire_out_init(&again, again_room, sizeof(again_room));
	int r = callback_compound(cb, data, len, &first);
	fuzz_check(r == 0 || r == -EPROTO);
	if (r != 0 || !accepted(&first))
		return;
	fuzz_check(first.len % 4 == 0 && first.len <= CALLBACK_REPLY_MAX);
	unsigned before = handled;
	r = callback_compound(cb, data, len, &again);
	fuzz_check(r == 0 && handled == before);
	fuzz_check(first.len == again.len && memcmp(first_room, again_room, first.len) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input in = {data, size};
	static struct callback cb;

	callback_init(&cb, sessionid, &ops, NULL);
	while (in.size > 0) {
		size_t len = fuzz_u16(&in);
		const uint8_t *call = fuzz_take(&in, len, &len);
		uint8_t *copy = fuzz_alloc(len);

		memcpy(copy, call, len);
		run_call(&cb, copy, len);
		free(copy);
	}
	return 0;
}
