/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_TESTS_OPTIONS_FIXTURE_H
#define VSOCKFS_TESTS_OPTIONS_FIXTURE_H

#include <limits.h>
#include <stdbool.h>

#include "options.h"

/* What the tests of the command line share: a mount point, and parsing with stderr caught. */

extern char directory[];	       /* as given to mkdtemp */
extern char mount_directory[PATH_MAX]; /* without symbolic links */
extern struct options options;	       /* what the last parse made */
extern char message[4096];	       /* what it wrote to stderr */

int options_setup(void **state);
int options_teardown(void **state);
/* After each test. */
int options_forget(void **state);

/* Parses a NULL-terminated vector; after a failure there must be one line in `message`. */
int parse(const char *const *args);
#define PARSE(...) parse((const char *const[]){__VA_ARGS__, NULL})
/* Parses with `words` in -o, from a usual source. */
int parse_words(const char *words);
void accept_words(const char *words);
/* Expects usage status and exactly "vsockfs: WHAT". */
void refuse_words(const char *words, const char *what);
/* True if `word` is among fuse_options. */
bool fuse_has(const char *word);

#endif
