/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "node_priv.h"

#include <sched.h>

/* What is remembered of a node, for the caches and for programs that hear of errors late. */

/* Answers may come in another order than they were given in: the highest change counts. */
static void node_note_size(struct node *node, const struct nfs_attr *attr)
{
	if (!nfs_bitmap_has(&attr->have, FATTR4_SIZE) ||
		(node->size_known && (int64_t)(attr->change - node->size_change) < 0))
		return;
	node->size = attr->size;
	node->size_change = attr->change;
	node->size_known = true;
}

/*
 * Servers count a change before they make it, and the clock that some count by stands still for
 * milliseconds: a change attribute that was seen with another size stands for something else.
 */
static bool node_is_resized(const struct node *node, const struct nfs_attr *attr)
{
	return node->type == NF4REG && node->size_known && node->size_change == attr->change &&
	       nfs_bitmap_has(&attr->have, FATTR4_SIZE) && node->size != attr->size;
}

static bool node_is_same(const struct node *node, const struct nfs_attr *attr)
{
	return node->change_known && node->change == attr->change && !node_is_resized(node, attr);
}

bool node_note_attr(struct node_table *table, struct node *node, const struct nfs_attr *attr)
{
	if (!nfs_bitmap_has(&attr->have, FATTR4_CHANGE))
		return false;
	pthread_mutex_lock(&table->mutex);
	bool resized = node_is_resized(node, attr), same = node_is_same(node, attr);
	node->hold_ms = same ? node->hold_ms * 2 : 0;
	node->change = attr->change;
	node->change_known = true;
	node_note_size(node, attr);
	bool stale = node->data == NODE_DATA_KNOWN ? node->data_change != attr->change || resized
		     : node->data == NODE_DATA_UNKNOWN ? !same
						       : false;
	if (stale)
		node->data = NODE_DATA_UNKNOWN;
	pthread_mutex_unlock(&table->mutex);
	return stale && node->type == NF4REG;
}

/* Microseconds: another worker is about to come to node_note_stored. */
static void node_await_stored(struct node_table *table, const struct node *node)
{
	while (node->storing) {
		pthread_mutex_unlock(&table->mutex);
		sched_yield();
		pthread_mutex_lock(&table->mutex);
	}
}

void node_note_stored(struct node_table *table, struct node *node)
{
	pthread_mutex_lock(&table->mutex);
	node->storing = false;
	pthread_mutex_unlock(&table->mutex);
}

/* `same`: the attributes are as they were known. */
static enum node_cached node_opened_at(struct node *node, uint64_t change, bool same, bool store)
{
	node->change = change;
	node->change_known = true;
	if (node->data == NODE_DATA_KNOWN && node->data_change == change && same)
		return NODE_CACHED_FRESH;
	if (node->data != NODE_DATA_NONE) {
		node->data = NODE_DATA_UNKNOWN;
		return NODE_CACHED_STALE;
	}
	node->data = NODE_DATA_KNOWN;
	node->data_change = change;
	node->storing = same && store;
	return same ? NODE_CACHED_ATTR : NODE_CACHED_STALE;
}

enum node_cached node_note_open(
	struct node_table *table, struct node *node, const struct nfs_attr *attr, bool store)
{
	pthread_mutex_lock(&table->mutex);
	node_await_stored(table, node);
	enum node_cached cached =
		node_opened_at(node, attr->change, node_is_same(node, attr), store);
	node_note_size(node, attr);
	pthread_mutex_unlock(&table->mutex);
	return cached;
}

void node_note_dropped(struct node_table *table, struct node *node, uint64_t change)
{
	pthread_mutex_lock(&table->mutex);
	node->data = NODE_DATA_KNOWN;
	node->data_change = change;
	pthread_mutex_unlock(&table->mutex);
}

bool node_note_local_open(struct node_table *table, struct node *node, bool store, uint64_t *change,
	enum node_cached *cached)
{
	pthread_mutex_lock(&table->mutex);
	node_await_stored(table, node);
	bool known = node->change_known;
	*change = node->change;
	if (known)
		*cached = node_opened_at(node, *change, true, store);
	pthread_mutex_unlock(&table->mutex);
	return known;
}

void node_note_write(
	struct node_table *table, struct node *node, uint64_t before, const struct nfs_attr *after)
{
	pthread_mutex_lock(&table->mutex);
	if (node->data == NODE_DATA_KNOWN && node->data_change == before)
		node->data_change = after->change;
	else if (node->data == NODE_DATA_KNOWN)
		node->data = NODE_DATA_UNKNOWN;
	node->change = after->change;
	node->change_known = true;
	node_note_size(node, after);
	node->hold_ms = 0;
	pthread_mutex_unlock(&table->mutex);
}

static bool change_is_between(uint64_t change, uint64_t low, uint64_t high)
{
	return (int64_t)(change - low) >= 0 && (int64_t)(high - change) >= 0;
}

static void span_widen(
	struct node_span *span, const struct node *node, uint64_t before, uint64_t after)
{
	if (!span->some)
		*span = (struct node_span){
			.some = true, .base = node->data_change, .low = before, .high = after};
	if ((int64_t)(before - span->low) < 0)
		span->low = before;
	if ((int64_t)(after - span->high) > 0)
		span->high = after;
}

/* Each of them sees the others' changes. All is well if the first of them began where the page
 * cache was. */
