/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "whole.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "dirhold.h"
#include "share.h"
#include "util/loop.h"
#include "util/ways.h"

/* Directories known at the same time. */
#define WHOLE_DIRS 4096
/* What all names together may take, bytes. */
#define WHOLE_BYTES (4u << 20)
#define SET_FIRST   16

/* Hashes, with open addressing; 0 is a free place. */
struct name_set {
	uint64_t *places;
	size_t cap, count; /* cap: a power of two, or 0 */
	bool odd;	   /* one of the names is */
};

struct whole {
	uint64_t id;	/* of the node; 0: none */
	uint64_t until; /* ns */
	uint64_t change;
	bool change_known;
	bool held; /* while the delegation of the directory stands */
	struct name_set names;
};

/* The one gives way that is out of use first. */
static const struct ways whole_ways = WAYS_INIT(struct whole, WHOLE_DIRS, id, until);

struct whole_table {
	struct share *share;
	pthread_mutex_t mutex;
	struct whole dirs[WHOLE_DIRS]; /* by node id */
	/* Moves with each name that is made in a directory of that place: a listing that was under
	 * way may lack it. */
	uint64_t adds[WHOLE_DIRS];
	size_t bytes; /* of names */
};

struct whole_reading {
	uint64_t since, adds;
	struct name_set names;
};

int whole_table_new(struct share *share, struct whole_table **table)
{
	struct whole_table *t = calloc(1, sizeof(*t));
	if (!t)
		return -ENOMEM;
	t->share = share;
	pthread_mutex_init(&t->mutex, NULL);
	*table = t;
	return 0;
}

void whole_table_free(struct whole_table *table)
{
	if (!table)
		return;
	for (unsigned i = 0; i < WHOLE_DIRS; i++)
		free(table->dirs[i].names.places);
	pthread_mutex_destroy(&table->mutex);
	free(table);
}

/* File systems may fold the case of letters, normalize what is not ASCII, or have short names. */
static bool name_is_odd(const char *name, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (name[i] < ' ' || name[i] > '}')
			return true;
	return len == 0 || name[len - 1] == '.' || name[len - 1] == ' ';
}

/* FNV-1a of the name in lower case. */
static uint64_t name_hash(const char *name, size_t len)
{
	uint64_t hash = UINT64_C(0xcbf29ce484222325);
	for (size_t i = 0; i < len; i++) {
		uint8_t c = (uint8_t)(name[i] >= 'A' && name[i] <= 'Z' ? name[i] | 0x20 : name[i]);
		hash = (hash ^ c) * UINT64_C(0x100000001b3);
	}
	hash ^= hash >> 32;
	return hash ? hash : 1;
}

static size_t set_bytes(const struct name_set *set)
{
	return set->cap * sizeof(*set->places);
}

static uint64_t *set_place(const struct name_set *set, uint64_t hash)
{
	size_t i = hash & (set->cap - 1);
	while (set->places[i] != 0 && set->places[i] != hash)
		i = (i + 1) & (set->cap - 1);
	return &set->places[i];
}

static bool set_grow(struct name_set *set)
{
	struct name_set more = {
		.cap = set->cap ? set->cap * 2 : SET_FIRST, .count = set->count, .odd = set->odd};
	more.places = calloc(more.cap, sizeof(*more.places));
	if (!more.places)
		return false;
	for (size_t i = 0; i < set->cap; i++)
		if (set->places[i])
			*set_place(&more, set->places[i]) = set->places[i];
	free(set->places);
	*set = more;
	return true;
}

static bool set_add(struct name_set *set, const char *name, size_t len)
{
	if (set->count >= WHOLE_NAMES_MAX)
		return false;
	if (set->count * 2 >= set->cap && !set_grow(set))
		return false;
	uint64_t hash = name_hash(name, len), *place = set_place(set, hash);
	set->count += *place == 0;
	set->odd |= name_is_odd(name, len);
	*place = hash;
	return true;
}

static bool set_lacks(const struct name_set *set, const char *name)
{
	size_t len = strlen(name);
	if (set->odd || name_is_odd(name, len))
		return false;
	return set->cap == 0 || *set_place(set, name_hash(name, len)) == 0;
}

static unsigned whole_index(const struct node *dir)
{
	return dir->id % WHOLE_DIRS;
}

static struct whole *whole_find(struct whole_table *table, const struct node *dir)
{
	return ways_find(&whole_ways, table->dirs, dir->id);
}

static void whole_clear(struct whole_table *table, struct whole *whole)
{
	table->bytes -= set_bytes(&whole->names);
	free(whole->names.places);
	*whole = (struct whole){0};
}

/* Under the mutex. What is out of use goes first. */
static bool whole_has_room(struct whole_table *table, size_t bytes)
{
	uint64_t now = loop_clock();
	for (unsigned i = 0; table->bytes + bytes > WHOLE_BYTES && i < WHOLE_DIRS; i++)
		if (table->dirs[i].until <= now)
			whole_clear(table, &table->dirs[i]);
	return table->bytes + bytes <= WHOLE_BYTES;
}

static bool whole_wanted(const struct whole_table *table)
{
	const struct share *share = table->share;
	return share->cache.negative && share->cache.dir_min_ms > 0;
}

static uint64_t whole_until(const struct whole_table *table, uint64_t since)
{
	return since + table->share->cache.dir_min_ms * UINT64_C(1000000);
}

