/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "options_words.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "options_table.h"

int words_fail(const struct words *w, int status, const char *format, ...)
{
	va_list args;

	fprintf(stderr, "%s: ", w->program);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	return status;
}

bool words_number(const char *text, uint64_t min, uint64_t max, uint64_t *number)
{
	uint64_t v = 0;

	if (!*text)
		return false;
	for (; *text; text++) {
		if (!isdigit((unsigned char)*text))
			return false;
		v = v * 10 + (uint64_t)(*text - '0');
		if (v > max)
			return false;
	}
	*number = v;
	return v >= min;
}

bool words_next(const char **list, char *out)
{
	const char *p = *list;

	while (*p == ',')
		p++;
	if (!*p)
		return false;
	while (*p && *p != ',') {
		if (*p == '\\' && (p[1] == ',' || p[1] == '\\'))
			p++;
		*out++ = *p++;
	}
	*out = '\0';
	*list = p;
	return true;
}

static void store(struct words *w, const struct option_word *word, int value)
{
	void *field = (char *)w + word->at;

	if (word->size == sizeof(bool))
		*(bool *)field = value;
	else
		memcpy(field, &value, sizeof(value));
}

static bool set_choice(struct words *w, const struct option_word *word, const char *value)
{
	for (const struct option_choice *c = word->choices; c->name; c++) {
		if (strcmp(c->name, value) == 0) {
			store(w, word, c->value);
			return true;
		}
	}
	return false;
}

static bool set_number(struct words *w, const struct option_word *word, const char *value)
{
	uint64_t number;

	if (!words_number(value, word->min, word->max, &number))
		return false;
	*(uint32_t *)((char *)w + word->at) = (uint32_t)number;
	return true;
}

static bool set_text(struct words *w, const struct option_word *word, const char *value)
{
	char **field = (char **)((char *)w + word->at);
	char *copy = *value ? strdup(value) : NULL;

	if (!copy)
		return false;
	free(*field);
	*field = copy;
	return true;
}

static bool set_value(struct words *w, const struct option_word *word, const char *value)
{
	switch (word->kind) {
	case OPTION_NUMBER: return set_number(w, word, value);
	case OPTION_SECONDS: return option_seconds_parse(value, (double *)((char *)w + word->at));
	case OPTION_CHOICE: return set_choice(w, word, value);
	case OPTION_TEXT: return set_text(w, word, value);
	default: return word->set(w, value);
	}
}

/* What a word's value must be, for the message. */
static void describe_value(const struct option_word *word, char *out, size_t size)
{
	size_t len = 0;

	switch (word->kind) {
	case OPTION_NUMBER:
		snprintf(out, size, "a number from %u to %u%s", word->min, word->max, word->text);
		break;
	case OPTION_SECONDS:
		snprintf(out, size, "0 to %d seconds, fractions allowed", OPTION_SECONDS_MAX);
		break;
	case OPTION_CHOICE:
		for (const struct option_choice *c = word->choices; c->name && len < size; c++)
			len += (size_t)snprintf(out + len, size - len, "%s%s",
				c == word->choices ? ""
				: c[1].name	   ? ", "
						   : " or ",
				c->name);
		break;
	case OPTION_TEXT: snprintf(out, size, "a text that is not empty"); break;
	default: snprintf(out, size, "%s", word->text); break;
	}
}

int words_apply_one(struct words *w, const char *text)
{
	size_t len = strcspn(text, "=");
	const char *value = text[len] ? text + len + 1 : NULL;
	const struct option_word *word = option_word_find(text, len);
	char expected[128];

	if (!word && (strncmp(text, "x-", 2) == 0 || strncmp(text, "X-", 2) == 0 || w->sloppy))
		return 0;
	if (!word)
		return words_fail(w, 1, "-o %s: unknown option (vsockfs -h lists them)", text);
	if (word->kind == OPTION_IGNORED)
		return 0;
	if (word->kind == OPTION_REFUSED)
		return words_fail(w, 1, "-o %s: not accepted: %s", text, word->text);

	if (word->kind == OPTION_FLAG || (word->kind == OPTION_SET && !word->text)) {
		if (value && !option_word_optional(word))
			return words_fail(w, 1, "-o %s: %s takes no value", text, word->name);
		if (word->kind == OPTION_FLAG)
			store(w, word, word->value);
		else
			word->set(w, NULL);
		return 0;
	}
	describe_value(word, expected, sizeof(expected));
	if (!value)
		return words_fail(w, 1, "-o %s: needs a value: %s", text, expected);
	if (!set_value(w, word, value))
		return words_fail(w, 1, "-o %s: must be %s", text, expected);
	return 0;
}

int words_apply(struct words *w, const char *list)
{
	char *text = malloc(strlen(list) + 1);
	int r = 0;

	if (!text)
		return words_fail(w, 2, "out of memory");
	while (r == 0 && words_next(&list, text))
		r = words_apply_one(w, text);
	free(text);
	return r;
}

bool words_have(const char *list, const char *word)
{
	char *text = malloc(strlen(list) + 1);
	bool found = false;

	while (text && !found && words_next(&list, text))
		found = strcmp(text, word) == 0;
	free(text);
	return found;
}

void words_init(struct words *w, const char *program)
{
	*w = (struct words){
		.program = program,
		.vers_minor = -1,
		.minorversion = -1,
		.acregmin = -1,
		.acregmax = -1,
		.acdirmin = -1,
		.acdirmax = -1,
		.uid = OPTIONS_NO_ID,
		.gid = OPTIONS_NO_ID,
		.o = {.timeo_ds = 600,
			.retrans = 2,
			.rsize = WORDS_IO_MAX,
			.wsize = WORDS_IO_MAX,
			.socket_buffer = 8 << 20,
			.max_readahead = 1 << 20,
			.busy_poll_us = 50,
			.io = LOOP_AUTO,
			.cache = OPTIONS_CACHE_AUTO,
			.lookupcache = OPTIONS_LOOKUPCACHE_ALL,
			.cto = true,
			.xattr = true,
			.acl = true,
			.sandbox = true,
			.referrals = true,
			.referral_idle_s = 500,
			.show_uid = OPTIONS_NO_ID,
			.show_gid = OPTIONS_NO_ID,
			.fmask = OPTIONS_NO_MASK,
			.dmask = OPTIONS_NO_MASK,
			.map_uid = OPTIONS_NO_ID,
			.map_gid = OPTIONS_NO_ID,
			.gss_fd = -1,
			.delegations = DELEG_READ},
	};
}

void words_deinit(struct words *w)
{
	free(w->fsname);
	free(w->subtype);
	free(w->setuid);
	options_free(&w->o);
}
