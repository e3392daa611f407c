/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_GATEWAY_LIMIT_H
#define VSOCKFS_GATEWAY_LIMIT_H

#include <stdbool.h>
#include <stdint.h>

/*
 * A bucket of tokens that fills at `rate` a second up to `burst`. Taking may go into debt, since
 * what was moved is known only afterwards; then nothing is to be had until the debt is paid.
 * Times are nanoseconds of a monotonic clock, passed in.
 */
struct limit {
	uint64_t rate, burst; /* rate 0: no limit */
	/* private */
	int64_t level;
	uint64_t at;
};

/* Sets rate and burst, and fills the bucket. */
void limit_init(struct limit *limit, uint64_t rate, uint64_t burst, uint64_t now);
/* Another rate and burst for a bucket in use; keeps debts. */
void limit_change(struct limit *limit, uint64_t rate, uint64_t burst, uint64_t now);
bool limit_full(struct limit *limit, uint64_t now);
/*
 * How many tokens may be taken at once. The last second's worth is kept for one at a time, which is
 * what 0 means; UINT64_MAX, as many as there are, while another second's worth is left besides.
 */
uint64_t limit_at_once(struct limit *limit, uint64_t now);
bool limit_ok(struct limit *limit, uint64_t now);
void limit_take(struct limit *limit, uint64_t tokens, uint64_t now);
/* Ends a debt. */
void limit_forgive(struct limit *limit);
/* When limit_ok will be true at the latest; `now` if it is. */
uint64_t limit_when(struct limit *limit, uint64_t now);

#endif
