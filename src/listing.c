/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "listing_priv.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "changes.h"
#include "share.h"
#include "siblings.h"
#include "util/loop.h"

/* Directories at the same time; a power of two. */
#define LISTING_DIRS 256
/* So many places in a row may have one. */
#define LISTING_WAYS 4
/* LOOKUPs after which a directory is read, and what that can grow to. */
#define LISTING_AFTER	  2
#define LISTING_AFTER_MAX 64
/* For so long a directory is not delegated again. */
#define LISTING_ASK_PAUSE_NS UINT64_C(30000000000)
/* Names that pay for a reading. */
#define LISTING_PAYS 4

/* What is known of one directory. */
struct listing_dir {
	struct nfs_fh fh;     /* of length 0: none */
	uint64_t ask_after;   /* ns: for a delegation */
	uint64_t missed_from; /* ns: when `missed` began */
	unsigned missed, after, readings, served;
	bool found; /* by a listing of its parent */
	bool reading;
	struct listing *listing;
};

struct listing_table {
	struct share *share;
	pthread_mutex_t mutex;
	struct listing_dir dirs[LISTING_DIRS]; /* by filehandle */
	size_t bytes;
};

int listing_table_new(struct share *share, struct listing_table **table)
{
	struct listing_table *t = calloc(1, sizeof(*t));
	if (!t)
		return -ENOMEM;
	t->share = share;
	pthread_mutex_init(&t->mutex, NULL);
	*table = t;
	return 0;
}

/* Under the mutex, as what follows. */
static void dir_drop(struct listing_table *table, struct listing_dir *dir)
{
	if (!dir->listing)
		return;
	table->bytes -= listing_bytes(dir->listing);
	listing_unref(dir->listing);
	dir->listing = NULL;
}

/* NULL: nothing is known of it. */
static struct listing_dir *dir_find(struct listing_table *table, const struct nfs_fh *fh)
{
	uint32_t place = changes_object(fh->data, fh->len);
	for (unsigned way = 0; way < LISTING_WAYS; way++) {
		struct listing_dir *dir = &table->dirs[(place + way) % LISTING_DIRS];
		if (nfs_fh_equal(&dir->fh, fh))
			return dir;
	}
	return NULL;
}

static uint64_t dir_until(const struct listing_dir *dir)
{
	return dir->fh.len == 0 ? 0 : dir->listing ? dir->listing->until : 1;
}

/* Its place, for which another gives way: one without a listing, or with the oldest. */
static struct listing_dir *dir_of(struct listing_table *table, const struct nfs_fh *fh)
{
	struct listing_dir *dir = dir_find(table, fh);
	uint32_t place = changes_object(fh->data, fh->len);
	if (dir)
		return dir;
	dir = &table->dirs[place % LISTING_DIRS];
	for (unsigned way = 1; way < LISTING_WAYS; way++) {
		struct listing_dir *other = &table->dirs[(place + way) % LISTING_DIRS];
		if (dir_until(other) < dir_until(dir))
			dir = other;
	}
	dir_drop(table, dir);
	*dir = (struct listing_dir){.fh = *fh, .after = LISTING_AFTER};
	return dir;
}

/* NULL: none of which the names may be believed. */
static struct listing *dir_names(struct listing_table *table, const struct nfs_fh *fh)
{
	struct listing_dir *dir = dir_find(table, fh);
	struct listing *listing = dir ? dir->listing : NULL;
	if (listing && ((!listing->held && listing->until <= loop_clock()) ||
			       !changes_none(table->share->changes,
				       changes_object(fh->data, fh->len), listing->since))) {
		dir_drop(table, dir);
		listing = NULL;
	}
	return listing;
}

/* The same of one whose attributes may be, too. */
static struct listing *dir_listing(struct listing_table *table, const struct nfs_fh *fh)
{
	struct listing *listing = dir_names(table, fh);
	return listing && listing->until > loop_clock() ? listing : NULL;
}

