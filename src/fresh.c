/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fresh.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "share.h"
#include "util/loop.h"

/* Objects that programs are at work with at the same time; a power of two. */
#define FRESH_ENTRIES 4096
/* So many places in a row may have one. */
#define FRESH_WAYS 4

struct fresh {
	uint64_t id;		     /* of the node, or 0 */
	uint64_t until;		     /* ns; 0: nothing is known */
	uint64_t put_at, dropped_at; /* ns */
	uint64_t since;		     /* ns; of files */
	struct nfs_attr attr;
};

struct fresh_table {
	struct share *share;
	pthread_mutex_t mutex;
	struct fresh *entries[FRESH_ENTRIES]; /* by node id; made when they are first needed */
	uint64_t lost_at;		      /* ns: the last that was known of any that gave way */
};

int fresh_table_new(struct share *share, struct fresh_table **table)
{
	struct fresh_table *t = calloc(1, sizeof(*t));
	if (!t)
		return -ENOMEM;
	t->share = share;
	pthread_mutex_init(&t->mutex, NULL);
	*table = t;
	return 0;
}

void fresh_table_free(struct fresh_table *table)
{
	if (!table)
		return;
	for (unsigned i = 0; i < FRESH_ENTRIES; i++)
		free(table->entries[i]);
	pthread_mutex_destroy(&table->mutex);
	free(table);
}

static struct fresh **fresh_way(struct fresh_table *table, const struct node *dir, unsigned way)
{
	return &table->entries[(dir->id + way) % FRESH_ENTRIES];
}

/* Under the mutex, as the next. NULL: none. */
static struct fresh *fresh_find(struct fresh_table *table, const struct node *dir)
{
	for (unsigned way = 0; way < FRESH_WAYS; way++) {
		struct fresh *fresh = *fresh_way(table, dir, way);
		if (fresh && fresh->id == dir->id)
			return fresh;
	}
	return NULL;
}

/* Takes the place of the one that is out of use first. NULL without memory. */
static struct fresh *fresh_of(struct fresh_table *table, const struct node *dir)
{
	struct fresh *fresh = fresh_find(table, dir);
	if (fresh)
		return fresh;
	struct fresh **place = fresh_way(table, dir, 0);
	for (unsigned way = 1; *place && way < FRESH_WAYS; way++) {
		struct fresh **other = fresh_way(table, dir, way);
		if (!*other || (*other)->until < (*place)->until)
			place = other;
	}
	fresh = *place ? *place : calloc(1, sizeof(*fresh));
	if (!fresh)
		return NULL;
	uint64_t known_at = fresh->put_at > fresh->dropped_at ? fresh->put_at : fresh->dropped_at;
	if (known_at > table->lost_at)
		table->lost_at = known_at;
	*fresh = (struct fresh){.id = dir->id, .dropped_at = table->lost_at};
	*place = fresh;
	return fresh;
}

/* Under the mutex. */
static void fresh_set_dir(
	struct fresh_table *table, struct fresh *fresh, const struct nfs_attr *attr, uint64_t since)
{
	uint64_t now = loop_now(worker_self()->loop);
	uint64_t until = since + table->share->cache.dir_min_ms * UINT64_C(1000000);
	int64_t newer = fresh ? (int64_t)(attr->change - fresh->attr.change) : 0;
	/* Of two that were under way together the later one cannot be told where a server's clock
	 * has moved for neither. */
	if (fresh && since < fresh->put_at && newer == 0)
		fresh->until = 0;
	else if (fresh && since >= fresh->dropped_at && (newer >= 0 || fresh->until == 0)) {
		fresh->until = until;
		fresh->put_at = now;
		fresh->attr = *attr;
	}
}

void fresh_put(struct fresh_table *table, const struct node *dir, const struct nfs_attr *attr,
	uint64_t since)
{
	pthread_mutex_lock(&table->mutex);
	fresh_set_dir(table, fresh_of(table, dir), attr, since);
	pthread_mutex_unlock(&table->mutex);
}

void fresh_put_listed(struct fresh_table *table, const struct node *dir,
	const struct nfs_attr *attr, uint64_t since)
{
	pthread_mutex_lock(&table->mutex);
	struct fresh *fresh = fresh_of(table, dir);
	if (fresh && since >= fresh->put_at)
		fresh_set_dir(table, fresh, attr, since);
	pthread_mutex_unlock(&table->mutex);
}

void fresh_put_file(struct fresh_table *table, const struct node *file, const struct nfs_attr *attr,
	uint64_t since)
{
	uint64_t until = since + table->share->cache.reg_min_ms * UINT64_C(1000000);
	if (until <= loop_now(worker_self()->loop))
		return;
	pthread_mutex_lock(&table->mutex);
	struct fresh *fresh = fresh_of(table, file);
	if (fresh && since >= fresh->dropped_at && since >= fresh->since) {
		fresh->until = until;
		fresh->since = since;
		fresh->attr = *attr;
	}
	pthread_mutex_unlock(&table->mutex);
}

bool fresh_get_file(struct fresh_table *table, const struct node *file, struct nfs_attr *attr,
	uint64_t *since, uint64_t *until)
{
	bool found = false;
	pthread_mutex_lock(&table->mutex);
	const struct fresh *fresh = fresh_find(table, file);
	if (fresh && fresh->until > loop_clock()) {
		*attr = fresh->attr;
		*since = fresh->since;
		*until = fresh->until;
		found = true;
	}
	pthread_mutex_unlock(&table->mutex);
	return found;
}

void fresh_drop(struct fresh_table *table, const struct node *dir)
{
	pthread_mutex_lock(&table->mutex);
	struct fresh *fresh = fresh_of(table, dir);
	if (fresh) {
		fresh->until = 0;
		fresh->dropped_at = loop_clock();
	}
	pthread_mutex_unlock(&table->mutex);
}

void fresh_drop_all(struct fresh_table *table)
{
	uint64_t now = loop_clock();
	pthread_mutex_lock(&table->mutex);
	for (unsigned i = 0; i < FRESH_ENTRIES; i++)
		if (table->entries[i]) {
			table->entries[i]->until = 0;
			table->entries[i]->dropped_at = now;
		}
	pthread_mutex_unlock(&table->mutex);
}

bool fresh_get(struct fresh_table *table, struct node *dir, struct nfs_attr *attr, double *left)
{
	uint64_t now = loop_clock();
	bool found = false;
	pthread_mutex_lock(&table->mutex);
	const struct fresh *fresh = fresh_find(table, dir);
	if (fresh && fresh->until > now) {
		*attr = fresh->attr;
		*left = (double)(fresh->until - now) / 1e9;
		found = true;
	}
	pthread_mutex_unlock(&table->mutex);
	return found && node_is_at(table->share->nodes, dir, attr->change);
}
