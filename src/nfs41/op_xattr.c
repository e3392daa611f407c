/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "nfs41/acl.h"
#include "nfs41/attr.h"
#include "nfs41/op.h"
#include "nfs41/posix_acl.h"

/* Extended attributes: RFC 8276, 8.4; and attributes that programs know as such: RFC 8881, 6.2,
 * RFC 7862, 12.2.4, draft-ietf-nfsv4-posix-acls. */

static void give_bytes(struct nfs_bytes_res *bytes, const uint8_t *data, uint32_t len)
{
	if (!bytes)
		return;
	bytes->len = len;
	if (len > 0 && len <= bytes->cap)
		memcpy(bytes->data, data, len);
}

static void decode_getxattr(
	struct wire_in *in, uint32_t status, const struct nfs_op_slot *slot, void *res)
{
	uint32_t len;
	const uint8_t *data = wire_get_opaque(in, NFS_BYTES_WIRE_MAX, &len);

	if (data)
		give_bytes(res, data, len);
}

void nfs_op_getxattr(
	struct nfs_compound *c, const char *name, size_t len, struct nfs_bytes_res *res)
{
	const struct nfs_op_slot slot = {.op = OP_GETXATTR, .decode = decode_getxattr, .res = res};

	wire_put_opaque(nfs_compound_op(c, &slot, 4 + NFS_BYTES_WIRE_MAX), name, len);
}

static void decode_changed(
	struct wire_in *in, uint32_t status, const struct nfs_op_slot *slot, void *res)
{
	struct nfs_change_info cinfo;

	nfs_attr_get_change_info(in, &cinfo);
	if (!in->bad && res)
		memcpy(res, &cinfo, sizeof(cinfo));
}

void nfs_op_setxattr(struct nfs_compound *c, enum nfs_setxattr_option option, const char *name,
	size_t len, struct buf *buf, const uint8_t *value, uint32_t value_len,
	struct nfs_change_info *cinfo)
{
	const struct nfs_op_slot slot = {.op = OP_SETXATTR, .decode = decode_changed, .res = cinfo};
	struct wire_out *out = nfs_compound_op(c, &slot, NFS_ATTR_CHANGE_INFO_SIZE);

	wire_put_u32(out, option);
	wire_put_opaque(out, name, len);
	wire_put_u32(out, value_len);
	nfs_compound_payload(c, buf, value, value_len);
}

void nfs_op_removexattr(
	struct nfs_compound *c, const char *name, size_t len, struct nfs_change_info *cinfo)
{
	const struct nfs_op_slot slot = {
		.op = OP_REMOVEXATTR, .decode = decode_changed, .res = cinfo};

	wire_put_opaque(nfs_compound_op(c, &slot, NFS_ATTR_CHANGE_INFO_SIZE), name, len);
}

static void list_add(struct nfs_listxattrs_res *list, const uint8_t *name, uint32_t len)
{
	size_t size = NFS_XATTR_USER_LEN + len + 1;

	/* what no program could name */
	if (len == 0 || len > NFS_XATTR_NAME_MAX || memchr(name, '\0', len))
		return;
	if (size > list->cap - list->len) {
		list->full = true;
		return;
	}
	char *to = list->data + list->len;
	memcpy(to, NFS_XATTR_USER, NFS_XATTR_USER_LEN);
	memcpy(to + NFS_XATTR_USER_LEN, name, len);
	to[size - 1] = '\0';
	list->len += size;
}

static void decode_listxattrs(
	struct wire_in *in, uint32_t status, const struct nfs_op_slot *slot, void *res)
{
	struct nfs_listxattrs_res *list = res;
	uint64_t cookie = wire_get_u64(in);
	uint32_t count = wire_get_u32(in), len;
	size_t start = in->pos;

	for (uint32_t i = 0; i < count && !in->bad; i++)
		wire_get_opaque(in, slot->limit, &len);
	if (in->pos - start > slot->limit)
		in->bad = true;
	bool eof = wire_get_bool(in);
	/* no name and no end either would make the reader ask for ever */
	if (count == 0 && !eof)
		in->bad = true;
	if (in->bad || !list)
		return;
	list->cookie = cookie;
	list->eof = eof;

	struct wire_in names = *in;
	names.pos = start;
	for (uint32_t i = 0; i < count; i++) {
		const uint8_t *name = wire_get_opaque(&names, slot->limit, &len);
		list_add(list, name, len);
	}
}

