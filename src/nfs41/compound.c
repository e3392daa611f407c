/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "nfs41/compound.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>

#include "nfs41/conn.h"
#include "nfs41/error.h"
#include "nfs41/proto.h"

#define OPS_MAX 256 /* operations in one compound, whatever the server allows */

/* RPC reply header with the longest verifier, then COMPOUND's status, tag and count. */
#define REPLY_HEAD_MAX (24 + 400 + 4 + 4 + NFS4_OPAQUE_LIMIT + 4)
#define OP_HEAD_SIZE   8  /* opcode and status */
#define SEQUENCE_SIZE  36 /* SEQUENCE4resok */
#define READ_HEAD_SIZE 16 /* what comes before a READ's data: opcode, status, eof, length */

/*
 * Asked to cache its reply: executing it again fails, or destroys what came after it. A WRITE is
 * not among them: until it was acknowledged nothing can depend on it, as in the kernel's client.
 */
#define MODIFIES   0x1
#define BULK	   0x2 /* the result may exceed what servers cache (knfsd: 2128 bytes in all) */
#define ERROR_BODY 0x4 /* an error may have a body */

static const uint8_t op_traits[NFS_OP_LIMIT] = {
	[OP_CLOSE] = MODIFIES,
	[OP_CREATE] = MODIFIES,
	[OP_DELEGRETURN] = MODIFIES,
	[OP_LINK] = MODIFIES,
	[OP_LOCK] = MODIFIES | ERROR_BODY,
	[OP_LOCKT] = ERROR_BODY,
	[OP_LOCKU] = MODIFIES,
	[OP_OPEN] = MODIFIES,
	[OP_READ] = BULK,
	[OP_READDIR] = BULK,
	[OP_READLINK] = BULK,
	[OP_REMOVE] = MODIFIES,
	[OP_RENAME] = MODIFIES,
	[OP_SETATTR] = MODIFIES | ERROR_BODY,
	[OP_FREE_STATEID] = MODIFIES,
	[OP_RECLAIM_COMPLETE] = MODIFIES,
	[OP_GETXATTR] = BULK,
	[OP_SETXATTR] = MODIFIES,
	[OP_LISTXATTRS] = BULK,
	[OP_REMOVEXATTR] = MODIFIES,
	/* a second one would go on beside the first */
	[OP_COPY] = MODIFIES | ERROR_BODY,
};

static uint8_t traits_of(uint32_t op)
{
	return op < NFS_OP_LIMIT ? op_traits[op] : 0;
}

static struct nfs_compound *compound_of(struct rpc_call *call)
{
	return (struct nfs_compound *)((char *)call - offsetof(struct nfs_compound, call));
}

struct nfs_compound *nfs_compound_new(struct nfs_conn *conn, struct rpc_cred *cred, uint32_t label)
{
	struct nfs_compound *c = conn ? spare_get(&conn->spare, sizeof(*c)) : malloc(sizeof(*c));

	if (!c)
		return NULL;
	/* what lies behind is written before it is read */
	memset(c, 0, offsetof(struct nfs_compound, inline_ops));
	c->conn = conn;
	c->cred = cred ? rpc_cred_ref(cred) : NULL;
	c->label = label;
	c->ops = c->inline_ops;
	c->payload_at = SIZE_MAX;
	c->sequenced = true;
	wire_out_init(&c->out, c->head, sizeof(c->head));
	memset(wire_put_raw(&c->out, NFS_COMPOUND_FIRST_AT), 0, NFS_COMPOUND_FIRST_AT);
	wire_store_u32(c->head + NFS_COMPOUND_SEQUENCE_AT, OP_SEQUENCE);
	return c;
}

void nfs_compound_unsequenced(struct nfs_compound *c)
{
	c->sequenced = false;
	c->out.len = NFS_COMPOUND_SEQUENCE_AT;
}

/* What operations and payload hold on to. */
static void compound_drop_ops(struct nfs_compound *c)
{
	for (unsigned i = 0; i < c->nops; i++)
		buf_unref(c->ops[i].buf);
	if (c->ops != c->inline_ops)
		free(c->ops);
	buf_unref(c->payload_buf);
	c->ops = c->inline_ops;
	c->nops = 0;
	c->payload_buf = NULL;
}

