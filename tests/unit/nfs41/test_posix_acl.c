/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <endian.h>
#include <errno.h>
#include <linux/posix_acl.h>
#include <linux/posix_acl_xattr.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "nfs41/idmap.h"
#include "nfs41/posix_acl.h"

struct wire_entry {
	uint32_t tag, perm;
	const char *who;
};

static const struct wire_entry entries[] = {
	{1, 6, ""}, {2, 5, "1000"}, {3, 4, ""}, {4, 3, "100"}, {5, 7, ""}, {6, 0, ""}};
#define ENTRIES (sizeof(entries) / sizeof(entries[0]))

static size_t put(uint8_t *data, size_t cap, const struct wire_entry *list, size_t count)
{
	struct wire_out out;

	wire_out_init(&out, data, cap);
	wire_put_u32(&out, (uint32_t)count);
	for (size_t i = 0; i < count; i++) {
		wire_put_u32(&out, list[i].tag);
		wire_put_u32(&out, list[i].perm);
		wire_put_opaque(&out, list[i].who, strlen(list[i].who));
	}
	assert_false(out.bad);
	return out.len;
}

static void test_there_and_back(void **state)
{
	static const struct posix_acl_xattr_entry expected[] = {{ACL_USER_OBJ, 6, UINT32_MAX},
		{ACL_USER, 5, 1000}, {ACL_GROUP_OBJ, 4, UINT32_MAX}, {ACL_GROUP, 3, 100},
		{ACL_MASK, 7, UINT32_MAX}, {ACL_OTHER, 0, UINT32_MAX}};
	uint8_t wire[256], shown[256], again[256];
	size_t len = put(wire, sizeof(wire), entries, ENTRIES), size;
	struct posix_acl_xattr_entry entry;
	struct wire_out out;

	idmap_init(true);
	assert_true(nfs_posix_acl_good(wire, len));
	assert_int_equal(nfs_posix_acl_show(wire, len, shown, sizeof(shown), &size), 0);
	assert_int_equal(size, 4 + ENTRIES * NFS_POSIX_ACE_XATTR_SIZE);
	for (size_t i = 0; i < ENTRIES; i++) {
		memcpy(&entry, shown + 4 + i * sizeof(entry), sizeof(entry));
		assert_int_equal(le16toh(entry.e_tag), expected[i].e_tag);
		assert_int_equal(le16toh(entry.e_perm), expected[i].e_perm);
		assert_int_equal(le32toh(entry.e_id), expected[i].e_id);
	}
	wire_out_init(&out, again, sizeof(again));
	assert_int_equal(nfs_posix_acl_take(shown, size, &out), 0);
	assert_int_equal(out.len, len);
	assert_memory_equal(again, wire, len);
	assert_int_equal(nfs_posix_acl_show(wire, len, shown, size - 1, &size), -EOVERFLOW);
	wire_out_init(&out, again, len - 1);
	assert_int_equal(nfs_posix_acl_take(shown, size, &out), -EOVERFLOW);
}

static void test_not_good(void **state)
{
	static const struct wire_entry bad[] = {
		{0, 0, ""}, {7, 0, ""}, {1, 8, ""}, {2, 0, ""}, {4, 0, ""}};
	uint8_t wire[256];
	size_t len = put(wire, sizeof(wire), entries, ENTRIES);

	for (size_t cut = 0; cut < len; cut++)
		assert_false(nfs_posix_acl_good(wire, cut));
	assert_false(nfs_posix_acl_good(wire, len + 4));
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		len = put(wire, sizeof(wire), &bad[i], 1);
		assert_false(nfs_posix_acl_good(wire, len));
	}
	assert_true(nfs_posix_acl_good(wire, put(wire, sizeof(wire), NULL, 0)));
	wire_store_u32(wire, UINT32_MAX);
	assert_false(nfs_posix_acl_good(wire, 4));
}

static int take(uint32_t version, uint16_t tag, uint16_t perm, size_t size)
{
	const struct posix_acl_xattr_header header = {htole32(version)};
	const struct posix_acl_xattr_entry entry = {htole16(tag), htole16(perm), 0};
	uint8_t xattr[64] = {0}, wire[64];
	struct wire_out out;

	memcpy(xattr, &header, sizeof(header));
	memcpy(xattr + sizeof(header), &entry, sizeof(entry));
	wire_out_init(&out, wire, sizeof(wire));
	return nfs_posix_acl_take(xattr, size, &out);
}

static void test_not_taken(void **state)
{
	assert_int_equal(take(2, ACL_MASK, 7, 12), 0);
	assert_int_equal(take(2, ACL_MASK, 7, 4), 0);
	assert_int_equal(take(2, ACL_MASK, 7, 11), -EINVAL);
	assert_int_equal(take(2, ACL_MASK, 7, 3), -EINVAL);
	assert_int_equal(take(2, ACL_MASK, 7, 0), -EINVAL);
	assert_int_equal(take(1, ACL_MASK, 7, 12), -EOPNOTSUPP);
	assert_int_equal(take(2, ACL_MASK, 8, 12), -EINVAL);
	assert_int_equal(take(2, 0, 7, 12), -EINVAL);
	assert_int_equal(take(2, 0x40, 7, 12), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_there_and_back),
		cmocka_unit_test(test_not_good),
		cmocka_unit_test(test_not_taken),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
