/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "spin.h"

void spin_init(struct spin *spin, uint64_t limit)
{
	*spin = (struct spin){.limit = limit};
}

uint64_t spin_begin(struct spin *spin, enum spin_wait wait, uint64_t active, uint64_t now)
{
	bool idle = wait == SPIN_REQUEST && now - active > SPIN_IDLE_NS;
	if (spin->limit == 0 || idle || now < spin->until)
		return 0;
	if (spin->wait[wait].left > 0) {
		spin->wait[wait].left--;
		return 0;
	}
	spin->now = wait;
	return spin->limit;
}

static void spin_rest(struct spin *spin, uint64_t now)
{
	/* Long after the last rest it is another matter. */
	if (now - spin->until > 4 * spin->rest)
		spin->rest = 0;
	spin->rest = spin->rest == 0 ? SPIN_REST_NS : spin->rest * 2;
	if (spin->rest > SPIN_REST_MAX_NS)
		spin->rest = SPIN_REST_MAX_NS;
	spin->until = now + spin->rest;
}

void spin_end(struct spin *spin, bool found, uint64_t away, uint64_t now)
{
	unsigned gap = spin->wait[spin->now].gap;
	if (away >= SPIN_AWAY_NS) {
		spin_rest(spin, now);
		return;
	}
	gap = found ? gap / 2 : gap * 2 + 1;
	if (gap > SPIN_SKIP_MAX)
		gap = SPIN_SKIP_MAX;
	spin->wait[spin->now].gap = gap;
	spin->wait[spin->now].left = gap;
}