void nfs_op_listxattrs(
	struct nfs_compound *c, uint64_t cookie, uint32_t maxcount, struct nfs_listxattrs_res *res)
{
	const struct nfs_op_slot slot = {
		.op = OP_LISTXATTRS, .limit = maxcount, .decode = decode_listxattrs, .res = res};
	struct wire_out *out = nfs_compound_op(c, &slot, 8 + 4 + (size_t)maxcount + 4);

	wire_put_u64(out, cookie);
	wire_put_u32(out, maxcount);
}

/* sec_label4, without the policy that it is of. */
static const uint8_t *get_label(const uint8_t *data, uint32_t *len)
{
	struct wire_in in;

	wire_in_init(&in, data, *len);
	wire_get_u32(&in);
	wire_get_u32(&in);
	const uint8_t *label = wire_get_opaque(&in, NFS_SEC_LABEL_MAX, len);
	return in.pos == in.len ? label : NULL;
}

static bool is_list(const struct nfs_bitmap *attr, const uint8_t *data, size_t len)
{
	if (nfs_bitmap_has(attr, FATTR4_ACL))
		return nfs_acl_good(FATTR4_ACL, data, len);
	if (nfs_bitmap_has(attr, FATTR4_DACL) || nfs_bitmap_has(attr, FATTR4_SACL))
		return nfs_acl_good(FATTR4_DACL, data, len);
	/* locations.c looks at those */
	return nfs_bitmap_has(attr, FATTR4_FS_LOCATIONS) || nfs_posix_acl_good(data, len);
}

static void decode_bytes(
	struct wire_in *in, uint32_t status, const struct nfs_op_slot *slot, void *res)
{
	struct nfs_bytes_res *bytes = res;
	struct nfs_bitmap have;
	uint32_t len;

	nfs_attr_get_bitmap(in, &have);
	const uint8_t *data = wire_get_opaque(in, NFS_BYTES_WIRE_MAX, &len);
	if (!data)
		return;
	if (memcmp(&have, &slot->want, sizeof(have)) != 0) {
		in->bad = len > 0 || memcmp(&have, &(struct nfs_bitmap){0}, sizeof(have)) != 0;
		if (!in->bad && bytes)
			bytes->len = NFS_BYTES_NONE;
		return;
	}
	if (nfs_bitmap_has(&have, FATTR4_SEC_LABEL))
		data = get_label(data, &len);
	else if (!is_list(&have, data, len))
		data = NULL;
	if (data)
		give_bytes(bytes, data, len);
	else
		in->bad = true;
}

void nfs_op_getattr_bytes(struct nfs_compound *c, unsigned attr, struct nfs_bytes_res *res)
{
	struct nfs_op_slot slot = {.op = OP_GETATTR, .decode = decode_bytes, .res = res};

	nfs_bitmap_set(&slot.want, attr);
	nfs_attr_put_bitmap(
		nfs_compound_op(c, &slot, NFS_ATTR_BITMAP_WIRE_MAX + 4 + NFS_BYTES_WIRE_MAX),
		&slot.want);
}

static void decode_set_bytes(
	struct wire_in *in, uint32_t status, const struct nfs_op_slot *slot, void *res)
{
	struct nfs_bitmap done;

	/* a server that refused the operation before executing it may leave the bitmap out */
	if (status == NFS4_OK || wire_left(in) > 0)
		nfs_attr_get_bitmap(in, &done);
}

void nfs_op_setattr_bytes(
	struct nfs_compound *c, unsigned attr, struct buf *buf, const uint8_t *data, uint32_t len)
{
	const struct nfs_op_slot slot = {.op = OP_SETATTR, .decode = decode_set_bytes};
	struct wire_out *out = nfs_compound_op(c, &slot, NFS_ATTR_BITMAP_WIRE_MAX);
	struct nfs_bitmap map = {0};

	nfs_bitmap_set(&map, attr);
	nfs_attr_put_stateid(out, &nfs_stateid_anonymous);
	nfs_attr_put_bitmap(out, &map);
	if (attr == FATTR4_SEC_LABEL) {
		wire_put_u32(out, 12 + len + (uint32_t)wire_pad(len));
		wire_put_u64(out, 0); /* of any format and policy */
	}
	wire_put_u32(out, len);
	nfs_compound_payload(c, buf, data, len);
}
