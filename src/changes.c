/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "changes.h"

#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "util/loop.h"

/* Many more than what is changed in a second; no more than fit a place. A megabyte, of which pages
 * that were never needed are not there. */
#define CHANGES_PLACES 65536
/* Whatever is changed marks all of its places, so that one which nobody has marked since clears it.
 * With 5,000 changes 1 place in 5 is marked, and all three of 1 object in 120. */
#define CHANGES_WAYS 3

struct changes {
	struct {
		_Atomic uint64_t at;   /* ns: when the last change had ended */
		_Atomic uint32_t held; /* changes under way */
	} places[CHANGES_PLACES];
};

int changes_new(struct changes **changes)
{
	*changes = calloc(1, sizeof(**changes));
	return *changes ? 0 : -ENOMEM;
}

void changes_free(struct changes *changes)
{
	free(changes);
}

uint32_t changes_object(const uint8_t *fh, size_t len)
{
	uint64_t hash = len;
	while (len > 0) {
		uint64_t word = 0;
		size_t part = len < sizeof(word) ? len : sizeof(word);
		memcpy(&word, fh, part);
		hash = (hash ^ word) * UINT64_C(0x9e3779b97f4a7c15);
		hash ^= hash >> 32;
		fh += part;
		len -= part;
	}
	return (uint32_t)hash;
}

static uint32_t changes_place(uint32_t what, unsigned way)
{
	/* an odd step leads to another place each time */
	return (what + way * (what >> 16 | 1)) % CHANGES_PLACES;
}

void changes_hold(struct changes *changes, struct changes_held *held, uint32_t what)
{
	assert(held->count < CHANGES_MAX);
	held->what[held->count++] = what;
	for (unsigned way = 0; way < CHANGES_WAYS; way++)
		atomic_fetch_add(&changes->places[changes_place(what, way)].held, 1);
}

void changes_release(struct changes *changes, struct changes_held *held)
{
	uint64_t now = held->count > 0 ? loop_clock() : 0;
	while (held->count > 0) {
		uint32_t what = held->what[--held->count];
		for (unsigned way = 0; way < CHANGES_WAYS; way++) {
			uint32_t place = changes_place(what, way);
			atomic_store(&changes->places[place].at, now);
			atomic_fetch_sub(&changes->places[place].held, 1);
		}
	}
}

bool changes_none(const struct changes *changes, uint32_t what, uint64_t since)
{
	for (unsigned way = 0; way < CHANGES_WAYS; way++) {
		uint32_t place = changes_place(what, way);
		if (atomic_load(&changes->places[place].held) == 0 &&
			atomic_load(&changes->places[place].at) < since)
			return true;
	}
	return false;
}
