/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_IDMAP_FILE_H
#define VSOCKFS_IDMAP_FILE_H

#include <stddef.h>
#include <stdio.h>

#include "nfs41/idmap_rules.h"

/*
 * The file of -o idmap=FILE. A line is "user GUEST SERVER" or "group GUEST SERVER"; "#" begins a
 * comment. GUEST is a number or a name in the guest's user database, SERVER a number or what the
 * server says instead of one ("bob@example.org").
 */

/*
 * Reads the rules and puts them in force. 0, or -errno with a sentence that names the line in
 * `why`.
 */
int idmap_file_load(const char *path, char *why, size_t why_size);

/* The rules of `in`, to be freed by idmap_free_rules; as above, *lines[i] is where rule i stands.
 */
int idmap_file_parse(FILE *in, struct idmap_rule **rules, unsigned **lines, size_t *count,
	char *why, size_t why_size);

#endif
