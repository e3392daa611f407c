/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <linux/fuse.h>

#include "nfs41/proto.h"
#include "trace.h"

#define SECOND UINT64_C(1000000000)

static const struct trace_entry entry = {.ended = 77,
	.took = 5 * SECOND,
	.rpc_ns = 4 * SECOND,
	.ino = 12,
	.opcode = FUSE_UNLINK,
	.pid = 42,
	.err = -2,
	.rpc = OP_REMOVE,
	.rpc_count = 2,
	.rpc_status = NFS4ERR_NOENT,
	.comm = "a b",
	.name = "x\ny\\\xc3\xbc"};

static int setup(void **state)
{
	return trace_new((struct trace **)state);
}

static int teardown(void **state)
{
	trace_free(*state);
	return 0;
}

/* As a request does that took `took`. */
static void offer(struct trace *trace, uint64_t took, uint64_t now)
{
	struct trace_entry e = entry;

	e.took = took;
	if (took >= atomic_load(trace_threshold(trace)))
		trace_add(trace, &e, now);
}

static char *ask(struct trace *trace, uint64_t slower, uint64_t after, uint64_t now)
{
	char *text;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	assert_non_null(out);
	assert_int_equal(trace_print(trace, slower, after, now, out), 0);
	fclose(out);
	return text;
}

static void expect(
	struct trace *trace, uint64_t slower, uint64_t after, uint64_t now, const char *want)
{
	char *text = ask(trace, slower, after, now);

	assert_string_equal(text, want);
	free(text);
}

static void test_off(void **state)
{
	assert_true(atomic_load(trace_threshold(*state)) == TRACE_OFF);
	offer(*state, TRACE_OFF, 1);
	expect(*state, 0, 0, 1, "0 0\n");
}

static void test_form(void **state)
{
	struct trace_entry e = entry;

	expect(*state, SECOND, UINT64_MAX, SECOND, "0 0\n");
	offer(*state, SECOND - 1, SECOND);
	offer(*state, 5 * SECOND, SECOND);
	expect(*state, SECOND, 0, SECOND,
		"1 0\n1 77 5000000000 4000000000 2 42 12 2 UNLINK REMOVE NFS4ERR_NOENT "
		"a\\x20b \"x\\x0ay\\x5c\xc3\xbc\n");
	expect(*state, SECOND, 1, SECOND, "1 0\n");
	e.rpc_count = 0;
	e.err = 0;
	e.name[0] = '\0';
	trace_add(*state, &e, SECOND);
	expect(*state, SECOND, 1, SECOND,
		"2 0\n2 77 5000000000 4000000000 0 42 12 0 UNLINK - - a\\x20b \"\n");
	e.rpc_count = 1;
	e.rpc_status = -5;
	trace_add(*state, &e, SECOND);
	char *text = ask(*state, SECOND, 2, SECOND);
	assert_non_null(strstr(text, " REMOVE -5 "));
	free(text);
}

/* Two who ask: the one who wants more decides what is kept, and each is told what it asked for. */
static void test_thresholds(void **state)
{
	expect(*state, 3 * SECOND, UINT64_MAX, 0, "0 0\n");
	expect(*state, SECOND, UINT64_MAX, 0, "0 0\n");
	expect(*state, 3 * SECOND, UINT64_MAX, 0, "0 0\n");
	offer(*state, 2 * SECOND, 0);
	expect(*state, 3 * SECOND, 0, 0, "1 0\n");
	char *text = ask(*state, SECOND, 0, 0);
	assert_non_null(strstr(text, "2000000000"));
	free(text);
}

static void test_lease(void **state)
{
	expect(*state, 0, UINT64_MAX, SECOND, "0 0\n");
	offer(*state, 0, SECOND + TRACE_LEASE);
	assert_int_equal(atomic_load(trace_threshold(*state)), 0);
	offer(*state, 0, SECOND + TRACE_LEASE + 1);
	assert_true(atomic_load(trace_threshold(*state)) == TRACE_OFF);
	char *text = ask(*state, 2, 0, 20 * SECOND);
	assert_memory_equal(text, "1 0\n", 4);
	free(text);
	assert_int_equal(atomic_load(trace_threshold(*state)), 2);
}

static void test_lost(void **state)
{
	expect(*state, 0, UINT64_MAX, 0, "0 0\n");
	for (unsigned i = 0; i < TRACE_KEPT + 10; i++)
		offer(*state, i, 0);
	char *text = ask(*state, 0, 3, 0);
	assert_memory_equal(text, "1034 7\n11 ", 10);
	unsigned lines = 0;
	for (const char *p = text; (p = strchr(p, '\n')); p++)
		lines++;
	assert_int_equal(lines, 1 + TRACE_KEPT);
	free(text);
	text = ask(*state, 0, 1033, 0);
	assert_memory_equal(text, "1034 0\n1034 77 1033 ", 20);
	free(text);
}

static void test_names(void **state)
{
	assert_string_equal(trace_opcode_name(FUSE_READ), "READ");
	assert_string_equal(trace_opcode_name(0), "UNKNOWN");
	assert_string_equal(trace_opcode_name(UINT32_MAX), "UNKNOWN");
	assert_true(trace_opcode_named(FUSE_LOOKUP));
	assert_false(trace_opcode_named(FUSE_WRITE));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_off),
		TEST(test_form),
		TEST(test_thresholds),
		TEST(test_lease),
		TEST(test_lost),
		TEST(test_names),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
