/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "generator/cmdline.h"

#include <stddef.h>
#include <string.h>

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\n';
}

/* Copies a word without its quotes. True: it fits. */
static bool take_word(const char **at, char out[CMDLINE_VALUE_MAX])
{
	const char *p = *at;
	bool quoted = false, fits = true;
	size_t n = 0;
	for (; *p && (quoted || !is_blank(*p)); p++) {
		if (*p == '"')
			quoted = !quoted;
		else if (n < CMDLINE_VALUE_MAX - 1)
			out[n++] = *p;
		else
			fits = false;
	}
	out[n] = '\0';
	*at = p;
	return fits;
}

bool cmdline_next(const char **at, const char *key, char value[CMDLINE_VALUE_MAX])
{
	char word[CMDLINE_VALUE_MAX];
	size_t len = strlen(key);
	for (;;) {
		while (is_blank(**at))
			(*at)++;
		if (!**at)
			return false;
		if (!take_word(at, word) || strncmp(word, key, len) != 0)
			continue;
		memcpy(value, word + len, strlen(word + len) + 1);
		return true;
	}
}
