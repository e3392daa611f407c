/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdlib.h>

#include "node_priv.h"

struct node_file *table_need_file(struct node *node)
{
	struct node_file *file = node->file;
	if (!file && (file = calloc(1, sizeof(*file)))) {
		file->node = node;
		node->file = file;
	}
	return file;
}

int node_need_file(struct node_table *table, struct node *node)
{
	pthread_mutex_lock(&table->mutex);
	const struct node_file *file = table_need_file(node);
	pthread_mutex_unlock(&table->mutex);
	return file ? 0 : -ENOMEM;
}

struct node *node_find_open(
	struct node_table *table, uint64_t parent_id, const char *name, size_t len)
{
	struct node *node = NULL;
	struct node_file *file;
	pthread_mutex_lock(&table->mutex);
	uint32_t hash = LIST_EMPTY(&table->open_files) ? 0 : (uint32_t)node_hash(name, len);
	LIST_FOREACH (file, &table->open_files, entry)
		if (file->node->parent_id == parent_id && file->node->name_hash == hash)
			break;
	if (file) {
		node = file->node;
		node->pins++;
	}
	pthread_mutex_unlock(&table->mutex);
	return node;
}

int node_opened(struct node_table *table, struct node *node)
{
	pthread_mutex_lock(&table->mutex);
	struct node_file *file = table_need_file(node);
	if (file && file->opens++ == 0)
		LIST_INSERT_HEAD(&table->open_files, file, entry);
	pthread_mutex_unlock(&table->mutex);
	return file ? 0 : -ENOMEM;
}

/* Under the mutex, as the next. */
static struct node_silly *file_take_silly(struct node_file *file)
{
	struct node_silly *silly = file->silly;
	file->silly = NULL;
	return silly;
}

struct node_silly *node_closed(struct node_table *table, struct node *node)
{
	struct node_silly *silly = NULL;
	pthread_mutex_lock(&table->mutex);
	struct node_file *file = node->file;
	if (--file->opens == 0) {
		LIST_REMOVE(file, entry);
		silly = file_take_silly(file);
	}
	pthread_mutex_unlock(&table->mutex);
	return silly;
}

struct node_silly *node_set_silly(
	struct node_table *table, struct node *node, struct node_silly *silly_take)
{
	pthread_mutex_lock(&table->mutex);
	struct node_file *file = node->file;
	if (file && file->opens > 0) {
		struct node_silly *old = file->silly;
		file->silly = silly_take;
		silly_take = old;
	}
	pthread_mutex_unlock(&table->mutex);
	return silly_take;
}

struct node_silly *node_take_silly(struct node_table *table)
{
	struct node_file *file;
	struct node_silly *silly = NULL;
	pthread_mutex_lock(&table->mutex);
	LIST_FOREACH (file, &table->open_files, entry)
		if ((silly = file_take_silly(file)))
			break;
	pthread_mutex_unlock(&table->mutex);
	return silly;
}

bool node_is_silly(struct node_table *table, struct node *node)
{
	pthread_mutex_lock(&table->mutex);
	const struct node_file *file = node->file;
	bool silly = file && file->silly;
	pthread_mutex_unlock(&table->mutex);
	return silly;
}

uint64_t *node_open_ids(struct node_table *table, size_t *count)
{
	const struct node_file *file;
	size_t n = 0;
	pthread_mutex_lock(&table->mutex);
	LIST_FOREACH (file, &table->open_files, entry)
		n++;
	uint64_t *ids = malloc((n + 1) * sizeof(*ids));
	*count = 0;
	LIST_FOREACH (file, &table->open_files, entry)
		if (ids)
			ids[(*count)++] = file->node->id;
	pthread_mutex_unlock(&table->mutex);
	return ids;
}
