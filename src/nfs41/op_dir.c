/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "nfs41/attr.h"
#include "nfs41/op.h"

/* Names come and go: RFC 8881, 18.4, 18.9, 18.23, 18.24, 18.25, 18.26, 18.39. */

static void decode_create(
	struct wire_in *in, uint32_t status, const struct nfs_op_slot *slot, void *res)
{
	struct nfs_change_info cinfo;
	struct nfs_bitmap set;

	nfs_attr_get_change_info(in, &cinfo);
	nfs_attr_get_bitmap(in, &set);
	if (!in->bad && res)
		memcpy(res, &cinfo, sizeof(cinfo));
}

void nfs_op_create(
	struct nfs_compound *c, const struct nfs_create_args *args, struct nfs_change_info *cinfo)
{
	const struct nfs_op_slot slot = {.op = OP_CREATE, .decode = decode_create, .res = cinfo};
	struct wire_out *out =
		nfs_compound_op(c, &slot, NFS_ATTR_CHANGE_INFO_SIZE + NFS_ATTR_BITMAP_WIRE_MAX);

	wire_put_u32(out, args->type);
	if (args->type == NF4LNK) {
		wire_put_opaque(out, args->link, strlen(args->link));
	} else if (args->type == NF4BLK || args->type == NF4CHR) {
		wire_put_u32(out, args->rdev_major);
		wire_put_u32(out, args->rdev_minor);
	}
	wire_put_opaque(out, args->name, args->name_len);
	nfs_attr_put_set(out, args->set);
}

static void decode_cinfo(
	struct wire_in *in, uint32_t status, const struct nfs_op_slot *slot, void *res)
{
	struct nfs_change_info cinfo;

	nfs_attr_get_change_info(in, &cinfo);
	if (!in->bad && res)
		memcpy(res, &cinfo, sizeof(cinfo));
}

/* REMOVE and LINK look the same on the wire. */
static void name_op(struct nfs_compound *c, uint32_t op, const char *name, size_t len,
	struct nfs_change_info *cinfo)
{
	const struct nfs_op_slot slot = {.op = op, .decode = decode_cinfo, .res = cinfo};

	wire_put_opaque(nfs_compound_op(c, &slot, NFS_ATTR_CHANGE_INFO_SIZE), name, len);
}

void nfs_op_remove(
	struct nfs_compound *c, const char *name, size_t len, struct nfs_change_info *cinfo)
{
	name_op(c, OP_REMOVE, name, len, cinfo);
}

void nfs_op_link(
	struct nfs_compound *c, const char *name, size_t len, struct nfs_change_info *cinfo)
{
	name_op(c, OP_LINK, name, len, cinfo);
}

static void decode_rename(
	struct wire_in *in, uint32_t status, const struct nfs_op_slot *slot, void *res)
{
	struct nfs_rename_res rename;

	nfs_attr_get_change_info(in, &rename.source);
	nfs_attr_get_change_info(in, &rename.target);
	if (!in->bad && res)
		memcpy(res, &rename, sizeof(rename));
}

void nfs_op_rename(struct nfs_compound *c, const char *from, size_t from_len, const char *to,
	size_t to_len, struct nfs_rename_res *res)
{
	const struct nfs_op_slot slot = {.op = OP_RENAME, .decode = decode_rename, .res = res};
	struct wire_out *out = nfs_compound_op(c, &slot, 2 * NFS_ATTR_CHANGE_INFO_SIZE);

	wire_put_opaque(out, from, from_len);
	wire_put_opaque(out, to, to_len);
}

static void decode_readlink(
	struct wire_in *in, uint32_t status, const struct nfs_op_slot *slot, void *res)
{
	struct nfs_readlink_res *link = res;
	uint32_t len;
	const uint8_t *text = wire_get_opaque(in, slot->limit, &len);

	if (!text || !link)
		return;
	memcpy(link->target, text, len);
	link->target[len] = '\0';
	link->len = len;
}

void nfs_op_readlink(struct nfs_compound *c, struct nfs_readlink_res *res)
{
	const struct nfs_op_slot slot = {.op = OP_READLINK,
		.limit = (uint32_t)res->cap - 1,
		.decode = decode_readlink,
		.res = res};

	nfs_compound_op(c, &slot, 4 + res->cap + 3);
}

/* One entry4 without the word in front that says it is there. */
static void get_entry(struct wire_in *in, const struct nfs_bitmap *want, struct nfs_dirent *entry)
{
	entry->cookie = wire_get_u64(in);
	entry->name = (const char *)wire_get_opaque(in, UINT32_MAX, &entry->name_len);
	nfs_attr_get(in, want, &entry->attr);
}

