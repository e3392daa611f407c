/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "generator/entry.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>

#include "vsock/address.h"

#define FIELDS                                                                            \
	4 /* source, mount point, type, options; what dump(8) and fsck(8) want is ignored \
	   */

/* fstab(5)'s escapes: a backslash and three octal digits. Returns the length, or SIZE_MAX. */
static size_t decode(const char *text, size_t len, char out[ENTRY_TEXT_MAX])
{
	size_t n = 0;
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)text[i];
		if (c == '\\' && len - i > 3 && text[i + 1] >= '0' && text[i + 1] <= '3' &&
			text[i + 2] >= '0' && text[i + 2] <= '7' && text[i + 3] >= '0' &&
			text[i + 3] <= '7') {
			c = (unsigned char)((text[i + 1] - '0') << 6 | (text[i + 2] - '0') << 3 |
					    (text[i + 3] - '0'));
			i += 3;
		}
		if (c < 0x20 || c == 0x7f || n == ENTRY_TEXT_MAX - 1)
			return SIZE_MAX;
		out[n++] = (char)c;
	}
	out[n] = '\0';
	return n;
}

/* Bytes of the character at `text` (RFC 3629), or 0. The NUL ends what is cut short. */
static size_t character(const unsigned char *text)
{
	static const struct {
		unsigned char first, last, low, high; /* of the first byte and of the second */
		size_t len;
	} forms[] = {{0x20, 0x7e, 0, 0, 1}, {0xc2, 0xdf, 0x80, 0xbf, 2},
		{0xe0, 0xe0, 0xa0, 0xbf, 3}, {0xe1, 0xec, 0x80, 0xbf, 3},
		{0xed, 0xed, 0x80, 0x9f, 3}, {0xee, 0xef, 0x80, 0xbf, 3},
		{0xf0, 0xf0, 0x90, 0xbf, 4}, {0xf1, 0xf3, 0x80, 0xbf, 4},
		{0xf4, 0xf4, 0x80, 0x8f, 4}};
	for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
		if (text[0] < forms[i].first || text[0] > forms[i].last)
			continue;
		if (forms[i].len > 1 && (text[1] < forms[i].low || text[1] > forms[i].high))
			return 0;
		for (size_t j = 2; j < forms[i].len; j++)
			if ((text[j] & 0xc0) != 0x80)
				return 0;
		return forms[i].len;
	}
	return 0;
}

/* Systemd takes blanks off both ends of a value, and a backslash at its end goes on below. */
static bool fits_unit(const char *text)
{
	size_t len = strlen(text);
	if (len > 0 && (text[0] == ' ' || text[len - 1] == ' ' || text[len - 1] == '\\'))
		return false;
	for (const unsigned char *p = (const unsigned char *)text; *p;) {
		size_t n = character(p);
		if (n == 0)
			return false;
		p += n;
	}
	return true;
}

static int fail(const char **why, const char *text)
{
	*why = text;
	return -EINVAL;
}

static int take_source(struct entry *entry, const char *text, size_t len, const char **why)
{
	struct address address;
	const char *path;
	if (decode(text, len, entry->source) == SIZE_MAX || !fits_unit(entry->source))
		return fail(why, "the source has characters that it may not have");
	return address_parse_source(entry->source, &address, &path, why);
}

static int take_where(struct entry *entry, const char *text, size_t len, const char **why)
{
	char path[ENTRY_TEXT_MAX];
	size_t n = 0;
	if (decode(text, len, path) == SIZE_MAX || !fits_unit(path))
		return fail(why, "the mount point has characters that it may not have");
	if (path[0] != '/')
		return fail(why, "the mount point is no absolute path");
	for (const char *p = path + strspn(path, "/"); *p; p += strspn(p, "/")) {
		size_t part = strcspn(p, "/");
		if ((part == 1 && p[0] == '.') || (part == 2 && p[0] == '.' && p[1] == '.'))
			return fail(why, "the mount point contains \".\" or \"..\"");
		entry->where[n++] = '/';
		memcpy(entry->where + n, p, part);
		n += part;
		p += part;
	}
	entry->where[n] = '\0';
	return n > 0 ? 0 : fail(why, "the root is not mounted over");
}

static bool has_prefix(const char *text, size_t len, const char *prefix)
{
	return len >= strlen(prefix) && memcmp(text, prefix, strlen(prefix)) == 0;
}

