/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_WHOLE_H
#define VSOCKFS_WHOLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "nfs41/types.h"
#include "node.h"

/*
 * Directories of which all names are known, because they were made or read to their end here: a
 * name that is not among them does not exist, for as long as the answer of the server would have
 * been trusted. That saves the LOOKUP with which the kernel begins whatever makes a name. Names are
 * kept as hashes; where two have the same one the server is asked, and likewise where names that
 * look different could be the same to its file system. Any worker's thread.
 */

struct whole_table;
struct share;

/* Names of a directory that is remembered. */
#define WHOLE_NAMES_MAX 8192

int whole_table_new(struct share *share, struct whole_table **table);
/* NULL is allowed. */
void whole_table_free(struct whole_table *table);

/* It is empty: it was made by a request that began at `since` (ns), and then had `change`. */
void whole_made(struct whole_table *table, const struct node *dir, uint64_t since, uint64_t change);
/* A name is about to be made in it. */
void whole_add(struct whole_table *table, const struct node *dir, const char *name);
/* A name was made or removed by a request that began at `since`. */
void whole_changed(struct whole_table *table, const struct node *dir, uint64_t since,
	const struct nfs_change_info *cinfo);
/* True: there is no such name, which may be believed for `left` seconds. */
bool whole_lacks(struct whole_table *table, const struct node *dir, const char *name, double *left);
/* It is not known any more. */
void whole_drop(struct whole_table *table, const struct node *dir);

/* None is known any more. */
void whole_drop_all(struct whole_table *table);

/* Reading one: begun, name after name, and when all were there kept. */
struct whole_reading;
/* NULL without memory, or where it would be of no use. */
struct whole_reading *whole_read_begin(
	struct whole_table *table, const struct node *dir, uint64_t since);
/* It was asked for earlier than it was begun. NULL is allowed. */
void whole_read_since(struct whole_reading *reading, uint64_t since);
/* False, with the reading freed: there are too many. */
bool whole_read_name(struct whole_reading *reading, const char *name, size_t len);
/* `held`: for as long as the delegation stands that it was read under; see dirhold.h. */
void whole_read_end(struct whole_table *table, const struct node *dir,
	struct whole_reading *reading_take, bool held);
/* All names were there: is this one not among them, nor about to be made? */
bool whole_read_lacks(struct whole_table *table, const struct node *dir,
	const struct whole_reading *reading, const char *name);
/* NULL is allowed. */
void whole_reading_free(struct whole_reading *reading);

#endif
