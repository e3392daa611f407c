/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "nfs41/attr.h"
#include "nfs41/op.h"

/* Attributes and access: RFC 8881, 18.1, 18.7, 18.30, 18.31. */

static void decode_getattr(
	struct wire_in *in, uint32_t status, const struct nfs_op_slot *slot, void *res)
{
	struct nfs_attr attr;

	nfs_attr_get(in, &slot->want, &attr);
	if (!in->bad && res)
		memcpy(res, &attr, sizeof(attr));
}

void nfs_op_getattr(struct nfs_compound *c, const struct nfs_bitmap *want, struct nfs_attr *attr)
{
	const struct nfs_op_slot slot = {
		.op = OP_GETATTR, .decode = decode_getattr, .res = attr, .want = *want};

	nfs_attr_put_bitmap(nfs_compound_op(c, &slot, NFS_ATTR_WIRE_MAX), want);
}

static void decode_getfsattr(
	struct wire_in *in, uint32_t status, const struct nfs_op_slot *slot, void *res)
{
	struct nfs_fsattr attr;

	nfs_attr_get_fs(in, &slot->want, &attr);
	if (!in->bad && res)
		memcpy(res, &attr, sizeof(attr));
}

void nfs_op_getfsattr(
	struct nfs_compound *c, const struct nfs_bitmap *want, struct nfs_fsattr *attr)
{
	const struct nfs_op_slot slot = {
		.op = OP_GETATTR, .decode = decode_getfsattr, .res = attr, .want = *want};

	nfs_attr_put_bitmap(nfs_compound_op(c, &slot, NFS_ATTR_WIRE_MAX), want);
}

static void decode_setattr(
	struct wire_in *in, uint32_t status, const struct nfs_op_slot *slot, void *res)
{
	struct nfs_bitmap done = {0};

	/* a server that refused the operation before executing it may leave the bitmap out */
	if (status == NFS4_OK || wire_left(in) > 0)
		nfs_attr_get_bitmap(in, &done);
	if (!in->bad && res)
		memcpy(res, &done, sizeof(done));
}

void nfs_op_setattr(struct nfs_compound *c, const struct nfs_stateid *stateid,
	const struct nfs_setattr *set, struct nfs_bitmap *done)
{
	const struct nfs_op_slot slot = {
		.op = OP_SETATTR, .decode = decode_setattr, .res = done, .error_res = done};
	struct wire_out *out = nfs_compound_op(c, &slot, NFS_ATTR_BITMAP_WIRE_MAX);

	nfs_attr_put_stateid(out, stateid);
	nfs_attr_put_set(out, set);
}

void nfs_op_verify_size(struct nfs_compound *c, uint64_t size)
{
	const struct nfs_op_slot slot = {.op = OP_VERIFY};
	const struct nfs_setattr attr = {.set = NFS_SET_SIZE, .size = size};

	nfs_attr_put_set(nfs_compound_op(c, &slot, 0), &attr);
}

static void decode_access(
	struct wire_in *in, uint32_t status, const struct nfs_op_slot *slot, void *res)
{
	struct nfs_access_res access = {.supported = wire_get_u32(in)};

	access.granted = wire_get_u32(in);
	if (!in->bad && res)
		memcpy(res, &access, sizeof(access));
}

void nfs_op_access(struct nfs_compound *c, uint32_t want, struct nfs_access_res *res)
{
	const struct nfs_op_slot slot = {.op = OP_ACCESS, .decode = decode_access, .res = res};

	wire_put_u32(nfs_compound_op(c, &slot, 8), want);
}
