/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_ROTA_H
#define VSOCKFS_ROTA_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/*
 * Which workers watch the device. The kernel wakes the one of those who wait there that has waited
 * longest: one program would be served by all workers in turn, each asleep by then, and a spinner
 * would look on. So one alone watches, mostly the one that served last. Once requests come on top
 * of each other, all idle workers do, for a while. Any thread; times are ns, as loop_clock().
 */

#define ROTA_CROWD_NS UINT64_C(10000000)

struct rota {
	_Atomic bool single;	   /* one may watch alone */
	_Atomic unsigned watchers; /* their polls are armed */
	_Atomic unsigned busy;	   /* workers with requests in hand */
	_Atomic uint64_t crowd;	   /* until then all watch */
	_Atomic bool spinning;	   /* one worker does: spin.h */
};

/* True: the caller becomes a watcher, and rota_leave follows. */
bool rota_join(struct rota *rota, uint64_t now);
void rota_leave(struct rota *rota);
/* Another one watches, and that is enough. */
bool rota_covered(struct rota *rota, uint64_t now);
/* Requests come on top of each other. True: the others are to be told so. */
bool rota_crowd(struct rota *rota, uint64_t now);

#endif
