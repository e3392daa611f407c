/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "handle.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

/*
 * A handle is an index into the table (32 bits), how often it was given out by this daemon (16),
 * and the daemon's epoch (16). Entries come in segments that never move, so that readers need no
 * lock.
 */
#define HANDLE_SEGMENT	1024u
#define HANDLE_SEGMENTS 4096u
#define HANDLE_INDEXES	(HANDLE_SEGMENT * HANDLE_SEGMENTS)

struct handle_entry {
	uint64_t handle; /* 0: free */
	union {
		void *object;
		uint32_t next_free; /* index + 1 */
	};
};

struct handle_table {
	struct handle_entry *_Atomic segments[HANDLE_SEGMENTS];
	pthread_mutex_t mutex; /* what follows */
	uint16_t epoch, count;
	uint32_t used;	     /* indexes that were ever given out */
	uint32_t first_free; /* index + 1 */
};

int handle_table_new(uint16_t epoch, struct handle_table **table)
{
	struct handle_table *t = calloc(1, sizeof(*t));
	if (!t)
		return -ENOMEM;
	pthread_mutex_init(&t->mutex, NULL);
	t->epoch = epoch;
	*table = t;
	return 0;
}

void handle_table_free(struct handle_table *table)
{
	if (!table)
		return;
	for (unsigned i = 0; i < HANDLE_SEGMENTS; i++)
		free(table->segments[i]);
	pthread_mutex_destroy(&table->mutex);
	free(table);
}

static struct handle_entry *table_entry(const struct handle_table *table, uint32_t index)
{
	struct handle_entry *segment = NULL;
	if (index < HANDLE_INDEXES)
		segment = atomic_load_explicit(
			&table->segments[index / HANDLE_SEGMENT], memory_order_acquire);
	return segment ? &segment[index % HANDLE_SEGMENT] : NULL;
}

/* The same, with its segment made if need be. */
static struct handle_entry *table_make_entry(struct handle_table *table, uint32_t index)
{
	if (index < HANDLE_INDEXES && !table_entry(table, index)) {
		struct handle_entry *segment = calloc(HANDLE_SEGMENT, sizeof(*segment));
		if (segment)
			atomic_store_explicit(&table->segments[index / HANDLE_SEGMENT], segment,
				memory_order_release);
	}
	return table_entry(table, index);
}

uint64_t handle_new(struct handle_table *table, void *object)
{
	uint64_t handle = 0;
	pthread_mutex_lock(&table->mutex);
	uint32_t index = table->first_free ? table->first_free - 1 : table->used;
	struct handle_entry *entry = table_make_entry(table, index);
	if (entry) {
		if (table->first_free)
			table->first_free = entry->next_free;
		else
			table->used++;
		/* Never 0, which would be a free entry. */
		table->count += table->count == UINT16_MAX ? 2 : 1;
		handle = (uint64_t)table->epoch << 48 | (uint64_t)table->count << 32 | index;
		*entry = (struct handle_entry){.handle = handle, .object = object};
	}
	pthread_mutex_unlock(&table->mutex);
	return handle;
}

void *handle_find(const struct handle_table *table, uint64_t handle)
{
	const struct handle_entry *entry = table_entry(table, (uint32_t)handle);
	return entry && handle && entry->handle == handle ? entry->object : NULL;
}

bool handle_is_past(const struct handle_table *table, uint64_t handle)
{
	return handle >> 48 != table->epoch;
}

void handle_drop(struct handle_table *table, uint64_t handle)
{
	pthread_mutex_lock(&table->mutex);
	uint32_t index = (uint32_t)handle;
	struct handle_entry *entry = table_entry(table, index);
	if (entry && handle && entry->handle == handle) {
		*entry = (struct handle_entry){.next_free = table->first_free};
		table->first_free = index + 1;
	}
	pthread_mutex_unlock(&table->mutex);
}

void handle_drop_all(struct handle_table *table, void (*dropped)(void *object))
{
	for (uint32_t index = 0; index < table->used; index++) {
		const struct handle_entry *entry = table_entry(table, index);
		uint64_t handle = entry ? entry->handle : 0;
		if (!handle)
			continue;
		void *object = entry->object;
		handle_drop(table, handle);
		dropped(object);
	}
}

int handle_restore(struct handle_table *table, uint64_t handle, void *object)
{
	uint32_t index = (uint32_t)handle;
	if (handle >> 32 == 0 || index >= HANDLE_INDEXES)
		return -EINVAL;
	struct handle_entry *entry = table_make_entry(table, index);
	if (!entry)
		return -ENOMEM;
	if (entry->handle)
		return -EINVAL;
	*entry = (struct handle_entry){.handle = handle, .object = object};
	/* New ones begin behind it: the indexes between are few, as the last daemon reused its own.
	 */
	if (index >= table->used)
		table->used = index + 1;
	return 0;
}
