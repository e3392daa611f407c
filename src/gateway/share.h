/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_GATEWAY_SHARE_H
#define VSOCKFS_GATEWAY_SHARE_H

#include <sys/queue.h>

#include "gateway/limit.h"

/*
 * What guests that are active at the same time may call: each its share in a second, and besides
 * what the others leave of theirs. Who is active alone calls as it likes. A guest counts as active
 * for a second after its last call. Times are nanoseconds of a monotonic clock, passed in, and do
 * not go back.
 */

struct share {
	struct limit own;
	/* private */
	uint64_t called_at;
	bool active;
	TAILQ_ENTRY(share) entry;
};

struct share_pool {
	uint32_t rate; /* calls in a second that are a share; 0: everybody calls as it likes */
	/* private */
	struct limit all;	    /* the shares of those who are active */
	TAILQ_HEAD(, share) active; /* who called last is the last */
	unsigned count;		    /* of them */
};

void share_pool_init(struct share_pool *pool, uint32_t rate, uint64_t now);
/* Another rate; its members' follow with their next call. */
void share_pool_change(struct share_pool *pool, uint32_t rate, uint64_t now);

void share_init(struct share *share, const struct share_pool *pool, uint64_t now);
void share_deinit(struct share *share, struct share_pool *pool);

/* When this member may call at the latest; `now` if it may now. */
uint64_t share_when(struct share *share, struct share_pool *pool, uint64_t now);
/* It has called. */
void share_take(struct share *share, struct share_pool *pool, uint64_t calls, uint64_t now);
/* How many calls it may make at once, as limit_at_once says it; alone, as many as it likes. */
uint64_t share_at_once(struct share *share, struct share_pool *pool, uint64_t now);

#endif
