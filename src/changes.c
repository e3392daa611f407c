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

void changes_hold(struct changes *changes, struct changes_held *held, uint32_t what)
{
	uint16_t place = what % CHANGES_PLACES;
	assert(held->count < CHANGES_MAX);
	held->places[held->count++] = place;
	atomic_fetch_add(&changes->places[place].held, 1);
}

void changes_release(struct changes *changes, struct changes_held *held)
{
	uint64_t now = held->count > 0 ? loop_clock() : 0;
	while (held->count > 0) {
		uint16_t place = held->places[--held->count];
		atomic_store(&changes->places[place].at, now);
		atomic_fetch_sub(&changes->places[place].held, 1);
	}
}

bool changes_none(const struct changes *changes, uint32_t what, uint64_t since)
{
	uint32_t place = what % CHANGES_PLACES;
	return atomic_load(&changes->places[place].held) == 0 &&
	       atomic_load(&changes->places[place].at) < since;
}
