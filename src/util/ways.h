/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_UTIL_WAYS_H
#define VSOCKFS_UTIL_WAYS_H

#include <stddef.h>
#include <stdint.h>

/*
 * Tables of a fixed size for what is known of a few objects, each by its number. An object may have
 * one of a few places in a row, and where all of them are taken another one gives way. The entries
 * are an array of the caller's, all 0 at first, under a lock of the caller's.
 */

/* Places in a row. */
#define WAYS 4

/* How entries look; constant. `id` and `worth` are offsets of a uint64_t. */
struct ways {
	unsigned count; /* of the array; a power of two */
	size_t size;	/* of one, bytes */
	size_t id;	/* the number; 0: the place is free */
	size_t worth;	/* the one with the least gives way */
};

#define WAYS_INIT(type, entries, number, least)                                         \
	{                                                                               \
		.count = (entries), .size = sizeof(type), .id = offsetof(type, number), \
		.worth = offsetof(type, least)                                          \
	}

/* NULL: it has none. */
void *ways_find(const struct ways *ways, void *entries, uint64_t id);
/* Its place, or, as it was, that of another number, or a free one, which is to become it. */
void *ways_place(const struct ways *ways, void *entries, uint64_t id);

#endif
