/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "gateway/text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Every line as "LINE: [word@COLUMN] ...", and the complaints behind them. */
static void check(const char *input, size_t len, const char *expected)
{
	char *shown = NULL, *complaints = NULL;
	size_t size, csize;
	FILE *out = open_memstream(&shown, &size), *errors = open_memstream(&complaints, &csize);
	struct text text;

	assert_int_equal(text_init_memory(&text, "f", input, len, errors), 0);
	while (text_next(&text)) {
		for (size_t i = 0; i < text.nwords; i++)
			fprintf(out, "[%s@%u:%u]", text.words[i].text, text.words[i].line,
				text.words[i].column);
		fputc(';', out);
	}
	text_deinit(&text);
	fclose(errors);
	fputs(complaints, out);
	fclose(out);
	assert_string_equal(shown, expected);
	free(shown);
	free(complaints);
}

#define CHECK(input, expected) check(input, strlen(input), expected)

static void test_words(void **state)
{
	CHECK("", "");
	CHECK("\n\n  # nothing\n", "");
	CHECK("one", "[one@1:1];");
	CHECK("a b\tc\n\nd # e\nf#g", "[a@1:1][b@1:3][c@1:5];[d@3:1];[f#g@4:1];");
	CHECK("a \\\n b\\\nc\n", "[a@1:1][b@2:2][c@3:1];");
	CHECK("\"a b\" c\"d\"e", "[a b@1:1][cde@1:7];");
	CHECK("\"a\\\"b\\\\\" \\c", "[a\"b\\@1:1][\\c@1:10];");
	CHECK("a\r\nb", "[a@1:1];[b@2:1];");
	CHECK("\"\" x", "[@1:1][x@1:4];");
	CHECK("a \\", "[a@1:1][\\@1:3];");
}

static void test_broken_lines(void **state)
{
	CHECK("a \"b c\nd", "[d@2:1];f:1:3: the quote is not closed\n");
	CHECK("a b\001c d\ne", "[e@2:1];f:1:4: a control character\n");
	check("a\0b\nc", 5, "[c@2:1];f:1:2: a control character\n");
	CHECK("\"a\\", "f:1:1: the quote is not closed\n");
}

static void test_files(void **state)
{
	char *complaints = NULL;
	size_t size;
	FILE *errors = open_memstream(&complaints, &size);
	struct text text;

	assert_true(text_init(&text, "/nowhere/file", errors) < 0);
	text_deinit(&text);
	assert_true(text_init(&text, "/dev", errors) < 0);
	text_deinit(&text);
	fclose(errors);
	assert_string_equal(
		complaints, "/nowhere/file: No such file or directory\n/dev: not a regular file\n");
	free(complaints);
}

static void test_numbers(void **state)
{
	uint64_t n;

	assert_true(text_number("0", 5, &n) && n == 0);
	assert_true(text_number("65535", 65535, &n) && n == 65535);
	assert_false(text_number("65536", 65535, &n));
	assert_false(text_number("6", 5, &n));
	assert_false(text_number("99999999999999999999999", UINT64_MAX, &n));
	assert_false(text_number("", 5, &n));
	assert_false(text_number("-1", 5, &n));
	assert_false(text_number("1x", 5, &n));
	assert_true(text_size("3K", 1 << 20, &n) && n == 3072);
	assert_true(text_size("1M", 1 << 20, &n) && n == 1 << 20);
	assert_false(text_size("2M", 1 << 20, &n));
	assert_false(text_size("1KB", 1 << 20, &n));
	assert_false(text_size("K", 1 << 20, &n));
	assert_true(text_duration("90", &n) && n == UINT64_C(90000000000));
	assert_true(text_duration("2m", &n) && n == UINT64_C(120000000000));
	assert_true(text_duration("1h", &n) && n == UINT64_C(3600000000000));
	assert_false(text_duration("1d", &n));
	assert_false(text_duration("169h", &n));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_words),
		cmocka_unit_test(test_broken_lines),
		cmocka_unit_test(test_files),
		cmocka_unit_test(test_numbers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
