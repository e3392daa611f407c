/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "told.h"

#include <string.h>

#include "node.h"
#include "util/loop.h"

#define TOLD_AGAIN_NS UINT64_C(60000000000)

bool told_lately(struct told *told, uint64_t id, const char *text)
{
	uint64_t what = node_mark_of(id, text, strlen(text));
	uint64_t now = what + loop_clock() / TOLD_AGAIN_NS;
	return atomic_exchange(&told->places[what % TOLD_PLACES], now) == now;
}
