/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* after the above */
#include <cmocka.h>

#include "util/wire.h"

static void test_padding(void **state)
{
	assert_int_equal(wire_pad(0), 0);
	assert_int_equal(wire_pad(1), 3);
	assert_int_equal(wire_pad(2), 2);
	assert_int_equal(wire_pad(3), 1);
	assert_int_equal(wire_pad(4), 0);
	assert_int_equal(wire_pad(SIZE_MAX), 1);
}

static void test_encoding(void **state)
{
	static const uint8_t expected[] = {
		1, 2, 3, 4,			  /* u32 */
		1, 2, 3, 4, 5, 6, 7, 8,		  /* u64 */
		0, 0, 0, 1, 0, 0, 0, 0,		  /* booleans */
		'a', 'b', 'c', 'd', 'e', 0, 0, 0, /* fixed */
		0, 0, 0, 2, 'x', 'y', 0, 0,	  /* opaque */
		0, 0, 0, 0,			  /* empty opaque */
	};
	uint8_t data[sizeof(expected)];
	struct wire_out out;

	memset(data, 0xff, sizeof(data));
	wire_out_init(&out, data, sizeof(data));
	wire_put_u32(&out, 0x01020304);
	wire_put_u64(&out, 0x0102030405060708);
	wire_put_bool(&out, true);
	wire_put_bool(&out, false);
	wire_put_fixed(&out, "abcde", 5);
	wire_put_opaque(&out, "xy", 2);
	wire_put_opaque(&out, NULL, 0);
	assert_false(out.bad);
	assert_int_equal(out.len, sizeof(expected));
	assert_memory_equal(data, expected, sizeof(expected));
}

/* What does not fit leaves no trace, and what follows is refused even if it would fit. */
static void test_encoding_overrun(void **state)
{
	uint8_t data[12];
	struct wire_out out;

	memset(data, 0xee, sizeof(data));
	wire_out_init(&out, data, 8);
	wire_put_u32(&out, 0);
	wire_put_fixed(&out, "abcde", 5);
	assert_true(out.bad);
	assert_int_equal(out.len, 4);
	wire_put_u32(&out, 7);
	assert_int_equal(out.len, 4);
	assert_int_equal(data[4], 0xee);
	assert_int_equal(data[8], 0xee);
	assert_null(wire_put_raw(&out, 0));
}

static void test_decoding(void **state)
{
	static const uint8_t data[] = {1, 2, 3, 4, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 1, 0, 0, 0, 3,
		'a', 'b', 'c', 0, 'd', 'e', 0, 0};
	struct wire_in in;
	const uint8_t *p;
	uint32_t len;

	wire_in_init(&in, data, sizeof(data));
	assert_int_equal(wire_get_u32(&in), 0x01020304);
	assert_int_equal(wire_get_u64(&in), 0x0102030405060708);
	assert_true(wire_get_bool(&in));
	p = wire_get_opaque(&in, 3, &len);
	assert_int_equal(len, 3);
	assert_memory_equal(p, "abc", 3);
	assert_int_equal(wire_left(&in), 4);
	assert_memory_equal(wire_get_fixed(&in, 2), "de", 2);
	assert_int_equal(wire_left(&in), 0);
	assert_false(in.bad);
	assert_int_equal(wire_get_u32(&in), 0);
	assert_true(in.bad);
}

static void check_opaque_refused(const uint8_t *data, size_t size, size_t max)
{
	struct wire_in in;
	uint32_t len = 99;

	wire_in_init(&in, data, size);
	assert_null(wire_get_opaque(&in, max, &len));
	assert_true(in.bad);
	assert_int_equal(wire_left(&in), 0);
	assert_int_equal(wire_get_u64(&in), 0);
	assert_null(wire_get_raw(&in, 0));
}

static void test_decoding_lengths_that_lie(void **state)
{
	static const uint8_t four[] = {0, 0, 0, 4, 'a', 'b', 'c', 'd'};
	static const uint8_t five[] = {0, 0, 0, 5, 'a', 'b', 'c', 'd'};
	static const uint8_t huge[] = {0xff, 0xff, 0xff, 0xff, 'a', 'b', 'c', 'd'};
	static const uint8_t unpadded[] = {0, 0, 0, 3, 'a', 'b', 'c'};
	struct wire_in in;

	check_opaque_refused(four, 8, 3);
	check_opaque_refused(five, 8, 100);
	check_opaque_refused(huge, 8, UINT32_MAX);
	check_opaque_refused(huge, 8, SIZE_MAX);
	check_opaque_refused(unpadded, 7, 100);
	check_opaque_refused(four, 3, 100);
	check_opaque_refused(four, 0, 100);

	wire_in_init(&in, four, 8);
	assert_null(wire_get_fixed(&in, SIZE_MAX));
	assert_true(in.bad);
}

static void test_decoding_a_boolean_of_two(void **state)
{
	static const uint8_t two[] = {0, 0, 0, 2};
	struct wire_in in;

	wire_in_init(&in, two, 4);
	assert_false(wire_get_bool(&in));
	assert_true(in.bad);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_padding),
		cmocka_unit_test(test_encoding),
		cmocka_unit_test(test_encoding_overrun),
		cmocka_unit_test(test_decoding),
		cmocka_unit_test(test_decoding_lengths_that_lie),
		cmocka_unit_test(test_decoding_a_boolean_of_two),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
