/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>

#include "mounter_priv.h"
#include "options_words.h"

/* What is about the one mount, or its server's address; or is given below. */
static const char *const words_own[] = {"port", "proto", "retry", "fsname", "subtype", "takeover",
	"rootfs", "setuid", "drop_privileges", "remount", "nconnect", MOUNTER_WORD};

static bool words_is_own(const char *word)
{
	size_t len = strcspn(word, "=");
	for (size_t i = 0; i < sizeof(words_own) / sizeof(words_own[0]); i++)
		if (strlen(words_own[i]) == len && memcmp(words_own[i], word, len) == 0)
			return true;
	return false;
}

static void words_put(FILE *out, const char *word)
{
	for (; *word; word++) {
		if (*word == ',' || *word == '\\')
			fputc('\\', out);
		fputc(*word, out);
	}
	fputc(',', out);
}

/* What holds for the mount by now, whatever it began with. */
static void words_put_flags(FILE *out, unsigned long flags)
{
	fputs(flags & MS_RDONLY ? "ro," : "", out);
	fputs(flags & MS_NOSUID ? "nosuid," : "", out);
	fputs(flags & MS_NODEV ? "nodev," : "", out);
	fputs(flags & MS_NOEXEC ? "noexec," : "", out);
	fputs(flags & MS_NOATIME ? "noatime," : "", out);
}

char *submount_words(const struct options *options, uint32_t port, unsigned long flags)
{
	const char *list = options->words ? options->words : "";
	char *text = NULL, *word = malloc(strlen(list) + 1);
	size_t size;
	FILE *out = word ? open_memstream(&text, &size) : NULL;
	if (!out) {
		free(word);
		return NULL;
	}
	while (words_next(&list, word))
		if (!words_is_own(word))
			words_put(out, word);
	free(word);
	words_put_flags(out, flags);
	if (options->nconnect > 0)
		fprintf(out, "nconnect=%u,", options->nconnect);
	/* by this word it is known as one that may be unmounted again */
	fprintf(out, "port=%u,%s", port, MOUNTER_WORD);
	if (fclose(out) != 0) {
		free(text);
		return NULL;
	}
	return text;
}
