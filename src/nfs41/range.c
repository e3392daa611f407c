/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "nfs41/range.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define RANGE_ROOM_MIN 4

void range_set_deinit(struct range_set *set)
{
	free(set->at);
	*set = (struct range_set){0};
}

int range_set_reserve(struct range_set *set, unsigned changes)
{
	if (changes > (RANGE_SET_MAX - set->count) / RANGE_CHANGE_MAX)
		return -ENOLCK;
	unsigned needed = set->count + changes * RANGE_CHANGE_MAX;
	if (needed <= set->room)
		return 0;
	unsigned room = set->room * 2 < RANGE_ROOM_MIN ? RANGE_ROOM_MIN : set->room * 2;
	if (room < needed)
		room = needed;
	struct range *at = realloc(set->at, room * sizeof(*at));
	if (!at)
		return -ENOLCK;
	set->at = at;
	set->room = room;
	return 0;
}

/* The index of the first range that ends at or after `offset`. */
static unsigned range_search(const struct range_set *set, uint64_t offset)
{
	unsigned low = 0, high = set->count;
	while (low < high) {
		unsigned middle = low + (high - low) / 2;
		if (set->at[middle].last < offset)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* Whether `b`, which begins after `a`, continues it. */
static bool range_joins(const struct range *a, const struct range *b)
{
	return a->kind == b->kind && a->last != UINT64_MAX && a->last + 1 == b->first;
}

/* What takes the place of the ranges from `from` on to `to` (excluded), at most three. */
static unsigned range_replacement(const struct range_set *set, const struct range *range,
	unsigned from, unsigned to, struct range out[3])
{
	unsigned n = 0;
	if (from < to && set->at[from].first < range->first) {
		out[n] = set->at[from];
		out[n++].last = range->first - 1;
	}
	if (range->kind != RANGE_FREE)
		out[n++] = *range;
	if (from < to && set->at[to - 1].last > range->last) {
		out[n] = set->at[to - 1];
		out[n++].first = range->last + 1;
	}
	return n;
}

/* Makes one of neighbours of a kind, among those around [from, to). */
static void range_merge(struct range_set *set, unsigned from, unsigned to)
{
	unsigned i = from > 0 ? from - 1 : 0;
	unsigned end = to + 1;
	while (i + 1 < set->count && i < end) {
		if (!range_joins(&set->at[i], &set->at[i + 1])) {
			i++;
			continue;
		}
		set->at[i].last = set->at[i + 1].last;
		memmove(&set->at[i + 1], &set->at[i + 2],
			(set->count - i - 2) * sizeof(set->at[0]));
		set->count--;
		end--;
	}
}

bool range_set_change(struct range_set *set, const struct range *range)
{
	struct range out[3];
	unsigned from = range_search(set, range->first), to = from;
	while (to < set->count && set->at[to].first <= range->last)
		to++;
	unsigned n = range_replacement(set, range, from, to, out);
	unsigned count = set->count - (to - from) + n;
	if (count > set->room)
		return false;
	if (count == 0) {
		set->count = 0;
		return true;
	}
	memmove(&set->at[from + n], &set->at[to], (set->count - to) * sizeof(set->at[0]));
	memcpy(&set->at[from], out, n * sizeof(out[0]));
	set->count = count;
	range_merge(set, from, from + n);
	return true;
}

bool range_set_find(const struct range_set *set, uint64_t offset, struct range *range)
{
	unsigned i = range_search(set, offset);
	if (i == set->count)
		return false;
	*range = set->at[i];
	return true;
}
