/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "node.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#define NODE_BUCKETS_MIN 256
#define NODE_FSIDS_MAX	 1024
/* Tags keep the low 40 bits of a fileid free: see node_ino. */
#define NODE_INO_TAG_SHIFT 40

/* A file system within the export, and what its fileids are mixed with. */
struct node_fsid {
	struct nfs_fsid fsid;
	uint64_t tag;
};

struct node_table {
	pthread_mutex_t mutex;
	struct node **by_id, **by_fh;
	size_t buckets; /* of each; a power of two */
	uint64_t count, next_id;
	LIST_HEAD(, node) open_nodes;
	struct node_fsid *fsids;
	unsigned nfsids;
};

static uint64_t node_mix(uint64_t x)
{
	x ^= x >> 33;
	x *= UINT64_C(0xff51afd7ed558ccd);
	x ^= x >> 33;
	x *= UINT64_C(0xc4ceb9fe1a85ec53);
	return x ^ x >> 33;
}

static uint64_t node_hash(const void *data, size_t len)
{
	const uint8_t *p = data;
	uint64_t h = node_mix(len + 1), w = 0;
	for (; len >= 8; p += 8, len -= 8) {
		memcpy(&w, p, 8);
		h = node_mix(h ^ w);
	}
	w = 0;
	memcpy(&w, p, len);
	return node_mix(h ^ w);
}

int node_table_new(const struct nfs_fsid *root_fsid, struct node_table **table)
{
	struct node_table *t = calloc(1, sizeof(*t));
	if (!t)
		return -ENOMEM;
	t->buckets = NODE_BUCKETS_MIN;
	t->next_id = NODE_ROOT_ID;
	t->by_id = calloc(t->buckets, sizeof(*t->by_id));
	t->by_fh = calloc(t->buckets, sizeof(*t->by_fh));
	t->fsids = calloc(1, sizeof(*t->fsids));
	if (!t->by_id || !t->by_fh || !t->fsids) {
		free(t->by_id);
		free(t->by_fh);
		free(t->fsids);
		free(t);
		return -ENOMEM;
	}
	t->fsids[0] = (struct node_fsid){.fsid = *root_fsid, .tag = 0};
	t->nfsids = 1;
	LIST_INIT(&t->open_nodes);
	pthread_mutex_init(&t->mutex, NULL);
	*table = t;
	return 0;
}

void node_table_free(struct node_table *table)
{
	if (!table)
		return;
	for (size_t i = 0; i < table->buckets; i++)
		for (struct node *node = table->by_id[i], *next; node; node = next) {
			next = node->id_next;
			free(node);
		}
	free(table->by_id);
	free(table->by_fh);
	free(table->fsids);
	pthread_mutex_destroy(&table->mutex);
	free(table);
}

static size_t id_bucket(const struct node_table *table, uint64_t id)
{
	return node_mix(id) & (table->buckets - 1);
}

static size_t fh_bucket(const struct node_table *table, const uint8_t *data, size_t len)
{
	return node_hash(data, len) & (table->buckets - 1);
}

/* Doubles the hash tables; without memory they just stay as they are. */
static void table_grow(struct node_table *table)
{
	size_t old = table->buckets;
	struct node **by_id = calloc(old * 2, sizeof(*by_id));
	struct node **by_fh = calloc(old * 2, sizeof(*by_fh));
	if (!by_id || !by_fh) {
		free(by_id);
		free(by_fh);
		return;
	}
	struct node **old_id = table->by_id;
	free(table->by_fh);
	table->by_id = by_id;
	table->by_fh = by_fh;
	table->buckets = old * 2;
	for (size_t i = 0; i < old; i++)
		for (struct node *node = old_id[i], *next; node; node = next) {
			next = node->id_next;
			size_t b = id_bucket(table, node->id);
			node->id_next = by_id[b];
			by_id[b] = node;
			b = fh_bucket(table, node->fh_data, node->fh_len);
			node->fh_next = by_fh[b];
			by_fh[b] = node;
		}
	free(old_id);
}

static struct node *table_lookup(struct node_table *table, uint64_t id)
{
	struct node *node = table->by_id[id_bucket(table, id)];
	while (node && node->id != id)
		node = node->id_next;
	return node;
}

