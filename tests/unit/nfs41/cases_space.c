/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cases.h"

/* Space and holes, NFSv4.2. */

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

#define RANGE "nfs.offset4=6000000001 nfs.length4=6000000002"

const struct op_case space_cases[] = {
	{"allocate", NFS4_OK, build_allocate, NULL, NULL, NULL, RANGE, NULL},
	{"allocate, no space", NFS4ERR_NOSPC, build_allocate, NULL, NULL, NULL, NULL, NULL},
	{"deallocate", NFS4_OK, build_deallocate, NULL, NULL, NULL, RANGE, NULL},
	{"seek", NFS4_OK, build_seek, reply_seek, check_seek, NULL, "nfs.offset4=6000000001",
		"nfs.eof=1 nfs.offset4=6000000003"},
	{"seek, nothing", NFS4ERR_NXIO, build_seek, NULL, NULL, NULL, NULL, NULL},
};
const size_t space_cases_count = sizeof(space_cases) / sizeof(space_cases[0]);
