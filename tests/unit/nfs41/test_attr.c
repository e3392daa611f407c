/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "nfs41/attr.h"
#include "nfs41/proto.h"

static uint8_t data[4096];
static struct wire_out out;

static void start(void)
{
	wire_out_init(&out, data, sizeof(data));
}

static bool decodes(const struct nfs_bitmap *want, struct nfs_attr *attr)
{
	struct wire_in in;

	wire_in_init(&in, data, out.len);
	nfs_attr_get(&in, want, attr);
	return !in.bad && in.pos == in.len;
}

/* A fattr4 with the one attribute `bit`, whose value `len` bytes at `value` are. */
static void put_one(unsigned bit, const void *value, uint32_t len)
{
	start();
	wire_put_u32(&out, bit / 32 + 1);
	for (unsigned i = 0; i < bit / 32; i++)
		wire_put_u32(&out, 0);
	wire_put_u32(&out, UINT32_C(1) << bit % 32);
	wire_put_opaque(&out, value, len);
}

static struct nfs_bitmap only(unsigned bit)
{
	struct nfs_bitmap map = {0};

	nfs_bitmap_set(&map, bit);
	return map;
}

static bool decodes_one(unsigned bit, const void *value, uint32_t len)
{
	struct nfs_bitmap want = only(bit);
	struct nfs_attr attr;

	put_one(bit, value, len);
	return decodes(&want, &attr);
}

static void test_unwanted_attributes_are_refused(void **state)
{
	struct nfs_bitmap want = only(FATTR4_FILEID);
	struct nfs_attr attr;

	put_one(FATTR4_CHANGE, "12345678", 8);
	assert_false(decodes(&want, &attr));
	want = only(FATTR4_CHANGE);
	assert_true(decodes(&want, &attr));
}

/* Asked for by mistake: it cannot be held, so not be skipped either. */
static void test_unknown_attributes_are_refused(void **state)
{
	assert_false(decodes_one(FATTR4_ACLSUPPORT, "1234", 4));
}

static void test_missing_attributes_are_told(void **state)
{
	struct nfs_bitmap want = only(FATTR4_CHANGE);
	struct nfs_attr attr;

	nfs_bitmap_set(&want, FATTR4_SIZE);
	put_one(FATTR4_CHANGE, "\0\0\0\0\0\0\0\5", 8);
	assert_true(decodes(&want, &attr));
	assert_true(nfs_bitmap_has(&attr.have, FATTR4_CHANGE));
	assert_false(nfs_bitmap_has(&attr.have, FATTR4_SIZE));
	assert_int_equal(attr.change, 5);
}

static void test_list_length_is_exact(void **state)
{
	assert_true(decodes_one(FATTR4_SIZE, "12345678", 8));
	assert_false(decodes_one(FATTR4_SIZE, "1234", 4));
	assert_false(decodes_one(FATTR4_SIZE, "123456781234", 12));
	assert_false(decodes_one(FATTR4_SIZE, "1234567", 7));
}

static void test_values_are_checked(void **state)
{
	/* seconds, nanoseconds */
	assert_true(decodes_one(FATTR4_TIME_MODIFY, "12345678\x3b\x9a\xc9\xff", 12));
	assert_false(decodes_one(FATTR4_TIME_MODIFY, "12345678\x3b\x9a\xca\x00", 12));
	assert_false(decodes_one(FATTR4_TYPE, "\0\0\0\0", 4));
	assert_true(decodes_one(FATTR4_TYPE, "\0\0\0\1", 4));
	assert_false(decodes_one(FATTR4_TYPE, "\0\0\0\x0a", 4));
}

