/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cases.h"

/* Opens and locks. */

static const struct nfs_setattr set_mode = {.set = NFS_SET_MODE, .mode = 0600};

static void build_open(struct nfs_compound *c)
{
	nfs_op_open(c,
		&(struct nfs_open_args){.access = OPEN4_SHARE_ACCESS_READ,
			.deny = 2,
			.owner = 0x0102030405060708,
			.claim = NFS_CLAIM_NAME,
			.name = "file",
			.name_len = 4},
		&got.open);
}

static void build_create(struct nfs_compound *c, enum nfs_open_how how)
{
	struct nfs_open_args args = {
		.access = OPEN4_SHARE_ACCESS_BOTH | OPEN4_SHARE_ACCESS_WANT_NO_DELEG,
		.owner = 9,
		.how = how,
		.set = &set_mode,
		.claim = NFS_CLAIM_NAME,
		.name = "new",
		.name_len = 3};

	memcpy(args.verifier, case_verifier, sizeof(args.verifier));
	nfs_op_open(c, &args, &got.open);
}

static void build_unchecked(struct nfs_compound *c)
{
	build_create(c, NFS_OPEN_UNCHECKED);
}

static void build_guarded(struct nfs_compound *c)
{
	build_create(c, NFS_OPEN_GUARDED);
}

static void build_exclusive(struct nfs_compound *c)
{
	build_create(c, NFS_OPEN_EXCLUSIVE);
}

static void build_open_fh(struct nfs_compound *c)
{
	nfs_op_open(c,
		&(struct nfs_open_args){
			.access = OPEN4_SHARE_ACCESS_WRITE, .owner = 10, .claim = NFS_CLAIM_FH},
		&got.open);
}

static void build_open_delegation(struct nfs_compound *c)
{
	nfs_op_open(c,
		&(struct nfs_open_args){.access = OPEN4_SHARE_ACCESS_READ,
			.owner = 12,
			.claim = NFS_CLAIM_DELEGATION,
			.delegation = case_stateid},
		&got.open);
}

static void build_open_xor(struct nfs_compound *c)
{
	nfs_op_open(c,
		&(struct nfs_open_args){.access = OPEN4_SHARE_ACCESS_READ |
						  OPEN4_SHARE_ACCESS_WANT_READ_DELEG |
						  OPEN4_SHARE_ACCESS_WANT_OPEN_XOR_DELEGATION,
			.owner = 13,
			.claim = NFS_CLAIM_FH},
		&got.open);
}

static void build_reclaim(struct nfs_compound *c)
{
	nfs_op_open(c,
		&(struct nfs_open_args){.access = OPEN4_SHARE_ACCESS_READ,
			.owner = 11,
			.claim = NFS_CLAIM_PREVIOUS,
			.delegate_type = OPEN_DELEGATE_WRITE},
		&got.open);
}

static void put_open(struct wire_out *out)
{
	case_put_stateid(out);
	case_put_cinfo(out, 60);
	wire_put_u32(out, OPEN4_RESULT_LOCKTYPE_POSIX | OPEN4_RESULT_MAY_NOTIFY_LOCK);
	wire_put_u32(out, 2); /* attrset */
	wire_put_u32(out, 0);
	wire_put_u32(out, 2);
}

static void put_delegation_stateid(struct wire_out *out)
{
	wire_put_u32(out, 1);
	wire_put_fixed(out, "delegation01", 12);
}

static void put_ace(struct wire_out *out)
{
	wire_put_u32(out, 0);
	wire_put_u32(out, 0);
	wire_put_u32(out, 0x00120081);
	wire_put_opaque(out, "OWNER@", 6);
}

static void reply_open(struct wire_out *out)
{
	put_open(out);
	wire_put_u32(out, OPEN_DELEGATE_NONE);
}

static void reply_open_read(struct wire_out *out)
{
	put_open(out);
	wire_put_u32(out, OPEN_DELEGATE_READ);
	put_delegation_stateid(out);
	wire_put_u32(out, 1); /* recall */
	put_ace(out);
}

static void reply_open_write(struct wire_out *out)
{
	put_open(out);
	wire_put_u32(out, OPEN_DELEGATE_WRITE);
	put_delegation_stateid(out);
	wire_put_u32(out, 0);
	wire_put_u32(out, 1); /* NFS_LIMIT_SIZE */
	wire_put_u64(out, 1 << 20);
	put_ace(out);
}

