/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_OPTIONS_TABLE_H
#define VSOCKFS_OPTIONS_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "options_words.h"

/* The table of -o words: names, kinds of value, ranges. */

enum option_kind {
	OPTION_FLAG,	/* no value; stores `value` */
	OPTION_NUMBER,	/* of min..max `text`s, into a uint32_t */
	OPTION_SECONDS, /* into a double */
	OPTION_CHOICE,	/* one of `choices` */
	OPTION_TEXT,	/* a string that is not empty, into a char * */
	OPTION_SET, /* `set` does it and returns false for a wrong value; `text` says what is right
		     */
	OPTION_IGNORED, /* with or without a value */
	OPTION_REFUSED, /* `text` says what to do instead */
};

struct option_choice {
	const char *name; /* NULL ends a list */
	int value;
};

struct option_word {
	const char *name;
	enum option_kind kind;
	size_t at, size; /* of the field in struct words, bytes */
	int value;
	uint32_t min, max;
	const char *text;
	const struct option_choice *choices;
	bool (*set)(struct words *w, const char *value);
};

#define OPTION_SECONDS_MAX 2147483647

/* The word whose name is the `len` bytes at `name`, or NULL. */
const struct option_word *option_word_find(const char *name, size_t len);
/* Each word in turn, from 0; NULL behind the last. */
const struct option_word *option_word_at(size_t i);
/* True if what the word is about is the same in both. */
bool option_word_same(const struct option_word *word, const struct words *a, const struct words *b);
/* "1.5" as seconds, up to OPTION_SECONDS_MAX; false for anything else. */
bool option_seconds_parse(const char *text, double *seconds);
/* True for the word whose value mount(8) may add although it has none. */
bool option_word_optional(const struct option_word *word);

#endif
