/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fuzz.h"

#include "options.h"

/*
 * A command line: the input's lines are its words, the program's name first. What comes out must be
 * within bounds, and whatever the words were, libfuse must see none of its options but those that
 * vsockfs hands on.
 */

#define WORDS_MAX 32

static bool known_to_fuse(const char *word)
{
	static const char *const words[] = {"ro", "rw", "suid", "nosuid", "dev", "nodev", "noexec",
		"noatime", "sync", "dirsync", "auto_unmount", "referrals", "noreferrals",
		"allow_other", "allow_root", "default_permissions"};

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (strcmp(word, words[i]) == 0)
			return true;
	return strncmp(word, "fsname=", 7) == 0 || strncmp(word, "subtype=", 8) == 0;
}

/* Splits the list as libfuse does: a backslash takes the next character as it is. */
static void check_fuse_options(const char *list)
{
	char *word = fuzz_alloc(strlen(list) + 1);
	unsigned named = 0;

	while (*list) {
		size_t len = 0;

		for (; *list && *list != ','; list++) {
			if (*list == '\\' && list[1])
				list++;
			word[len++] = *list;
		}
		word[len] = '\0';
		list += *list == ',';
		fuzz_check(known_to_fuse(word));
		named += strncmp(word, "fsname=", 7) == 0;
	}
	fuzz_check(named == 1);
	free(word);
}

static void check_export(const char *path)
{
	fuzz_check(path && path[0] == '/');
	fuzz_check(!strstr(path, "//"));
	for (const char *p = path; (p = strstr(p, "/..")) != NULL; p++)
		fuzz_check(p[3] != '/' && p[3] != '\0');
}

static void check_options(const struct options *o)
{
	fuzz_check(o->source && o->mountpoint && o->mountpoint[0] == '/');
	check_export(o->export_path);
	check_fuse_options(o->fuse_options);
	fuzz_check(!(o->allow_other && o->allow_root));
	fuzz_check(o->rsize > 0 && o->rsize <= 1048576 && o->rsize % 4096 == 0);
	fuzz_check(o->wsize > 0 && o->wsize <= 1048576 && o->wsize % 4096 == 0);
	fuzz_check(o->nconnect <= 16 && o->minor >= -1 && o->minor <= 2);
	fuzz_check(o->acregmin >= 0 && o->acregmin <= o->acregmax);
	fuzz_check(o->acdirmin >= 0 && o->acdirmin <= o->acdirmax);
	if (o->server.proto == ADDRESS_TCP)
		fuzz_check(o->server.port > 0 && o->server.port <= 65535);
}

static void be_quiet(void)
{
	static FILE *quiet;

	/* libFuzzer has its own */
	if (!quiet)
		quiet = fopen("/dev/null", "we");
	if (quiet)
		stderr = quiet;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = fuzz_string(data, size), *rest = text, *argv[WORDS_MAX + 1];
	FILE *own = stderr;
	struct options options;
	int argc = 0;

	for (char *word; argc < WORDS_MAX && (word = strsep(&rest, "\n")) != NULL;)
		argv[argc++] = word;
	argv[argc] = NULL;
	be_quiet();
	int r = options_parse(argc, argv, NULL, &options);
	stderr = own;
	fuzz_check(r == 0 || r == 1 || r == 2 || r == 32);
	if (r == 0 && options.action == OPTIONS_MOUNT)
		check_options(&options);
	options_free(&options);
	free(text);
	return 0;
}
