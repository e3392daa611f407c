/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cases.h"

/* Filehandles, attributes, directories, data. */

static void build_putfh(struct nfs_compound *c)
{
	nfs_op_putfh(c, &case_fh);
}

static void build_getfh(struct nfs_compound *c)
{
	nfs_op_getfh(c, &got.fh);
}

static void reply_getfh(struct wire_out *out)
{
	wire_put_opaque(out, case_fh.data, case_fh.len);
}

static void check_getfh(void)
{
	assert_true(nfs_fh_equal(&got.fh, &case_fh));
}

static void build_lookup(struct nfs_compound *c)
{
	nfs_op_lookup(c, "na\xffme", 5);
}

static void build_getattr(struct nfs_compound *c)
{
	nfs_op_getattr(c, &case_want, &got.attr);
}

static void check_getattr(void)
{
	case_check_attr(&got.attr);
}

static const struct nfs_bitmap fs_want = {
	.word = {1u << FATTR4_SUPPORTED_ATTRS | 1u << FATTR4_FH_EXPIRE_TYPE |
			 1u << FATTR4_LINK_SUPPORT | 1u << FATTR4_SYMLINK_SUPPORT |
			 1u << FATTR4_FSID | 1u << FATTR4_LEASE_TIME |
			 1u << FATTR4_CASE_INSENSITIVE | 1u << FATTR4_CASE_PRESERVING |
			 1u << FATTR4_FILES_AVAIL | 1u << FATTR4_FILES_FREE |
			 1u << FATTR4_FILES_TOTAL | 1u << FATTR4_MAXFILESIZE |
			 1u << FATTR4_MAXLINK | 1u << FATTR4_MAXNAME | 1u << FATTR4_MAXREAD |
			 1u << FATTR4_MAXWRITE,
		1u << (FATTR4_NO_TRUNC - 32) | 1u << (FATTR4_QUOTA_AVAIL_HARD - 32) |
			1u << (FATTR4_QUOTA_AVAIL_SOFT - 32) | 1u << (FATTR4_QUOTA_USED - 32) |
			1u << (FATTR4_SPACE_AVAIL - 32) | 1u << (FATTR4_SPACE_FREE - 32) |
			1u << (FATTR4_SPACE_TOTAL - 32)}};

static void build_getfsattr(struct nfs_compound *c)
{
	nfs_op_getfsattr(c, &fs_want, &got.fsattr);
}

static void reply_getfsattr(struct wire_out *out)
{
	wire_put_u32(out, 2);
	wire_put_u32(out, fs_want.word[0]);
	wire_put_u32(out, fs_want.word[1]);

	uint8_t *len_at = wire_put_raw(out, 4);
	size_t start = out->len;
	wire_put_u32(out, 2); /* supported_attrs */
	wire_put_u32(out, 0xf0f0f0f0);
	wire_put_u32(out, 0x0f0f0f0f);
	wire_put_u32(out, 2); /* fh_expire_type */
	wire_put_u32(out, 1); /* link_support */
	wire_put_u32(out, 0); /* symlink_support */
	wire_put_u64(out, 3); /* fsid */
	wire_put_u64(out, 4);
	wire_put_u32(out, 90);	/* lease_time */
	wire_put_u32(out, 0);	/* case_insensitive */
	wire_put_u32(out, 1);	/* case_preserving */
	wire_put_u64(out, 101); /* files_avail */
	wire_put_u64(out, 102); /* files_free */
	wire_put_u64(out, 103); /* files_total */
	wire_put_u64(out, 104); /* maxfilesize */
	wire_put_u32(out, 105); /* maxlink */
	wire_put_u32(out, 255); /* maxname */
	wire_put_u64(out, 106); /* maxread */
	wire_put_u64(out, 107); /* maxwrite */
	wire_put_u32(out, 1);	/* no_trunc */
	wire_put_u64(out, 111); /* quota_avail_hard */
	wire_put_u64(out, 112); /* quota_avail_soft */
	wire_put_u64(out, 113); /* quota_used */
	wire_put_u64(out, 108); /* space_avail */
	wire_put_u64(out, 109); /* space_free */
	wire_put_u64(out, 110); /* space_total */
	wire_store_u32(len_at, (uint32_t)(out->len - start));
}

