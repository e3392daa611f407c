/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdlib.h>
#include <string.h>

#include "listing_priv.h"

size_t listing_bytes(const struct listing *listing)
{
	return listing->res.cap + (listing->mask + 1) * sizeof(*listing->places);
}

void listing_unref(struct listing *listing)
{
	if (!listing || atomic_fetch_sub_explicit(&listing->refs, 1, memory_order_acq_rel) != 1)
		return;
	free(listing->res.data);
	free(listing->places);
	free(listing);
}

/* FNV-1a. */
static uint32_t hash_name(const char *name, size_t len)
{
	uint32_t hash = UINT32_C(0x811c9dc5);
	for (size_t i = 0; i < len; i++)
		hash = (hash ^ (uint8_t)name[i]) * UINT32_C(0x01000193);
	return hash ^ hash >> 16;
}

bool listing_index(struct listing *listing)
{
	struct nfs_dirent dirent;
	uint32_t count = 0, cap = 16;
	size_t pos = 0, at;
	while (nfs_dir_next(&listing->res, &pos, &dirent))
		count++;
	while (cap < 2 * count)
		cap *= 2;
	listing->places = calloc(cap, sizeof(*listing->places));
	if (!listing->places)
		return false;
	listing->mask = cap - 1;
	for (pos = at = 0; nfs_dir_next(&listing->res, &pos, &dirent); at = pos) {
		uint32_t place = hash_name(dirent.name, dirent.name_len) & listing->mask;
		while (listing->places[place] != 0)
			place = (place + 1) & listing->mask;
		listing->places[place] = (uint32_t)at + 1;
	}
	return true;
}

bool listing_search(const struct listing *listing, const char *name, struct nfs_dirent *found)
{
	size_t len = strlen(name);
	uint32_t place = hash_name(name, len) & listing->mask;
	while (listing->places[place] != 0) {
		size_t pos = listing->places[place] - 1;
		if (nfs_dir_next(&listing->res, &pos, found) && found->name_len == len &&
			memcmp(found->name, name, len) == 0)
			return true;
		place = (place + 1) & listing->mask;
	}
	return false;
}