static void test_filehandle_bound(void **state)
{
	uint8_t fh[4 + NFS4_FHSIZE + 4] = {0};
	struct nfs_bitmap want = only(FATTR4_FILEHANDLE);
	struct nfs_attr attr;

	wire_store_u32(fh, NFS4_FHSIZE);
	memset(fh + 4, 0x7f, NFS4_FHSIZE);
	put_one(FATTR4_FILEHANDLE, fh, 4 + NFS4_FHSIZE);
	assert_true(decodes(&want, &attr));
	assert_int_equal(attr.fh.len, NFS4_FHSIZE);
	assert_int_equal(attr.fh.data[NFS4_FHSIZE - 1], 0x7f);
	wire_store_u32(fh, NFS4_FHSIZE + 1);
	assert_false(decodes_one(FATTR4_FILEHANDLE, fh, sizeof(fh)));
}

static void test_owner_bound(void **state)
{
	uint8_t owner[4 + NFS4_OPAQUE_LIMIT + 4];

	memset(owner, 'o', sizeof(owner));
	wire_store_u32(owner, NFS4_OPAQUE_LIMIT);
	assert_true(decodes_one(FATTR4_OWNER, owner, 4 + NFS4_OPAQUE_LIMIT));
	wire_store_u32(owner, NFS4_OPAQUE_LIMIT + 1);
	assert_false(decodes_one(FATTR4_OWNER, owner, sizeof(owner)));
}

static void test_long_bitmaps(void **state)
{
	struct nfs_bitmap map;
	struct wire_in in;

	for (uint32_t words = 0; words < 20; words++) {
		start();
		wire_put_u32(&out, words);
		for (uint32_t i = 0; i < words; i++)
			wire_put_u32(&out, i < NFS_BITMAP_WORDS ? i + 1 : 0);
		wire_in_init(&in, data, out.len);
		nfs_attr_get_bitmap(&in, &map);
		assert_int_equal(in.bad, words > 16);
		if (words >= 3 && !in.bad)
			assert_int_equal(map.word[2], 3);
	}
	start();
	wire_put_u32(&out, 4);
	for (unsigned i = 0; i < 4; i++)
		wire_put_u32(&out, i == 3);
	wire_in_init(&in, data, out.len);
	nfs_attr_get_bitmap(&in, &map);
	assert_true(in.bad);
}

/* A newer server supports attributes that this client never heard of. */
static void test_supported_attrs_of_the_future(void **state)
{
	struct nfs_bitmap want = only(FATTR4_SUPPORTED_ATTRS);
	struct nfs_fsattr attr;
	struct wire_in in;

	put_one(FATTR4_SUPPORTED_ATTRS, "\0\0\0\4\0\0\0\1\0\0\0\2\0\0\0\3\xff\xff\xff\xff", 20);
	wire_in_init(&in, data, out.len);
	nfs_attr_get_fs(&in, &want, &attr);
	assert_false(in.bad);
	assert_int_equal(attr.supported.word[2], 3);
}

static void test_bitmap_has_no_trailing_zeros(void **state)
{
	struct nfs_bitmap map = only(FATTR4_MODE);

	start();
	nfs_attr_put_bitmap(&out, &map);
	assert_int_equal(out.len, 12);
	map = (struct nfs_bitmap){0};
	start();
	nfs_attr_put_bitmap(&out, &map);
	assert_int_equal(out.len, 4);
}

static void test_set_nothing(void **state)
{
	const struct nfs_setattr set = {.size = 1, .mode = 2};

	start();
	nfs_attr_put_set(&out, &set);
	assert_int_equal(out.len, 8);
	assert_memory_equal(data, "\0\0\0\0\0\0\0\0", 8);
	start();
	nfs_attr_put_set(&out, NULL);
	assert_int_equal(out.len, 8);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_unwanted_attributes_are_refused),
		cmocka_unit_test(test_unknown_attributes_are_refused),
		cmocka_unit_test(test_missing_attributes_are_told),
		cmocka_unit_test(test_list_length_is_exact),
		cmocka_unit_test(test_values_are_checked),
		cmocka_unit_test(test_filehandle_bound),
		cmocka_unit_test(test_owner_bound),
		cmocka_unit_test(test_long_bitmaps),
		cmocka_unit_test(test_supported_attrs_of_the_future),
		cmocka_unit_test(test_bitmap_has_no_trailing_zeros),
		cmocka_unit_test(test_set_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
