/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "util/ways.h"

#include <string.h>

static void *ways_entry(const struct ways *ways, void *entries, uint64_t id, unsigned way)
{
	return (char *)entries + (id + way) % ways->count * ways->size;
}

static uint64_t entry_number(const void *entry, size_t offset)
{
	uint64_t number;
	memcpy(&number, (const char *)entry + offset, sizeof(number));
	return number;
}

void *ways_find(const struct ways *ways, void *entries, uint64_t id)
{
	for (unsigned way = 0; way < WAYS; way++) {
		void *entry = ways_entry(ways, entries, id, way);
		if (entry_number(entry, ways->id) == id)
			return entry;
	}
	return NULL;
}

void *ways_place(const struct ways *ways, void *entries, uint64_t id)
{
	void *place = ways_find(ways, entries, id);
	if (place)
		return place;
	place = ways_entry(ways, entries, id, 0);
	for (unsigned way = 1; way < WAYS; way++) {
		void *other = ways_entry(ways, entries, id, way);
		if (entry_number(other, ways->worth) < entry_number(place, ways->worth))
			place = other;
	}
	return place;
}
