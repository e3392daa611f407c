/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "options_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

char directory[] = "/tmp/vsockfs-options-XXXXXX";
char mount_directory[PATH_MAX];
struct options options;
char message[4096];

int options_setup(void **state)
{
	assert_non_null(mkdtemp(directory));
	assert_non_null(realpath(directory, mount_directory));
	return 0;
}

int options_teardown(void **state)
{
	return rmdir(directory);
}

int options_forget(void **state)
{
	options_free(&options);
	return 0;
}

int parse(const char *const *args)
{
	char *argv[16];
	int argc = 0, fds[2], saved = dup(STDERR_FILENO);

	options_free(&options);
	for (; args[argc]; argc++)
		argv[argc] = (char *)args[argc];
	argv[argc] = NULL;
	assert_int_equal(pipe(fds), 0);
	fflush(stderr);
	dup2(fds[1], STDERR_FILENO);
	close(fds[1]);
	int r = options_parse(argc, argv, NULL, &options);
	fflush(stderr);
	dup2(saved, STDERR_FILENO);
	close(saved);
	ssize_t n = read(fds[0], message, sizeof(message) - 1);
	message[n > 0 ? n : 0] = '\0';
	close(fds[0]);
	/* nothing after success, one line after a failure */
	if (r == 0)
		assert_string_equal(message, "");
	else
		assert_ptr_equal(strchr(message, '\n'), message + strlen(message) - 1);
	return r;
}

int parse_words(const char *words)
{
	return PARSE("/usr/bin/vsockfs", "2:/export", directory, "-o", words);
}

void accept_words(const char *words)
{
	if (parse_words(words) != 0)
		fail_msg("-o %s: %s", words, message);
}

void refuse_words(const char *words, const char *what)
{
	char line[1024];

	snprintf(line, sizeof(line), "vsockfs: %s\n", what);
	int r = parse_words(words);
	if (r == 0)
		fail_msg("-o %s was accepted", words);
	assert_string_equal(message, line);
	assert_int_equal(r, 1);
}

bool fuse_has(const char *word)
{
	size_t len = strlen(word);

	for (const char *p = options.fuse_options; (p = strstr(p, word)); p += len)
		if ((p == options.fuse_options || p[-1] == ',') && (!p[len] || p[len] == ','))
			return true;
	return false;
}
