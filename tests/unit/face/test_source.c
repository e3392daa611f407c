/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "source.h"

static void test_same(void **state)
{
	static const struct {
		const char *a, *b;
		bool same;
	} cases[] = {
		{"2:/export", "2:/export", true},
		{"2:/export", "2:/export/", true},
		{"2:/export", "host:/export", true},
		{"2:/export", "vsock:2://export/.", true},
		{"1:/", "local:/", true},
		{"unix:/run/a:/x", "unix:/run/a:/x/", true},
		{"tcp:h:/x", "tcp:h:2049:/x", true},
		{"whatever", "whatever", true},
		{"2:/export", "1:/export", false},
		{"2:/export", "2:/export/below", false},
		{"2:/Export", "2:/export", false},
		{"2:/a b", "2:/a", false},
		{"2:/x", "tcp:2:/x", false},
		{"tcp:h:/x", "tcp:h:2050:/x", false},
		{"unix:/run/a:/x", "unix:/run/b:/x", false},
		{"2:/export", "2:/export/../export", false},
		{"whatever", "2:/export", false},
		{"", "2:/export", false},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		if (source_same(cases[i].a, cases[i].b) != cases[i].same ||
			source_same(cases[i].b, cases[i].a) != cases[i].same)
			fail_msg("%s and %s", cases[i].a, cases[i].b);
	}
}

static void test_normalise(void **state)
{
	static const char *const cases[][2] = {{"/", "/"}, {"//", "/"}, {"/.", "/"}, {"/a/", "/a"},
		{"/a//b/./c/.", "/a/b/c"}, {"/...", "/..."}, {"/a b", "/a b"}};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char *path = source_normalise_path(cases[i][0]);
		assert_non_null(path);
		assert_string_equal(path, cases[i][1]);
		free(path);
	}
	errno = 0;
	assert_null(source_normalise_path("/a/../b"));
	assert_int_equal(errno, EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_same),
		cmocka_unit_test(test_normalise),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