void node_note_writes(struct node_table *table, struct node *node, struct node_span *span,
	uint64_t before, const struct nfs_attr *after, bool last)
{
	pthread_mutex_lock(&table->mutex);
	span_widen(span, node, before, after->change);
	if (node->data == NODE_DATA_KNOWN &&
		change_is_between(node->data_change, span->low, span->high))
		node->data_change = span->high;
	if (node->data == NODE_DATA_KNOWN && last && span->low != span->base)
		node->data = NODE_DATA_UNKNOWN;
	node->change = span->high;
	node->change_known = true;
	node_note_size(node, after);
	node->hold_ms = 0;
	if (last)
		span->some = false;
	pthread_mutex_unlock(&table->mutex);
}

void node_note_unknown(struct node_table *table, struct node *node)
{
	pthread_mutex_lock(&table->mutex);
	if (node->data == NODE_DATA_KNOWN)
		node->data = NODE_DATA_UNKNOWN;
	node->change_known = false;
	node->hold_ms = 0;
	pthread_mutex_unlock(&table->mutex);
}

bool node_size(struct node_table *table, struct node *node, uint64_t *change, uint64_t *size)
{
	pthread_mutex_lock(&table->mutex);
	bool known = node->size_known;
	*change = node->size_change;
	*size = node->size;
	pthread_mutex_unlock(&table->mutex);
	return known;
}

void node_set_delegated(struct node_table *table, struct node *node, bool delegated)
{
	pthread_mutex_lock(&table->mutex);
	node->delegated = delegated;
	pthread_mutex_unlock(&table->mutex);
}

bool node_is_delegated(struct node_table *table, struct node *node)
{
	pthread_mutex_lock(&table->mutex);
	bool delegated = node->delegated;
	pthread_mutex_unlock(&table->mutex);
	return delegated;
}

uint32_t node_hold_ms(struct node_table *table, struct node *node, uint32_t min, uint32_t max)
{
	pthread_mutex_lock(&table->mutex);
	if (node->hold_ms < min)
		node->hold_ms = min;
	if (node->hold_ms > max)
		node->hold_ms = max;
	uint32_t hold = node->hold_ms;
	pthread_mutex_unlock(&table->mutex);
	return hold;
}

void node_set_error(struct node_table *table, struct node *node, int err)
{
	pthread_mutex_lock(&table->mutex);
	struct node_file *file = node->file;
	file->error = err;
	file->errors++;
	file->error_told = false;
	table_note(table, node, RECORD_NODE_ERROR, node_error_word(node));
	pthread_mutex_unlock(&table->mutex);
}

static bool file_has_untold_error(const struct node_file *file)
{
	return file && file->errors > 0 && !file->error_told;
}

uint32_t node_error_mark(struct node_table *table, const struct node *node)
{
	pthread_mutex_lock(&table->mutex);
	const struct node_file *file = node->file;
	uint32_t mark = file->errors - file_has_untold_error(file);
	pthread_mutex_unlock(&table->mutex);
	return mark;
}

int node_error_since(struct node_table *table, struct node *node, uint32_t *seen)
{
	pthread_mutex_lock(&table->mutex);
	struct node_file *file = node->file;
	int err = *seen != file->errors ? file->error : 0;
	*seen = file->errors;
	file->error_told = true;
	table_note(table, node, RECORD_NODE_ERROR, node_error_word(node));
	pthread_mutex_unlock(&table->mutex);
	return err;
}

bool node_has_untold_error(struct node_table *table, const struct node *node)
{
	pthread_mutex_lock(&table->mutex);
	bool untold = file_has_untold_error(node->file);
	pthread_mutex_unlock(&table->mutex);
	return untold;
}

bool node_is_at(struct node_table *table, const struct node *node, uint64_t change)
{
	pthread_mutex_lock(&table->mutex);
	bool at = node->change_known && node->change == change;
	pthread_mutex_unlock(&table->mutex);
	return at;
}

bool node_is_as(struct node_table *table, const struct node *node, const struct nfs_attr *attr)
{
	pthread_mutex_lock(&table->mutex);
	bool same = node_is_same(node, attr);
	pthread_mutex_unlock(&table->mutex);
	return same;
}

bool node_lacks_data(struct node_table *table, const struct node *node, uint64_t *size)
{
	pthread_mutex_lock(&table->mutex);
	const struct node_file *file = node->file;
	bool has = node->data == NODE_DATA_KNOWN && file && file->paged;
	bool lacks = node->type == NF4REG && node->size_known && !has;
	*size = node->size;
	pthread_mutex_unlock(&table->mutex);
	return lacks;
}

void node_note_listed(struct node_table *table, struct node *node, uint64_t since)
{
	pthread_mutex_lock(&table->mutex);
	node->listed_at = since;
	node->data = node->change_known ? NODE_DATA_KNOWN : NODE_DATA_UNKNOWN;
	node->data_change = node->change;
	pthread_mutex_unlock(&table->mutex);
}

bool node_is_listed(struct node_table *table, const struct node *node, uint64_t since)
{
	pthread_mutex_lock(&table->mutex);
	bool listed = node->data == NODE_DATA_KNOWN && node->change_known &&
		      node->data_change == node->change && node->listed_at >= since;
	pthread_mutex_unlock(&table->mutex);
	return listed;
}
