/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fuzz.h"

#include "nfs41/attr.h"
#include "nfs41/idmap.h"

/*
 * fattr4. The input: what to do, a bitmap of what was asked for, then a fattr4 of a file or a file
 * system; or settable attributes to encode into little room.
 */

static void check_attr(const struct nfs_attr *attr)
{
	if (nfs_bitmap_has(&attr->have, FATTR4_TYPE))
		fuzz_check(attr->type >= NF4REG && attr->type <= NF4NAMEDATTR);
	if (nfs_bitmap_has(&attr->have, FATTR4_FILEHANDLE))
		fuzz_check(attr->fh.len > 0 && attr->fh.len <= NFS4_FHSIZE);
	fuzz_check((attr->mode & ~UINT32_C(07777)) == 0);
	fuzz_check(attr->atime.tv_nsec < 1000000000 && attr->mtime.tv_nsec < 1000000000);
	fuzz_check(attr->ctime.tv_nsec < 1000000000 && attr->btime.tv_nsec < 1000000000);
	fuzz_check(attr->uid != (uid_t)-1 && attr->gid != (gid_t)-1);
}

static void check_subset(const struct nfs_bitmap *have, const struct nfs_bitmap *want)
{
	for (unsigned i = 0; i < NFS_BITMAP_WORDS; i++)
		fuzz_check((have->word[i] & ~want->word[i]) == 0);
}

static void decode(struct fuzz_input *in, bool of_fs)
{
	struct nfs_bitmap want;
	struct nfs_fsattr fsattr;
	struct nfs_attr attr;
	struct wire_in wire;

	for (unsigned i = 0; i < NFS_BITMAP_WORDS; i++)
		want.word[i] = fuzz_u32(in);
	wire_in_init(&wire, in->data, in->size);
	if (of_fs)
		nfs_attr_get_fs(&wire, &want, &fsattr);
	else
		nfs_attr_get(&wire, &want, &attr);
	fuzz_check(wire.pos <= wire.len);
	if (wire.bad)
		return;
	check_subset(of_fs ? &fsattr.have : &attr.have, &want);
	if (!of_fs)
		check_attr(&attr);
}

static void decode_parts(struct fuzz_input *in)
{
	struct nfs_change_info cinfo;
	struct nfs_stateid stateid;
	struct nfs_bitmap map, again;
	struct wire_in wire;
	struct wire_out out;
	uint8_t room[4 + 4 * NFS_BITMAP_WORDS];

	wire_in_init(&wire, in->data, in->size);
	nfs_attr_get_bitmap(&wire, &map);
	wire_out_init(&out, room, sizeof(room));
	nfs_attr_put_bitmap(&out, &map);
	fuzz_check(!out.bad);
	if (!wire.bad) {
		wire_in_init(&wire, room, out.len);
		nfs_attr_get_bitmap(&wire, &again);
		fuzz_check(!wire.bad && memcmp(&map, &again, sizeof(map)) == 0);
	}
	wire_in_init(&wire, in->data, in->size);
	nfs_attr_get_change_info(&wire, &cinfo);
	nfs_attr_get_stateid(&wire, &stateid);
}

static void encode(struct fuzz_input *in)
{
	struct nfs_setattr set = {.set = fuzz_u8(in), .size = fuzz_u64(in), .mode = fuzz_u32(in)};
	struct wire_out out;

	set.uid = fuzz_u32(in);
	set.gid = fuzz_u32(in);
	set.atime.tv_sec = (time_t)fuzz_u64(in);
	set.mtime.tv_sec = (time_t)fuzz_u64(in);
	size_t cap = fuzz_u8(in);
	uint8_t *room = fuzz_alloc(cap);
	wire_out_init(&out, room, cap);
	nfs_attr_put_set(&out, &set);
	fuzz_check(out.len <= cap && (out.bad || out.len % 4 == 0));
	free(room);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input in = {data, size};

	switch (fuzz_u8(&in) % 4) {
	case 0: decode(&in, false); break;
	case 1: decode(&in, true); break;
	case 2: decode_parts(&in); break;
	case 3: encode(&in); break;
	}
	return 0;
}