static bool is_word(const char *text, size_t len, const char *word)
{
	return len == strlen(word) && memcmp(text, word, len) == 0;
}

/* "2min 5s": what is not a time systemd complains about, and goes on without. */
static bool take_time(const char *text, size_t len, size_t skip, char out[32])
{
	if (len - skip >= 32)
		return false;
	memcpy(out, text + skip, len - skip);
	out[len - skip] = '\0';
	return true;
}

static bool append_option(struct entry *entry, const char *word, size_t len)
{
	size_t n = strlen(entry->options);
	if (n + 1 + len >= ENTRY_TEXT_MAX)
		return false;
	if (n > 0)
		entry->options[n++] = ',';
	memcpy(entry->options + n, word, len);
	entry->options[n + len] = '\0';
	return true;
}

/* One option. False: it cannot be used. */
static bool take_option(struct entry *entry, const char *word, size_t len)
{
	static const char idle[] = "x-systemd.idle-timeout=",
			  timeout[] = "x-systemd.mount-timeout=";
	if (has_prefix(word, len, idle))
		return take_time(word, len, strlen(idle), entry->idle_timeout);
	if (has_prefix(word, len, timeout))
		return take_time(word, len, strlen(timeout), entry->mount_timeout);
	if (is_word(word, len, "noauto") || is_word(word, len, "auto"))
		entry->noauto = len == strlen("noauto");
	else if (is_word(word, len, "x-systemd.automount"))
		entry->automount = true;
	else if (is_word(word, len, "nofail")) {
		entry->nofail = true;
		/* Where systemd finds that local-fs.target shall not wait. */
		return append_option(entry, word, len);
	} else if (!has_prefix(word, len, "x-") && !is_word(word, len, "_netdev") && len > 0)
		return append_option(entry, word, len);
	return true;
}

static int take_options(struct entry *entry, const char *text, size_t len, const char **why)
{
	char options[ENTRY_TEXT_MAX];
	const char *word = options, *p = options;
	if (decode(text, len, options) == SIZE_MAX || !fits_unit(options))
		return fail(why, "the options have characters that they may not have");
	for (;; p++) {
		if (*p == '\\' && p[1] != '\0') {
			p++;
			continue;
		}
		if (*p != ',' && *p != '\0')
			continue;
		if (!take_option(entry, word, (size_t)(p - word)))
			return fail(why, "an option is too long");
		if (*p == '\0')
			return 0;
		word = p + 1;
	}
}

int entry_parse_line(const char *line, size_t len, struct entry *entry, const char **why)
{
	const char *field[FIELDS] = {NULL}, *end = line + len;
	size_t size[FIELDS] = {0};
	unsigned count = 0;
	for (const char *p = line; p < end && count < FIELDS;) {
		while (p < end && (*p == ' ' || *p == '\t'))
			p++;
		if (p == end || (count == 0 && *p == '#'))
			break;
		field[count] = p;
		while (p < end && *p != ' ' && *p != '\t')
			p++;
		size[count] = (size_t)(p - field[count]);
		count++;
	}
	*entry = (struct entry){0};
	if (count == 0)
		return 1;
	if (count == 1)
		return fail(why, "the mount point is missing");
	if (count > 2 && !is_word(field[2], size[2], "fuse.vsockfs") &&
		!is_word(field[2], size[2], "vsockfs"))
		return fail(why, "the type is not fuse.vsockfs");
	int err = take_source(entry, field[0], size[0], why);
	if (!err)
		err = take_where(entry, field[1], size[1], why);
	if (!err && count > 3)
		err = take_options(entry, field[3], size[3], why);
	return err;
}

int entry_parse_word(const char *word, size_t len, struct entry *entry, const char **why)
{
	const char *end = word + len, *where, *options;
	*entry = (struct entry){0};
	const char *comma = memchr(word, ',', len);
	if (!comma)
		return fail(why, "the mount point is missing");
	where = comma + 1;
	comma = memchr(where, ',', (size_t)(end - where));
	options = comma ? comma + 1 : end;
	int err = take_source(entry, word, (size_t)(where - 1 - word), why);
	if (!err)
		err = take_where(entry, where, (size_t)((comma ? comma : end) - where), why);
	if (!err)
		err = take_options(entry, options, (size_t)(end - options), why);
	return err;
}
