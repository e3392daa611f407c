/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "gateway/exports.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define EXPORTS_NOBODY 65534

static bool exports_option_flag(struct exports_guest *g, const char *word)
{
	static const struct {
		const char *word;
		size_t offset;
		bool value;
	} flags[] = {
		{"ro", offsetof(struct exports_guest, writable), false},
		{"rw", offsetof(struct exports_guest, writable), true},
		{"sync", offsetof(struct exports_guest, async), false},
		{"async", offsetof(struct exports_guest, async), true},
		{"secure", offsetof(struct exports_guest, insecure), false},
		{"insecure", offsetof(struct exports_guest, insecure), true},
	};

	for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++)
		if (strcmp(word, flags[i].word) == 0) {
			*(bool *)((char *)g + flags[i].offset) = flags[i].value;
			return true;
		}
	return false;
}

/* NULL, or what is wrong with this option. */
static const char *exports_option(struct exports_guest *g, const char *word)
{
	bool uid = strncmp(word, "anonuid=", 8) == 0;
	uint64_t number;

	if (exports_option_flag(g, word))
		return NULL;
	if (uid || strncmp(word, "anongid=", 8) == 0) {
		if (!text_number(word + 8, UINT32_MAX - 1, &number))
			return "is no number";
		*(uid ? &g->anonuid : &g->anongid) = (uint32_t)number;
	} else if (strcmp(word, "root_squash") == 0) {
		g->squash = EXPORTS_SQUASH_ROOT;
	} else if (strcmp(word, "no_root_squash") == 0) {
		g->squash = EXPORTS_SQUASH_NONE;
	} else if (strcmp(word, "all_squash") == 0) {
		g->squash = EXPORTS_SQUASH_ALL;
	} else if (strcmp(word, "subtree_check") == 0) {
		g->subtree = EXPORTS_SUBTREE_CHECK;
	} else if (strcmp(word, "no_subtree_check") == 0) {
		g->subtree = EXPORTS_SUBTREE_NONE;
	} else {
		return word[0] ? "is no option of an export" : "an option is missing here";
	}
	return NULL;
}

/* "(a,b,c)" from `open` on, which is cut up. */
static void exports_options(
	struct text *text, const struct text_word *word, char *open, struct exports_guest *g)
{
	char *at = open + 1, *end = strchr(at, ')');

	if (!end || end[1]) {
		text_complain(text, word, (size_t)((end ? end + 1 : open) - word->text), "%s",
			end ? "something stands behind the options" : "the ')' is missing");
		return;
	}
	*end = '\0';
	for (char *next; at; at = next) {
		next = strchr(at, ',');
		if (next)
			*next++ = '\0';
		const char *why = exports_option(g, at);
		if (why)
			text_complain(text, word, (size_t)(at - word->text), "%s%s%s", at,
				at[0] ? " " : "", why);
	}
}

static void exports_guest(
	struct text *text, const struct text_word *word, struct exports_entry *entry)
{
	struct exports_guest *g = calloc(1, sizeof(*g)), *other;
	char *open = strchr(word->text, '(');
	const char *why;

	if (!g) {
		text_complain(text, word, 0, "%s", strerror(ENOMEM));
		return;
	}
	g->anonuid = g->anongid = EXPORTS_NOBODY;
	g->line = word->line;
	g->column = word->column;
	if (open)
		*open = '\0';
	why = open == word->text ? "a guest's name is missing (options stand right behind it)"
				 : name_parse(word->text, &g->name);
	if (why) {
		text_complain(text, word, 0, "%s", why);
		free(g);
		return;
	}
	TAILQ_FOREACH (other, &entry->guests, entry)
		if (name_equal(&other->name, &g->name))
			text_complain(text, word, 0, "%s stands here already", word->text);
	if (open)
		exports_options(text, word, open, g);
	TAILQ_INSERT_TAIL(&entry->guests, g, entry);
}

static void exports_line(struct text *text, struct exports *exports)
{
	const struct text_word *path = &text->words[0];
	struct exports_entry *e = calloc(1, sizeof(*e)), *other;

	if (!e || !(e->path = strdup(path->text))) {
		text_complain(text, path, 0, "%s", strerror(ENOMEM));
		free(e);
		return;
	}
	TAILQ_INIT(&e->guests);
	e->line = path->line;
	e->column = path->column;
	if (path->text[0] != '/')
		text_complain(text, path, 0, "a directory begins with '/'");
	TAILQ_FOREACH (other, exports, entry)
		if (strcmp(other->path, e->path) == 0)
			text_complain(
				text, path, 0, "%s is in line %u already", e->path, other->line);
	TAILQ_INSERT_TAIL(exports, e, entry);
	if (text->nwords == 1)
		text_complain(text, path, strlen(path->text),
			"no guest: vsock:CID, vsock:/PATH or vsock:* is to see it");
	for (size_t i = 1; i < text->nwords; i++)
		exports_guest(text, &text->words[i], e);
}

unsigned exports_parse(struct text *text, struct exports *exports)
{
	while (text_next(text))
		exports_line(text, exports);
	return text->nerrors;
}

void exports_free(struct exports *exports)
{
	struct exports_entry *e;
	struct exports_guest *g;

	while ((e = TAILQ_FIRST(exports))) {
		while ((g = TAILQ_FIRST(&e->guests))) {
			TAILQ_REMOVE(&e->guests, g, entry);
			free(g);
		}
		TAILQ_REMOVE(exports, e, entry);
		free(e->path);
		free(e->mount);
		free(e);
	}
}

bool exports_checks_subtree(const struct exports_entry *e, const struct exports_guest *g)
{
	return g->subtree == EXPORTS_SUBTREE_CHECK ||
	       (g->subtree == EXPORTS_SUBTREE_AUTO && !e->whole);
}
