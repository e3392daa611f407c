/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fuzz.h"

#include "nfs41/idmap.h"

/*
 * Owner strings from a server. The input: ids to encode, then the strings, each with its length in
 * front. The daemon keeps what it learned from one input for the next, so nothing is said here
 * about which name means whom but for numbers.
 */

static void check_owner(const uint8_t *data, size_t len)
{
	uid_t uid = idmap_uid(data, len);
	gid_t gid = idmap_gid(data, len);
	bool number = len > 0 && len < 10;

	fuzz_check(uid != (uid_t)-1 && gid != (gid_t)-1);
	for (size_t i = 0; i < len && number; i++)
		number = data[i] >= '0' && data[i] <= '9';
	if (number) {
		char *text = fuzz_string(data, len);

		fuzz_check(uid == strtoul(text, NULL, 10) && gid == uid);
		free(text);
	} else {
		fuzz_check(uid < 256 || uid == IDMAP_NOBODY || len == 10);
		fuzz_check(gid < 256 || gid == IDMAP_NOBODY || len == 10);
	}
}

static void check_back(uint32_t id)
{
	char *text = fuzz_alloc(IDMAP_STRING_MAX);
	size_t len = idmap_owner(id, text);

	fuzz_check(len > 0 && len < IDMAP_STRING_MAX && strlen(text) == len);
	len = idmap_group(id, text);
	fuzz_check(len > 0 && len < IDMAP_STRING_MAX && strlen(text) == len);
	free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input in = {data, size};
	uint32_t small = fuzz_u8(&in), large = fuzz_u32(&in);

	while (in.size > 0) {
		size_t len = fuzz_u16(&in) % 1100;
		const uint8_t *text = fuzz_take(&in, len, &len);
		uint8_t *copy = fuzz_alloc(len);

		memcpy(copy, text, len);
		check_owner(copy, len);
		free(copy);
	}
	idmap_use_names();
	check_back(small);
	check_back(large);
	return 0;
}
