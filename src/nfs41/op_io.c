/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "nfs41/attr.h"
#include "nfs41/op.h"

/* READ, WRITE, COMMIT: RFC 8881, 18.22, 18.32, 18.3. */

/* The data that compound.c's sink had received directly; their padding may have come along. */
static void skip_sunk(struct wire_in *in, uint32_t len, size_t sunk)
{
	if (len != sunk)
		in->bad = true;
	else if (wire_left(in) > 0)
		wire_get_raw(in, wire_pad(len));
}

static void decode_read(
	struct wire_in *in, uint32_t status, const struct nfs_op_slot *slot, void *res)
{
	struct nfs_read_res read = {.eof = wire_get_bool(in)};
	const uint8_t *data = NULL;

	if (slot->sunk > 0) {
		read.len = wire_get_u32(in);
		skip_sunk(in, read.len, slot->sunk);
	} else {
		data = wire_get_opaque(in, slot->limit, &read.len);
	}
	if (in->bad || !res)
		return;
	if (data && read.len > 0)
		memcpy(slot->data, data, read.len);
	memcpy(res, &read, sizeof(read));
}

void nfs_op_read(struct nfs_compound *c, const struct nfs_stateid *stateid, uint64_t offset,
	uint32_t count, struct buf *buf, uint8_t *data, struct nfs_read_res *res)
{
	const struct nfs_op_slot slot = {.op = OP_READ,
		.limit = count,
		.decode = decode_read,
		.res = res,
		.data = data,
		.buf = buf};
	bool second = c->has_read;
	struct wire_out *out = nfs_compound_op(c, &slot, 8 + (size_t)count + wire_pad(count));

	if (second)
		out->bad = true;
	nfs_attr_put_stateid(out, stateid);
	wire_put_u64(out, offset);
	wire_put_u32(out, count);
}

static void decode_write(
	struct wire_in *in, uint32_t status, const struct nfs_op_slot *slot, void *res)
{
	struct nfs_write_res write = {.count = wire_get_u32(in)};

	write.committed = wire_get_u32(in);
	const uint8_t *verifier = wire_get_fixed(in, NFS4_VERIFIER_SIZE);
	if (write.count > slot->limit || write.committed > FILE_SYNC4)
		in->bad = true;
	if (in->bad || !res)
		return;
	memcpy(write.verifier, verifier, NFS4_VERIFIER_SIZE);
	memcpy(res, &write, sizeof(write));
}

void nfs_op_write(struct nfs_compound *c, const struct nfs_stateid *stateid, uint64_t offset,
	uint32_t stable, struct buf *buf, const uint8_t *data, uint32_t len,
	struct nfs_write_res *res)
{
	const struct nfs_op_slot slot = {
		.op = OP_WRITE, .limit = len, .decode = decode_write, .res = res};
	struct wire_out *out = nfs_compound_op(c, &slot, 8 + NFS4_VERIFIER_SIZE);

	nfs_attr_put_stateid(out, stateid);
	wire_put_u64(out, offset);
	wire_put_u32(out, stable);
	wire_put_u32(out, len);
	nfs_compound_payload(c, buf, data, len);
}

static void decode_commit(
	struct wire_in *in, uint32_t status, const struct nfs_op_slot *slot, void *res)
{
	const uint8_t *verifier = wire_get_fixed(in, NFS4_VERIFIER_SIZE);

	if (verifier && res)
		memcpy(res, verifier, NFS4_VERIFIER_SIZE);
}

void nfs_op_commit(struct nfs_compound *c, uint64_t offset, uint32_t count,
	uint8_t verifier[NFS4_VERIFIER_SIZE])
{
	const struct nfs_op_slot slot = {.op = OP_COMMIT, .decode = decode_commit, .res = verifier};
	struct wire_out *out = nfs_compound_op(c, &slot, NFS4_VERIFIER_SIZE);

	wire_put_u64(out, offset);
	wire_put_u32(out, count);
}