void listing_drop(struct listing_table *table, const struct nfs_fh *fh)
{
	pthread_mutex_lock(&table->mutex);
	struct listing_dir *dir = dir_find(table, fh);
	if (dir)
		dir_drop(table, dir);
	pthread_mutex_unlock(&table->mutex);
}

void listing_drop_all(struct listing_table *table)
{
	pthread_mutex_lock(&table->mutex);
	for (unsigned i = 0; i < LISTING_DIRS; i++)
		dir_drop(table, &table->dirs[i]);
	pthread_mutex_unlock(&table->mutex);
}

void listing_table_free(struct listing_table *table)
{
	if (!table)
		return;
	listing_drop_all(table);
	pthread_mutex_destroy(&table->mutex);
	free(table);
}

/* Names or attributes may be such as are not to be trusted at all. */
uint64_t listing_time(const struct listing_table *table)
{
	const struct cache_policy *cache = &table->share->cache;
	uint32_t ms = cache->reg_min_ms < cache->dir_min_ms ? cache->reg_min_ms : cache->dir_min_ms;
	return cache->positive ? ms * UINT64_C(1000000) : 0;
}

void listing_missed(struct listing_table *table, const struct nfs_fh *fh)
{
	uint64_t now = loop_clock();
	pthread_mutex_lock(&table->mutex);
	struct listing_dir *dir = dir_of(table, fh);
	if (now - dir->missed_from > listing_time(table)) {
		dir->missed_from = now;
		dir->missed = 0;
	}
	dir->missed++;
	pthread_mutex_unlock(&table->mutex);
}

void listing_found_dir(struct listing_table *table, const struct nfs_fh *fh)
{
	pthread_mutex_lock(&table->mutex);
	struct listing_dir *dir = dir_of(table, fh);
	dir->found = dir->after <= LISTING_AFTER;
	pthread_mutex_unlock(&table->mutex);
}

/* This LOOKUP is one more than those that have missed. */
static bool dir_is_wanted(struct listing_table *table, const struct nfs_fh *fh, bool delegable)
{
	struct listing_dir *dir = dir_of(table, fh);
	const struct listing *old = dir_listing(table, fh);
	uint64_t now = loop_clock();
	bool better = old && delegable && old->res.eof && !old->held && now >= dir->ask_after;
	if (dir->reading || (old && !better))
		return false;
	if (now - dir->missed_from > listing_time(table))
		dir->missed = 0;
	if (!better && !dir->found && dir->missed + 1 < dir->after)
		return false;
	dir->reading = true;
	dir->found = false;
	return true;
}

static void listing_want(const struct listing_table *table, struct nfs_bitmap *want)
{
	*want = table->share->want;
	nfs_bitmap_set(want, FATTR4_FILEHANDLE);
	nfs_bitmap_set(want, FATTR4_TYPE);
	nfs_bitmap_set(want, FATTR4_RDATTR_ERROR);
	nfs_bitmap_set(want, FATTR4_FILEID);
	nfs_bitmap_set(want, FATTR4_MOUNTED_ON_FILEID);
}

static struct listing *listing_new(const struct listing_table *table)
{
	struct listing *listing = calloc(1, sizeof(*listing));
	uint32_t most = table->share->rsize;
	if (!listing)
		return NULL;
	listing->res.cap = most < LISTING_BLOCK ? most : LISTING_BLOCK;
	listing->res.data = malloc(listing->res.cap);
	if (!listing->res.data) {
		free(listing);
		return NULL;
	}
	atomic_init(&listing->refs, 1);
	listing->since = loop_clock();
	listing->until = listing->since + listing_time(table);
	return listing;
}

struct listing *listing_begin(struct listing_table *table, const struct nfs_fh *fh, bool delegable)
{
	if (listing_time(table) == 0)
		return NULL;
	pthread_mutex_lock(&table->mutex);
	bool wanted = dir_is_wanted(table, fh, delegable);
	pthread_mutex_unlock(&table->mutex);
	struct listing *listing = wanted ? listing_new(table) : NULL;
	if (wanted && !listing)
		listing_fail(table, fh, NULL);
	return listing;
}

