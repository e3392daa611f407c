/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "node.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "node_priv.h"

#define NODE_BUCKETS_MIN 256
/* Tags keep the low 40 bits of a fileid free: see node_ino. */
#define NODE_INO_TAG_SHIFT 40

static uint64_t node_mix(uint64_t x)
{
	x ^= x >> 33;
	x *= UINT64_C(0xff51afd7ed558ccd);
	x ^= x >> 33;
	x *= UINT64_C(0xc4ceb9fe1a85ec53);
	return x ^ x >> 33;
}

uint64_t node_hash(const void *data, size_t len)
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
	LIST_INIT(&t->open_files);
	pthread_mutex_init(&t->mutex, NULL);
	*table = t;
	return 0;
}

static void node_free(struct node *node)
{
	free(node->file);
	free(node);
}

void node_table_free(struct node_table *table)
{
	if (!table)
		return;
	for (size_t i = 0; i < table->buckets; i++)
		for (struct node *node = table->by_id[i], *next; node; node = next) {
			next = node->id_next;
			node_free(node);
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

struct node *table_lookup(struct node_table *table, uint64_t id)
{
	struct node *node = table->by_id[id_bucket(table, id)];
	while (node && node->id != id)
		node = node->id_next;
	return node;
}

/* A fixed function of the fsid, so that numbers are the same on the next mount; moved on only if
 * another file system of this export has that tag. */
static uint64_t table_new_tag(const struct node_table *table, const struct nfs_fsid *fsid)
{
	uint64_t tag = 0;
	for (uint64_t salt = 0; tag == 0; salt++) {
		tag = node_mix(fsid->major ^ node_mix(fsid->minor + salt)) >>
		      NODE_INO_TAG_SHIFT << NODE_INO_TAG_SHIFT;
		for (unsigned i = 0; i < table->nfsids; i++)
			if (table->fsids[i].tag == tag)
				tag = 0;
	}
	return tag;
}

static bool table_add_fsid(struct node_table *table, const struct nfs_fsid *fsid)
{
	struct node_fsid *fsids =
		table->nfsids < NODE_FSIDS_MAX
			? realloc(table->fsids, (table->nfsids + 1) * sizeof(*fsids))
			: NULL;
	if (!fsids)
		return false;
	table->fsids = fsids;
	fsids[table->nfsids] = (struct node_fsid){.fsid = *fsid, .tag = table_new_tag(table, fsid)};
	table->nfsids++;
	return true;
}

static bool table_is_fsid(
	const struct node_table *table, uint16_t place, const struct nfs_fsid *fsid)
{
	const struct nfs_fsid *there = &table->fsids[place].fsid;
	return there->major == fsid->major && there->minor == fsid->minor;
}

/* Its place in table->fsids. */
static uint16_t table_fsid(struct node_table *table, const struct nfs_fsid *fsid)
{
	uint32_t place = table->fsid;
	if (!table_is_fsid(table, table->fsid, fsid))
		for (place = 0; place < table->nfsids; place++)
			if (table_is_fsid(table, (uint16_t)place, fsid))
				break;
	if (place == table->nfsids && !table_add_fsid(table, fsid))
		place--;
	table->fsid = (uint16_t)place;
	return table->fsid;
}

void node_table_set_fsid(struct node_table *table, const struct nfs_fsid *root_fsid)
{
	pthread_mutex_lock(&table->mutex);
	bool known = false;
	for (uint32_t i = 0; i < table->nfsids; i++)
		known |= table_is_fsid(table, (uint16_t)i, root_fsid);
	if (!known)
		table->fsids[0].fsid = *root_fsid;
	pthread_mutex_unlock(&table->mutex);
}

uint64_t node_ino(struct node_table *table, const struct node *node, uint64_t fileid)
{
	pthread_mutex_lock(&table->mutex);
	uint64_t ino = fileid ^ table->fsids[node->fsid].tag;
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

static void table_keep_node(struct node_table *table, struct node *node)
{
	const struct nfs_fsid fsid = table->fsids[node->fsid].fsid;
	struct record_node record = {.ino = node->ino,
		.fsid_major = fsid.major,
		.fsid_minor = fsid.minor,
		.type = node->type,
		.fh_len = node->fh_len};
	const uint64_t words[STATE_FILE_WORDS] = {
		[RECORD_NODE_LOOKUPS] = node->lookups,
		[RECORD_NODE_PARENT] = node->parent_id,
		[RECORD_NODE_NAME] = node->name_hash,
		[RECORD_NODE_ERROR] = node_error_word(node),
	};
	memcpy(record.fh, node->fh_data, node->fh_len);
	node->record = state_file_put(table->keep, 0, RECORD_NODE, node->id, words, &record,
		offsetof(struct record_node, fh) + node->fh_len);
}

static void table_insert(struct node_table *table, struct node *node)
{
	if (table->count >= table->buckets)
		table_grow(table);
	size_t b = id_bucket(table, node->id);
	node->id_next = table->by_id[b];
	table->by_id[b] = node;
	b = fh_bucket(table, node->fh_data, node->fh_len);
	node->fh_next = table->by_fh[b];
	table->by_fh[b] = node;
	table->count++;
}

static struct node *node_new(const struct nfs_fh *fh, uint32_t type)
{
	struct node *node = calloc(1, offsetof(struct node, fh_data) + fh->len);
	if (!node)
		return NULL;
	node->type = (uint8_t)type;
	node->fh_len = fh->len;
	memcpy(node->fh_data, fh->data, fh->len);
	return node;
}

static struct node *table_add(struct node_table *table, const struct nfs_fh *fh, uint32_t type,
	uint16_t fsid, uint64_t ino)
{
	struct node *node = node_new(fh, type);
	if (!node)
		return NULL;
	node->id = table->next_id++;
	node->ino = ino;
	node->fsid = fsid;
	table_insert(table, node);
	if (table->keep)
		table_keep_node(table, node);
	return node;
}

void node_table_keep(struct node_table *table, struct state_file *file)
{
	pthread_mutex_lock(&table->mutex);
	table->keep = file;
	for (size_t i = 0; file && i < table->buckets; i++)
		for (struct node *node = table->by_id[i]; node; node = node->id_next)
			if (!node->record)
				table_keep_node(table, node);
	pthread_mutex_unlock(&table->mutex);
}

void node_table_begin(struct node_table *table, uint64_t id)
{
	table->next_id = id;
}

static struct node *node_of_past(const struct node_past *past)
{
	struct node *node = node_new(&past->fh, past->type);
	if (!node)
		return NULL;
	node->id = past->id;
	node->ino = past->ino;
	node->lookups = past->lookups;
	node->parent_id = past->parent_id;
	node->name_hash = past->name_hash;
	/* Pages that nothing is known of any more. */
	node->data = NODE_DATA_UNKNOWN;
	node->record = past->record;
	node->pins = 1;
	if (past->errors > 0) {
		struct node_file *file = table_need_file(node);
		if (!file) {
			node_free(node);
			return NULL;
		}
		file->error = past->error;
		file->errors = past->errors;
		file->error_told = past->error_told;
	}
	return node;
}

struct node *node_restore(struct node_table *table, const struct node_past *past)
{
	struct node *node = NULL;
	pthread_mutex_lock(&table->mutex);
	if (!table_lookup(table, past->id) && (node = node_of_past(past))) {
		node->fsid = table_fsid(table, &past->fsid);
		table_insert(table, node);
	}
	pthread_mutex_unlock(&table->mutex);
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
	if (table->keep)
		state_file_drop(table->keep, node->record);
	node_free(node);
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
	uint16_t fsid = table_fsid(table, &attr->fsid);
	uint64_t ino = attr->fileid ^ table->fsids[fsid].tag;
	struct node *node = table_find_fh(table, fh, ino, attr->type);
	if (!node)
		node = table_add(table, fh, attr->type, fsid, ino);
	if (node && lookup)
		table_note(table, node, RECORD_NODE_LOOKUPS, ++node->lookups);
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

struct node *node_pin(struct node *node)
{
	atomic_fetch_add_explicit(&node->pins, 1, memory_order_relaxed);
	return node;
}

/* False: it is the last one, which takes the mutex. */
static bool node_unpin_shared(struct node *node)
{
	uint32_t pins = atomic_load_explicit(&node->pins, memory_order_relaxed);
	while (pins > 1)
		if (atomic_compare_exchange_weak_explicit(&node->pins, &pins, pins - 1,
			    memory_order_release, memory_order_relaxed))
			return true;
	return false;
}

void node_unpin(struct node_table *table, struct node *node)
{
	if (!node || node_unpin_shared(node))
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
		table_note(table, node, RECORD_NODE_LOOKUPS, node->lookups);
		last = node->lookups == 0 && node->delegated;
		if (last)
			node_fh(node, fh);
		table_drop_unused(table, node);
	}
	pthread_mutex_unlock(&table->mutex);
	return last;
}

uint64_t *node_ids(struct node_table *table, size_t *count)
{
	pthread_mutex_lock(&table->mutex);
	uint64_t *ids = malloc((table->count + 1) * sizeof(*ids));
	*count = 0;
	for (size_t b = 0; ids && b < table->buckets; b++)
		for (const struct node *node = table->by_id[b]; node; node = node->id_next)
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
