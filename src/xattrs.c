/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xattrs.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "changes.h"
#include "recall.h"
#include "share.h"

/* A power of two; each has one place. */
#define XATTRS_ENTRIES 512
#define XATTRS_BYTES   (1u << 20)

struct xattr_entry {
	uint64_t id; /* of the node, or 0 */
	uint64_t change, since;
	struct rpc_cred *cred;
	struct buf *buf;
	size_t len;
	char name[256];
};

struct xattr_table {
	struct share *share;
	pthread_mutex_t mutex;
	size_t bytes;				     /* of all values */
	struct xattr_entry *entries[XATTRS_ENTRIES]; /* made when they are first needed */
};

int xattr_table_new(struct share *share, struct xattr_table **table)
{
	struct xattr_table *t = calloc(1, sizeof(*t));
	if (!t)
		return -ENOMEM;
	t->share = share;
	pthread_mutex_init(&t->mutex, NULL);
	*table = t;
	return 0;
}

/* Under the mutex, as the next. */
static void entry_drop(struct xattr_table *table, struct xattr_entry **place)
{
	struct xattr_entry *entry = *place;
	if (!entry)
		return;
	*place = NULL;
	table->bytes -= entry->len;
	buf_unref(entry->buf);
	rpc_cred_unref(entry->cred);
	free(entry);
}

static void table_drop_all(struct xattr_table *table)
{
	for (unsigned i = 0; i < XATTRS_ENTRIES; i++)
		entry_drop(table, &table->entries[i]);
}

void xattr_table_free(struct xattr_table *table)
{
	if (!table)
		return;
	table_drop_all(table);
	pthread_mutex_destroy(&table->mutex);
	free(table);
}

static struct xattr_entry **entry_place(
	struct xattr_table *table, const struct node *node, const char *name)
{
	uint32_t hash = node_mark_of(node->id, name, strlen(name));
	return &table->entries[hash % XATTRS_ENTRIES];
}

/* How long an answer is trusted, ns. */
static uint64_t xattrs_trust(struct share *share, struct node *node)
{
	const struct cache_policy *cache = &share->cache;
	bool dir = node->type == NF4DIR;
	uint32_t min = dir ? cache->dir_min_ms : cache->reg_min_ms;
	uint32_t max = dir ? cache->dir_max_ms : cache->reg_max_ms;
	if (max > 0 && min < RECALL_TRUST_MS && node_is_delegated(share->nodes, node))
		min = RECALL_TRUST_MS;
	return min * UINT64_C(1000000);
}

void xattrs_put(struct xattr_table *table, const struct node *node, struct rpc_cred *cred,
	const char *name, uint64_t change, uint64_t since, const void *data, size_t len)
{
	struct xattr_entry *entry = len <= XATTRS_BYTES ? calloc(1, sizeof(*entry)) : NULL;
	struct buf *buf = entry ? buf_copy(data, len) : NULL;
	if (!buf) {
		free(entry);
		return;
	}
	*entry = (struct xattr_entry){.id = node->id,
		.change = change,
		.since = since,
		.cred = rpc_cred_ref(cred),
		.buf = buf,
		.len = len};
	memcpy(entry->name, name, strnlen(name, sizeof(entry->name) - 1));
	pthread_mutex_lock(&table->mutex);
	struct xattr_entry **place = entry_place(table, node, name);
	entry_drop(table, place);
	if (table->bytes + len > XATTRS_BYTES)
		table_drop_all(table);
	table->bytes += len;
	*place = entry;
	pthread_mutex_unlock(&table->mutex);
}

struct buf *xattrs_get(struct xattr_table *table, struct node *node, const struct rpc_cred *cred,
	const char *name, size_t *len)
{
	struct share *share = table->share;
	struct buf *buf = NULL;
	uint64_t change = 0, since = 0;
	pthread_mutex_lock(&table->mutex);
	const struct xattr_entry *entry = *entry_place(table, node, name);
	/* Users who may do the same have the same credential. */
	if (entry && entry->id == node->id && entry->cred == cred &&
		strcmp(entry->name, name) == 0) {
		buf = buf_ref(entry->buf);
		*len = entry->len;
		change = entry->change;
		since = entry->since;
	}
	pthread_mutex_unlock(&table->mutex);
	if (buf && (loop_clock() - since >= xattrs_trust(share, node) ||
			   !node_is_at(share->nodes, node, change) ||
			   !changes_none(share->changes,
				   changes_object(node->fh_data, node->fh_len), since))) {
		buf_unref(buf);
		buf = NULL;
	}
	return buf;
}
