/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fuzz.h"

/*
 * Runs a target on inputs from files, without libFuzzer: on each file named and on each in the
 * directories named, or on standard input when nothing is named. Prints one TAP point; an input
 * that brings the program down is named before it goes.
 */

static char current[PATH_MAX];
static unsigned inputs;

static void on_abort(int sig)
{
	static const char words[] = "# the input: ";

	/* nothing can be done where this fails */
	if (write(STDERR_FILENO, words, sizeof(words) - 1) > 0 &&
		write(STDERR_FILENO, current, strlen(current)) > 0 &&
		write(STDERR_FILENO, "\n", 1) > 0)
		signal(sig, SIG_DFL);
	signal(sig, SIG_DFL);
	raise(sig);
}

static int fail(const char *name)
{
	printf("Bail out! %s: %s\n", name, strerror(errno));
	return 1;
}

static int run_stream(FILE *file)
{
	size_t size = 0, cap = 4096;
	uint8_t *data = fuzz_alloc(cap);

	for (size_t n; (n = fread(data + size, 1, cap - size, file)) > 0;) {
		size += n;
		if (size == cap) {
			cap *= 2;
			data = realloc(data, cap);
			if (!data)
				abort();
		}
	}
	uint8_t *exact = fuzz_alloc(size);
	memcpy(exact, data, size);
	free(data);
	LLVMFuzzerTestOneInput(exact, size);
	free(exact);
	inputs++;
	return ferror(file);
}

static int run_file(const char *name)
{
	FILE *file = fopen(name, "re");

	if (!file)
		return fail(name);
	snprintf(current, sizeof(current), "%s", name);
	int r = run_stream(file) ? fail(name) : 0;
	fclose(file);
	return r;
}

static int run_directory(const char *name)
{
	struct dirent **entries;
	char path[PATH_MAX];
	int n = scandir(name, &entries, NULL, alphasort), r = 0;

	if (n < 0)
		return fail(name);
	for (int i = 0; i < n; i++) {
		snprintf(path, sizeof(path), "%s/%s", name, entries[i]->d_name);
		if (entries[i]->d_name[0] != '.' && r == 0)
			r = run_file(path);
		free(entries[i]);
	}
	free(entries);
	return r;
}

int main(int argc, char **argv)
{
	struct stat st;
	int r = 0;

	signal(SIGABRT, on_abort);
	signal(SIGSEGV, on_abort);
	printf("1..1\n");
	fflush(stdout);
	if (argc < 2)
		r = run_stream(stdin);
	for (int i = 1; i < argc && r == 0; i++)
		r = stat(argv[i], &st) == 0 && S_ISDIR(st.st_mode) ? run_directory(argv[i])
								   : run_file(argv[i]);
	if (r == 0 && inputs == 0)
		printf("Bail out! no inputs\n");
	else if (r == 0)
		printf("ok 1 - %u inputs of %s\n", inputs, argc > 1 ? argv[argc - 1] : "-");
	return r != 0 || inputs == 0;
}
