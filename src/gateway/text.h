/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_GATEWAY_TEXT_H
#define VSOCKFS_GATEWAY_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/*
 * The form that the configuration files share: lines of words between blanks. A backslash at the
 * end goes on in the next line, # begins a comment, "..." keeps blanks in a word. Every complaint
 * is one line "FILE:LINE:COLUMN: ..." (both from 1, the column in bytes) on `errors`.
 */

struct text_word {
	char *text;
	unsigned line, column;
};

struct text {
	const char *name; /* of the file, borrowed */
	FILE *errors;	  /* where complaints go, borrowed */
	unsigned nerrors;
	/* private */
	char *data, *at, *end;
	unsigned line, column;
	struct text_word *words;
	size_t nwords, cap;
};

#define TEXT_SIZE_MAX (1 << 20) /* bytes of a file */

/* Reads the file; 0, or -errno with one complaint. text_deinit is allowed in either case. */
int text_init(struct text *text, const char *name, FILE *errors);
/* The same for text that is in memory already. 0 or -ENOMEM. */
int text_init_memory(
	struct text *text, const char *name, const char *data, size_t len, FILE *errors);
void text_deinit(struct text *text);

/*
 * The next line that has words, into text->words and text->nwords, which stay valid until the next
 * call. False at the end. A line that is no line of words is complained about and left out.
 */
bool text_next(struct text *text);

/* A complaint about the byte `offset` of `word`. */
void text_complain(struct text *text, const struct text_word *word, size_t offset,
	const char *format, ...) __attribute__((format(printf, 4, 5)));

/* Decimal digits only, at most `max`. */
bool text_number(const char *word, uint64_t max, uint64_t *value);
/* As text_number with K, M or G (powers of 1024) behind it. */
bool text_size(const char *word, uint64_t max, uint64_t *bytes);
/* Seconds, or with s, m or h behind the number; at most a week. */
bool text_duration(const char *word, uint64_t *ns);

#endif