static void check_getfsattr(void)
{
	const struct nfs_fsattr *fs = &got.fsattr;

	assert_memory_equal(&fs->have, &fs_want, sizeof(fs_want));
	assert_int_equal(fs->supported.word[0], 0xf0f0f0f0);
	assert_int_equal(fs->supported.word[1], 0x0f0f0f0f);
	assert_int_equal(fs->supported.word[2], 0);
	assert_int_equal(fs->fh_expire_type, 2);
	assert_true(fs->link_support && fs->case_preserving && fs->no_trunc);
	assert_false(fs->symlink_support || fs->case_insensitive);
	assert_int_equal(fs->fsid.minor, 4);
	assert_int_equal(fs->lease_time, 90);
	assert_int_equal(fs->files_avail, 101);
	assert_int_equal(fs->files_free, 102);
	assert_int_equal(fs->files_total, 103);
	assert_int_equal(fs->maxfilesize, 104);
	assert_int_equal(fs->maxlink, 105);
	assert_int_equal(fs->maxname, 255);
	assert_int_equal(fs->maxread, 106);
	assert_int_equal(fs->maxwrite, 107);
	assert_int_equal(fs->quota_avail_hard, 111);
	assert_int_equal(fs->quota_avail_soft, 112);
	assert_int_equal(fs->quota_used, 113);
	assert_int_equal(fs->space_avail, 108);
	assert_int_equal(fs->space_free, 109);
	assert_int_equal(fs->space_total, 110);
}

static const struct nfs_setattr set_all = {
	.set = NFS_SET_SIZE | NFS_SET_MODE | NFS_SET_UID | NFS_SET_GID | NFS_SET_ATIME |
	       NFS_SET_MTIME_NOW,
	.size = 5000000000,
	.mode = 0100644,
	.uid = 1000,
	.gid = 4294967294,
	.atime = {.tv_sec = -5, .tv_nsec = 6},
};
static const struct nfs_setattr set_mode = {.set = NFS_SET_MODE, .mode = 0755};

static void build_setattr(struct nfs_compound *c)
{
	nfs_op_setattr(c, &case_stateid, &set_all, &got.bitmap);
}

static void reply_setattr(struct wire_out *out)
{
	wire_put_u32(out, 2);
	wire_put_u32(out, 0x10);
	wire_put_u32(out, 0x2);
}

static void check_setattr(void)
{
	assert_int_equal(got.bitmap.word[0], 0x10);
	assert_int_equal(got.bitmap.word[1], 0x2);
}

static void build_access(struct nfs_compound *c)
{
	nfs_op_access(c, ACCESS4_READ | ACCESS4_EXECUTE, &got.access);
}

static void reply_access(struct wire_out *out)
{
	wire_put_u32(out, 0x21);
	wire_put_u32(out, 0x01);
}

static void check_access(void)
{
	assert_int_equal(got.access.supported, 0x21);
	assert_int_equal(got.access.granted, 0x01);
}

static void build_mkdir(struct nfs_compound *c)
{
	nfs_op_create(c,
		&(struct nfs_create_args){
			.type = NF4DIR, .name = "dir", .name_len = 3, .set = &set_mode},
		&got.cinfo);
}

static void build_symlink(struct nfs_compound *c)
{
	nfs_op_create(c,
		&(struct nfs_create_args){
			.type = NF4LNK, .name = "ln", .name_len = 2, .link = "../to"},
		&got.cinfo);
}

