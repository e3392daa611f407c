/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "nfs41/attr.h"
#include "nfs41/op.h"

/* Copies made by the server: RFC 7862, 15.2, 15.8, 15.9, 15.13. */

static void put_stateids(
	struct wire_out *out, const struct nfs_stateid *from, const struct nfs_stateid *to)
{
	nfs_attr_put_stateid(out, from);
	nfs_attr_put_stateid(out, to);
}

void nfs_op_get_write_response(struct wire_in *in, struct nfs_write_response *res)
{
	uint32_t ids = wire_get_u32(in);

	*res = (struct nfs_write_response){.async = ids > 0};
	if (ids > 1)
		in->bad = true;
	if (ids == 1)
		nfs_attr_get_stateid(in, &res->stateid);
	res->count = wire_get_u64(in);
	res->committed = wire_get_u32(in);
	const uint8_t *verifier = wire_get_fixed(in, NFS4_VERIFIER_SIZE);
	if (res->committed > FILE_SYNC4)
		in->bad = true;
	if (verifier)
		memcpy(res->verifier, verifier, NFS4_VERIFIER_SIZE);
}

static void decode_copy(
	struct wire_in *in, uint32_t status, const struct nfs_op_slot *slot, void *res)
{
	struct nfs_copy_res copy = {0};

	if (status != NFS4_OK && status != NFS4ERR_OFFLOAD_NO_REQS)
		return;
	if (status == NFS4_OK)
		nfs_op_get_write_response(in, &copy.write);
	wire_get_bool(in); /* consecutive */
	copy.synchronous = wire_get_bool(in);
	if (copy.write.count > slot->limit)
		in->bad = true;
	if (!in->bad && res)
		memcpy(res, &copy, sizeof(copy));
}

void nfs_op_copy(struct nfs_compound *c, const struct nfs_copy_args *args, struct nfs_copy_res *res)
{
	const struct nfs_op_slot slot = {.op = OP_COPY,
		.limit = args->count,
		.decode = decode_copy,
		.res = res,
		.error_res = res};
	struct wire_out *out = nfs_compound_op(c, &slot, NFS_OP_WRITE_RESPONSE_MAX + 8);

	put_stateids(out, &args->from_stateid, &args->to_stateid);
	wire_put_u64(out, args->from);
	wire_put_u64(out, args->to);
	wire_put_u64(out, args->count);
	wire_put_bool(out, true); /* consecutive */
	wire_put_bool(out, args->synchronous);
	wire_put_u32(out, 0); /* source servers: this one */
}

void nfs_op_clone(struct nfs_compound *c, const struct nfs_copy_args *args)
{
	const struct nfs_op_slot slot = {.op = OP_CLONE};
	struct wire_out *out = nfs_compound_op(c, &slot, 0);

	put_stateids(out, &args->from_stateid, &args->to_stateid);
	wire_put_u64(out, args->from);
	wire_put_u64(out, args->to);
	wire_put_u64(out, args->count);
}

static void decode_offload_status(
	struct wire_in *in, uint32_t status, const struct nfs_op_slot *slot, void *res)
{
	struct nfs_offload_status_res offload = {.count = wire_get_u64(in)};
	uint32_t complete = wire_get_u32(in);

	offload.complete = complete > 0;
	if (complete > 1)
		in->bad = true;
	if (complete == 1)
		offload.status = wire_get_u32(in);
	if (!in->bad && res)
		memcpy(res, &offload, sizeof(offload));
}

void nfs_op_offload_status(struct nfs_compound *c, const struct nfs_stateid *stateid,
	struct nfs_offload_status_res *res)
{
	const struct nfs_op_slot slot = {
		.op = OP_OFFLOAD_STATUS, .decode = decode_offload_status, .res = res};

	nfs_attr_put_stateid(nfs_compound_op(c, &slot, 16), stateid);
}

void nfs_op_offload_cancel(struct nfs_compound *c, const struct nfs_stateid *stateid)
{
	const struct nfs_op_slot slot = {.op = OP_OFFLOAD_CANCEL};

	nfs_attr_put_stateid(nfs_compound_op(c, &slot, 0), stateid);
}
