/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "nfs41/attr.h"
#include "nfs41/op.h"

/* Space and holes: RFC 7862, 15.1, 15.4, 15.11. */

static void put_range(struct nfs_compound *c, uint32_t op, const struct nfs_stateid *stateid,
	uint64_t offset, uint64_t length)
{
	const struct nfs_op_slot slot = {.op = op};
	struct wire_out *out = nfs_compound_op(c, &slot, 0);

	nfs_attr_put_stateid(out, stateid);
	wire_put_u64(out, offset);
	wire_put_u64(out, length);
}

void nfs_op_allocate(
	struct nfs_compound *c, const struct nfs_stateid *stateid, uint64_t offset, uint64_t length)
{
	put_range(c, OP_ALLOCATE, stateid, offset, length);
}

void nfs_op_deallocate(
	struct nfs_compound *c, const struct nfs_stateid *stateid, uint64_t offset, uint64_t length)
{
	put_range(c, OP_DEALLOCATE, stateid, offset, length);
}

static void decode_seek(
	struct wire_in *in, uint32_t status, const struct nfs_op_slot *slot, void *res)
{
	struct nfs_seek_res seek = {.eof = wire_get_bool(in)};

	seek.offset = wire_get_u64(in);
	if (!in->bad && res)
		memcpy(res, &seek, sizeof(seek));
}

void nfs_op_seek(struct nfs_compound *c, const struct nfs_stateid *stateid, uint64_t offset,
	uint32_t what, struct nfs_seek_res *res)
{
	const struct nfs_op_slot slot = {.op = OP_SEEK, .decode = decode_seek, .res = res};
	struct wire_out *out = nfs_compound_op(c, &slot, 12);

	nfs_attr_put_stateid(out, stateid);
	wire_put_u64(out, offset);
	wire_put_u32(out, what);
}
