/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "mounttree.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "mountinfo.h"

static bool tree_add(struct mounttree *tree, const struct mounttree_entry *entry)
{
	/* doubled at each power of two */
	if ((tree->count & (tree->count - 1)) == 0) {
		size_t room = tree->count ? tree->count * 2 : 1;
		struct mounttree_entry *more =
			realloc(tree->entries, room * sizeof(*tree->entries));
		if (!more)
			return false;
		tree->entries = more;
	}
	tree->entries[tree->count++] = *entry;
	return true;
}

/* False: it is no line of mountinfo's. */
static bool tree_parse(char *line, struct mounttree_entry *entry)
{
	const char *tail = strstr(line, " - "), *user = strstr(line, ",user_id=");
	int path = 0, end = 0;

	if (sscanf(line, "%" SCNu32 " %" SCNu32 " %" SCNu32 ":%" SCNu32 " %*s %n%*s%n", &entry->id,
		    &entry->parent, &entry->major, &entry->minor, &path, &end) != 4 ||
		end == 0 || !tail)
		return false;
	tail += strlen(" - ");
	size_t type = strcspn(tail, " ");
	entry->vsockfs =
		type == strlen(MOUNTINFO_VSOCKFS) && memcmp(tail, MOUNTINFO_VSOCKFS, type) == 0;
	entry->uid = user ? strtoul(user + strlen(",user_id="), NULL, 10) : 0;
	line[end] = '\0';
	mountinfo_unescape(line + path);
	entry->path = strdup(line + path);
	return entry->path;
}

int mounttree_read(struct mounttree *tree, FILE *file)
{
	char *line = NULL;
	size_t size = 0;
	int err = 0;

	*tree = (struct mounttree){0};
	while (!err && getline(&line, &size, file) >= 0) {
		struct mounttree_entry entry;
		if (tree_parse(line, &entry) && !tree_add(tree, &entry)) {
			free(entry.path);
			err = -ENOMEM;
		}
	}
	free(line);
	return !err && ferror(file) ? -EIO : err;
}

int mounttree_read_self(struct mounttree *tree)
{
	FILE *file = fopen("/proc/self/mountinfo", "re");

	*tree = (struct mounttree){0};
	if (!file)
		return -errno;
	int err = mounttree_read(tree, file);
	fclose(file);
	return err;
}

void mounttree_deinit(struct mounttree *tree)
{
	for (size_t i = 0; i < tree->count; i++)
		free(tree->entries[i].path);
	free(tree->entries);
	*tree = (struct mounttree){0};
}

const struct mounttree_entry *mounttree_find(const struct mounttree *tree, uint32_t id)
{
	for (size_t i = 0; i < tree->count; i++)
		if (tree->entries[i].id == id)
			return &tree->entries[i];
	return NULL;
}

const struct mounttree_entry *mounttree_find_on(
	const struct mounttree *tree, uint32_t parent, const char *path)
{
	for (size_t i = tree->count; i > 0; i--) {
		const struct mounttree_entry *entry = &tree->entries[i - 1];
		if (entry->parent == parent && strcmp(entry->path, path) == 0)
			return entry;
	}
	return NULL;
}

/* What `entry` lies on, or NULL. No more steps than there are mounts: the topmost is its own. */
static const struct mounttree_entry *tree_up(
	const struct mounttree *tree, const struct mounttree_entry *entry, size_t *steps)
{
	if (++*steps > tree->count || entry->parent == entry->id)
		return NULL;
	return mounttree_find(tree, entry->parent);
}

bool mounttree_is_below(
	const struct mounttree *tree, const struct mounttree_entry *entry, uint32_t id)
{
	size_t steps = 0;

	while ((entry = tree_up(tree, entry, &steps)))
		if (entry->id == id)
			return true;
	return false;
}

void mounttree_family(const struct mounttree *tree, uint32_t id, struct mounttree_family *family)
{
	const struct mounttree_entry *entry = mounttree_find(tree, id);
	size_t steps = 0;
	uint32_t lowest = id;

	*family = (struct mounttree_family){0};
	for (; entry; entry = tree_up(tree, entry, &steps)) {
		if (!entry->vsockfs)
			continue;
		family->depth++;
		lowest = entry->id;
	}
	for (size_t i = 0; i < tree->count; i++)
		family->count += tree->entries[i].vsockfs &&
				 mounttree_is_below(tree, &tree->entries[i], lowest);
}
