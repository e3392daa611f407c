/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "command.h"

static void test_words(void **state)
{
	static const struct {
		const char *text;
		enum command_verb verb;
	} cases[] = {
		{"stats", COMMAND_STATS},
		{"status", COMMAND_STATUS},
		{"capture", COMMAND_CAPTURE},
		{"capture stop", COMMAND_CAPTURE_STOP},
		{"drop", COMMAND_DROP},
		{"log info", COMMAND_LOG},
		{"delegreturn", COMMAND_DELEGRETURN},
	};
	struct command command;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_true(command_parse(cases[i].text, &command));
		assert_int_equal(command.verb, cases[i].verb);
		assert_false(command.json || command.debug);
	}
	assert_true(command_parse("status json", &command) && command.json);
	assert_true(command_parse("log debug", &command) && command.debug);
	assert_true(command_parse("stats lines", &command));
	assert_int_equal(command.form, STATS_LINES);
}

static void test_numbers(void **state)
{
	struct command command;

	assert_true(command_parse("trace 100000000 18446744073709551615", &command));
	assert_int_equal(command.verb, COMMAND_TRACE);
	assert_int_equal(command.slower, 100000000);
	assert_true(command.after == UINT64_MAX);
	assert_true(command_parse("capture start 200 1 4096", &command));
	assert_int_equal(command.verb, COMMAND_CAPTURE_START);
	assert_int_equal(command.capture.snaplen, 200);
	assert_true(command.capture.data);
	assert_int_equal(command.capture.limit, 4096);
	assert_true(command_parse("capture start 0 0 0", &command));
	assert_false(command.capture.data);
}

static void test_nonsense(void **state)
{
	static const char *const cases[] = {"", " ", "stats ", " stats", "stats xml", "statss",
		"stats json ", "log", "log loud", "trace", "trace 1", "trace 1 2 3", "trace  1 2",
		"trace -1 2", "trace +1 2", "trace 1 2 ", "trace 1x 2", "trace 0x1 2",
		"trace 18446744073709551616 0", "capture start", "capture start 0 2 0",
		"capture start 39 0 0", "capture start 4294967296 0 0", "capture stop 1",
		"drop everything", "delegreturn now"};
	struct command command;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		if (command_parse(cases[i], &command))
			fail_msg("\"%s\" was taken", cases[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_words),
		cmocka_unit_test(test_numbers),
		cmocka_unit_test(test_nonsense),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
