/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "gateway/gate.h"

bool gate_is_full(const struct gate *gate, int64_t most)
{
	return gate->under_way - gate->late >= most;
}

uint64_t gate_when(const struct gate *gate, int64_t most, uint64_t now)
{
	return gate_is_full(gate, most) && gate->until > now ? gate->until : now;
}

void gate_sent(struct gate *gate, uint64_t calls, int64_t most, uint64_t now)
{
	if (calls == 0)
		return;
	if (gate_is_full(gate, most))
		gate->late++;
	gate->under_way += (int64_t)calls;
	gate->until = now + GATE_PATIENCE;
}

void gate_answered(struct gate *gate, int64_t calls)
{
	gate->under_way -= calls;
	if (gate->under_way < -GATE_CALLBACKS)
		gate->under_way = -GATE_CALLBACKS;
	if (gate->late > gate->under_way)
		gate->late = gate->under_way > 0 ? gate->under_way : 0;
}