/* A name that a program may see and use. */
static bool name_usable(const struct nfs_dirent *entry)
{
	const char *name = entry->name;
	size_t len = entry->name_len;

	if (len == 0 || len > NFS4_NAME_MAX || memchr(name, '\0', len) || memchr(name, '/', len))
		return false;
	return !(name[0] == '.' && (len == 1 || (len == 2 && name[1] == '.')));
}

static void decode_readdir(
	struct wire_in *in, uint32_t status, const struct nfs_op_slot *slot, void *res)
{
	struct nfs_readdir_res *dir = res;
	const uint8_t *verifier = wire_get_fixed(in, NFS4_VERIFIER_SIZE);
	struct nfs_dirent entry = {0};
	size_t start = in->pos, end = start;

	while (wire_get_bool(in)) {
		get_entry(in, &slot->want, &entry);
		end = in->pos;
	}
	bool eof = wire_get_bool(in);
	/* no entry and no end either would make the reader ask for ever */
	if (end - start > slot->limit || (end == start && !eof))
		in->bad = true;
	if (in->bad || !dir)
		return;
	memcpy(dir->verifier, verifier, NFS4_VERIFIER_SIZE);
	memcpy(dir->data, in->data + start, end - start);
	dir->len = end - start;
	dir->want = slot->want;
	dir->last_cookie = entry.cookie;
	dir->eof = eof;
}

void nfs_op_readdir(struct nfs_compound *c, uint64_t cookie,
	const uint8_t verifier[NFS4_VERIFIER_SIZE], uint32_t dircount, uint32_t maxcount,
	const struct nfs_bitmap *want, struct nfs_readdir_res *res)
{
	const struct nfs_op_slot slot = {.op = OP_READDIR,
		.limit = maxcount,
		.decode = decode_readdir,
		.res = res,
		.want = *want};
	struct wire_out *out = nfs_compound_op(c, &slot, NFS4_VERIFIER_SIZE + maxcount + 8);

	wire_put_u64(out, cookie);
	wire_put_fixed(out, verifier, NFS4_VERIFIER_SIZE);
	wire_put_u32(out, dircount);
	wire_put_u32(out, maxcount);
	nfs_attr_put_bitmap(out, want);
}

static bool bitmap_is_empty(const struct nfs_bitmap *map)
{
	for (unsigned i = 0; i < NFS_BITMAP_WORDS; i++)
		if (map->word[i])
			return false;
	return true;
}

/* RFC 8881, 18.39 */
static void decode_get_dir_delegation(
	struct wire_in *in, uint32_t status, const struct nfs_op_slot *slot, void *res)
{
	struct nfs_dir_delegation_res dir = {0}, *out = res;
	struct nfs_bitmap notifies, child, own;
	uint32_t unavailable = wire_get_u32(in);

	if (unavailable > GDD4_UNAVAIL)
		in->bad = true;
	if (unavailable) {
		wire_get_bool(in);
		return;
	}
	wire_get_raw(in, NFS4_VERIFIER_SIZE);
	nfs_attr_get_stateid(in, &dir.stateid);
	nfs_attr_get_bitmap(in, &notifies);
	nfs_attr_get_bitmap(in, &child);
	nfs_attr_get_bitmap(in, &own);
	if (in->bad || !out || out->granted)
		return;
	dir.granted = true;
	dir.notifies = !bitmap_is_empty(&notifies);
	*out = dir;
}

/* attr_notice4: no delay */
#define NOTICE_ZERO_SIZE 12

void nfs_op_get_dir_delegation(struct nfs_compound *c, struct nfs_dir_delegation_res *res)
{
	const struct nfs_op_slot slot = {
		.op = OP_GET_DIR_DELEGATION, .decode = decode_get_dir_delegation, .res = res};
	const struct nfs_bitmap none = {0};
	const uint8_t at_once[NOTICE_ZERO_SIZE] = {0};
	struct wire_out *out = nfs_compound_op(c, &slot,
		4 + NFS4_VERIFIER_SIZE + NFS_ATTR_STATEID_SIZE + 3 * NFS_ATTR_BITMAP_WIRE_MAX);

	wire_put_bool(out, false);
	nfs_attr_put_bitmap(out, &none);
	wire_put_fixed(out, at_once, sizeof(at_once));
	wire_put_fixed(out, at_once, sizeof(at_once));
	nfs_attr_put_bitmap(out, &none);
	nfs_attr_put_bitmap(out, &none);
}

int nfs_dir_next(const struct nfs_readdir_res *res, size_t *pos, struct nfs_dirent *entry)
{
	struct wire_in in;

	wire_in_init(&in, res->data, res->len);
	in.pos = *pos;
	while (in.pos < in.len) {
		wire_get_u32(&in);
		get_entry(&in, &res->want, entry);
		if (in.bad)
			break;
		*pos = in.pos;
		if (name_usable(entry))
			return 1;
	}
	*pos = res->len;
	return 0;
}
