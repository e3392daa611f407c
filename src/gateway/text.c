/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "gateway/text.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define TEXT_SECOND	  UINT64_C(1000000000) /* ns */
#define TEXT_DURATION_MAX (UINT64_C(7) * 24 * 3600)

static int text_read(const char *name, char **data, size_t *len)
{
	int fd = open(name, O_RDONLY | O_CLOEXEC | O_NONBLOCK), err = 0;
	struct stat st;
	ssize_t n;

	*data = NULL;
	*len = 0;
	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) < 0)
		err = -errno;
	else if (!S_ISREG(st.st_mode))
		err = -EINVAL;
	else if (!(*data = malloc(TEXT_SIZE_MAX + 1)))
		err = -ENOMEM;
	while (!err && *len <= TEXT_SIZE_MAX) {
		n = read(fd, *data + *len, TEXT_SIZE_MAX + 1 - *len);
		if (n == 0)
			break;
		if (n < 0 && errno != EINTR)
			err = -errno;
		*len += n > 0 ? (size_t)n : 0;
	}
	if (!err && *len > TEXT_SIZE_MAX)
		err = -EFBIG;
	close(fd);
	return err;
}

static void text_start(struct text *text, const char *name, FILE *errors)
{
	memset(text, 0, sizeof(*text));
	text->name = name;
	text->errors = errors;
	text->line = text->column = 1;
}

int text_init(struct text *text, const char *name, FILE *errors)
{
	size_t len;
	int err;

	text_start(text, name, errors);
	err = text_read(name, &text->data, &len);
	if (err) {
		text->nerrors++;
		fprintf(errors, "%s: %s\n", name,
			err == -EINVAL ? "not a regular file" : strerror(-err));
		return err;
	}
	text->at = text->data;
	text->end = text->data + len;
	return 0;
}

int text_init_memory(
	struct text *text, const char *name, const char *data, size_t len, FILE *errors)
{
	text_start(text, name, errors);
	text->data = malloc(len + 1);
	if (!text->data)
		return -ENOMEM;
	memcpy(text->data, data, len);
	text->at = text->data;
	text->end = text->data + len;
	return 0;
}

void text_deinit(struct text *text)
{
	free(text->data);
	free(text->words);
	text->data = NULL;
	text->words = NULL;
}

void text_complain(
	struct text *text, const struct text_word *word, size_t offset, const char *format, ...)
{
	va_list args;

	text->nerrors++;
	fprintf(text->errors, "%s:%u:%zu: ", text->name, word->line, word->column + offset);
	va_start(args, format);
	vfprintf(text->errors, format, args);
	va_end(args);
	fputc('\n', text->errors);
}

static int text_peek(const struct text *text)
{
	return text->at < text->end ? (unsigned char)*text->at : EOF;
}

static void text_step(struct text *text)
{
	if (*text->at++ == '\n') {
		text->line++;
		text->column = 1;
	} else {
		text->column++;
	}
}

static bool text_at_continuation(const struct text *text)
{
	return text->end - text->at >= 2 && text->at[0] == '\\' && text->at[1] == '\n';
}

static void text_skip_line(struct text *text)
{
	while (text_peek(text) != EOF && text_peek(text) != '\n')
		text_step(text);
}

/* Up to the next word of this line, or to its end. */
static void text_skip_blanks(struct text *text)
{
	for (;;) {
		int c = text_peek(text);
		if (c == ' ' || c == '\t' || c == '\r') {
			text_step(text);
		} else if (text_at_continuation(text)) {
			text_step(text);
			text_step(text);
		} else {
			break;
		}
	}
	if (text_peek(text) == '#')
		text_skip_line(text);
}

static bool text_add_word(struct text *text, const struct text_word *word)
{
	if (text->nwords == text->cap) {
		size_t cap = text->cap ? text->cap * 2 : 16;
		struct text_word *words = reallocarray(text->words, cap, sizeof(*words));
		if (!words)
			return false;
		text->words = words;
		text->cap = cap;
	}
	text->words[text->nwords++] = *word;
	return true;
}

/*
 * The word's bytes move to the front as quotes go. Its end comes before or at text->at, whose byte
 * is still needed: the caller puts the NUL. NULL, or what is wrong at the byte *where of the word.
 */
static const char *text_scan_word(struct text *text, char **end, size_t *where)
{
	char *start = text->at, *out = start;
	bool quoted = false;
	int c;

	while ((c = text_peek(text)) != EOF && c != '\n') {
		if (!quoted && (c == ' ' || c == '\t' || c == '\r' || text_at_continuation(text)))
			break;
		*where = (size_t)(text->at - start);
		if (c < 0x20 || c == 0x7f)
			return "a control character";
		if (c == '"') {
			quoted = !quoted;
			text_step(text);
			continue;
		}
		if (c == '\\' && quoted && text->at + 1 < text->end && text->at[1] != '\n')
			text_step(text);
		*out++ = *text->at;
		text_step(text);
	}
	*end = out;
	*where = 0;
	return quoted ? "the quote is not closed" : NULL;
}

/* The words of one line; false when the line is broken, and has been complained about. */
static bool text_scan_line(struct text *text)
{
	char *end = NULL;

	for (;;) {
		text_skip_blanks(text);
		int c = text_peek(text);
		if (c == '\n')
			text_step(text);
		if (end)
			*end = '\0';
		if (c == EOF || c == '\n')
			return true;
		struct text_word word = {text->at, text->line, text->column};
		size_t where;
		const char *why = text_scan_word(text, &end, &where);
		if (!why && !text_add_word(text, &word))
			why = strerror(ENOMEM);
		if (why) {
			text_complain(text, &word, where, "%s", why);
			text_skip_line(text);
			return false;
		}
	}
}

bool text_next(struct text *text)
{
	while (text_peek(text) != EOF) {
		text->nwords = 0;
		if (text_scan_line(text) && text->nwords > 0)
			return true;
	}
	return false;
}

static bool text_digits(const char *word, uint64_t max, const char **rest, uint64_t *value)
{
	uint64_t v = 0;
	const char *p = word;

	for (; *p >= '0' && *p <= '9'; p++) {
		uint64_t digit = (uint64_t)(*p - '0');
		if (v > (max - digit) / 10)
			return false;
		v = v * 10 + digit;
	}
	*rest = p;
	*value = v;
	return p != word;
}

bool text_number(const char *word, uint64_t max, uint64_t *value)
{
	const char *rest;

	return text_digits(word, max < 9 ? 9 : max, &rest, value) && !*rest && *value <= max;
}

bool text_size(const char *word, uint64_t max, uint64_t *bytes)
{
	const char *rest, *unit, units[] = "KMG";
	unsigned shift = 0;

	if (!text_digits(word, max, &rest, bytes))
		return false;
	if (*rest) {
		unit = strchr(units, *rest);
		if (!unit || rest[1])
			return false;
		shift = 10 * (unsigned)(unit - units + 1);
	}
	if (*bytes > max >> shift)
		return false;
	*bytes <<= shift;
	return true;
}

bool text_duration(const char *word, uint64_t *ns)
{
	uint64_t seconds, unit = 1;
	const char *rest;

	if (!text_digits(word, TEXT_DURATION_MAX, &rest, &seconds))
		return false;
	if (*rest) {
		unit = *rest == 's' ? 1 : *rest == 'm' ? 60 : *rest == 'h' ? 3600 : 0;
		if (unit == 0 || rest[1] || seconds > TEXT_DURATION_MAX / unit)
			return false;
	}
	*ns = seconds * unit * TEXT_SECOND;
	return true;
}
