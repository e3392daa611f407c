/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "upcoming.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "util/ways.h"

/* Directories at the same time. */
#define UPCOMING_DIRS 64
/* Of one directory. With their names that makes about 110 KiB. */
#define UPCOMING_FILES 2048
/* Between two that a program opens in order, it may leave out one less than that. */
#define UPCOMING_STRIDE 3
/* Steps in one order before it is believed. */
#define UPCOMING_STEPS 2
/* Named the first time. */
#define UPCOMING_FIRST 4
/* OPENs in a row without a delegation, after which none is expected. */
#define UPCOMING_DRY 8
/* A walk that goes on in another directory does so within this. */
#define UPCOMING_WALK_NS UINT64_C(1000000000)

/* Odd, with bits all over. */
#define UPCOMING_SCATTER UINT64_C(0x9e3779b97f4a7c15)

enum upcoming_order { ORDER_LISTED, ORDER_INO, ORDER_NAME, ORDERS };

struct upcoming_file {
	uint64_t id, ino;
	uint32_t name; /* where it begins in `names` */
	bool named;    /* told as upcoming, and not opened since */
};

/* A directory that was read. */
struct upcoming_dir {
	uint64_t id;	  /* of the node; 0: none */
	uint64_t used_at; /* ns */
	struct upcoming_file *files;
	unsigned count;
	char *names; /* each with its '\0' */
	size_t len;
	bool cut; /* there are more files than are remembered */

	/* from the first open on: 1 + index of the file, by its id; 0: free. Half are at least. */
	uint16_t *places;
	unsigned mask;	 /* number of places - 1 */
	unsigned placed; /* files that have one: those up to here */

	/* from the second open on: files[order[by][k]] is the k-th, files[i] is at place[by][i] */
	uint16_t *sorted; /* has them all, or NULL */
	uint16_t *order[ORDERS], *place[ORDERS];
	bool begun;		/* some file was opened: */
	unsigned last;		/* this one, after */
	unsigned steps[ORDERS]; /* so many in that order */
	enum upcoming_order by;
	unsigned front;	 /* place up to which they are named, */
	unsigned window; /* so many at a time */
	unsigned named, used;
};

/* The one gives way that was used longest ago. */
static const struct ways upcoming_ways = WAYS_INIT(struct upcoming_dir, UPCOMING_DIRS, id, used_at);

struct upcoming_table {
	pthread_mutex_t mutex;
	bool off;		/* constant */
	_Atomic unsigned dry;	/* OPENs without a delegation since the last with one */
	enum upcoming_order by; /* the last walk that was of use, */
	uint64_t walked_at;	/* ns: and when; 0: there was none */
	struct upcoming_dir dirs[UPCOMING_DIRS]; /* by node id */
};

int upcoming_table_new(bool off, struct upcoming_table **table)
{
	struct upcoming_table *t = calloc(1, sizeof(*t));
	if (!t)
		return -ENOMEM;
	pthread_mutex_init(&t->mutex, NULL);
	t->off = off;
	*table = t;
	return 0;
}

static void dir_clear(struct upcoming_dir *dir)
{
	free(dir->files);
	free(dir->names);
	free(dir->places);
	free(dir->sorted);
	*dir = (struct upcoming_dir){0};
}

void upcoming_table_free(struct upcoming_table *table)
{
	if (!table)
		return;
	for (unsigned i = 0; i < UPCOMING_DIRS; i++)
		dir_clear(&table->dirs[i]);
	pthread_mutex_destroy(&table->mutex);
	free(table);
}

void upcoming_told(struct upcoming_table *table, bool delegated)
{
	if (delegated)
		atomic_store_explicit(&table->dry, 0, memory_order_relaxed);
	else
		atomic_fetch_add_explicit(&table->dry, 1, memory_order_relaxed);
}

bool upcoming_is_on(struct upcoming_table *table)
{
	return !table->off &&
	       atomic_load_explicit(&table->dry, memory_order_relaxed) < UPCOMING_DRY;
}

/* Under the mutex, as what follows. NULL: nothing is known of it. */
static struct upcoming_dir *dir_find(struct upcoming_table *table, uint64_t id)
{
	return ways_find(&upcoming_ways, table->dirs, id);
}

/* Its place, empty. */
static struct upcoming_dir *dir_new(struct upcoming_table *table, uint64_t id)
{
	struct upcoming_dir *dir = ways_place(&upcoming_ways, table->dirs, id);
	dir_clear(dir);
	dir->id = id;
	return dir;
}