static void build_mknod(struct nfs_compound *c)
{
	nfs_op_create(c,
		&(struct nfs_create_args){.type = NF4BLK,
			.name = "dev",
			.name_len = 3,
			.rdev_major = 8,
			.rdev_minor = 17,
			.set = &set_mode},
		&got.cinfo);
}

static void reply_create(struct wire_out *out)
{
	case_put_cinfo(out, 70);
	wire_put_u32(out, 2);
	wire_put_u32(out, 0);
	wire_put_u32(out, 2);
}

static void check_create(void)
{
	case_check_cinfo(&got.cinfo, 70);
}

static void build_remove(struct nfs_compound *c)
{
	nfs_op_remove(c, "gone", 4, &got.cinfo);
}

static void build_link(struct nfs_compound *c)
{
	nfs_op_link(c, "second", 6, &got.cinfo);
}

static void reply_cinfo(struct wire_out *out)
{
	case_put_cinfo(out, 80);
}

static void check_cinfo(void)
{
	case_check_cinfo(&got.cinfo, 80);
}

static void build_rename(struct nfs_compound *c)
{
	nfs_op_rename(c, "from", 4, "onto", 4, &got.rename);
}

static void reply_rename(struct wire_out *out)
{
	case_put_cinfo(out, 90);
	case_put_cinfo(out, 95);
}

static void check_rename(void)
{
	case_check_cinfo(&got.rename.source, 90);
	case_check_cinfo(&got.rename.target, 95);
}

static void build_readlink(struct nfs_compound *c)
{
	nfs_op_readlink(c, &got.readlink);
}

static void reply_readlink(struct wire_out *out)
{
	wire_put_opaque(out, "target/of/link!", 15); /* as long as may be */
}

static void check_readlink(void)
{
	assert_int_equal(got.readlink.len, 15);
	assert_string_equal(got.link, "target/of/link!");
}

static const struct nfs_bitmap dir_want = {
	.word = {1u << FATTR4_RDATTR_ERROR | 1u << FATTR4_FILEHANDLE | 1u << FATTR4_FILEID}};

static void build_readdir(struct nfs_compound *c)
{
	nfs_op_readdir(c, 77, case_verifier, 300, sizeof(got.dir), &dir_want, &got.readdir);
}

static void put_entry(struct wire_out *out, uint64_t cookie, const char *name, uint32_t len)
{
	wire_put_u32(out, 1);
	wire_put_u64(out, cookie);
	wire_put_opaque(out, name, len);
	wire_put_u32(out, 1);
	wire_put_u32(out, 1u << FATTR4_FILEHANDLE | 1u << FATTR4_FILEID);
	wire_put_u32(out, 4 + 8 + 8);
	wire_put_opaque(out, case_fh.data, case_fh.len);
	wire_put_u64(out, 1000 + cookie);
}

static void reply_readdir(struct wire_out *out)
{
	wire_put_fixed(out, case_verifier, sizeof(case_verifier));
	put_entry(out, 100, "one", 3);
	put_entry(out, 101, "a/b", 3);
	put_entry(out, 102, "..", 2);
	put_entry(out, 103, "...", 3);
	put_entry(out, 104, "n\0l", 3);
	put_entry(out, 105, "", 0);
	wire_put_u32(out, 0);
	wire_put_u32(out, 1);
}

static void check_readdir(void)
{
	struct nfs_dirent entry;
	size_t pos = 0;

	assert_memory_equal(got.readdir.verifier, case_verifier, sizeof(case_verifier));
	assert_true(got.readdir.eof);
	assert_int_equal(got.readdir.last_cookie, 105);
	assert_int_equal(nfs_dir_next(&got.readdir, &pos, &entry), 1);
	assert_int_equal(entry.cookie, 100);
	assert_int_equal(entry.name_len, 3);
	assert_memory_equal(entry.name, "one", 3);
	assert_int_equal(entry.attr.fileid, 1100);
	assert_true(nfs_fh_equal(&entry.attr.fh, &case_fh));
	assert_int_equal(nfs_dir_next(&got.readdir, &pos, &entry), 1);
	assert_int_equal(entry.cookie, 103);
	assert_memory_equal(entry.name, "...", 3);
	assert_int_equal(nfs_dir_next(&got.readdir, &pos, &entry), 0);
	assert_int_equal(nfs_dir_next(&got.readdir, &pos, &entry), 0);
}

