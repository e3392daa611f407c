/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "rootfs.h"

static void test_lookup_error(void **state)
{
	static const int errors[] = {-EIO, -ESTALE, -EACCES, -EPERM, -EAGAIN, -ETIMEDOUT, -ENOTDIR};

	for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
		assert_int_equal(rootfs_lookup_error(errors[i], true), -EINTR);
		assert_int_equal(rootfs_lookup_error(errors[i], false), errors[i]);
	}
	assert_int_equal(rootfs_lookup_error(-ENOENT, true), -ENOENT);
	assert_int_equal(rootfs_lookup_error(-ENOMEM, true), -ENOMEM);
	assert_int_equal(rootfs_lookup_error(-EINTR, true), -EINTR);
}

static void test_log_target(void **state)
{
	struct options options = {.rootfs = true};

	assert_int_equal(rootfs_log_target(&options), LOG_TARGET_KMSG);
	options.rootfs = false;
	assert_int_equal(rootfs_log_target(&options), LOG_TARGET_SYSLOG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lookup_error),
		cmocka_unit_test(test_log_target),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
