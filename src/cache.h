/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_CACHE_H
#define VSOCKFS_CACHE_H

#include <stdbool.h>
#include <stdint.h>

#include "options.h"

/* How long the kernel may trust what it was told: nfs(5)'s and virtiofs' options as numbers. */

struct cache_policy {
	uint32_t reg_min_ms, reg_max_ms; /* attributes of everything but directories */
	uint32_t dir_min_ms, dir_max_ms;
	bool positive, negative; /* names may be cached; names that do not exist may be */
	bool direct;		 /* no page cache (cache=none) */
	bool always;		 /* the page cache is kept whatever the change attribute says */
	bool keep_on_open;	 /* the page cache is kept when the change attribute allows it */
};

void cache_policy_init(struct cache_policy *policy, const struct options *options);

#endif
