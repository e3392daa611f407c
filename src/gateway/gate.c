/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "gateway/gate.h"

#include <stddef.h>

uint64_t gate_when(const struct gate *gate, uint64_t now)
{
	return gate->stream && gate->until > now ? gate->until : now;
}

void gate_close(struct gate *gate, const void *stream, uint64_t now)
{
	gate->stream = stream;
	gate->until = now + GATE_PATIENCE;
}

void gate_answer(struct gate *gate, const void *stream)
{
	if (gate->stream == stream)
		gate->stream = NULL;
}
