/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdlib.h>

#include "node_priv.h"

struct node *node_find_open(
	struct node_table *table, uint64_t parent_id, const char *name, size_t len)
{
	struct node *node;
	pthread_mutex_lock(&table->mutex);
	if (LIST_EMPTY(&table->open_nodes)) {
		pthread_mutex_unlock(&table->mutex);
		return NULL;
	}
	uint32_t hash = (uint32_t)node_hash(name, len);
	LIST_FOREACH (node, &table->open_nodes, open_entry)
		if (node->parent_id == parent_id && node->name_hash == hash)
			break;
	if (node)
		node->pins++;
	pthread_mutex_unlock(&table->mutex);
	return node;
}

void node_opened(struct node_table *table, struct node *node)
{
	pthread_mutex_lock(&table->mutex);
	if (node->opens++ == 0)
		LIST_INSERT_HEAD(&table->open_nodes, node, open_entry);
	pthread_mutex_unlock(&table->mutex);
}

struct node_silly *node_closed(struct node_table *table, struct node *node)
{
	struct node_silly *silly = NULL;
	pthread_mutex_lock(&table->mutex);
	if (--node->opens == 0) {
		LIST_REMOVE(node, open_entry);
		silly = node->silly;
		node->silly = NULL;
	}
	pthread_mutex_unlock(&table->mutex);
	return silly;
}

struct node_silly *node_set_silly(
	struct node_table *table, struct node *node, struct node_silly *silly_take)
{
	pthread_mutex_lock(&table->mutex);
	if (node->opens > 0) {
		struct node_silly *old = node->silly;
		node->silly = silly_take;
		silly_take = old;
	}
	pthread_mutex_unlock(&table->mutex);
	return silly_take;
}

struct node_silly *node_take_silly(struct node_table *table)
{
	struct node *node;
	struct node_silly *silly = NULL;
	pthread_mutex_lock(&table->mutex);
	LIST_FOREACH (node, &table->open_nodes, open_entry)
		if ((silly = node->silly)) {
			node->silly = NULL;
			break;
		}
	pthread_mutex_unlock(&table->mutex);
	return silly;
}

bool node_is_silly(struct node_table *table, struct node *node)
{
	pthread_mutex_lock(&table->mutex);
	bool silly = node->silly != NULL;
	pthread_mutex_unlock(&table->mutex);
	return silly;
}

uint64_t *node_open_ids(struct node_table *table, size_t *count)
{
	const struct node *node;
	size_t n = 0;
	pthread_mutex_lock(&table->mutex);
	LIST_FOREACH (node, &table->open_nodes, open_entry)
		n++;
	uint64_t *ids = malloc((n + 1) * sizeof(*ids));
	*count = 0;
	LIST_FOREACH (node, &table->open_nodes, open_entry)
		if (ids)
			ids[(*count)++] = node->id;
	pthread_mutex_unlock(&table->mutex);
	return ids;
}