void nfs_compound_free(struct nfs_compound *c)
{
	if (!c)
		return;
	if (c->p.place != NFS_COMPOUND_IDLE) {
		nfs_compound_abandon(c);
		return;
	}
	compound_drop_ops(c);
	rpc_cred_unref(c->cred);
	if (c->conn)
		spare_put(&c->conn->spare, c);
	else
		free(c);
}

int nfs_compound_errno(const struct nfs_compound *c)
{
	return c->status > 0 ? nfs_error_errno((uint32_t)c->status) : c->status;
}

bool nfs_compound_may_repeat(const struct nfs_compound *c)
{
	for (unsigned i = 0; i < c->ops_ok; i++)
		if (traits_of(c->ops[i].op) & MODIFIES)
			return false;
	return true;
}

void nfs_compound_strip(struct nfs_compound *c)
{
	compound_drop_ops(c);
	c->out.len = NFS_COMPOUND_FIRST_AT;
	c->out.bad = false;
	c->payload_at = SIZE_MAX;
	c->payload_len = 0;
}

/* Room for one more operation: the inline slots, then twice as many, and so on. */
static struct nfs_op_slot *compound_slot(struct nfs_compound *c)
{
	if (c->nops >= NFS_COMPOUND_OPS && (c->nops & (c->nops - 1)) == 0) {
		bool inlined = c->ops == c->inline_ops;
		struct nfs_op_slot *ops = NULL;

		if (c->nops < OPS_MAX)
			ops = realloc(inlined ? NULL : c->ops, 2 * c->nops * sizeof(*ops));
		if (!ops)
			return NULL;
		if (inlined)
			memcpy(ops, c->inline_ops, sizeof(c->inline_ops));
		c->ops = ops;
	}
	return &c->ops[c->nops++];
}

struct wire_out *nfs_compound_op(
	struct nfs_compound *c, const struct nfs_op_slot *slot, size_t res_size)
{
	struct nfs_op_slot *own = compound_slot(c);

	if (!own) {
		c->out.bad = true;
		return &c->out;
	}
	*own = *slot;
	if (own->buf)
		buf_ref(own->buf);
	c->reply_size += OP_HEAD_SIZE + res_size;
	c->modifies |= traits_of(slot->op) & MODIFIES;
	c->has_read |= (traits_of(slot->op) & BULK) != 0;
	wire_put_u32(&c->out, slot->op);
	return &c->out;
}

void nfs_compound_payload(
	struct nfs_compound *c, struct buf *buf, const uint8_t *data, uint32_t len)
{
	if (c->payload_at != SIZE_MAX) {
		c->out.bad = true;
		return;
	}
	c->payload_at = c->out.len;
	c->payload = data;
	c->payload_len = len;
	c->payload_buf = buf ? buf_ref(buf) : NULL;

	uint8_t *pad = wire_put_raw(&c->out, wire_pad(len));
	if (pad)
		memset(pad, 0, wire_pad(len));
}

/* COMPOUND4res up to its operations. */
static void decode_head(struct wire_in *in, uint32_t *status, uint32_t *count)
{
	uint32_t tag_len;

	*status = wire_get_u32(in);
	wire_get_opaque(in, NFS4_OPAQUE_LIMIT, &tag_len);
	*count = wire_get_u32(in);
}

static void decode_sequence(
	struct wire_in *in, const struct nfs_compound *c, struct nfs_sequence_res *seq)
{
	const uint8_t *sent = c->head + NFS_COMPOUND_SEQUENCE_AT + 4;

	if (wire_get_u32(in) != OP_SEQUENCE)
		in->bad = true;
	seq->status = wire_get_u32(in);
	if (in->bad || seq->status != NFS4_OK)
		return;

	const uint8_t *got = wire_get_raw(in, SEQUENCE_SIZE);
	/* session, sequence and slot tell which request this answers */
	if (!got || memcmp(got, sent, NFS4_SESSIONID_SIZE + 8) != 0) {
		in->bad = true;
		return;
	}
	memcpy(seq->sessionid, got, NFS4_SESSIONID_SIZE);
	got += NFS4_SESSIONID_SIZE;
	seq->sequence = wire_load_u32(got);
	seq->slot = wire_load_u32(got + 4);
	seq->highest_slot = wire_load_u32(got + 8);
	seq->target_highest_slot = wire_load_u32(got + 12);
	seq->status_flags = wire_load_u32(got + 16);
}

