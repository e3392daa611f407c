/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_MOUNTTREE_H
#define VSOCKFS_MOUNTTREE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/*
 * How mounts lie on each other, from /proc/self/mountinfo (proc_pid_mountinfo(5)): by ids, without
 * touching any of them.
 */

struct mounttree_entry {
	uint32_t id, parent; /* statx(2)'s STATX_MNT_ID */
	uint32_t major, minor;
	unsigned long uid; /* who mounted it, of a vsockfs */
	bool vsockfs;
	char *path;
};

struct mounttree {
	struct mounttree_entry *entries; /* in the file's order: parents before children */
	size_t count;
};

/* From `file`, whose lines have mountinfo's form. 0 or -errno; mounttree_deinit in both cases. */
int mounttree_read(struct mounttree *tree, FILE *file);
/* The same from /proc/self/mountinfo. */
int mounttree_read_self(struct mounttree *tree);
void mounttree_deinit(struct mounttree *tree);

const struct mounttree_entry *mounttree_find(const struct mounttree *tree, uint32_t id);
/* The mount that lies on `path` of the mount `parent` itself, the last one if there are several. */
const struct mounttree_entry *mounttree_find_on(
	const struct mounttree *tree, uint32_t parent, const char *path);
/* Is `entry` somewhere on the mount `id`? */
bool mounttree_is_below(
	const struct mounttree *tree, const struct mounttree_entry *entry, uint32_t id);

/* Of all vsockfs that lie on each other with `id`, however far: */
struct mounttree_family {
	unsigned depth; /* `id` itself and those that it lies on */
	unsigned count; /* those that lie on the lowest of them, without that one */
};
void mounttree_family(const struct mounttree *tree, uint32_t id, struct mounttree_family *family);

#endif
