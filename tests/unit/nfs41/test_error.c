/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "nfs41/error.h"
#include "nfs41/proto.h"

static void test_errno_is_the_kernel_clients(void **state)
{
	static const struct {
		uint32_t status;
		int error;
	} map[] = {
		{NFS4_OK, 0},
		{NFS4ERR_NOENT, ENOENT},
		{NFS4ERR_ACCESS, EACCES},
		{NFS4ERR_XDEV, EXDEV},
		{NFS4ERR_DQUOT, EDQUOT},
		{NFS4ERR_STALE, ESTALE},
		{NFS4ERR_BADOWNER, EINVAL},
		{NFS4ERR_BADNAME, EINVAL},
		{NFS4ERR_BADCHAR, EINVAL},
		{NFS4ERR_LOCK_RANGE, EINVAL},
		{NFS4ERR_WRONGSEC, EPERM},
		{NFS4ERR_FILE_OPEN, EBUSY},
		{NFS4ERR_SYMLINK, ELOOP},
		{NFS4ERR_OP_ILLEGAL, EOPNOTSUPP},
		{NFS4ERR_NOTSUPP, EOPNOTSUPP},
		{NFS4ERR_LOCKED, EAGAIN},
		{NFS4ERR_DENIED, EAGAIN},
		{NFS4ERR_DEADLOCK, EDEADLK},
		{NFS4ERR_SHARE_DENIED, EACCES},
		{NFS4ERR_SERVERFAULT, EREMOTEIO},
		{NFS4ERR_MINOR_VERS_MISMATCH, EPROTONOSUPPORT},
		{NFS4ERR_NOXATTR, ENODATA},
		{NFS4ERR_GRACE, EIO},
		{12345, EIO},
		{UINT32_MAX, EIO},
	};

	for (size_t i = 0; i < sizeof(map) / sizeof(map[0]); i++) {
		if (nfs_error_errno(map[i].status) != -map[i].error)
			fail_msg("%s", nfs_error_name(map[i].status));
	}
}

/* FUSE refuses errors above 511. */
static void test_every_errno_may_be_given_to_fuse(void **state)
{
	for (uint32_t status = 1; status < 20000; status++) {
		int error = nfs_error_errno(status);

		assert_true(error < 0 && error > -512);
	}
}

static void test_names(void **state)
{
	unsigned named = 0;

	assert_string_equal(nfs_error_name(NFS4_OK), "NFS4_OK");
	assert_string_equal(nfs_error_name(NFS4ERR_NOENT), "NFS4ERR_NOENT");
	assert_string_equal(nfs_error_name(12345), "nfsstat4 12345");
	for (uint32_t status = NFS4ERR_BADHANDLE; status <= NFS4ERR_XATTR2BIG; status++)
		named += strncmp(nfs_error_name(status), "NFS4ERR_", 8) == 0;
	/* 10002 and 10073 mean nothing */
	assert_int_equal(named, NFS4ERR_XATTR2BIG - NFS4ERR_BADHANDLE + 1 - 2);
}

static void test_operation_names(void **state)
{
	assert_string_equal(nfs_op_name(OP_LOOKUP), "LOOKUP");
	assert_string_equal(nfs_op_name(OP_ILLEGAL), "ILLEGAL");
	assert_string_equal(nfs_op_name(99), "op 99");
	for (uint32_t op = OP_ACCESS; op < NFS_OP_LIMIT; op++)
		assert_int_not_equal(strncmp(nfs_op_name(op), "op ", 3), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_errno_is_the_kernel_clients),
		cmocka_unit_test(test_every_errno_may_be_given_to_fuse),
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_operation_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
