/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "node_priv.h"

/* What nodes are called: each is remembered under the name that it was last found by. */

void node_set_name(struct node_table *table, struct node *node, uint64_t parent_id,
	const char *name, size_t len)
{
	uint32_t hash = (uint32_t)node_hash(name, len);
	pthread_mutex_lock(&table->mutex);
	node->parent_id = parent_id;
	node->name_hash = hash;
	table_note(table, node, RECORD_NODE_PARENT, parent_id);
	table_note(table, node, RECORD_NODE_NAME, hash);
	pthread_mutex_unlock(&table->mutex);
}

uint32_t node_mark_of(uint64_t parent_id, const char *name, size_t len)
{
	return node_mark(parent_id, (uint32_t)node_hash(name, len));
}

uint32_t node_name_mark(struct node_table *table, const struct node *node)
{
	pthread_mutex_lock(&table->mutex);
	uint32_t mark = node_mark(node->parent_id, node->name_hash);
	pthread_mutex_unlock(&table->mutex);
	return mark;
}

struct node *node_find_parent(struct node_table *table, const struct node *node)
{
	pthread_mutex_lock(&table->mutex);
	struct node *parent = table_lookup(table, node->parent_id);
	if (parent)
		parent->pins++;
	pthread_mutex_unlock(&table->mutex);
	return parent;
}

uint64_t node_parent_id(struct node_table *table, const struct node *node)
{
	pthread_mutex_lock(&table->mutex);
	uint64_t id = node->parent_id;
	pthread_mutex_unlock(&table->mutex);
	return id;
}

uint64_t node_parent_ino(struct node_table *table, const struct node *node)
{
	pthread_mutex_lock(&table->mutex);
	const struct node *parent = table_lookup(table, node->parent_id);
	uint64_t ino = parent ? parent->ino : node->ino;
	pthread_mutex_unlock(&table->mutex);
	return ino;
}

bool node_is_named(struct node_table *table, const struct node *node, uint64_t parent_id,
	const char *name, size_t len)
{
	pthread_mutex_lock(&table->mutex);
	bool named =
		node->parent_id == parent_id && node->name_hash == (uint32_t)node_hash(name, len);
	pthread_mutex_unlock(&table->mutex);
	return named;
}

bool node_is_known(struct node_table *table, uint64_t parent_id, const char *name, size_t len)
{
	uint32_t hash = (uint32_t)node_hash(name, len);
	bool known = false;
	pthread_mutex_lock(&table->mutex);
	for (size_t i = 0; i < table->buckets && !known; i++)
		for (const struct node *node = table->by_id[i]; node && !known;
			node = node->id_next)
			known = node->lookups > 0 && node->parent_id == parent_id &&
				node->name_hash == hash;
	pthread_mutex_unlock(&table->mutex);
	return known;
}

void node_note_link(struct node_table *table, const struct node *node)
{
	pthread_mutex_lock(&table->mutex);
	uint32_t mark = node_mark(node->parent_id, node->name_hash);
	table->links[mark % NODE_LINKS] = (struct node_link){.mark = mark, .id = node->id};
	pthread_mutex_unlock(&table->mutex);
}

struct node *node_find_linked(
	struct node_table *table, uint64_t parent_id, const char *name, size_t len)
{
	uint32_t mark = node_mark_of(parent_id, name, len);
	pthread_mutex_lock(&table->mutex);
	struct node_link *link = &table->links[mark % NODE_LINKS];
	struct node *node = link->mark == mark ? table_lookup(table, link->id) : NULL;
	if (node) {
		node->pins++;
		link->id = 0;
	}
	pthread_mutex_unlock(&table->mutex);
	return node;
}