/* One operation's result; returns its status. */
static uint32_t decode_op(struct wire_in *in, const struct nfs_op_slot *slot, bool discard)
{
	uint32_t op = wire_get_u32(in);
	uint32_t status = wire_get_u32(in);

	if (op == OP_ILLEGAL && status == NFS4ERR_OP_ILLEGAL)
		return status;
	if (op != slot->op)
		in->bad = true;
	if (in->bad || !slot->decode)
		return status;
	if (status == NFS4_OK)
		slot->decode(in, status, slot, discard ? NULL : slot->res);
	else if ((traits_of(slot->op) & ERROR_BODY) != 0)
		slot->decode(in, status, slot, discard ? NULL : slot->error_res);
	return status;
}

/* The place of a READ's data may be made when they come. */
static void compound_place(struct nfs_op_slot *read)
{
	if (!read->data && read->buf)
		read->data = buf_back(read->buf);
}

/* rpc_call's sink: finds the data of a last READ while they arrive. */
static int compound_sink(
	struct rpc_call *call, const uint8_t *data, size_t len, size_t body, struct rpc_sink *sink)
{
	struct nfs_compound *c = compound_of(call);
	struct nfs_op_slot *read = &c->ops[c->nops - 1];
	struct nfs_sequence_res seq = {0};
	uint32_t status, count;
	struct wire_in in;

	wire_in_init(&in, data, len);
	in.pos = body;
	decode_head(&in, &status, &count);
	if (!in.bad && (status != NFS4_OK || count != c->nops + c->sequenced))
		return 0;
	if (c->sequenced)
		decode_sequence(&in, c, &seq);
	for (unsigned i = 0; i + 1 < c->nops && !in.bad && status == NFS4_OK; i++)
		status = decode_op(&in, &c->ops[i], true);

	uint32_t op = wire_get_u32(&in);
	uint32_t read_status = wire_get_u32(&in);
	wire_get_bool(&in);
	uint32_t read_len = wire_get_u32(&in);
	if (in.bad)
		return in.cut ? -EAGAIN : -EPROTO;
	if (status != NFS4_OK || seq.status != NFS4_OK || op != OP_READ || read_status != NFS4_OK ||
		read_len > read->limit)
		return -EPROTO;
	if (read_len == 0)
		return 0;
	compound_place(read);
	*sink = (struct rpc_sink){.head = in.pos, .len = read_len, .data = read->data};
	return 1;
}

static bool compound_reads(const struct nfs_compound *c)
{
	for (unsigned i = 0; i < c->nops; i++)
		if (c->ops[i].op == OP_READ)
			return true;
	return false;
}

/* rpc_call's without_data: up to the first READ's data, or to what cannot be read. */
size_t nfs_compound_without_data(
	const struct nfs_compound *c, const uint8_t *data, size_t len, size_t body)
{
	struct nfs_sequence_res seq = {0};
	uint32_t status, count;
	struct wire_in in;

	if (!compound_reads(c))
		return len;
	wire_in_init(&in, data, len);
	in.pos = body;
	decode_head(&in, &status, &count);
	if (c->sequenced && count > 0)
		decode_sequence(&in, c, &seq);
	for (unsigned i = 0; i < c->nops && !in.bad && in.pos < in.len; i++) {
		if (c->ops[i].op == OP_READ) {
			wire_get_raw(&in, READ_HEAD_SIZE);
			break;
		}
		if (decode_op(&in, &c->ops[i], true) != NFS4_OK)
			break;
	}
	return in.pos < len ? in.pos : len;
}

static size_t compound_without_data(
	const struct rpc_call *call, const uint8_t *data, size_t len, size_t body)
{
	const struct nfs_compound *c =
		(const struct nfs_compound *)((const char *)call -
					      offsetof(struct nfs_compound, call));
	return nfs_compound_without_data(c, data, len, body);
}

int nfs_compound_finish(struct nfs_compound *c)
{
	struct rpc_call *call = &c->call;
	size_t split = c->payload_at < c->out.len ? c->payload_at : c->out.len;

	if (c->out.bad) {
		c->overflow = true;
		return -EOVERFLOW;
	}
	wire_store_u32(c->head + NFS_COMPOUND_COUNT_AT, c->nops + c->sequenced);
	call->msg.prog = NFS4_PROGRAM;
	call->msg.vers = NFS4_VERSION;
	call->msg.proc = NFSPROC4_COMPOUND;
	call->name = nfs_op_name(c->label);
	call->cred = c->cred;
	call->head = c->head;
	call->head_len = split;
	call->ntail = 0;
	call->tail_data = c->payload_len > 0;
	if (c->payload_len > 0)
		call->tail[call->ntail++] = (struct iovec){
			.iov_base = (void *)(uintptr_t)c->payload, .iov_len = c->payload_len};
	if (c->out.len > split)
		call->tail[call->ntail++] =
			(struct iovec){.iov_base = c->head + split, .iov_len = c->out.len - split};
	call->max_reply =
		REPLY_HEAD_MAX + c->reply_size + (c->sequenced ? OP_HEAD_SIZE + SEQUENCE_SIZE : 0);
	call->sink = c->nops > 0 && c->ops[c->nops - 1].op == OP_READ ? compound_sink : NULL;
	call->without_data = c->has_read ? compound_without_data : NULL;
	return 0;
}