static uint64_t table_ino(struct node_table *table, const struct nfs_fsid *fsid, uint64_t fileid)
{
	uint64_t tag = 0;
	unsigned i;
	for (i = 0; i < table->nfsids; i++)
		if (table->fsids[i].fsid.major == fsid->major &&
			table->fsids[i].fsid.minor == fsid->minor)
			return fileid ^ table->fsids[i].tag;
	/* A fixed function of the fsid, so that numbers are the same on the next mount; moved on
	 * only if another file system of this export has that tag. */
	for (uint64_t salt = 0; tag == 0; salt++) {
		tag = node_mix(fsid->major ^ node_mix(fsid->minor + salt)) >>
		      NODE_INO_TAG_SHIFT << NODE_INO_TAG_SHIFT;
		for (i = 0; i < table->nfsids; i++)
			if (table->fsids[i].tag == tag)
				tag = 0;
	}
	if (table->nfsids < NODE_FSIDS_MAX) {
		struct node_fsid *fsids =
			realloc(table->fsids, (table->nfsids + 1) * sizeof(*fsids));
		if (fsids) {
			table->fsids = fsids;
			fsids[table->nfsids++] = (struct node_fsid){.fsid = *fsid, .tag = tag};
		}
	}
	return fileid ^ tag;
}

uint64_t node_ino(struct node_table *table, const struct nfs_fsid *fsid, uint64_t fileid)
{
	pthread_mutex_lock(&table->mutex);
	uint64_t ino = table_ino(table, fsid, fileid);
	pthread_mutex_unlock(&table->mutex);
	return ino;
}

/* Objects are told apart by filehandle, type and fileid: a server that reuses a handle for
 * something else gets a new node, as the kernel would otherwise see an inode change its type. */
static struct node *table_find_fh(
	struct node_table *table, const struct nfs_fh *fh, uint64_t ino, uint32_t type)
{
	struct node *node = table->by_fh[fh_bucket(table, fh->data, fh->len)];
	while (node && !(node->fh_len == fh->len && memcmp(node->fh_data, fh->data, fh->len) == 0 &&
			       node->ino == ino && node->type == type))
		node = node->fh_next;
	return node;
}

static struct node *table_add(struct node_table *table, const struct nfs_fh *fh,
	const struct nfs_attr *attr, uint64_t ino)
{
	struct node *node = calloc(1, sizeof(*node) + fh->len);
	if (!node)
		return NULL;
	node->id = table->next_id++;
	node->ino = ino;
	node->fsid = attr->fsid;
	node->type = attr->type;
	node->fh_len = fh->len;
	memcpy(node->fh_data, fh->data, fh->len);
	if (table->count >= table->buckets)
		table_grow(table);
	size_t b = id_bucket(table, node->id);
	node->id_next = table->by_id[b];
	table->by_id[b] = node;
	b = fh_bucket(table, fh->data, fh->len);
	node->fh_next = table->by_fh[b];
	table->by_fh[b] = node;
	table->count++;
	return node;
}

static void table_remove(struct node_table *table, struct node *node)
{
	struct node **p = &table->by_id[id_bucket(table, node->id)];
	while (*p != node)
		p = &(*p)->id_next;
	*p = node->id_next;
	p = &table->by_fh[fh_bucket(table, node->fh_data, node->fh_len)];
	while (*p != node)
		p = &(*p)->fh_next;
	*p = node->fh_next;
	table->count--;
	free(node);
}

static void table_drop_unused(struct node_table *table, struct node *node)
{
	if (node->lookups == 0 && node->pins == 0 && node->id != NODE_ROOT_ID)
		table_remove(table, node);
}

struct node *node_get(
	struct node_table *table, const struct nfs_fh *fh, const struct nfs_attr *attr, bool lookup)
{
	pthread_mutex_lock(&table->mutex);
	uint64_t ino = table_ino(table, &attr->fsid, attr->fileid);
	struct node *node = table_find_fh(table, fh, ino, attr->type);
	if (!node)
		node = table_add(table, fh, attr, ino);
	if (node && lookup)
		node->lookups++;
	else if (node)
		node->pins++;
	pthread_mutex_unlock(&table->mutex);
	return node;
}

struct node *node_find(struct node_table *table, uint64_t id)
{
	pthread_mutex_lock(&table->mutex);
	struct node *node = table_lookup(table, id);
	if (node)
		node->pins++;
	pthread_mutex_unlock(&table->mutex);
	return node;
}

struct node *node_find_fh(struct node_table *table, const struct nfs_fh *fh)
{
	pthread_mutex_lock(&table->mutex);
	struct node *node = table->by_fh[fh_bucket(table, fh->data, fh->len)];
	while (node && !(node->fh_len == fh->len && memcmp(node->fh_data, fh->data, fh->len) == 0))
		node = node->fh_next;
	if (node)
		node->pins++;
	pthread_mutex_unlock(&table->mutex);
	return node;
}

