/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "nfs41/acl.h"

#include <errno.h>
#include <stdio.h>

#include "nfs41/idmap.h"
#include "nfs41/idmap_rules.h"
#include "nfs41/proto.h"

#define ACE4_IDENTIFIER_GROUP 0x40u
#define ACE_SIZE_MIN	      16 /* bytes */

struct ace {
	uint32_t type, flag, mask, who_len;
	const uint8_t *who;
};

static void get_ace(struct wire_in *in, struct ace *ace)
{
	ace->type = wire_get_u32(in);
	ace->flag = wire_get_u32(in);
	ace->mask = wire_get_u32(in);
	ace->who = wire_get_opaque(in, NFS_ACL_WHO_MAX, &ace->who_len);
}

static void put_ace(struct wire_out *out, const struct ace *ace)
{
	wire_put_u32(out, ace->type);
	wire_put_u32(out, ace->flag);
	wire_put_u32(out, ace->mask);
	wire_put_opaque(out, ace->who, ace->who_len);
}

bool nfs_acl_good(unsigned attr, const uint8_t *data, size_t len)
{
	struct wire_in in;
	struct ace ace;

	wire_in_init(&in, data, len);
	if (attr != FATTR4_ACL)
		wire_get_u32(&in);
	uint32_t count = wire_get_u32(&in);
	if (count > wire_left(&in) / ACE_SIZE_MIN)
		return false;
	for (uint32_t i = 0; i < count; i++)
		get_ace(&in, &ace);
	return !in.bad && in.pos == in.len;
}

/* "OWNER@" and "name@domain" are the same on both sides. */
static bool is_number(const struct ace *ace)
{
	for (uint32_t i = 0; i < ace->who_len; i++)
		if (ace->who[i] < '0' || ace->who[i] > '9')
			return false;
	return ace->who_len > 0 && ace->who_len <= 10;
}

static int convert_who(struct ace *ace, bool to_server, char who[IDMAP_STRING_MAX])
{
	bool group = ace->flag & ACE4_IDENTIFIER_GROUP;
	uint64_t number = 0;
	uint32_t server;

	for (uint32_t i = 0; i < ace->who_len; i++)
		number = 10 * number + (ace->who[i] - '0');
	if (number >= UINT32_MAX)
		return -EINVAL;
	uint32_t id = (uint32_t)number;
	if (to_server && !idmap_to_server(id, group, &server))
		return -EINVAL;
	if (to_server)
		ace->who_len = (uint32_t)(group ? idmap_group(id, who) : idmap_owner(id, who));
	else
		ace->who_len =
			(uint32_t)snprintf(who, IDMAP_STRING_MAX, "%u", idmap_to_guest(id, group));
	ace->who = (const uint8_t *)who;
	return 0;
}

int nfs_acl_convert(
	unsigned attr, const uint8_t *data, size_t len, bool to_server, struct wire_out *out)
{
	char who[IDMAP_STRING_MAX];
	struct wire_in in;
	struct ace ace;

	wire_in_init(&in, data, len);
	if (attr != FATTR4_ACL)
		wire_put_u32(out, wire_get_u32(&in));
	uint32_t count = wire_get_u32(&in);
	wire_put_u32(out, count);
	for (uint32_t i = 0; i < count && !in.bad && !out->bad; i++) {
		get_ace(&in, &ace);
		int err = is_number(&ace) ? convert_who(&ace, to_server, who) : 0;
		/* what is no number after all is the server's own */
		if (err && to_server)
			return err;
		put_ace(out, &ace);
	}
	if (in.bad)
		return -EINVAL;
	return out->bad ? -EOVERFLOW : 0;
}
