/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_GATEWAY_NAME_H
#define VSOCKFS_GATEWAY_NAME_H

#include <stdbool.h>
#include <stdint.h>

/*
 * How the host's files name a guest: vsock:CID, vsock:/PATH for the guest behind a hypervisor's
 * Unix socket (without the _PORT that the hypervisor appends), or vsock:* for every guest.
 */

enum name_kind { NAME_ANY, NAME_CID, NAME_PATH };

/* A sun_path has 108 bytes; "_65535" and a NUL must fit behind the path. */
#define NAME_PATH_MAX 101
#define NAME_TEXT_MAX (NAME_PATH_MAX + 8)

struct name {
	enum name_kind kind;
	uint32_t cid;
	char path[NAME_PATH_MAX + 1];
};

/* NULL, or a constant sentence why `text` names no guest. */
const char *name_parse(const char *text, struct name *name);
/* As name_parse takes it. Returns `out`, of NAME_TEXT_MAX bytes. */
const char *name_text(const struct name *name, char *out);

bool name_equal(const struct name *a, const struct name *b);
/* CIDs 0 to 2 are the hypervisor, this machine itself and the host: vsock:* does not mean them. */
bool name_is_guest_cid(uint32_t cid);

#endif