void nfs_compound_patch_sequence(struct nfs_compound *c, uint32_t minor,
	const uint8_t sessionid[NFS4_SESSIONID_SIZE], uint32_t sequence, uint32_t slot,
	uint32_t highest, bool cachethis)
{
	uint8_t *at = c->head + NFS_COMPOUND_SEQUENCE_AT + 4;

	wire_store_u32(c->head + NFS_COMPOUND_MINOR_AT, minor);
	if (!c->sequenced)
		return;
	memcpy(at, sessionid, NFS4_SESSIONID_SIZE);
	at += NFS4_SESSIONID_SIZE;
	wire_store_u32(at, sequence);
	wire_store_u32(at + 4, slot);
	wire_store_u32(at + 8, highest);
	wire_store_u32(at + 12, cachethis);
}

/*
 * The results of `count` operations, up to the first error. Returns the last status; more or
 * fewer results than that error explains are bad.
 */
static uint32_t decode_results(
	struct wire_in *in, struct nfs_compound *c, uint32_t count, struct nfs_sequence_res *seq)
{
	uint32_t status = NFS4_OK;

	if (c->sequenced) {
		decode_sequence(in, c, seq);
		status = seq->status;
		count--;
	}
	c->ops_ok = 0;
	while (count > 0 && status == NFS4_OK && !in->bad) {
		const struct nfs_op_slot *slot = &c->ops[c->ops_ok];
		size_t from = in->pos + READ_HEAD_SIZE;
		status = decode_op(in, slot, c->abandoned);
		if (slot->op == OP_READ && slot->sunk == 0 && in->pos > from)
			c->call.copied += in->pos - from;
		c->ops_ok += status == NFS4_OK;
		count--;
	}
	if (count > 0 || (status == NFS4_OK && c->ops_ok < c->nops))
		in->bad = true;
	return status;
}

int nfs_compound_decode(struct nfs_compound *c, const uint8_t *data, size_t len, size_t sink_len,
	struct nfs_sequence_res *seq)
{
	struct nfs_sequence_res own_seq;
	uint32_t status, count;
	struct wire_in in;

	if (!seq)
		seq = &own_seq;
	memset(seq, 0, sizeof(*seq));
	c->ops_ok = 0;
	if (c->nops > 0 && c->ops[c->nops - 1].op == OP_READ) {
		c->ops[c->nops - 1].sunk = sink_len;
		if (!c->abandoned)
			compound_place(&c->ops[c->nops - 1]);
	} else if (sink_len > 0) {
		return -EPROTO;
	}

	wire_in_init(&in, data, len);
	decode_head(&in, &status, &count);
	if (in.bad || status > INT_MAX || count > c->nops + c->sequenced)
		return -EPROTO;
	if (count == 0) {
		seq->status = status;
		in.bad = status == NFS4_OK;
	} else if (decode_results(&in, c, count, seq) != status) {
		in.bad = true;
	}
	if (in.bad || in.pos != in.len || (sink_len > 0 && status != NFS4_OK))
		return -EPROTO;
	c->status = (int)status;
	return 0;
}

int nfs_compound_decode_stripped(
	struct nfs_compound *c, const uint8_t *data, size_t len, struct nfs_sequence_res *seq)
{
	uint32_t status, count;
	struct wire_in in;

	memset(seq, 0, sizeof(*seq));
	c->ops_ok = 0;
	wire_in_init(&in, data, len);
	decode_head(&in, &status, &count);
	if (count > 0)
		decode_sequence(&in, c, seq);
	else
		seq->status = status;
	if (in.bad || (count == 0 && status == NFS4_OK) || status > INT_MAX)
		return -EPROTO;
	c->status = (int)status;
	return 0;
}
