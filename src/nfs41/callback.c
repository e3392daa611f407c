/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "nfs41/callback.h"

#include <errno.h>
#include <string.h>

#include "nfs41/attr.h"
#include "nfs41/op.h"

/* Longest tag that is given back; a longer one is cut off, which no server minds. */
#define CALLBACK_TAG_MAX 64
/* More operations than the channel was created for are refused. */
#define CALLBACK_OPS_MAX 8

/* One CB_COMPOUND under way. */
struct callback_call {
	struct callback *cb;
	struct wire_in in;
	struct wire_out *out;
	uint64_t digest;
	struct callback_slot *slot; /* once CB_SEQUENCE was accepted */
	bool replay;		    /* of slot->reply */
};

void callback_init(struct callback *cb, const uint8_t sessionid[NFS4_SESSIONID_SIZE],
	const struct callback_ops *ops, void *arg)
{
	memset(cb, 0, sizeof(*cb));
	memcpy(cb->sessionid, sessionid, NFS4_SESSIONID_SIZE);
	cb->ops = ops;
	cb->arg = arg;
}

/* FNV-1a */
static uint64_t callback_digest(const uint8_t *data, size_t len)
{
	uint64_t hash = UINT64_C(0xcbf29ce484222325);
	for (size_t i = 0; i < len; i++)
		hash = (hash ^ data[i]) * UINT64_C(0x100000001b3);
	return hash;
}

static void callback_get_fh(struct wire_in *in, struct nfs_fh *fh)
{
	uint32_t len;
	const uint8_t *data = wire_get_opaque(in, NFS4_FHSIZE, &len);
	fh->len = (uint8_t)len;
	if (data)
		memcpy(fh->data, data, len);
}

/* bitmap4: its first word, and the others or'ed. */
static uint32_t callback_get_bitmap(struct wire_in *in, uint32_t *rest)
{
	uint32_t words = wire_get_u32(in), first = 0;
	*rest = 0;
	for (uint32_t i = 0; i < words && !in->bad; i++)
		*(i == 0 ? &first : rest) |= wire_get_u32(in);
	return first;
}

/* referring_call_list4<>: which of our calls the callback is about. Checked for form only. */
static void callback_skip_referring(struct wire_in *in)
{
	uint32_t lists = wire_get_u32(in);
	for (uint32_t i = 0; i < lists && !in->bad; i++) {
		wire_get_raw(in, NFS4_SESSIONID_SIZE);
		uint32_t calls = wire_get_u32(in);
		for (uint32_t j = 0; j < calls && !in->bad; j++)
			wire_get_raw(in, 8);
	}
}

/* RFC 8881, 20.9.3 and 2.10.6.1 */
static uint32_t callback_check_sequence(struct callback_call *call, const uint8_t *sessionid,
	uint32_t sequence, uint32_t slotid, uint32_t highest)
{
	struct callback *cb = call->cb;
	if (memcmp(sessionid, cb->sessionid, NFS4_SESSIONID_SIZE) != 0)
		return NFS4ERR_BADSESSION;
	if (slotid >= CALLBACK_SLOTS)
		return NFS4ERR_BADSLOT;
	if (highest >= CALLBACK_SLOTS || highest < slotid)
		return NFS4ERR_BAD_HIGH_SLOT;
	struct callback_slot *slot = &cb->slots[slotid];
	if (sequence == slot->sequence && slot->reply_len > 0) {
		if (call->digest != slot->digest)
			return NFS4ERR_SEQ_FALSE_RETRY;
		call->slot = slot;
		call->replay = true;
		return NFS4_OK;
	}
	if (sequence != slot->sequence + 1)
		return NFS4ERR_SEQ_MISORDERED;
	call->slot = slot;
	slot->sequence = sequence;
	slot->digest = call->digest;
	slot->reply_len = 0;
	return NFS4_OK;
}

static uint32_t callback_op_sequence(struct callback_call *call)
{
	struct wire_in *in = &call->in;
	const uint8_t *sessionid = wire_get_fixed(in, NFS4_SESSIONID_SIZE);
	uint32_t sequence = wire_get_u32(in);
	uint32_t slotid = wire_get_u32(in);
	uint32_t highest = wire_get_u32(in);
	wire_get_bool(in); /* cachethis: every reply is kept */
	callback_skip_referring(in);
	uint32_t status =
		in->bad ? NFS4ERR_BADXDR
			: callback_check_sequence(call, sessionid, sequence, slotid, highest);
	wire_put_u32(call->out, status);
	if (status != NFS4_OK)
		return status;
	wire_put_fixed(call->out, sessionid, NFS4_SESSIONID_SIZE);
	wire_put_u32(call->out, sequence);
	wire_put_u32(call->out, slotid);
	wire_put_u32(call->out, CALLBACK_SLOTS - 1);
	wire_put_u32(call->out, CALLBACK_SLOTS - 1);
	return NFS4_OK;
}

