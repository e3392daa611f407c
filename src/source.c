/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "source.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vsock/address.h"

char *source_normalise_path(const char *path)
{
	char *out = malloc(strlen(path) + 2);
	size_t len = 0;

	if (!out)
		return NULL;
	while (*path) {
		path += strspn(path, "/");
		size_t n = strcspn(path, "/");
		if (n == 2 && memcmp(path, "..", 2) == 0) {
			free(out);
			errno = EINVAL;
			return NULL;
		}
		if (n > 0 && !(n == 1 && path[0] == '.')) {
			out[len++] = '/';
			memcpy(out + len, path, n);
			len += n;
		}
		path += n;
	}
	if (len == 0)
		out[len++] = '/';
	out[len] = '\0';
	return out;
}

bool source_same(const char *a, const char *b)
{
	struct address server_a = {0}, server_b = {0};
	const char *path_a, *path_b, *why;

	if (strcmp(a, b) == 0)
		return true;
	if (address_parse_source(a, &server_a, &path_a, &why) < 0 ||
		address_parse_source(b, &server_b, &path_b, &why) < 0 ||
		!address_same(&server_a, &server_b))
		return false;
	char *short_a = source_normalise_path(path_a), *short_b = source_normalise_path(path_b);
	bool same = short_a && short_b && strcmp(short_a, short_b) == 0;
	free(short_a);
	free(short_b);
	return same;
}