static void build_read(struct nfs_compound *c)
{
	nfs_op_read(c, &case_stateid, 6000000000, sizeof(got.data), NULL, got.data, &got.read);
}

static void reply_read(struct wire_out *out)
{
	wire_put_u32(out, 1);
	wire_put_opaque(out, "data that were read", 19);
}

static void check_read(void)
{
	assert_true(got.read.eof);
	assert_int_equal(got.read.len, 19);
	assert_memory_equal(got.data, "data that were read", 20);
}

static void build_write(struct nfs_compound *c)
{
	nfs_op_write(c, &case_stateid, 7000000000, DATA_SYNC4, NULL, (const uint8_t *)"payload", 7,
		&got.write);
}

static void reply_write(struct wire_out *out)
{
	wire_put_u32(out, 6);
	wire_put_u32(out, FILE_SYNC4);
	wire_put_fixed(out, case_verifier, sizeof(case_verifier));
}

static void check_write(void)
{
	assert_int_equal(got.write.count, 6);
	assert_int_equal(got.write.committed, FILE_SYNC4);
	assert_memory_equal(got.write.verifier, case_verifier, sizeof(case_verifier));
}

static void build_commit(struct nfs_compound *c)
{
	nfs_op_commit(c, 8000000000, 4096, got.verifier);
}

static void reply_commit(struct wire_out *out)
{
	wire_put_fixed(out, case_verifier, sizeof(case_verifier));
}

static void check_commit(void)
{
	assert_memory_equal(got.verifier, case_verifier, sizeof(case_verifier));
}

#define STATEID "7:0102030405060708090a0b00"

static void build_dir_delegation(struct nfs_compound *c)
{
	nfs_op_get_dir_delegation(c, &got.dir_delegation);
}

/* GDD4_OK with three bitmaps, the first of these bits. */
static void put_dir_delegation(struct wire_out *out, uint32_t notifications)
{
	wire_put_u32(out, GDD4_OK);
	wire_put_fixed(out, case_verifier, sizeof(case_verifier));
	case_put_stateid(out);
	wire_put_u32(out, 1);
	wire_put_u32(out, notifications);
	wire_put_u32(out, 0);
	wire_put_u32(out, 2);
	wire_put_u32(out, 3);
	wire_put_u32(out, 4);
}

static void reply_dir_delegation(struct wire_out *out)
{
	put_dir_delegation(out, 0);
}

static void check_dir_delegation(void)
{
	assert_true(got.dir_delegation.granted);
	assert_false(got.dir_delegation.notifies);
	case_check_stateid(&got.dir_delegation.stateid);
}

static void reply_dir_notified(struct wire_out *out)
{
	put_dir_delegation(out, 8);
}

static void check_dir_notified(void)
{
	assert_true(got.dir_delegation.granted);
	assert_true(got.dir_delegation.notifies);
}

static void reply_dir_unavailable(struct wire_out *out)
{
	wire_put_u32(out, GDD4_UNAVAIL);
	wire_put_u32(out, 1); /* gddrnf_will_signal_deleg_avail */
}

static void check_dir_unavailable(void)
{
	assert_false(got.dir_delegation.granted);
}

