/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "gateway/limit.h"

#define LIMIT_SECOND UINT64_C(1000000000) /* ns */

void limit_init(struct limit *limit, uint64_t rate, uint64_t burst, uint64_t now)
{
	limit->rate = rate;
	limit->burst = burst;
	limit->level = (int64_t)burst;
	limit->at = now;
}

/* Counts whole tokens only and keeps the rest of the time, so that slow rates lose nothing. */
static void limit_fill(struct limit *limit, uint64_t now)
{
	uint64_t passed = now > limit->at ? now - limit->at : 0;
	__extension__ unsigned __int128 tokens =
		(unsigned __int128)passed * limit->rate / LIMIT_SECOND;

	if (limit->rate == 0 || tokens == 0)
		return;
	if (tokens >= (uint64_t)((int64_t)limit->burst - limit->level)) {
		limit->level = (int64_t)limit->burst;
		limit->at = now;
	} else {
		limit->level += (int64_t)tokens;
		limit->at += (uint64_t)(tokens * LIMIT_SECOND / limit->rate);
	}
}

void limit_change(struct limit *limit, uint64_t rate, uint64_t burst, uint64_t now)
{
	limit_fill(limit, now);
	limit->at = now;
	limit->rate = rate;
	limit->burst = burst;
	if (limit->level > (int64_t)burst)
		limit->level = (int64_t)burst;
}

bool limit_full(struct limit *limit, uint64_t now)
{
	limit_fill(limit, now);
	return limit->rate == 0 || limit->level == (int64_t)limit->burst;
}

uint64_t limit_at_once(struct limit *limit, uint64_t now)
{
	int64_t rate = (int64_t)limit->rate;

	limit_fill(limit, now);
	if (rate == 0 || limit->level >= 2 * rate)
		return UINT64_MAX;
	return limit->level > rate ? (uint64_t)(limit->level - rate) : 0;
}

bool limit_ok(struct limit *limit, uint64_t now)
{
	limit_fill(limit, now);
	return limit->rate == 0 || limit->level > 0;
}

void limit_take(struct limit *limit, uint64_t tokens, uint64_t now)
{
	limit_fill(limit, now);
	if (limit->rate > 0)
		limit->level -= (int64_t)tokens;
}

void limit_forgive(struct limit *limit)
{
	if (limit->level < 0)
		limit->level = 0;
}

uint64_t limit_when(struct limit *limit, uint64_t now)
{
	if (limit_ok(limit, now))
		return now;
	uint64_t missing = (uint64_t)(1 - limit->level);
	return limit->at + (uint64_t)((unsigned __int128)missing * LIMIT_SECOND / limit->rate) + 1;
}
