/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_NFS41_RANGE_H
#define VSOCKFS_NFS41_RANGE_H

#include <stdbool.h>
#include <stdint.h>

/*
 * The byte ranges that one lock-owner holds on one file, as POSIX has them: a new lock replaces
 * what it covers, neighbours of one kind are one range. Sorted, none overlaps another.
 */

/* Most ranges of one owner: 384 KiB. Servers have limits of the same order. */
#define RANGE_SET_MAX 16384
/* A change adds at most so many. */
#define RANGE_CHANGE_MAX 2

enum range_kind { RANGE_FREE, RANGE_READ, RANGE_WRITE };

struct range {
	uint64_t first, last; /* bytes, both included; last UINT64_MAX: to the end */
	enum range_kind kind;
};

struct range_set {
	struct range *at;
	unsigned count, room;
};

/* The range of `length` bytes (UINT64_MAX: to the end) at `offset`. */
static inline struct range range_of(uint64_t offset, uint64_t length, enum range_kind kind)
{
	bool open_ended = length == UINT64_MAX || length > UINT64_MAX - offset;
	return (struct range){offset, open_ended ? UINT64_MAX : offset + length - 1, kind};
}

static inline uint64_t range_length(const struct range *range)
{
	return range->last == UINT64_MAX ? UINT64_MAX : range->last - range->first + 1;
}

void range_set_deinit(struct range_set *set);
/* Makes room for `changes` more changes: 0 or -ENOLCK. */
int range_set_reserve(struct range_set *set, unsigned changes);
/*
 * Locks `range`, or frees it (RANGE_FREE). Needs room for one change; freeing everything never
 * does. False: there was no room, and nothing has changed.
 */
bool range_set_change(struct range_set *set, const struct range *range);
/* The first range that does not end before `offset`. False: there is none. */
bool range_set_find(const struct range_set *set, uint64_t offset, struct range *range);

#endif