static uint32_t callback_recall(struct callback_call *call)
{
	const struct callback *cb = call->cb;
	struct nfs_stateid stateid;
	struct nfs_fh fh;
	stateid.seqid = wire_get_u32(&call->in);
	const uint8_t *other = wire_get_fixed(&call->in, NFS4_OTHER_SIZE);
	wire_get_bool(&call->in); /* truncate */
	callback_get_fh(&call->in, &fh);
	if (call->in.bad)
		return NFS4ERR_BADXDR;
	memcpy(stateid.other, other, NFS4_OTHER_SIZE);
	if (!cb->ops || !cb->ops->recall)
		return NFS4ERR_BADHANDLE;
	return cb->ops->recall(cb->arg, &fh, &stateid);
}

/*
 * Types of RFC 8881, 20.6.3 (delegations of files and directories, layouts of files and blocks,
 * object layouts, others) and RFC 8435, 11 (flexible files). Any other is an error.
 */
#define CALLBACK_TYPES_DEFINED 0x0003f31fu

static uint32_t callback_recall_any(struct callback_call *call)
{
	const struct callback *cb = call->cb;
	uint32_t keep = wire_get_u32(&call->in);
	uint32_t rest, mask = callback_get_bitmap(&call->in, &rest);
	if (call->in.bad)
		return NFS4ERR_BADXDR;
	if (rest || (mask & ~CALLBACK_TYPES_DEFINED))
		return NFS4ERR_INVAL;
	const struct deleg_kinds kinds = {.read = mask & (1u << RCA4_TYPE_MASK_RDATA_DLG),
		.write = mask & (1u << RCA4_TYPE_MASK_WDATA_DLG),
		.dirs = mask & (1u << RCA4_TYPE_MASK_DIR_DLG)};
	if ((kinds.read || kinds.write || kinds.dirs) && cb->ops && cb->ops->recall_any)
		cb->ops->recall_any(cb->arg, keep, kinds);
	return NFS4_OK;
}

/* Puts status and body, since the body follows NFS4_OK alone. */
static uint32_t callback_getattr(struct callback_call *call)
{
	const struct callback *cb = call->cb;
	struct nfs_bitmap have = {0};
	uint64_t change = 0, size = 0;
	struct nfs_fh fh;
	callback_get_fh(&call->in, &fh);
	uint32_t rest, want = callback_get_bitmap(&call->in, &rest);
	uint32_t status = call->in.bad ? NFS4ERR_BADXDR
			  : !cb->ops || !cb->ops->getattr
				  ? NFS4ERR_BADHANDLE
				  : cb->ops->getattr(cb->arg, &fh, &change, &size);
	wire_put_u32(call->out, status);
	if (status != NFS4_OK)
		return status;
	bool has_change = want & (1u << FATTR4_CHANGE);
	bool has_size = want & (1u << FATTR4_SIZE);
	if (has_change)
		nfs_bitmap_set(&have, FATTR4_CHANGE);
	if (has_size)
		nfs_bitmap_set(&have, FATTR4_SIZE);
	nfs_attr_put_bitmap(call->out, &have);
	wire_put_u32(call->out, 8u * (has_change + has_size));
	if (has_change)
		wire_put_u64(call->out, change);
	if (has_size)
		wire_put_u64(call->out, size);
	return NFS4_OK;
}

static uint32_t callback_recall_slot(struct callback_call *call)
{
	const struct callback *cb = call->cb;
	uint32_t target = wire_get_u32(&call->in);
	if (call->in.bad)
		return NFS4ERR_BADXDR;
	if (cb->ops && cb->ops->recall_slot)
		cb->ops->recall_slot(cb->arg, target);
	return NFS4_OK;
}

static uint32_t callback_notify_lock(struct callback_call *call)
{
	const struct callback *cb = call->cb;
	struct nfs_fh fh;
	callback_get_fh(&call->in, &fh);
	uint64_t clientid; /* one client owns this channel */
	uint64_t owner = nfs_op_get_owner(&call->in, &clientid);
	if (call->in.bad)
		return NFS4ERR_BADXDR;
	if (owner != 0 && cb->ops && cb->ops->notify_lock)
		cb->ops->notify_lock(cb->arg, &fh, owner);
	return NFS4_OK;
}

