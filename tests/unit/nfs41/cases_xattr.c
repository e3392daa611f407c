/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cases.h"

/* Extended attributes. */

static void build_getxattr(struct nfs_compound *c)
{
	nfs_op_getxattr(c, "color", 5, &got.bytes);
}

static void reply_getxattr(struct wire_out *out)
{
	wire_put_opaque(out, "re\0d!", 5);
}

static void check_getxattr(void)
{
	assert_int_equal(got.bytes.len, 5);
	assert_memory_equal(got.bytes.data, "re\0d!", 5);
}

static void build_setxattr(struct nfs_compound *c)
{
	nfs_op_setxattr(
		c, NFS_SETXATTR_CREATE, "color", 5, NULL, (const uint8_t *)"green", 5, &got.cinfo);
}

static void build_setxattr_empty(struct nfs_compound *c)
{
	nfs_op_setxattr(c, NFS_SETXATTR_EITHER, "flag", 4, NULL, NULL, 0, &got.cinfo);
}

static void build_removexattr(struct nfs_compound *c)
{
	nfs_op_removexattr(c, "color", 5, &got.cinfo);
}

static void reply_changed(struct wire_out *out)
{
	case_put_cinfo(out, 70);
}

static void check_changed(void)
{
	case_check_cinfo(&got.cinfo, 70);
}

static void build_listxattrs(struct nfs_compound *c)
{
	nfs_op_listxattrs(c, 9, 128, &got.xattrs);
}

/* The second is no name, nor is the third. */
static void reply_listxattrs(struct wire_out *out)
{
	wire_put_u64(out, 12);
	wire_put_u32(out, 4);
	wire_put_opaque(out, "color", 5);
	wire_put_opaque(out, "", 0);
	wire_put_opaque(out, "n\0ul", 4);
	wire_put_opaque(out, "a/b", 3);
	wire_put_u32(out, 0);
}

static void check_listxattrs(void)
{
	static const char names[] = "user.color\0user.a/b";

	assert_int_equal(got.xattrs.len, sizeof(names));
	assert_memory_equal(got.names, names, sizeof(names));
	assert_int_equal(got.xattrs.cookie, 12);
	assert_false(got.xattrs.eof || got.xattrs.full);
}

static void reply_listxattrs_none(struct wire_out *out)
{
	wire_put_u64(out, 0);
	wire_put_u32(out, 0);
	wire_put_u32(out, 1);
}

static void check_listxattrs_none(void)
{
	assert_int_equal(got.xattrs.len, 0);
	assert_true(got.xattrs.eof);
}

static void build_getacl(struct nfs_compound *c)
{
	nfs_op_getattr_bytes(c, FATTR4_ACL, &got.bytes);
}

static void put_acl(struct wire_out *out)
{
	wire_put_u32(out, 1);
	wire_put_u32(out, 0);
	wire_put_u32(out, 0x40);
	wire_put_u32(out, 0x1f01ff);
	wire_put_opaque(out, "GROUP@", 6);
}

static void reply_getacl(struct wire_out *out)
{
	wire_put_u32(out, 1);
	wire_put_u32(out, 1u << FATTR4_ACL);
	wire_put_u32(out, 28);
	put_acl(out);
}

static void check_getacl(void)
{
	uint8_t data[28];
	struct wire_out out;

	wire_out_init(&out, data, sizeof(data));
	put_acl(&out);
	assert_int_equal(got.bytes.len, sizeof(data));
	assert_memory_equal(got.bytes.data, data, sizeof(data));
}

static void reply_no_attribute(struct wire_out *out)
{
	wire_put_u32(out, 0);
	wire_put_u32(out, 0);
}

static void check_no_attribute(void)
{
	assert_true(got.bytes.len == NFS_BYTES_NONE);
}

static void build_getlabel(struct nfs_compound *c)
{
	nfs_op_getattr_bytes(c, FATTR4_SEC_LABEL, &got.bytes);
}

static void reply_getlabel(struct wire_out *out)
{
	wire_put_u32(out, 3);
	wire_put_u64(out, 0);
	wire_put_u32(out, 1u << (FATTR4_SEC_LABEL - 64));
	wire_put_u32(out, 20);
	wire_put_u64(out, 0);
	wire_put_opaque(out, "a:b:c", 5);
}

static void check_getlabel(void)
{
	assert_int_equal(got.bytes.len, 5);
	assert_memory_equal(got.bytes.data, "a:b:c", 5);
}

static void build_setlabel(struct nfs_compound *c)
{
	nfs_op_setattr_bytes(c, FATTR4_SEC_LABEL, NULL, (const uint8_t *)"a:b:c", 5);
}

static void reply_setlabel(struct wire_out *out)
{
	wire_put_u32(out, 3);
	wire_put_u64(out, 0);
	wire_put_u32(out, 1u << (FATTR4_SEC_LABEL - 64));
}

const struct op_case xattr_cases[] = {
	{"getattr, acl", NFS4_OK, build_getacl, reply_getacl, check_getacl, NULL, NULL,
		"nfs.who=GROUP@"},
	{"getattr, no acl", NFS4_OK, build_getacl, reply_no_attribute, check_no_attribute, NULL,
		NULL, NULL},
	{"getattr, label", NFS4_OK, build_getlabel, reply_getlabel, check_getlabel, NULL, NULL,
		NULL},
	{"setattr, label", NFS4_OK, build_setlabel, reply_setlabel, NULL, NULL, NULL, NULL},
	{"getxattr", NFS4_OK, build_getxattr, reply_getxattr, check_getxattr, NULL,
		"nfs.xattr.key=color", NULL},
	{"setxattr", NFS4_OK, build_setxattr, reply_changed, check_changed, NULL,
		"nfs.setxattr.options=1 nfs.xattr.key=color", NULL},
	{"setxattr, empty", NFS4_OK, build_setxattr_empty, reply_changed, check_changed, NULL,
		"nfs.setxattr.options=0 nfs.xattr.key=flag", NULL},
	{"removexattr", NFS4_OK, build_removexattr, reply_changed, check_changed, NULL,
		"nfs.xattr.key=color", NULL},
	{"listxattrs", NFS4_OK, build_listxattrs, reply_listxattrs, check_listxattrs, NULL,
		"nfs.lisxtattr.cookie=9 nfs.lisxtattr.maxcount=128", NULL},
	{"listxattrs, none", NFS4_OK, build_listxattrs, reply_listxattrs_none,
		check_listxattrs_none, NULL, NULL,
		"nfs.listxattr.names.count=0 nfs.lisxtattr.eof=1"},
};
const size_t xattr_cases_count = sizeof(xattr_cases) / sizeof(xattr_cases[0]);
