/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "gateway/share.h"

#include <stddef.h>

#define SHARE_ACTIVE UINT64_C(1000000000) /* ns */
/* Work comes in bursts; what goes on for longer than this many seconds is a flood. */
#define SHARE_BURST 10

static void share_fit_pool(struct share_pool *pool, uint64_t now)
{
	uint64_t rate = (uint64_t)pool->rate * pool->count;

	if (pool->all.rate != rate)
		limit_change(&pool->all, rate, rate, now);
}

static void share_retire(struct share *share, struct share_pool *pool)
{
	TAILQ_REMOVE(&pool->active, share, entry);
	share->active = false;
	pool->count--;
}

/* Whether somebody else is active. */
static bool share_is_contended(const struct share *share, struct share_pool *pool, uint64_t now)
{
	struct share *first;

	while ((first = TAILQ_FIRST(&pool->active)) && now - first->called_at > SHARE_ACTIVE)
		share_retire(first, pool);
	share_fit_pool(pool, now);
	return pool->rate > 0 && pool->count > (share->active ? 1 : 0);
}

void share_pool_init(struct share_pool *pool, uint32_t rate, uint64_t now)
{
	*pool = (struct share_pool){.rate = rate};
	TAILQ_INIT(&pool->active);
	limit_init(&pool->all, 0, 0, now);
}

void share_pool_change(struct share_pool *pool, uint32_t rate, uint64_t now)
{
	pool->rate = rate;
	share_fit_pool(pool, now);
}

void share_init(struct share *share, const struct share_pool *pool, uint64_t now)
{
	*share = (struct share){.called_at = now};
	limit_init(&share->own, pool->rate, (uint64_t)pool->rate * SHARE_BURST, now);
}

void share_deinit(struct share *share, struct share_pool *pool)
{
	if (share->active)
		share_retire(share, pool);
}

uint64_t share_when(struct share *share, struct share_pool *pool, uint64_t now)
{
	uint64_t own, left;

	if (!share_is_contended(share, pool, now))
		return now;
	own = limit_when(&share->own, now);
	left = limit_when(&pool->all, now);
	return own < left ? own : left;
}

void share_take(struct share *share, struct share_pool *pool, uint64_t calls, uint64_t now)
{
	bool contended = share_is_contended(share, pool, now), left;

	if (calls == 0)
		return;
	if (share->active)
		TAILQ_REMOVE(&pool->active, share, entry);
	else
		pool->count++;
	TAILQ_INSERT_TAIL(&pool->active, share, entry);
	share->active = true;
	share->called_at = now;
	share_fit_pool(pool, now);
	if (share->own.rate != pool->rate)
		limit_change(&share->own, pool->rate, (uint64_t)pool->rate * SHARE_BURST, now);
	left = limit_ok(&pool->all, now);
	limit_take(&share->own, calls, now);
	limit_take(&pool->all, calls, now);
	/* What was nobody else's, or what the others have left, is not owed to anybody. */
	if (!contended)
		limit_forgive(&pool->all);
	if (!contended || left)
		limit_forgive(&share->own);
}

uint64_t share_at_once(struct share *share, struct share_pool *pool, uint64_t now)
{
	return share_is_contended(share, pool, now) ? limit_at_once(&share->own, now) : UINT64_MAX;
}