static void reply_open_attrs(struct wire_out *out)
{
	put_open(out);
	wire_put_u32(out, OPEN_DELEGATE_WRITE_ATTRS_DELEG);
	put_delegation_stateid(out);
	wire_put_u32(out, 0);
	wire_put_u32(out, 2); /* NFS_LIMIT_BLOCKS */
	wire_put_u64(out, 7);
	put_ace(out);
}

static void reply_open_contention(struct wire_out *out)
{
	put_open(out);
	wire_put_u32(out, OPEN_DELEGATE_NONE_EXT);
	wire_put_u32(out, 1); /* WND4_CONTENTION */
	wire_put_u32(out, 1); /* ond_server_will_push_deleg */
}

static void reply_open_unwanted(struct wire_out *out)
{
	put_open(out);
	wire_put_u32(out, OPEN_DELEGATE_NONE_EXT);
	wire_put_u32(out, 0); /* WND4_NOT_WANTED */
}

static void check_open_common(uint32_t delegation_type)
{
	case_check_stateid(&got.open.stateid);
	case_check_cinfo(&got.open.cinfo, 60);
	assert_int_equal(got.open.rflags, 0x24);
	assert_int_equal(got.open.attrset.word[1], 2);
	assert_int_equal(got.open.delegation_type, delegation_type);
}

static void check_open(void)
{
	check_open_common(OPEN_DELEGATE_NONE);
}

static void check_open_read(void)
{
	check_open_common(OPEN_DELEGATE_READ);
	assert_int_equal(got.open.delegation.seqid, 1);
	assert_memory_equal(got.open.delegation.other, "delegation01", 12);
	assert_true(got.open.delegation_recall);
}

static void check_open_write(void)
{
	check_open_common(OPEN_DELEGATE_WRITE);
	assert_memory_equal(got.open.delegation.other, "delegation01", 12);
	assert_false(got.open.delegation_recall);
}

static void check_open_attrs(void)
{
	check_open_common(OPEN_DELEGATE_WRITE_ATTRS_DELEG);
	assert_memory_equal(got.open.delegation.other, "delegation01", 12);
}

static void check_open_none_ext(void)
{
	check_open_common(OPEN_DELEGATE_NONE_EXT);
}

static void check_stateid(void)
{
	case_check_stateid(&got.stateid);
}

static void build_close(struct nfs_compound *c)
{
	nfs_op_close(c, &case_stateid);
}

static void build_delegreturn(struct nfs_compound *c)
{
	nfs_op_delegreturn(c, &case_stateid);
}

static void build_lock_new(struct nfs_compound *c)
{
	nfs_op_lock(c,
		&(struct nfs_lock_args){
			.range = {.type = WRITEW_LT, .offset = 1, .length = UINT64_MAX},
			.new_owner = true,
			.open_stateid = case_stateid,
			.owner = 12},
		&got.stateid, &got.denied);
}

static void build_lock(struct nfs_compound *c)
{
	nfs_op_lock(c,
		&(struct nfs_lock_args){.range = {.type = READ_LT, .offset = 2, .length = 3},
			.reclaim = true,
			.lock_stateid = case_stateid},
		&got.stateid, &got.denied);
}

static void reply_denied(struct wire_out *out)
{
	wire_put_u64(out, 100);
	wire_put_u64(out, 200);
	wire_put_u32(out, WRITE_LT);
	wire_put_u64(out, 0xc11e); /* clientid */
	wire_put_u32(out, 8);
	wire_put_u64(out, 13);
}

static void check_denied(void)
{
	assert_int_equal(got.denied.range.offset, 100);
	assert_int_equal(got.denied.range.length, 200);
	assert_int_equal(got.denied.range.type, WRITE_LT);
	assert_int_equal(got.denied.owner_clientid, 0xc11e);
	assert_int_equal(got.denied.owner, 13);
	assert_int_equal(got.stateid.seqid, 0);
}

static void build_lockt(struct nfs_compound *c)
{
	nfs_op_lockt(c, &(struct nfs_lock_range){.type = READ_LT, .offset = 4, .length = 5}, 14,
		&got.denied);
}

static void check_untouched(void)
{
	assert_int_equal(got.denied.range.type, 0);
}

static void build_locku(struct nfs_compound *c)
{
	nfs_op_locku(c, &(struct nfs_lock_range){.type = WRITE_LT, .offset = 6, .length = 7},
		&case_stateid, &got.stateid);
}

static void build_test_stateid(struct nfs_compound *c)
{
	nfs_op_test_stateid(c, &case_stateid, &got.word);
}

static void reply_test_stateid(struct wire_out *out)
{
	wire_put_u32(out, 1);
	wire_put_u32(out, NFS4ERR_EXPIRED);
}

