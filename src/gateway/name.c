/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "gateway/name.h"

#include <stdio.h>
#include <string.h>

#include "gateway/text.h"

#define NAME_CID_MAX 4294967294U /* the next one stands for any CID */

const char *name_parse(const char *text, struct name *name)
{
	uint64_t cid;

	memset(name, 0, sizeof(*name));
	if (strncmp(text, "vsock:", 6) != 0)
		return "a guest is vsock:CID, vsock:/PATH or vsock:*";
	text += 6;
	if (strcmp(text, "*") == 0) {
		name->kind = NAME_ANY;
		return NULL;
	}
	if (text[0] == '/') {
		name->kind = NAME_PATH;
		if (strlen(text) > NAME_PATH_MAX)
			return "the path of a hypervisor's socket has at most 101 bytes";
		snprintf(name->path, sizeof(name->path), "%s", text);
		return NULL;
	}
	name->kind = NAME_CID;
	if (!text_number(text, NAME_CID_MAX, &cid))
		return "a CID is a number up to 4294967294; a path begins with '/'";
	name->cid = (uint32_t)cid;
	return NULL;
}

const char *name_text(const struct name *name, char *out)
{
	switch (name->kind) {
	case NAME_ANY: snprintf(out, NAME_TEXT_MAX, "vsock:*"); break;
	case NAME_CID: snprintf(out, NAME_TEXT_MAX, "vsock:%u", name->cid); break;
	case NAME_PATH: snprintf(out, NAME_TEXT_MAX, "vsock:%s", name->path); break;
	}
	return out;
}

bool name_equal(const struct name *a, const struct name *b)
{
	return a->kind == b->kind && a->cid == b->cid && strcmp(a->path, b->path) == 0;
}

bool name_is_guest_cid(uint32_t cid)
{
	return cid > 2 && cid <= NAME_CID_MAX;
}
