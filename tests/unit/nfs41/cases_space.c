/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cases.h"

/* Space, holes and copies, NFSv4.2. */

#define BIG UINT64_C(6000000001)

static void build_allocate(struct nfs_compound *c)
{
	nfs_op_allocate(c, &case_stateid, BIG, BIG + 1);
}

static void build_deallocate(struct nfs_compound *c)
{
	nfs_op_deallocate(c, &case_stateid, BIG, BIG + 1);
}

static void build_seek(struct nfs_compound *c)
{
	nfs_op_seek(c, &case_stateid, BIG, NFS4_CONTENT_HOLE, &got.seek);
}

static void reply_seek(struct wire_out *out)
{
	wire_put_u32(out, 1);
	wire_put_u64(out, BIG + 2);
}

static void check_seek(void)
{
	assert_true(got.seek.eof);
	assert_int_equal(got.seek.offset, BIG + 2);
}

static const struct nfs_copy_args copy_args = {
	.from_stateid = {.seqid = 7, .other = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}},
	.to_stateid = {.seqid = 8, .other = {12, 13}},
	.from = BIG,
	.to = BIG + 1,
	.count = 4000000000,
	.synchronous = true,
};

static void build_copy(struct nfs_compound *c)
{
	nfs_op_copy(c, &copy_args, &got.copy);
}

static void build_clone(struct nfs_compound *c)
{
	nfs_op_clone(c, &copy_args);
}

static void put_write_response(struct wire_out *out, bool async)
{
	wire_put_u32(out, async);
	if (async)
		case_put_stateid(out);
	wire_put_u64(out, 3999999999);
	wire_put_u32(out, async ? UNSTABLE4 : FILE_SYNC4);
	wire_put_fixed(out, case_verifier, sizeof(case_verifier));
}

static void reply_copy(struct wire_out *out)
{
	put_write_response(out, false);
	wire_put_u32(out, 1); /* consecutive */
	wire_put_u32(out, 1); /* synchronous */
}

static void reply_copy_async(struct wire_out *out)
{
	put_write_response(out, true);
	wire_put_u32(out, 0);
	wire_put_u32(out, 0);
}

static void reply_requirements(struct wire_out *out)
{
	wire_put_u32(out, 0);
	wire_put_u32(out, 1);
}

static void check_copy(void)
{
	assert_false(got.copy.write.async);
	assert_int_equal(got.copy.write.count, 3999999999);
	assert_int_equal(got.copy.write.committed, FILE_SYNC4);
	assert_memory_equal(got.copy.write.verifier, case_verifier, sizeof(case_verifier));
	assert_true(got.copy.synchronous);
}

static void check_copy_async(void)
{
	assert_true(got.copy.write.async);
	case_check_stateid(&got.copy.write.stateid);
	assert_int_equal(got.copy.write.committed, UNSTABLE4);
	assert_false(got.copy.synchronous);
}

static void check_requirements(void)
{
	assert_int_equal(got.copy.write.count, 0);
	assert_true(got.copy.synchronous);
}

static void build_offload_status(struct nfs_compound *c)
{
	nfs_op_offload_status(c, &case_stateid, &got.offload);
}

static void reply_offload_status(struct wire_out *out)
{
	wire_put_u64(out, BIG);
	wire_put_u32(out, 1);
	wire_put_u32(out, NFS4ERR_NOSPC);
}

static void reply_offload_going_on(struct wire_out *out)
{
	wire_put_u64(out, BIG);
	wire_put_u32(out, 0);
}

static void check_offload_status(void)
{
	assert_int_equal(got.offload.count, BIG);
	assert_true(got.offload.complete);
	assert_int_equal(got.offload.status, NFS4ERR_NOSPC);
}

static void check_offload_going_on(void)
{
	assert_int_equal(got.offload.count, BIG);
	assert_false(got.offload.complete);
}

static void build_offload_cancel(struct nfs_compound *c)
{
	nfs_op_offload_cancel(c, &case_stateid);
}

#define RANGE "nfs.offset4=6000000001 nfs.length4=6000000002"

#define RANGES "nfs.offset4=6000000001,6000000002 nfs.length4=4000000000"

const struct op_case space_cases[] = {
	{"allocate", NFS4_OK, build_allocate, NULL, NULL, NULL, RANGE, NULL},
	{"allocate, no space", NFS4ERR_NOSPC, build_allocate, NULL, NULL, NULL, NULL, NULL},
	{"deallocate", NFS4_OK, build_deallocate, NULL, NULL, NULL, RANGE, NULL},
	{"seek", NFS4_OK, build_seek, reply_seek, check_seek, NULL, "nfs.offset4=6000000001",
		"nfs.eof=1 nfs.offset4=6000000003"},
	{"seek, nothing", NFS4ERR_NXIO, build_seek, NULL, NULL, NULL, NULL, NULL},
	{"copy", NFS4_OK, build_copy, reply_copy, check_copy, NULL,
		RANGES " nfs.consecutive=1 nfs.synchronous=1",
		"nfs.callback_ids=0 nfs.stable_how4=2 nfs.synchronous=1"},
	{"copy, asynchronous", NFS4_OK, build_copy, reply_copy_async, check_copy_async, NULL, NULL,
		"nfs.callback_ids=1 nfs.stable_how4=0 nfs.synchronous=0"},
	{"copy, not like that", NFS4ERR_OFFLOAD_NO_REQS, build_copy, reply_requirements,
		check_requirements, NULL, NULL, "nfs.consecutive=0 nfs.synchronous=1"},
	{"copy, no space", NFS4ERR_NOSPC, build_copy, NULL, NULL, NULL, NULL, NULL},
	{"clone", NFS4_OK, build_clone, NULL, NULL, NULL, RANGES, NULL},
	{"offload_status", NFS4_OK, build_offload_status, reply_offload_status,
		check_offload_status, NULL, NULL, NULL},
	{"offload_status, going on", NFS4_OK, build_offload_status, reply_offload_going_on,
		check_offload_going_on, NULL, NULL, NULL},
	{"offload_cancel", NFS4_OK, build_offload_cancel, NULL, NULL, NULL, NULL, NULL},
};
const size_t space_cases_count = sizeof(space_cases) / sizeof(space_cases[0]);
