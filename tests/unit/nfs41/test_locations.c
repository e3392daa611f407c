/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "nfs41/locations.h"
#include "util/wire.h"

static uint8_t data[8192];
static struct wire_out out;
static struct nfs_location list[NFS_LOCATIONS_MAX];

/* Words up to an empty one. */
static void put_words(const char *words)
{
	uint32_t count = 0;

	for (const char *w = words; *w; w += strlen(w) + 1)
		count++;
	wire_put_u32(&out, count);
	for (const char *w = words; *w; w += strlen(w) + 1)
		wire_put_opaque(&out, w, strlen(w));
}

static void begin(uint32_t locations)
{
	wire_out_init(&out, data, sizeof(data));
	put_words("old\0root\0");
	wire_put_u32(&out, locations);
}

static size_t get(void)
{
	assert_false(out.bad);
	memset(list, 0xff, sizeof(list));
	return nfs_locations_get(data, out.len, list);
}

static void test_several(void **state)
{
	char text[128];

	begin(2);
	put_words("vsock:2\0vsock:3.4\0");
	put_words("a\0b\0");
	put_words("example.org\0");
	put_words("");
	assert_int_equal(get(), 3);
	assert_string_equal(list[0].server, "vsock:2");
	assert_string_equal(list[0].path, "/a/b");
	assert_string_equal(list[1].server, "vsock:3.4");
	assert_string_equal(list[1].path, "/a/b");
	assert_string_equal(list[2].server, "example.org");
	assert_string_equal(list[2].path, "/");
	assert_string_equal(nfs_locations_describe(list, 3, text, sizeof(text)),
		"vsock:2:/a/b, vsock:3.4:/a/b, example.org:/");
	assert_int_equal(strlen(nfs_locations_describe(list, 3, text, 20)), 19);
	assert_non_null(strstr(nfs_locations_describe(list, 0, text, sizeof(text)), "not tell"));
}

static void test_left_out(void **state)
{
	static char longest[NFS_LOCATION_PATH_MAX + 2];
	static const char *const paths[] = {"..\0", "a\0..\0", "a/b\0", "a b\0", "a\n\0", longest};

	memset(longest, 'x', NFS_LOCATION_PATH_MAX - 1);
	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
		begin(2);
		put_words("vsock:2\0");
		put_words(paths[i]);
		put_words("\x1b[2J\0vsock:7\0");
		put_words("good\0");
		assert_int_equal(get(), 1);
		assert_string_equal(list[0].server, "vsock:7");
		assert_string_equal(list[0].path, "/good");
	}
	longest[NFS_LOCATION_PATH_MAX - 2] = '\0';
	begin(1);
	put_words("vsock:2\0");
	put_words(longest);
	assert_int_equal(get(), 1);
	assert_int_equal(strlen(list[0].path), NFS_LOCATION_PATH_MAX - 1);
}

static void test_too_many(void **state)
{
	begin(100);
	for (int i = 0; i < 100; i++) {
		put_words("vsock:2\0vsock:3\0vsock:4\0");
		put_words("a\0");
	}
	assert_int_equal(get(), NFS_LOCATIONS_MAX);
}

/* Whatever is cut off, or too much, or a length that lies: nothing is found, and nothing read. */
static void test_hostile(void **state)
{
	begin(1);
	put_words("vsock:2\0");
	put_words("a\0b\0");
	size_t len = out.len;
	for (size_t cut = 0; cut < len; cut++)
		assert_int_equal(nfs_locations_get(data, cut, list), 0);
	assert_int_equal(nfs_locations_get(data, len + 4, list), 0);
	for (size_t at = 0; at < len; at += 4) {
		uint8_t kept[4];
		memcpy(kept, data + at, 4);
		memset(data + at, 0xff, 4);
		nfs_locations_get(data, len, list);
		memcpy(data + at, kept, 4);
	}
	assert_int_equal(nfs_locations_get(data, len, list), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_several),
		cmocka_unit_test(test_left_out),
		cmocka_unit_test(test_too_many),
		cmocka_unit_test(test_hostile),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