void upcoming_begin(struct upcoming_table *table, uint64_t dir_id)
{
	if (!upcoming_is_on(table))
		return;
	pthread_mutex_lock(&table->mutex);
	dir_new(table, dir_id);
	pthread_mutex_unlock(&table->mutex);
}

/* Room for one more element at `count`, which doubles with the powers of two. NULL without memory:
 * what was there is still. */
static void *grow(void *array, size_t count, size_t more, size_t size)
{
	size_t cap = 64;
	while (cap < count)
		cap *= 2;
	if (array && count + more <= cap)
		return array;
	while (cap < count + more)
		cap *= 2;
	return realloc(array, cap * size);
}

/* False: it is not remembered. */
static bool dir_add(struct upcoming_dir *dir, const struct upcoming_name *name)
{
	if (dir->count == UPCOMING_FILES)
		return false;
	struct upcoming_file *files = grow(dir->files, dir->count, 1, sizeof(*files));
	if (!files)
		return false;
	dir->files = files;
	char *names = grow(dir->names, dir->len, name->len + 1, 1);
	if (!names)
		return false;
	dir->names = names;
	files[dir->count++] = (struct upcoming_file){
		.id = name->id, .ino = name->ino, .name = (uint32_t)dir->len};
	memcpy(names + dir->len, name->name, name->len);
	names[dir->len + name->len] = '\0';
	dir->len += name->len + 1;
	return true;
}

void upcoming_add(struct upcoming_table *table, uint64_t dir_id, const struct upcoming_name *name)
{
	if (!upcoming_is_on(table))
		return;
	pthread_mutex_lock(&table->mutex);
	struct upcoming_dir *dir = dir_find(table, dir_id);
	if (dir && (dir->sorted || !dir_add(dir, name)))
		dir->cut = true;
	pthread_mutex_unlock(&table->mutex);
}

static int compare_ino(const void *a, const void *b, void *arg)
{
	const struct upcoming_dir *dir = arg;
	uint64_t x = dir->files[*(const uint16_t *)a].ino, y = dir->files[*(const uint16_t *)b].ino;
	return x < y ? -1 : x > y;
}

static int compare_name(const void *a, const void *b, void *arg)
{
	const struct upcoming_dir *dir = arg;
	return strcmp(dir->names + dir->files[*(const uint16_t *)a].name,
		dir->names + dir->files[*(const uint16_t *)b].name);
}

/* Puts the files in order. False without memory. */
static bool dir_sort(struct upcoming_dir *dir)
{
	if (dir->sorted)
		return true;
	dir->sorted = malloc(2 * ORDERS * dir->count * sizeof(*dir->sorted));
	if (!dir->sorted)
		return false;
	for (unsigned by = 0; by < ORDERS; by++) {
		dir->order[by] = dir->sorted + (size_t)2 * by * dir->count;
		dir->place[by] = dir->order[by] + dir->count;
	}
	for (unsigned by = 0; by < ORDERS; by++) {
		for (unsigned k = 0; k < dir->count; k++)
			dir->order[by][k] = (uint16_t)k;
		if (by != ORDER_LISTED)
			qsort_r(dir->order[by], dir->count, sizeof(uint16_t),
				by == ORDER_INO ? compare_ino : compare_name, dir);
		for (unsigned k = 0; k < dir->count; k++)
			dir->place[by][dir->order[by][k]] = (uint16_t)k;
	}
	return true;
}

/* The place of a file, or where it would be. */
static uint16_t *dir_place(const struct upcoming_dir *dir, uint64_t id)
{
	/* ids in a row would leave no gap at which to stop */
	uint64_t at = id * UPCOMING_SCATTER >> 32;
	while (dir->places[at & dir->mask] && dir->files[dir->places[at & dir->mask] - 1].id != id)
		at++;
	return &dir->places[at & dir->mask];
}

/* Gives the files places that have none yet. False without memory. */
static bool dir_index(struct upcoming_dir *dir)
{
	if (!dir->places || 2 * dir->count > dir->mask + 1) {
		unsigned places = 2;
		while (places < 2 * dir->count)
			places *= 2;
		free(dir->places);
		dir->places = calloc(places, sizeof(*dir->places));
		dir->mask = places - 1;
		dir->placed = 0;
	}
	for (; dir->places && dir->placed < dir->count; dir->placed++) {
		uint16_t *place = dir_place(dir, dir->files[dir->placed].id);
		/* one with several names goes by the first */
		if (*place == 0)
			*place = (uint16_t)(dir->placed + 1);
	}
	return dir->places;
}

