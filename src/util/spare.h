/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_UTIL_SPARE_H
#define VSOCKFS_UTIL_SPARE_H

#include <stdlib.h>

/*
 * A few blocks of one size, kept for the next who needs one: those of more than a kilobyte are
 * beyond what malloc(3) keeps at hand for a thread. One thread's.
 */

#define SPARE_MAX 16

struct spare {
	unsigned count;
	void *blocks[SPARE_MAX];
};

/* NULL without memory. */
static inline void *spare_get(struct spare *spare, size_t size)
{
	return spare->count > 0 ? spare->blocks[--spare->count] : malloc(size);
}

static inline void spare_put(struct spare *spare, void *block_take)
{
	/* A sanitizer is to see what is used after its end. */
#ifndef VSOCKFS_SANITIZED
	if (spare->count < SPARE_MAX) {
		spare->blocks[spare->count++] = block_take;
		return;
	}
#endif
	free(block_take);
}

static inline void spare_deinit(struct spare *spare)
{
	while (spare->count > 0)
		free(spare->blocks[--spare->count]);
}

#endif