const struct op_case fs_cases[] = {
	{"putfh", NFS4_OK, build_putfh, NULL, NULL, "PUTFH deadbeef05", NULL, NULL},
	{"putrootfh", NFS4_OK, nfs_op_putrootfh, NULL, NULL, "PUTROOTFH", NULL, NULL},
	{"savefh", NFS4_OK, nfs_op_savefh, NULL, NULL, "SAVEFH", NULL, NULL},
	{"restorefh", NFS4_OK, nfs_op_restorefh, NULL, NULL, "RESTOREFH", NULL, NULL},
	{"getfh", NFS4_OK, build_getfh, reply_getfh, check_getfh, "GETFH", NULL, NULL},
	{"lookup", NFS4_OK, build_lookup, NULL, NULL, "LOOKUP 'na\xffme'", NULL, NULL},
	{"lookup, noent", NFS4ERR_NOENT, build_lookup, NULL, NULL, NULL, NULL, NULL},
	{"getattr", NFS4_OK, build_getattr, case_put_fattr, check_getattr,
		"GETATTR 0018011a 00b4a23a", NULL, NULL},
	{"getattr of the file system", NFS4_OK, build_getfsattr, reply_getfsattr, check_getfsattr,
		"GETATTR f8e30565 00001dc4", NULL, NULL},
	{"setattr", NFS4_OK, build_setattr, reply_setattr, check_setattr,
		"SETATTR " STATEID " [size=5000000000 mode=644 owner=1000 group=4294967294 "
		"atime=-5.6 mtime=now]",
		NULL, NULL},
	{"setattr, denied", NFS4ERR_PERM, build_setattr, reply_setattr, check_setattr, NULL, NULL,
		NULL},
	{"access", NFS4_OK, build_access, reply_access, check_access, "ACCESS 21", NULL, NULL},
	{"mkdir", NFS4_OK, build_mkdir, reply_create, check_create, "CREATE 2 'dir' [mode=755]",
		NULL, NULL},
	{"symlink", NFS4_OK, build_symlink, reply_create, check_create, "CREATE 5 '../to' 'ln' []",
		NULL, NULL},
	{"mknod", NFS4_OK, build_mknod, reply_create, check_create,
		"CREATE 3 8,17 'dev' [mode=755]", NULL, NULL},
	{"remove", NFS4_OK, build_remove, reply_cinfo, check_cinfo, "REMOVE 'gone'", NULL, NULL},
	{"link", NFS4_OK, build_link, reply_cinfo, check_cinfo, "LINK 'second'", NULL, NULL},
	{"rename", NFS4_OK, build_rename, reply_rename, check_rename, "RENAME 'from' 'onto'", NULL,
		NULL},
	{"readlink", NFS4_OK, build_readlink, reply_readlink, check_readlink, "READLINK", NULL,
		NULL},
	{"readdir", NFS4_OK, build_readdir, reply_readdir, check_readdir,
		"READDIR 77 0807060504030201 300 512 00180800", NULL, NULL},
	/* tshark 4.0 does not know this operation */
	{"directory delegation", NFS4_OK, build_dir_delegation, reply_dir_delegation,
		check_dir_delegation, NULL, CASE_SHARK_BLIND, CASE_SHARK_BLIND},
	{"directory delegation, with notifications", NFS4_OK, build_dir_delegation,
		reply_dir_notified, check_dir_notified, NULL, CASE_SHARK_BLIND, CASE_SHARK_BLIND},
	{"directory delegation, not to be had", NFS4_OK, build_dir_delegation,
		reply_dir_unavailable, check_dir_unavailable, NULL, CASE_SHARK_BLIND,
		CASE_SHARK_BLIND},
	{"read", NFS4_OK, build_read, reply_read, check_read, "READ " STATEID " 6000000000 64",
		NULL, NULL},
	{"write", NFS4_OK, build_write, reply_write, check_write,
		"WRITE " STATEID " 7000000000 1 'payload'", NULL, NULL},
	{"commit", NFS4_OK, build_commit, reply_commit, check_commit, "COMMIT 8000000000 4096",
		NULL, NULL},
};
const size_t fs_cases_count = sizeof(fs_cases) / sizeof(fs_cases[0]);
