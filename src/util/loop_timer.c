/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "util/loop_timer.h"

/* Both are roots, with neither siblings nor parent. */
static struct loop_timer *timer_meld(struct loop_timer *a, struct loop_timer *b)
{
	if (b->deadline < a->deadline) {
		struct loop_timer *swap = a;
		a = b;
		b = swap;
	}
	b->prev = a;
	b->next = a->child;
	if (b->next)
		b->next->prev = b;
	a->child = b;
	return a;
}

/* One heap out of a list of siblings: pairs from the left, then all of those from the right. */
static struct loop_timer *timer_meld_siblings(struct loop_timer *list)
{
	struct loop_timer *pairs = NULL, *root = NULL;

	while (list) {
		struct loop_timer *a = list, *b = a->next;
		list = b ? b->next : NULL;
		a->next = NULL;
		if (b) {
			b->next = NULL;
			a = timer_meld(a, b);
		}
		a->next = pairs;
		pairs = a;
	}
	while (pairs) {
		struct loop_timer *next = pairs->next;
		pairs->next = NULL;
		root = root ? timer_meld(root, pairs) : pairs;
		pairs = next;
	}
	return root;
}

void loop_timer_insert(struct loop_timer_heap *heap, struct loop_timer *timer)
{
	timer->child = timer->next = timer->prev = NULL;
	timer->set = true;
	heap->root = heap->root ? timer_meld(heap->root, timer) : timer;
}

void loop_timer_remove(struct loop_timer_heap *heap, struct loop_timer *timer)
{
	struct loop_timer *orphans = timer_meld_siblings(timer->child);

	if (timer == heap->root) {
		heap->root = orphans;
	} else {
		if (timer->prev->child == timer)
			timer->prev->child = timer->next;
		else
			timer->prev->next = timer->next;
		if (timer->next)
			timer->next->prev = timer->prev;
		if (orphans)
			heap->root = timer_meld(heap->root, orphans);
	}
	timer->child = timer->next = timer->prev = NULL;
	timer->set = false;
}
