/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_FRESH_H
#define VSOCKFS_FRESH_H

#include <stdbool.h>
#include <stdint.h>

#include "nfs41/types.h"
#include "node.h"

/*
 * Attributes of directories as they came with the answer to a change of ours, since the kernel
 * forgets what it knew of a directory with each name that is made or removed in it, and asks for
 * them before the next; or as they were listed, since it forgets them when it reads the directory;
 * and of files as they came with OPEN, since it forgets them with each read.
 * They are told once more for as long as they would have been trusted. Any worker's thread.
 */

struct fresh_table;
struct share;

int fresh_table_new(struct share *share, struct fresh_table **table);
/* NULL is allowed. */
void fresh_table_free(struct fresh_table *table);

/* They were asked for with or after the change, by a request that began at `since` (ns). On a
 * worker's thread. */
void fresh_put(struct fresh_table *table, const struct node *dir, const struct nfs_attr *attr,
	uint64_t since);
/* The same as a listing of the directory above it has told them; what came after that stays. */
void fresh_put_listed(struct fresh_table *table, const struct node *dir,
	const struct nfs_attr *attr, uint64_t since);
/* It has changed, and nothing newer is known of it. */
void fresh_drop(struct fresh_table *table, const struct node *dir);
/* Attributes of a file that were asked for at `since` (ns). */
void fresh_put_file(struct fresh_table *table, const struct node *file, const struct nfs_attr *attr,
	uint64_t since);
/* The same, and until when they may be trusted; what has changed here since is for the caller to
 * look at. False: none. */
bool fresh_get_file(struct fresh_table *table, const struct node *file, struct nfs_attr *attr,
	uint64_t *since, uint64_t *until);
/* fresh_drop for all. */
void fresh_drop_all(struct fresh_table *table);
/* True, with the attributes and how long they may still be trusted, seconds. */
bool fresh_get(struct fresh_table *table, struct node *dir, struct nfs_attr *attr, double *left);

#endif
