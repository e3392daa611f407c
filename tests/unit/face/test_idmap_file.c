/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "idmap_file.h"

static struct idmap_rule *rules;
static unsigned *lines;
static size_t count;
static char why[256];

static int parse(const char *text)
{
	FILE *in = fmemopen((char *)text, strlen(text), "r");

	idmap_free_rules(rules, count);
	free(lines);
	rules = NULL;
	lines = NULL;
	count = 0;
	why[0] = '\0';
	assert_non_null(in);
	int r = idmap_file_parse(in, &rules, &lines, &count, why, sizeof(why));
	fclose(in);
	return r;
}

static void test_rules(void **state)
{
	assert_int_equal(parse("# here\tthere\n"
			       "\n"
			       "user 1000 501\n"
			       "  user\troot bob@example.org # the boss\r\n"
			       "group 0 4294967294\n"
			       "group root wheel"),
		0);
	assert_int_equal(count, 4);
	assert_false(rules[0].group);
	assert_true(rules[0].numbered);
	assert_int_equal(rules[0].guest, 1000);
	assert_int_equal(rules[0].server, 501);
	assert_null(rules[0].owner);
	assert_int_equal(lines[0], 3);
	assert_int_equal(rules[1].guest, 0);
	assert_false(rules[1].numbered);
	assert_string_equal(rules[1].owner, "bob@example.org");
	assert_int_equal(lines[1], 4);
	assert_true(rules[2].group);
	assert_int_equal(rules[2].server, 4294967294);
	assert_string_equal(rules[3].owner, "wheel");
	assert_int_equal(lines[3], 6);
}

static void test_empty(void **state)
{
	assert_int_equal(parse("\n"), 0);
	assert_int_equal(count, 0);
	assert_int_equal(parse("# nothing"), 0);
	assert_int_equal(count, 0);
}

static void test_wrong(void **state)
{
	static const struct {
		const char *text, *why;
	} cases[] = {
		{"users 1 2", "line 1: users: neither user nor group"},
		{"\nuser 1", "line 2: user: needs an id here and one of the server"},
		{"user", "line 1: user: needs an id here and one of the server"},
		{"user 1 2 3", "line 1: 3: one word too many"},
		{"user no-such-user 2",
			"line 1: no-such-user: a user that this system does not know"},
		{"group no-such-group 2",
			"line 1: no-such-group: a group that this system does not know"},
		{"user 4294967295 2", "line 1: 4294967295: a number that no id can be"},
		{"user 1 99999999999999999999",
			"line 1: 99999999999999999999: a number that no id can be"},
		{"user -1 2", "line 1: -1: a user that this system does not know"},
	};
	char longest[1200];

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_int_equal(parse(cases[i].text), -EINVAL);
		assert_string_equal(why, cases[i].why);
	}
	memset(longest, 'x', sizeof(longest));
	longest[sizeof(longest) - 1] = '\0';
	assert_int_equal(parse(longest), -EINVAL);
	assert_string_equal(why, "line 1: the line is too long");
	snprintf(longest, sizeof(longest), "user 1 %0500d@x", 1);
	assert_int_equal(parse(longest), -EINVAL);
	assert_non_null(strstr(why, "a name that is too long"));
}

static void test_too_many(void **state)
{
	static char text[(IDMAP_RULES_MAX + 1) * 16];
	size_t len = 0;

	for (unsigned i = 0; i <= IDMAP_RULES_MAX; i++) {
		len += (size_t)snprintf(text + len, sizeof(text) - len, "user %u %u\n", i, i);
		if (i == IDMAP_RULES_MAX - 1)
			assert_int_equal(parse(text), 0);
	}
	assert_int_equal(count, IDMAP_RULES_MAX);
	assert_int_equal(parse(text), -EINVAL);
	assert_non_null(strstr(why, "too many rules"));
}

static void test_load(void **state)
{
	char path[] = "/tmp/vsockfs-idmap-XXXXXX";
	static const char text[] = "user 1 2\nuser 1 3\n";
	int fd = mkstemp(path);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, sizeof(text) - 1), sizeof(text) - 1);
	close(fd);
	assert_int_equal(idmap_file_load(path, why, sizeof(why)), -EEXIST);
	assert_string_equal(why, "line 2: a second rule for the same id");
	unlink(path);
	assert_int_equal(idmap_file_load(path, why, sizeof(why)), -ENOENT);
	assert_string_equal(why, "No such file or directory");
	assert_int_equal(idmap_file_load("/dev/zero", why, sizeof(why)), -EINVAL);
	assert_string_equal(why, "not a file");
	assert_int_equal(idmap_file_load("/", why, sizeof(why)), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rules),
		cmocka_unit_test(test_empty),
		cmocka_unit_test(test_wrong),
		cmocka_unit_test(test_too_many),
		cmocka_unit_test(test_load),
	};
	int failed = cmocka_run_group_tests(tests, NULL, NULL);

	idmap_free_rules(rules, count);
	free(lines);
	return failed;
}