/* RFC 7862, 16.1. */
static uint32_t callback_offload(struct callback_call *call)
{
	const struct callback *cb = call->cb;
	struct wire_in *in = &call->in;
	struct nfs_write_response done = {0};
	struct nfs_stateid stateid = {0};
	struct nfs_fh fh;
	callback_get_fh(in, &fh);
	nfs_attr_get_stateid(in, &stateid);
	struct callback_offload result = {.status = wire_get_u32(in)};
	if (result.status == NFS4_OK)
		nfs_op_get_write_response(in, &done);
	else
		done.count = wire_get_u64(in);
	if (in->bad)
		return NFS4ERR_BADXDR;
	result.count = done.count;
	result.committed = done.committed;
	memcpy(result.verifier, done.verifier, NFS4_VERIFIER_SIZE);
	if (!cb->ops || !cb->ops->offload)
		return NFS4ERR_BAD_STATEID;
	return cb->ops->offload(cb->arg, &fh, &stateid, &result);
}

/* Answers one operation with opcode, status and body; returns its status. */
static uint32_t callback_op(struct callback_call *call, bool first)
{
	struct wire_out *out = call->out;
	uint32_t op = wire_get_u32(&call->in), status;
	bool known = op >= OP_CB_GETATTR && op <= OP_CB_OFFLOAD;
	wire_put_u32(out, known ? op : OP_CB_ILLEGAL);
	if (op == OP_CB_SEQUENCE && first)
		return callback_op_sequence(call);
	if (op == OP_CB_GETATTR && !first)
		return callback_getattr(call);
	if (!known)
		status = call->in.bad ? NFS4ERR_BADXDR : NFS4ERR_OP_ILLEGAL;
	else if (first)
		status = NFS4ERR_OP_NOT_IN_SESSION;
	else if (op == OP_CB_SEQUENCE)
		status = NFS4ERR_SEQUENCE_POS;
	else if (op == OP_CB_RECALL)
		status = callback_recall(call);
	else if (op == OP_CB_RECALL_ANY)
		status = callback_recall_any(call);
	else if (op == OP_CB_RECALL_SLOT)
		status = callback_recall_slot(call);
	else if (op == OP_CB_NOTIFY_LOCK)
		status = callback_notify_lock(call);
	else if (op == OP_CB_OFFLOAD)
		status = callback_offload(call);
	else
		status = NFS4ERR_NOTSUPP;
	wire_put_u32(out, status);
	return status;
}

/* CB_COMPOUND4res begins with status, tag and number of results. */
static void callback_put_head(
	struct wire_out *out, uint32_t status, const uint8_t *tag, uint32_t tag_len, uint32_t nres)
{
	wire_put_u32(out, status);
	wire_put_opaque(out, tag, tag_len);
	wire_put_u32(out, nres);
}

/* Executes the operations; status and their number are filled in at the end. */
static void callback_run(
	struct callback_call *call, uint32_t nops, const uint8_t *tag, uint32_t tag_len)
{
	struct wire_out *out = call->out;
	size_t start = out->len;
	uint32_t status = NFS4_OK, done = 0;
	callback_put_head(out, NFS4_OK, tag, tag_len, 0);
	size_t count_at = out->len - 4;
	while (done < nops && status == NFS4_OK && !call->replay && !call->in.bad) {
		status = callback_op(call, done == 0);
		done++;
	}
	if (out->bad)
		return;
	if (call->replay) {
		out->len = start;
		wire_put_fixed(out, call->slot->reply, call->slot->reply_len);
		return;
	}
	wire_store_u32(out->data + start, status);
	wire_store_u32(out->data + count_at, done);
	size_t len = out->len - start;
	if (call->slot && len <= sizeof(call->slot->reply)) {
		memcpy(call->slot->reply, out->data + start, len);
		call->slot->reply_len = (uint32_t)len;
	}
}

int callback_compound(struct callback *cb, const uint8_t *data, size_t len, struct wire_out *out)
{
	struct callback_call call = {.cb = cb, .out = out, .digest = callback_digest(data, len)};
	uint32_t tag_len;
	wire_in_init(&call.in, data, len);
	const uint8_t *tag = wire_get_opaque(&call.in, NFS4_OPAQUE_LIMIT, &tag_len);
	uint32_t minor = wire_get_u32(&call.in);
	wire_get_u32(&call.in); /* callback_ident: of NFSv4.0 */
	uint32_t nops = wire_get_u32(&call.in);
	if (call.in.bad)
		return -EPROTO;
	if (tag_len > CALLBACK_TAG_MAX)
		tag_len = CALLBACK_TAG_MAX;
	if (minor < 1 || minor > 2)
		callback_put_head(out, NFS4ERR_MINOR_VERS_MISMATCH, tag, tag_len, 0);
	else if (nops > CALLBACK_OPS_MAX)
		callback_put_head(out, NFS4ERR_TOO_MANY_OPS, tag, tag_len, 0);
	else
		callback_run(&call, nops, tag, tag_len);
	return out->bad ? -EPROTO : 0;
}
