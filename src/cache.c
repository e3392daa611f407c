/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "cache.h"

/* What cache=always means where no shorter time was asked for: a day. */
#define CACHE_ALWAYS_MS 86400000u

static uint32_t to_ms(double seconds)
{
	double ms = seconds * 1000.0;
	return ms > (double)CACHE_ALWAYS_MS ? CACHE_ALWAYS_MS : (uint32_t)ms;
}

void cache_policy_init(struct cache_policy *policy, const struct options *options)
{
	*policy = (struct cache_policy){
		.reg_min_ms = to_ms(options->acregmin),
		.reg_max_ms = to_ms(options->acregmax),
		.dir_min_ms = to_ms(options->acdirmin),
		.dir_max_ms = to_ms(options->acdirmax),
		.positive = options->lookupcache != OPTIONS_LOOKUPCACHE_NONE,
		.negative = options->lookupcache == OPTIONS_LOOKUPCACHE_ALL,
		.direct = options->cache == OPTIONS_CACHE_NONE,
		.always = options->cache == OPTIONS_CACHE_ALWAYS,
		.keep_on_open = options->cto,
	};
	if (policy->always) {
		policy->reg_min_ms = policy->reg_max_ms = CACHE_ALWAYS_MS;
		policy->dir_min_ms = policy->dir_max_ms = CACHE_ALWAYS_MS;
	}
	if (options->noac || policy->direct) {
		policy->reg_min_ms = policy->reg_max_ms = 0;
		policy->dir_min_ms = policy->dir_max_ms = 0;
	}
	/* With access=server every component of a path is looked up by the server, as the caller.
	 */
	if (options->access_server || policy->direct)
		policy->positive = policy->negative = false;
}
