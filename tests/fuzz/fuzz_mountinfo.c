/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fuzz.h"

#include <errno.h>

#include "mountinfo.h"

/* /proc/self/mountinfo. The input's first line is the path to look for, the rest is the file. */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *end = size ? memchr(data, '\n', size) : NULL;
	struct mountinfo *info;

	if (!end || end + 1 == data + size)
		return 0;
	char *path = fuzz_string(data, (size_t)(end - data));
	FILE *file = fmemopen((void *)(uintptr_t)(end + 1), (size_t)(data + size - end - 1), "r");
	if (!file)
		abort();
	info = fuzz_alloc(sizeof(*info));
	int r = mountinfo_find(file, path, NULL, info);
	fuzz_check(r == 0 || r == -ENOENT);
	if (r == 0) {
		fuzz_check(memchr(info->type, '\0', sizeof(info->type)));
		fuzz_check(memchr(info->source, '\0', sizeof(info->source)));
	}
	free(info);
	fclose(file);
	free(path);
	return 0;
}
