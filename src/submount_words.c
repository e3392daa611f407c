/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>

#include "mounter_priv.h"
#include "options_words.h"
#include "source.h"

/* What is about the one mount, or its server's address; or is given below. */
static const char *const words_own[] = {"port", "proto", "retry", "fsname", "subtype", "takeover",
	"rootfs", "setuid", "drop_privileges", "remount", "nconnect", MOUNTER_WORD};

static bool words_is_own(const char *word, bool other_server)
{
	size_t len = strcspn(word, "=");
	if (!other_server && len == strlen("port") && memcmp(word, "port", len) == 0)
		return false;
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
		if (!words_is_own(word, port != 0))
			words_put(out, word);
	free(word);
	words_put_flags(out, flags);
	if (options->nconnect > 0)
		fprintf(out, "nconnect=%u,", options->nconnect);
	if (port != 0)
		fprintf(out, "port=%u,", port);
	/* by this word it is known as one that may be unmounted again */
	fputs(MOUNTER_WORD, out);
	if (fclose(out) != 0) {
		free(text);
		return NULL;
	}
	return text;
}

char *submount_source(const struct options *options, const struct mounter_request *request,
	const struct submount_place *place)
{
	const char *below = place->path + strlen(options->mountpoint);
	char *path, *source = NULL;
	struct address server;
	const char *own, *why;
	if (asprintf(&path, "%s%s", request->path, request->order == MOUNTER_ENTER ? below : "") <
		0)
		return NULL;
	char *export_path = source_normalise_path(path);
	free(path);
	if (!export_path)
		return NULL;
	int len = request->port != 0 ? asprintf(&source, "%u:%s", request->cid, export_path)
		  : address_parse_source(options->source, &server, &own, &why) == 0
			  ? asprintf(&source, "%.*s%s", (int)(own - options->source),
				    options->source, export_path)
			  : -1;
	free(export_path);
	return len < 0 ? NULL : source;
}