/*
 * May it still be told as a list? Who reads a directory again, as rm(1) does to see whether it is
 * empty, is told the same only for as long as the kernel would (opendir_cache).
 */
static bool listing_tells(const struct listing *listing)
{
	uint64_t trust = listing->until - listing->since;
	return !(listing->along && listing->told) || loop_clock() <= listing->since + trust / 2;
}

struct listing *listing_begin_along(
	struct listing_table *table, const struct nfs_fh *fh, uint64_t parent_id)
{
	pthread_mutex_lock(&table->mutex);
	const struct listing_dir *dir = dir_find(table, fh);
	const struct listing *old = dir_listing(table, fh);
	bool known = (dir && dir->reading) || (old && listing_tells(old));
	pthread_mutex_unlock(&table->mutex);
	struct listing *listing = known ? NULL : listing_new(table);
	if (listing) {
		listing->along = true;
		listing->ahead_of = parent_id;
	}
	return listing;
}

void listing_read(
	const struct listing_table *table, struct listing *listing, struct nfs_compound *c)
{
	static const uint8_t verifier[NFS4_VERIFIER_SIZE];
	uint32_t block = (uint32_t)listing->res.cap;
	struct nfs_bitmap want;
	listing_want(table, &want);
	nfs_op_readdir(c, 0, verifier, block, block, &want, &listing->res);
}

/* Under the mutex. What is out of date goes. */
static bool table_has_room(struct listing_table *table, size_t bytes)
{
	uint64_t now = loop_clock();
	for (unsigned i = 0; table->bytes + bytes > LISTING_MAX && i < LISTING_DIRS; i++)
		if (table->dirs[i].listing && table->dirs[i].listing->until <= now)
			dir_drop(table, &table->dirs[i]);
	return table->bytes + bytes <= LISTING_MAX;
}

/* After a reading that has served too few the next one has to wait for more. */
static void dir_judge(struct listing_dir *dir)
{
	if (dir->readings++ == 0 || dir->served >= LISTING_PAYS)
		dir->after = LISTING_AFTER;
	else if (dir->after < LISTING_AFTER_MAX)
		dir->after *= 2;
	dir->served = 0;
}

void listing_keep(struct listing_table *table, const struct nfs_fh *fh,
	struct listing *listing_take, bool held)
{
	listing_take->held = held;
	uint8_t *data = realloc(listing_take->res.data, listing_take->res.len + 1);
	if (data) {
		listing_take->res.data = data;
		listing_take->res.cap = listing_take->res.len + 1;
	}
	if (!listing_index(listing_take)) {
		listing_fail(table, fh, listing_take);
		return;
	}
	pthread_mutex_lock(&table->mutex);
	struct listing_dir *dir = dir_of(table, fh);
	if (!listing_take->along) {
		dir_judge(dir);
		dir->reading = false;
		dir->missed = 0;
	}
	dir_drop(table, dir);
	if (table_has_room(table, listing_bytes(listing_take))) {
		table->bytes += listing_bytes(listing_take);
		dir->listing = listing_take;
		listing_take = NULL;
	}
	pthread_mutex_unlock(&table->mutex);
	listing_unref(listing_take);
}

void listing_keep_read(struct listing_table *table, const struct nfs_fh *fh,
	const struct nfs_readdir_res *res, uint64_t since, bool held)
{
	uint64_t until = since + listing_time(table);
	if (until <= loop_clock() || res->len > LISTING_BLOCK)
		return;
	struct listing *listing = calloc(1, sizeof(*listing));
	if (!listing)
		return;
	atomic_init(&listing->refs, 1);
	listing->since = since;
	listing->until = until;
	listing->along = listing->told = true;
	listing->res = *res;
	listing->res.cap = res->len + 1;
	listing->res.data = malloc(listing->res.cap);
	if (!listing->res.data) {
		free(listing);
		return;
	}
	memcpy(listing->res.data, res->data, res->len);
	listing_keep(table, fh, listing, held);
}

