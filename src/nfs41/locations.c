/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "nfs41/locations.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "util/wire.h"

/* Printable ASCII, since it goes to the log and to who mounts. */
static bool is_text(const uint8_t *data, uint32_t len)
{
	for (uint32_t i = 0; i < len; i++)
		if (data[i] <= ' ' || data[i] > '~')
			return false;
	return len > 0;
}

/* pathname4; false: it is well-formed, but of no use here. `to` may be NULL. */
static bool get_path(struct wire_in *in, char *to)
{
	uint32_t count = wire_get_u32(in), len;
	size_t at = 0;
	bool good = true;

	for (uint32_t i = 0; i < count && !in->bad; i++) {
		const uint8_t *word = wire_get_opaque(in, (uint32_t)in->len, &len);
		if (!to || !word || !good)
			continue;
		good = is_text(word, len) && !memchr(word, '/', len) &&
		       !(len == 2 && memcmp(word, "..", 2) == 0) &&
		       len + 2 <= NFS_LOCATION_PATH_MAX - at;
		if (!good)
			continue;
		to[at++] = '/';
		memcpy(to + at, word, len);
		at += len;
	}
	if (to && at == 0)
		to[at++] = '/';
	if (to)
		to[at] = '\0';
	return good;
}

/* fs_location4: adds one entry for each server. */
static void get_location(struct wire_in *in, struct nfs_location *list, size_t *count)
{
	uint32_t servers = wire_get_u32(in), len;
	size_t first = *count, n = first;
	char path[NFS_LOCATION_PATH_MAX];

	for (uint32_t i = 0; i < servers && !in->bad; i++) {
		const uint8_t *server = wire_get_opaque(in, (uint32_t)in->len, &len);
		if (!server || n == NFS_LOCATIONS_MAX || len >= NFS_LOCATION_SERVER_MAX ||
			!is_text(server, len))
			continue;
		memcpy(list[n].server, server, len);
		list[n++].server[len] = '\0';
	}
	if (!get_path(in, path) || in->bad)
		return;
	for (size_t i = first; i < n; i++)
		memcpy(list[i].path, path, strlen(path) + 1);
	*count = n;
}

size_t nfs_locations_get(
	const uint8_t *data, size_t len, struct nfs_location list[NFS_LOCATIONS_MAX])
{
	struct wire_in in;
	size_t found = 0;

	wire_in_init(&in, data, len);
	get_path(&in, NULL);
	uint32_t count = wire_get_u32(&in);
	for (uint32_t i = 0; i < count && !in.bad; i++)
		get_location(&in, list, &found);
	return in.bad || in.pos != in.len ? 0 : found;
}

const char *nfs_locations_describe(
	const struct nfs_location *list, size_t count, char *out, size_t size)
{
	size_t at = 0;

	snprintf(out, size, "a place that the server does not tell");
	for (size_t i = 0; i < count && at < size; i++)
		at += (size_t)snprintf(out + at, size - at, "%s%s:%s", i > 0 ? ", " : "",
			list[i].server, list[i].path);
	return out;
}
