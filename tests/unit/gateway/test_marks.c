/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "gateway/marks.h"

/* Fragments of 3, 0 (the last of its record), 1 and 300 bytes, and one that goes on. */
static size_t make_stream(uint8_t *out)
{
	static const uint32_t marks[] = {
		3, UINT32_C(0x80000000), UINT32_C(0x80000001), 300, UINT32_C(0xffffffff)};
	uint8_t *at = out;

	for (size_t i = 0; i < sizeof(marks) / sizeof(marks[0]); i++) {
		uint32_t length = marks[i] & 0x7fffffff;
		for (int shift = 24; shift >= 0; shift -= 8)
			*at++ = (uint8_t)(marks[i] >> shift);
		for (uint32_t n = 0; n < length && n < 1000; n++)
			*at++ = 0x80;
	}
	return (size_t)(at - out);
}

static void test_pieces(void **state)
{
	uint8_t stream[2000];
	size_t len = make_stream(stream);

	for (size_t piece = 1; piece <= len; piece++) {
		struct marks marks = {0};
		uint64_t n = 0;
		for (size_t at = 0; at < len; at += piece)
			n += marks_count(&marks, stream + at, len - at < piece ? len - at : piece);
		assert_int_equal(n, 5);
		assert_int_equal(marks.ended, 2);
	}
}

/* As a reader does that must not read beyond a fragment. */
static void test_within(void **state)
{
	static const size_t sizes[] = {3, 0, 1, 300}, ended[] = {0, 1, 2, 2};
	struct marks marks = {0};
	uint8_t stream[2000];
	const uint8_t *at = stream;

	make_stream(stream);
	for (int i = 0; i < 4; i++) {
		assert_true(marks_is_between(&marks));
		assert_int_equal(marks_within(&marks), 4);
		marks_count(&marks, at, 1);
		assert_false(marks_is_between(&marks));
		assert_int_equal(marks_within(&marks), 3);
		assert_int_equal(marks_count(&marks, at + 1, 3), 1);
		at += 4;
		if (sizes[i] > 0) {
			assert_false(marks_is_between(&marks));
			assert_int_equal(marks_within(&marks), sizes[i]);
			assert_int_equal(marks_count(&marks, at, sizes[i]), 0);
			at += sizes[i];
		}
		assert_int_equal(marks.ended, ended[i]);
		marks_skip(&marks, 0);
		assert_int_equal(marks.ended, ended[i]);
	}
	assert_true(marks_is_between(&marks));
}

static void test_nothing(void **state)
{
	struct marks marks = {0};

	assert_int_equal(marks_count(&marks, "\x80\0\0", 3), 0);
	assert_int_equal(marks_count(&marks, "", 0), 0);
	assert_int_equal(marks_count(&marks, "\0", 1), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pieces),
		cmocka_unit_test(test_within),
		cmocka_unit_test(test_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
