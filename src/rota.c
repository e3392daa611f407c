/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "rota.h"

static bool rota_crowded(struct rota *rota, uint64_t now)
{
	return !rota->single || now < atomic_load_explicit(&rota->crowd, memory_order_relaxed);
}

bool rota_join(struct rota *rota, uint64_t now)
{
	unsigned none = 0;
	if (!rota_crowded(rota, now))
		return atomic_compare_exchange_strong(&rota->watchers, &none, 1);
	atomic_fetch_add(&rota->watchers, 1);
	return true;
}

void rota_leave(struct rota *rota)
{
	atomic_fetch_sub(&rota->watchers, 1);
}

bool rota_covered(struct rota *rota, uint64_t now)
{
	return !rota_crowded(rota, now) && atomic_load(&rota->watchers) > 0;
}

bool rota_crowd(struct rota *rota, uint64_t now)
{
	if (!rota->single)
		return false;
	uint64_t until = atomic_load_explicit(&rota->crowd, memory_order_relaxed);
	if (until > now + ROTA_CROWD_NS / 2)
		return false;
	atomic_store_explicit(&rota->crowd, now + ROTA_CROWD_NS, memory_order_relaxed);
	return until <= now;
}
