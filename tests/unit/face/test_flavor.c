/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "flavor.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "share.h"

static struct rpc_sec_list list(unsigned count, ...)
{
	struct rpc_sec_list list = {0};
	va_list secs;
	va_start(secs, count);
	while (count-- > 0)
		rpc_sec_list_add(&list, va_arg(secs, enum rpc_sec));
	va_end(secs);
	return list;
}

/* What is tried after these options, where the server says `secs`, this far on the way. */
static const struct options *next(
	const struct options *options, struct rpc_sec_list secs, const char *path, unsigned names)
{
	struct share share = {
		.options = options, .secs = secs, .sec_path = path, .sec_names = names};
	if (path)
		share.sec_fh = (struct nfs_fh){.len = 1, .data = {(uint8_t)(names + 1)}};
	return flavor_next(&share);
}

static void test_without_sec_the_server_says_what_comes_next(void **state)
{
	struct options o = {.source = "2:/a", .sec = RPC_SEC_SYS, .gss_fd = 3};
	struct rpc_sec_list secs = list(3, RPC_SEC_SYS, RPC_SEC_KRB5P, RPC_SEC_KRB5);
	const struct options *n = next(&o, secs, NULL, 0);
	assert_int_equal(n->sec, RPC_SEC_KRB5P);
	n = next(n, secs, NULL, 0);
	assert_int_equal(n->sec, RPC_SEC_KRB5);
	assert_null(next(n, secs, NULL, 0));
	assert_null(next(&o, list(0), NULL, 0));
	o.gss_fd = -1;
	assert_null(next(&o, secs, NULL, 0));
}

static void test_with_sec_nothing_else_is_taken(void **state)
{
	struct options o = {.source = "2:/a",
		.sec = RPC_SEC_KRB5P,
		.secs = list(3, RPC_SEC_KRB5P, RPC_SEC_KRB5, RPC_SEC_KRB5I),
		.gss_fd = 3};
	assert_null(next(&o, list(2, RPC_SEC_SYS, RPC_SEC_NONE), NULL, 0));
	assert_int_equal(next(&o, list(3, RPC_SEC_SYS, RPC_SEC_KRB5I, RPC_SEC_KRB5), NULL, 0)->sec,
		RPC_SEC_KRB5);
	/* silent about it */
	assert_int_equal(next(&o, list(0), NULL, 0)->sec, RPC_SEC_KRB5);
	assert_false(flavor_is_usable(&o, RPC_SEC_SYS));
	assert_true(flavor_is_usable(&o, RPC_SEC_KRB5I));
}

static void test_each_directory_that_is_reached_begins_anew(void **state)
{
	struct options o = {.source = "2:/a/b/c", .sec = RPC_SEC_SYS, .gss_fd = 3};
	const struct options *n = next(&o, list(1, RPC_SEC_KRB5), "a/b/c", 0);
	assert_int_equal(n->sec, RPC_SEC_KRB5);
	assert_string_equal(n->sec_path, "a/b/c");
	assert_int_equal(n->sec_fh.data[0], 1);
	n = next(n, list(2, RPC_SEC_SYS, RPC_SEC_KRB5P), "b/c", 1);
	assert_int_equal(n->sec, RPC_SEC_SYS);
	assert_string_equal(n->sec_path, "b/c");
	assert_int_equal(n->sec_fh.data[0], 2);
	/* refused there, too: what was said of the name holds */
	n = next(n, list(0), NULL, 0);
	assert_int_equal(n->sec, RPC_SEC_KRB5P);
	assert_string_equal(n->sec_path, "b/c");
	assert_int_equal(n->sec_fh.data[0], 2);
	assert_null(next(n, list(0), NULL, 0));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_without_sec_the_server_says_what_comes_next),
		cmocka_unit_test(test_with_sec_nothing_else_is_taken),
		cmocka_unit_test(test_each_directory_that_is_reached_begins_anew),
	};
	return cmocka_run_group_tests_name("flavor", tests, NULL, NULL);
}
