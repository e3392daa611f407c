/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fuzz.h"

#include <errno.h>

#include "vsock/address.h"

/* Sources as on a command line or in fstab. The input is the text. */

static void check_address(const struct address *address)
{
	struct sockaddr_storage sa;
	socklen_t sa_len;
	char room[ADDRESS_UADDR_MAX + ADDRESS_HOST_MAX];

	for (size_t size = 1; size <= sizeof(room); size += size) {
		char *small = fuzz_alloc(size);

		fuzz_check(strlen(address_uaddr(address, small, size)) < size);
		fuzz_check(strlen(address_describe(address, small, size)) < size);
		free(small);
	}
	fuzz_check(address_netid(address)[0]);
	fuzz_check(memchr(address->host, '\0', sizeof(address->host)));
	/* names would be looked up */
	if (address->proto == ADDRESS_TCP)
		return;
	int r = address_resolve(address, &sa, &sa_len);
	fuzz_check(r <= 0 && (r < 0 || sa_len <= sizeof(sa)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *source = fuzz_string(data, size);
	const char *path = NULL, *why = NULL;
	struct address address;
	int r = address_parse_source(source, &address, &path, &why);

	if (r == 0) {
		fuzz_check(path > source && path < source + strlen(source) && path[0] == '/');
		check_address(&address);
	} else {
		fuzz_check(r == -EINVAL && why && why[0]);
	}
	free(source);
	return 0;
}