void listing_fail(
	struct listing_table *table, const struct nfs_fh *fh, struct listing *listing_take)
{
	if (!listing_take || !listing_take->along) {
		pthread_mutex_lock(&table->mutex);
		struct listing_dir *dir = dir_of(table, fh);
		dir->reading = false;
		dir->missed = 0;
		dir->after = LISTING_AFTER_MAX;
		pthread_mutex_unlock(&table->mutex);
	}
	listing_unref(listing_take);
}

void listing_tell_dirs(struct listing_table *table, const struct nfs_fh *fh, uint64_t dir_id)
{
	struct siblings_table *siblings = table->share->siblings;
	struct nfs_dirent dirent;
	size_t pos = 0;
	pthread_mutex_lock(&table->mutex);
	struct listing *listing = dir_listing(table, fh);
	if (listing)
		atomic_fetch_add(&listing->refs, 1);
	pthread_mutex_unlock(&table->mutex);
	if (!listing)
		return;
	siblings_begin(siblings, dir_id);
	while (nfs_dir_next(&listing->res, &pos, &dirent))
		if (dirent.attr.type == NF4DIR && dirent.attr.fh.len > 0)
			siblings_add(siblings, dir_id, &dirent.attr.fh);
	listing_unref(listing);
}

/* Under the mutex: the node for whose siblings it was of use now, for the first time; or 0. */
static uint64_t listing_first_use(struct listing *listing)
{
	uint64_t parent_id = listing->ahead_of;
	listing->ahead_of = 0;
	return parent_id;
}

const struct nfs_readdir_res *listing_names(const struct listing *listing)
{
	return &listing->res;
}

bool listing_may_ask(struct listing_table *table, const struct nfs_fh *fh)
{
	pthread_mutex_lock(&table->mutex);
	const struct listing_dir *dir = dir_find(table, fh);
	bool may = dir && loop_clock() >= dir->ask_after;
	pthread_mutex_unlock(&table->mutex);
	return may;
}

void listing_not_delegated(struct listing_table *table, const struct nfs_fh *fh)
{
	pthread_mutex_lock(&table->mutex);
	struct listing_dir *dir = dir_find(table, fh);
	if (dir)
		dir->ask_after = loop_clock() + LISTING_ASK_PAUSE_NS;
	pthread_mutex_unlock(&table->mutex);
}

bool listing_find(struct listing_table *table, const struct nfs_fh *fh, const char *name,
	struct listing_found *found)
{
	uint64_t parent_id = 0;
	pthread_mutex_lock(&table->mutex);
	struct listing *listing = dir_names(table, fh);
	if (listing) {
		atomic_fetch_add(&listing->refs, 1);
		parent_id = listing_first_use(listing);
		dir_of(table, fh)->served++;
	}
	pthread_mutex_unlock(&table->mutex);
	if (!listing)
		return false;
	if (parent_id)
		siblings_used(table->share->siblings, parent_id, fh);
	bool there = listing_search(listing, name, &found->dirent);
	found->since = listing->since;
	found->until = listing->until;
	found->held = listing->held;
	listing_unref(listing);
	return there;
}

bool listing_copy(struct listing_table *table, const struct nfs_fh *fh, struct nfs_readdir_res *res,
	uint64_t *since)
{
	uint64_t parent_id = 0;
	bool copied = false;
	pthread_mutex_lock(&table->mutex);
	struct listing *listing = dir_listing(table, fh);
	if (listing && listing_tells(listing) && listing->res.eof && listing->res.len <= res->cap) {
		uint8_t *data = res->data;
		size_t cap = res->cap;
		memcpy(data, listing->res.data, listing->res.len);
		*res = listing->res;
		res->data = data;
		res->cap = cap;
		*since = listing->since;
		listing->told = copied = true;
		parent_id = listing_first_use(listing);
	}
	pthread_mutex_unlock(&table->mutex);
	if (parent_id)
		siblings_used(table->share->siblings, parent_id, fh);
	return copied;
}