struct node *node_pin(struct node_table *table, struct node *node)
{
	pthread_mutex_lock(&table->mutex);
	node->pins++;
	pthread_mutex_unlock(&table->mutex);
	return node;
}

void node_unpin(struct node_table *table, struct node *node)
{
	if (!node)
		return;
	pthread_mutex_lock(&table->mutex);
	node->pins--;
	table_drop_unused(table, node);
	pthread_mutex_unlock(&table->mutex);
}

void node_forget(struct node_table *table, uint64_t id, uint64_t lookups)
{
	struct nfs_fh fh;
	node_forget_delegated(table, id, lookups, &fh);
}

bool node_forget_delegated(
	struct node_table *table, uint64_t id, uint64_t lookups, struct nfs_fh *fh)
{
	bool last = false;
	pthread_mutex_lock(&table->mutex);
	struct node *node = table_lookup(table, id);
	if (node) {
		node->lookups -= lookups < node->lookups ? lookups : node->lookups;
		last = node->lookups == 0 && node->delegated;
		if (last)
			node_fh(node, fh);
		table_drop_unused(table, node);
	}
	pthread_mutex_unlock(&table->mutex);
	return last;
}

void node_set_name(struct node_table *table, struct node *node, uint64_t parent_id,
	const char *name, size_t len)
{
	uint32_t hash = (uint32_t)node_hash(name, len);
	pthread_mutex_lock(&table->mutex);
	node->parent_id = parent_id;
	node->name_hash = hash;
	pthread_mutex_unlock(&table->mutex);
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

bool node_note_attr(struct node_table *table, struct node *node, const struct nfs_attr *attr)
{
	if (!nfs_bitmap_has(&attr->have, FATTR4_CHANGE))
		return false;
	pthread_mutex_lock(&table->mutex);
	bool same = node->change_known && node->change == attr->change;
	node->hold_ms = same ? node->hold_ms * 2 : 0;
	node->change = attr->change;
	node->change_known = true;
	node_note_size(node, attr);
	bool stale = node->data == NODE_DATA_KNOWN     ? node->data_change != attr->change
		     : node->data == NODE_DATA_UNKNOWN ? !same
						       : false;
	if (stale)
		node->data = NODE_DATA_UNKNOWN;
	pthread_mutex_unlock(&table->mutex);
	return stale && node->type == NF4REG;
}

static enum node_cached node_opened_at(struct node *node, uint64_t change)
{
	bool attr = node->change_known && node->change == change;
	node->change = change;
	node->change_known = true;
	if (node->data == NODE_DATA_KNOWN && node->data_change == change && attr)
		return NODE_CACHED_FRESH;
	if (node->data != NODE_DATA_NONE) {
		node->data = NODE_DATA_UNKNOWN;
		return NODE_CACHED_STALE;
	}
	node->data = NODE_DATA_KNOWN;
	node->data_change = change;
	return attr ? NODE_CACHED_ATTR : NODE_CACHED_STALE;
}

enum node_cached node_note_open(struct node_table *table, struct node *node, uint64_t change)
{
	pthread_mutex_lock(&table->mutex);
	enum node_cached cached = node_opened_at(node, change);
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

bool node_note_local_open(
	struct node_table *table, struct node *node, uint64_t *change, enum node_cached *cached)
{
	pthread_mutex_lock(&table->mutex);
	bool known = node->change_known;
	*change = node->change;
	if (known)
		*cached = node_opened_at(node, *change);
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
	node->error = err;
	node->errors++;
	node->error_told = false;
	pthread_mutex_unlock(&table->mutex);
}

uint32_t node_error_mark(struct node_table *table, const struct node *node)
{
	pthread_mutex_lock(&table->mutex);
	uint32_t mark = node->errors - (node->errors > 0 && !node->error_told);
	pthread_mutex_unlock(&table->mutex);
	return mark;
}

int node_error_since(struct node_table *table, struct node *node, uint32_t *seen)
{
	pthread_mutex_lock(&table->mutex);
	int err = *seen != node->errors ? node->error : 0;
	*seen = node->errors;
	node->error_told = true;
	pthread_mutex_unlock(&table->mutex);
	return err;
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

uint64_t node_table_count(struct node_table *table)
{
	pthread_mutex_lock(&table->mutex);
	uint64_t count = table->count;
	pthread_mutex_unlock(&table->mutex);
	return count;
}