/* The index of a file, or `count`. */
static unsigned dir_find_file(struct upcoming_dir *dir, uint64_t id)
{
	unsigned place = dir_index(dir) ? *dir_place(dir, id) : 0;
	return place > 0 ? place - 1 : dir->count;
}

/* The first file of a directory, where others were walked through a moment ago. */
static void dir_enter(
	const struct upcoming_table *table, struct upcoming_dir *dir, unsigned file, uint64_t now)
{
	if (table->walked_at == 0 || now - table->walked_at > UPCOMING_WALK_NS || !dir_sort(dir))
		return;
	if (dir->place[table->by][file] < UPCOMING_STRIDE)
		dir->steps[table->by] = UPCOMING_STEPS;
}

/* A program opens it. */
static void dir_step(
	const struct upcoming_table *table, struct upcoming_dir *dir, unsigned file, uint64_t now)
{
	if (dir->files[file].named)
		dir->used++;
	dir->files[file].named = false;
	if (!dir->begun) {
		dir_enter(table, dir, file, now);
	} else if (file != dir->last && dir_sort(dir)) {
		for (unsigned by = 0; by < ORDERS; by++) {
			int step = dir->place[by][file] - dir->place[by][dir->last];
			bool on = step > 0 && step <= UPCOMING_STRIDE;
			dir->steps[by] = on ? dir->steps[by] + 1 : 0;
		}
	}
	dir->begun = true;
	dir->last = file;
	dir->used_at = now;
}

/* The order that the program keeps to. False: none. */
static bool dir_follow(struct upcoming_dir *dir)
{
	enum upcoming_order best = dir->by;
	for (unsigned by = 0; by < ORDERS; by++)
		/* of a part nobody knows what comes between */
		if (dir->steps[by] > dir->steps[best] && (by == ORDER_LISTED || !dir->cut))
			best = by;
	if (dir->steps[best] < UPCOMING_STEPS || !dir->sorted)
		return false;
	unsigned place = dir->place[best][dir->last];
	/* another run */
	if (best != dir->by || dir->front < place) {
		dir->front = place;
		dir->window = 0;
	}
	dir->by = best;
	return true;
}

/* Named and still to come. */
static unsigned dir_outstanding(const struct upcoming_dir *dir)
{
	unsigned count = 0;
	for (unsigned k = dir->place[dir->by][dir->last] + 1; k <= dir->front; k++)
		count += dir->files[dir->order[dir->by][k]].named;
	return count;
}

/* Names the next ones when half of the last ones were opened. */
static unsigned dir_name(struct upcoming_dir *dir, uint64_t ids[UPCOMING_MAX])
{
	unsigned outstanding = dir_outstanding(dir), count = 0;
	unsigned wasted = dir->named - dir->used - outstanding;
	if (wasted > dir->used + UPCOMING_FIRST || outstanding > dir->window / 2)
		return 0;
	dir->window = dir->window == 0 ? UPCOMING_FIRST : 2 * dir->window;
	if (dir->window > UPCOMING_MAX)
		dir->window = UPCOMING_MAX;
	while (outstanding + count < dir->window && dir->front + 1 < dir->count) {
		struct upcoming_file *file = &dir->files[dir->order[dir->by][++dir->front]];
		if (!file->named)
			ids[count++] = file->id;
		file->named = true;
	}
	dir->named += count;
	return count;
}

unsigned upcoming_opened(struct upcoming_table *table, uint64_t dir_id, uint64_t id, uint64_t now,
	uint64_t ids[UPCOMING_MAX])
{
	unsigned count = 0;
	if (!upcoming_is_on(table))
		return 0;
	pthread_mutex_lock(&table->mutex);
	struct upcoming_dir *dir = dir_find(table, dir_id);
	unsigned file = dir ? dir_find_file(dir, id) : 0;
	if (dir && file < dir->count) {
		dir_step(table, dir, file, now);
		if (dir_follow(dir)) {
			count = dir_name(dir, ids);
			table->by = dir->by;
			table->walked_at = now;
		}
	}
	pthread_mutex_unlock(&table->mutex);
	return count;
}