/* Under the mutex. */
static struct whole *whole_set(struct whole_table *table, const struct node *dir, uint64_t since,
	struct name_set names_take)
{
	struct whole *whole = ways_place(&whole_ways, table->dirs, dir->id);
	whole_clear(table, whole);
	whole->id = dir->id;
	whole->until = whole_until(table, since);
	whole->names = names_take;
	table->bytes += set_bytes(&names_take);
	return whole;
}

void whole_made(struct whole_table *table, const struct node *dir, uint64_t since, uint64_t change)
{
	struct name_set none = {0};
	if (!whole_wanted(table))
		return;
	pthread_mutex_lock(&table->mutex);
	/* The kernel can have named it to nobody yet. */
	struct whole *whole = whole_set(table, dir, since, none);
	whole->change = change;
	whole->change_known = true;
	pthread_mutex_unlock(&table->mutex);
}

void whole_add(struct whole_table *table, const struct node *dir, const char *name)
{
	pthread_mutex_lock(&table->mutex);
	struct whole *whole = whole_find(table, dir);
	table->adds[whole_index(dir)]++;
	if (whole) {
		size_t before = set_bytes(&whole->names);
		bool added = set_add(&whole->names, name, strlen(name));
		table->bytes += set_bytes(&whole->names) - before;
		if (!added || !whole_has_room(table, 0))
			whole_clear(table, whole);
	}
	pthread_mutex_unlock(&table->mutex);
}

void whole_changed(struct whole_table *table, const struct node *dir, uint64_t since,
	const struct nfs_change_info *cinfo)
{
	pthread_mutex_lock(&table->mutex);
	struct whole *whole = whole_find(table, dir);
	/* Nobody else has changed it since the last of ours, if the server says so for certain. */
	if (whole && whole->change_known && cinfo->atomic && cinfo->before == whole->change) {
		whole->change = cinfo->after;
		whole->until = whole_until(table, since);
	} else if (whole) {
		whole->change_known = false;
	}
	pthread_mutex_unlock(&table->mutex);
}

bool whole_lacks(struct whole_table *table, const struct node *dir, const char *name, double *left)
{
	uint64_t now = loop_clock();
	bool lacks = false, young = false;
	pthread_mutex_lock(&table->mutex);
	struct whole *whole = whole_find(table, dir);
	if (whole && (whole->until > now || whole->held)) {
		lacks = set_lacks(&whole->names, name);
		young = whole->until > now;
		*left = young ? (double)(whole->until - now) / 1e9
			      : table->share->cache.dir_min_ms / 1000.0;
	}
	pthread_mutex_unlock(&table->mutex);
	if (!lacks || young)
		return lacks;
	return dirhold_stands(table->share, dir);
}

void whole_drop(struct whole_table *table, const struct node *dir)
{
	pthread_mutex_lock(&table->mutex);
	struct whole *whole = whole_find(table, dir);
	if (whole)
		whole_clear(table, whole);
	table->adds[whole_index(dir)]++;
	pthread_mutex_unlock(&table->mutex);
}

void whole_drop_all(struct whole_table *table)
{
	pthread_mutex_lock(&table->mutex);
	for (unsigned i = 0; i < WHOLE_DIRS; i++) {
		whole_clear(table, &table->dirs[i]);
		table->adds[i]++;
	}
	pthread_mutex_unlock(&table->mutex);
}

struct whole_reading *whole_read_begin(
	struct whole_table *table, const struct node *dir, uint64_t since)
{
	struct whole_reading *reading = whole_wanted(table) ? calloc(1, sizeof(*reading)) : NULL;
	if (!reading)
		return NULL;
	pthread_mutex_lock(&table->mutex);
	reading->since = since;
	reading->adds = table->adds[whole_index(dir)];
	pthread_mutex_unlock(&table->mutex);
	return reading;
}

void whole_read_since(struct whole_reading *reading, uint64_t since)
{
	if (reading)
		reading->since = since;
}

bool whole_read_name(struct whole_reading *reading, const char *name, size_t len)
{
	bool added = set_add(&reading->names, name, len);
	if (!added)
		whole_reading_free(reading);
	return added;
}

bool whole_read_lacks(struct whole_table *table, const struct node *dir,
	const struct whole_reading *reading, const char *name)
{
	pthread_mutex_lock(&table->mutex);
	bool current = reading->adds == table->adds[whole_index(dir)];
	pthread_mutex_unlock(&table->mutex);
	return current && set_lacks(&reading->names, name);
}

void whole_read_end(struct whole_table *table, const struct node *dir,
	struct whole_reading *reading_take, bool held)
{
	pthread_mutex_lock(&table->mutex);
	const struct whole *old = whole_find(table, dir);
	bool worse = old && old->held && !held;
	if (!worse && reading_take->adds == table->adds[whole_index(dir)] &&
		whole_has_room(table, set_bytes(&reading_take->names))) {
		whole_set(table, dir, reading_take->since, reading_take->names)->held = held;
		reading_take->names = (struct name_set){0};
	}
	pthread_mutex_unlock(&table->mutex);
	whole_reading_free(reading_take);
}

void whole_reading_free(struct whole_reading *reading)
{
	if (!reading)
		return;
	free(reading->names.places);
	free(reading);
}