static void check_test_stateid(void)
{
	assert_int_equal(got.word, NFS4ERR_EXPIRED);
}

static void build_free_stateid(struct nfs_compound *c)
{
	nfs_op_free_stateid(c, &case_stateid);
}

#define STATEID "7:0102030405060708090a0b00"
#define OWNER9	"0/0000000000000009"

const struct op_case state_cases[] = {
	{"open", NFS4_OK, build_open, reply_open, check_open,
		"OPEN 0 access=1 deny=2 0/0102030405060708 nocreate 'file'", NULL, NULL},
	{"open, unchecked, read delegation", NFS4_OK, build_unchecked, reply_open_read,
		check_open_read, "OPEN 0 access=403 deny=0 " OWNER9 " unchecked [mode=600] 'new'",
		NULL, NULL},
	{"open, guarded, write delegation", NFS4_OK, build_guarded, reply_open_write,
		check_open_write, "OPEN 0 access=403 deny=0 " OWNER9 " guarded [mode=600] 'new'",
		NULL, NULL},
	{"open, exclusive", NFS4_OK, build_exclusive, reply_open_contention, check_open_none_ext,
		NULL,
		"nfs.open.opentype=1 nfs.createmode4=3 nfs.verifier4=0x0807060504030201 "
		"nfs.open.claim_type=0 nfs.pathname.component=new nfs.mode=384",
		/* tshark 4.0 leaves out the boolean behind WND4_CONTENTION */
		CASE_SHARK_BLIND},
	{"open, by filehandle", NFS4_OK, build_open_fh, reply_open_unwanted, check_open_none_ext,
		NULL,
		"nfs.open4.share_access=2 nfs.open4.share_deny=0 nfs.open.opentype=0 "
		"nfs.open.claim_type=4 nfs.open_owner4=000000000000000a",
		"nfs.open.delegation_type=3 nfs.open.why_no_delegation=0"},
	{"open, reclaim", NFS4_OK, build_reclaim, reply_open, check_open,
		"OPEN 0 access=1 deny=0 0/000000000000000b nocreate previous=2", NULL, NULL},
	{"open, by delegation", NFS4_OK, build_open_delegation, reply_open, check_open, NULL,
		/* tshark 4.0 takes the stateid behind CLAIM_DELEG_CUR_FH for an operation */
		CASE_SHARK_BLIND, NULL},
	{"open, or delegation", NFS4_OK, build_open_xor, reply_open_attrs, check_open_attrs, NULL,
		"nfs.open.claim_type=4 nfs.open_owner4=000000000000000d",
		/* tshark 4.0 is older than RFC 9754 */
		CASE_SHARK_BLIND},
	{"open, no such name", NFS4ERR_NOENT, build_open, NULL, NULL, NULL, NULL, NULL},
	{"close", NFS4_OK, build_close, case_put_stateid, NULL, "CLOSE 0 " STATEID, NULL, NULL},
	{"delegreturn", NFS4_OK, build_delegreturn, NULL, NULL, "DELEGRETURN " STATEID, NULL, NULL},
	{"lock, new owner", NFS4_OK, build_lock_new, case_put_stateid, check_stateid,
		"LOCK 4 reclaim=0 1+18446744073709551615 new 0 " STATEID " 0 0/000000000000000c",
		NULL, NULL},
	{"lock", NFS4_OK, build_lock, case_put_stateid, check_stateid,
		"LOCK 1 reclaim=1 2+3 " STATEID " 0", NULL, NULL},
	{"lock, denied", NFS4ERR_DENIED, build_lock_new, reply_denied, check_denied, NULL, NULL,
		NULL},
	{"lock, refused", NFS4ERR_GRACE, build_lock, NULL, check_untouched, NULL, NULL, NULL},
	{"lockt", NFS4_OK, build_lockt, NULL, check_untouched, "LOCKT 1 4+5 0/000000000000000e",
		NULL, NULL},
	{"lockt, denied", NFS4ERR_DENIED, build_lockt, reply_denied, check_denied, NULL, NULL,
		NULL},
	{"locku", NFS4_OK, build_locku, case_put_stateid, check_stateid,
		"LOCKU 2 0 " STATEID " 6+7", NULL, NULL},
	{"test_stateid", NFS4_OK, build_test_stateid, reply_test_stateid, check_test_stateid, NULL,
		"nfs.stateid.seqid=7", NULL},
	{"free_stateid", NFS4_OK, build_free_stateid, NULL, NULL, NULL, "nfs.stateid.seqid=7",
		NULL},
};
const size_t state_cases_count = sizeof(state_cases) / sizeof(state_cases[0]);
