/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_UTIL_LOOP_TIMER_H
#define VSOCKFS_UTIL_LOOP_TIMER_H

#include "util/loop.h"

/*
 * Timers by deadline, in a pairing heap threaded through the timers themselves: setting one cannot
 * fail, and costs the same for one that is cancelled in time, as nearly all are.
 */

struct loop_timer_heap {
	struct loop_timer *root; /* the first to fire */
};

/* `timer` is not in the heap. */
void loop_timer_insert(struct loop_timer_heap *heap, struct loop_timer *timer);
/* `timer` is in the heap. */
void loop_timer_remove(struct loop_timer_heap *heap, struct loop_timer *timer);

#endif
