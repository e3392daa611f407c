/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_SIBLINGS_H
#define VSOCKFS_SIBLINGS_H

#include <stdint.h>

#include "nfs41/compound.h"
#include "nfs41/types.h"
#include "node.h"

/*
 * A program that walks a tree reads the directories of a directory one after the other. So when the
 * second of them is read (the first, where it wanted what came along elsewhere), others come along
 * in the same compound, as listings: few at first, and twice as many each time. Where it has not
 * wanted half of what came, no more are read along in that directory. Any worker's thread.
 */

struct siblings_table;
struct share;

/* Read along with one directory. */
#define SIBLINGS_MAX 15

int siblings_table_new(struct share *share, struct siblings_table **table);
/* NULL is allowed. */
void siblings_table_free(struct siblings_table *table);

/* The directory `parent_id` is being listed from its beginning. */
void siblings_begin(struct siblings_table *table, uint64_t parent_id);
/* This directory is the next one in it. */
void siblings_add(struct siblings_table *table, uint64_t parent_id, const struct nfs_fh *fh);

/* What one compound reads along. */
struct siblings;
/*
 * `c`, which is complete, reads the directory `node` for a program, `used` bytes of it: appends
 * READDIR of others. NULL: of none.
 */
struct siblings *siblings_load(struct siblings_table *table, const struct node *node,
	struct nfs_compound *c, uint32_t used);
/* In `done`: keeps what came, and leaves in status and ops_ok what became of the operations before.
 * NULL is allowed. */
void siblings_unload(
	struct siblings_table *table, struct siblings *siblings_take, struct nfs_compound *c);

/* One that came along is of use to a program. */
void siblings_used(struct siblings_table *table, uint64_t parent_id, const struct nfs_fh *fh);

#endif
