/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lacks.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "nfs41/proto.h"

#define ROOT  0
#define OTHER 3

static void test_a_refusal_is_remembered_for_its_file_system(void **state)
{
	struct lacks lacks = {0};
	assert_false(lacks_op(&lacks, ROOT, OP_SEEK));
	assert_true(lacks_note(&lacks, ROOT, OP_SEEK, NFS4ERR_NOTSUPP));
	assert_true(lacks_op(&lacks, ROOT, OP_SEEK));
	assert_false(lacks_op(&lacks, ROOT, OP_ALLOCATE));
	assert_false(lacks_op(&lacks, OTHER, OP_SEEK));
	assert_true(lacks_note(&lacks, OTHER, OP_ALLOCATE, NFS4ERR_OP_ILLEGAL));
	assert_true(lacks_note(&lacks, OTHER, OP_REMOVEXATTR, NFS4ERR_NOTSUPP));
	assert_true(lacks_op(&lacks, OTHER, OP_ALLOCATE));
	assert_true(lacks_op(&lacks, OTHER, OP_REMOVEXATTR));
	assert_false(lacks_op(&lacks, ROOT, OP_ALLOCATE));
}

static void test_other_failures_mean_nothing(void **state)
{
	static const int others[] = {
		0, -EIO, -EOPNOTSUPP, NFS4ERR_NOSPC, NFS4ERR_INVAL, NFS4ERR_ATTRNOTSUPP};
	struct lacks lacks = {0};
	for (unsigned i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		assert_false(lacks_note(&lacks, ROOT, OP_SEEK, others[i]));
	assert_false(lacks_op(&lacks, ROOT, OP_SEEK));
	/* no operation of NFSv4.2 */
	assert_true(lacks_note(&lacks, ROOT, OP_READ, NFS4ERR_NOTSUPP));
	assert_false(lacks_op(&lacks, ROOT, OP_READ));
	assert_false(lacks_op(&lacks, ROOT, OP_ILLEGAL));
}

static void test_more_file_systems_are_asked_again(void **state)
{
	struct lacks lacks = {0};
	for (unsigned fs = 0; fs <= UINT16_MAX; fs++)
		assert_true(lacks_note(&lacks, (uint16_t)fs, OP_SEEK, NFS4ERR_NOTSUPP));
	assert_true(lacks_op(&lacks, LACKS_MAX - 1, OP_SEEK));
	assert_false(lacks_op(&lacks, LACKS_MAX, OP_SEEK));
	assert_false(lacks_op(&lacks, UINT16_MAX, OP_SEEK));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_refusal_is_remembered_for_its_file_system),
		cmocka_unit_test(test_other_failures_mean_nothing),
		cmocka_unit_test(test_more_file_systems_are_asked_again),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
