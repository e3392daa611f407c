/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "nfs41/posix_acl.h"

#include <endian.h>
#include <errno.h>
#include <linux/posix_acl.h>
#include <linux/posix_acl_xattr.h>
#include <string.h>

#include "nfs41/acl.h"
#include "nfs41/idmap.h"
#include "nfs41/idmap_rules.h"

#define POSIX_PERM (ACL_READ | ACL_WRITE | ACL_EXECUTE) /* as POSIXACE4_PERM_* */

/* posixacetag4 counts from 1. */
static const uint16_t tags[] = {
	[1] = ACL_USER_OBJ,
	[2] = ACL_USER,
	[3] = ACL_GROUP_OBJ,
	[4] = ACL_GROUP,
	[5] = ACL_MASK,
	[6] = ACL_OTHER,
};
#define TAGS (sizeof(tags) / sizeof(tags[0]))

_Static_assert(sizeof(struct posix_acl_xattr_header) == 4 &&
		       sizeof(struct posix_acl_xattr_entry) == NFS_POSIX_ACE_XATTR_SIZE,
	"the kernel's form");

struct entry {
	uint32_t tag, perm, who_len;
	const uint8_t *who;
};

static bool is_named(uint16_t tag)
{
	return tag == ACL_USER || tag == ACL_GROUP;
}

static void get_entry(struct wire_in *in, struct entry *entry)
{
	entry->tag = wire_get_u32(in);
	entry->perm = wire_get_u32(in);
	entry->who = wire_get_opaque(in, NFS_ACL_WHO_MAX, &entry->who_len);
	if (entry->tag == 0 || entry->tag >= TAGS || (entry->perm & ~(uint32_t)POSIX_PERM) ||
		(is_named(tags[entry->tag]) && entry->who_len == 0))
		in->bad = true;
}

bool nfs_posix_acl_good(const uint8_t *data, size_t len)
{
	struct wire_in in;
	struct entry entry;

	wire_in_init(&in, data, len);
	uint32_t count = wire_get_u32(&in);
	if (count > wire_left(&in) / NFS_POSIX_ACE_SIZE_MIN)
		return false;
	for (uint32_t i = 0; i < count && !in.bad; i++)
		get_entry(&in, &entry);
	return !in.bad && in.pos == in.len;
}

static uint32_t guest_id(uint16_t tag, const struct entry *entry)
{
	switch (tag) {
	case ACL_USER: return idmap_uid(entry->who, entry->who_len);
	case ACL_GROUP: return idmap_gid(entry->who, entry->who_len);
	default: return (uint32_t)ACL_UNDEFINED_ID;
	}
}

int nfs_posix_acl_show(const uint8_t *data, size_t len, uint8_t *to, size_t cap, size_t *size)
{
	const struct posix_acl_xattr_header header = {htole32(POSIX_ACL_XATTR_VERSION)};
	struct wire_in in;
	struct entry entry;

	wire_in_init(&in, data, len);
	uint32_t count = wire_get_u32(&in);
	*size = sizeof(header) + (size_t)count * NFS_POSIX_ACE_XATTR_SIZE;
	if (*size > cap)
		return -EOVERFLOW;
	memcpy(to, &header, sizeof(header));
	to += sizeof(header);
	for (uint32_t i = 0; i < count; i++, to += NFS_POSIX_ACE_XATTR_SIZE) {
		get_entry(&in, &entry);
		if (in.bad)
			return -EINVAL;
		uint16_t tag = tags[entry.tag];
		const struct posix_acl_xattr_entry shown = {htole16(tag),
			htole16((uint16_t)entry.perm), htole32(guest_id(tag, &entry))};
		memcpy(to, &shown, sizeof(shown));
	}
	return 0;
}

/* -EINVAL: it is not one, or names who is nobody at the server. */
static int put_entry(struct wire_out *out, const struct posix_acl_xattr_entry *given)
{
	uint16_t tag = le16toh(given->e_tag), perm = le16toh(given->e_perm);
	uint32_t id = le32toh(given->e_id), at = 1, server;
	char who[IDMAP_STRING_MAX];
	size_t len = 0;

	while (at < TAGS && tags[at] != tag)
		at++;
	if (at == TAGS || (perm & ~POSIX_PERM))
		return -EINVAL;
	if (is_named(tag)) {
		if (!idmap_to_server(id, tag == ACL_GROUP, &server))
			return -EINVAL;
		len = tag == ACL_GROUP ? idmap_group(id, who) : idmap_owner(id, who);
	}
	wire_put_u32(out, at);
	wire_put_u32(out, perm);
	wire_put_opaque(out, who, len);
	return out->bad ? -EOVERFLOW : 0;
}

int nfs_posix_acl_take(const uint8_t *xattr, size_t size, struct wire_out *out)
{
	struct posix_acl_xattr_header header;
	struct posix_acl_xattr_entry entry;

	if (size < sizeof(header) || (size - sizeof(header)) % sizeof(entry) != 0)
		return -EINVAL;
	memcpy(&header, xattr, sizeof(header));
	if (le32toh(header.a_version) != POSIX_ACL_XATTR_VERSION)
		return -EOPNOTSUPP;
	size_t count = (size - sizeof(header)) / sizeof(entry);
	wire_put_u32(out, (uint32_t)count);
	for (size_t i = 0; i < count; i++) {
		memcpy(&entry, xattr + sizeof(header) + i * sizeof(entry), sizeof(entry));
		int err = put_entry(out, &entry);
		if (err)
			return err;
	}
	return out->bad ? -EOVERFLOW : 0;
}
