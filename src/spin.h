/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_SPIN_H
#define VSOCKFS_SPIN_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/*
 * Whether it pays to look for an event a while before sleeping (-o busy_poll=): a sleeper costs the
 * event its wake-up, on another CPU more than most requests' own work; a spinner costs that CPU. A
 * machine of states, which is told the time: what is waited for has come within the limit lately,
 * or it is tried ever more seldom; and whenever another thread wanted the CPU, there is a rest.
 * Times are ns, as loop_clock(). One thread.
 */

enum spin_wait {
	SPIN_REQUEST, /* nothing is in hand */
	SPIN_REPLY,   /* the server's turn */
	SPIN_WAITS,
};

/* So many waits are left out, at most, before the next try. */
#define SPIN_SKIP_MAX 256
/* Who wants to know more than that after an answer is no program at work. */
#define SPIN_IDLE_NS UINT64_C(10000000)
/* The CPU was away for so long while it was ours to give: it is needed. */
#define SPIN_AWAY_NS	 UINT64_C(250000)
#define SPIN_REST_NS	 UINT64_C(20000000)
#define SPIN_REST_MAX_NS UINT64_C(2000000000)

struct spin {
	uint64_t limit; /* 0: never */
	struct {
		unsigned gap;  /* waits to be left out after a try in vain */
		unsigned left; /* of them */
	} wait[SPIN_WAITS];
	enum spin_wait now;
	uint64_t rest, until; /* how long, and until when, it leaves the CPU to others */
};

/* Written by one thread, read by any. */
struct spin_stats {
	_Atomic uint64_t spins, found; /* how often, and of these how often something came */
	_Atomic uint64_t ns;
};

void spin_init(struct spin *spin, uint64_t limit);
/*
 * Before each sleep, at `now`; a request last came, or was answered, at `active`. How long to look
 * for events before it: 0 for not at all. If it does, spin_end follows.
 */
uint64_t spin_begin(struct spin *spin, enum spin_wait wait, uint64_t active, uint64_t now);
/* `found`: something came; `away`: the longest time for which others had the CPU. */
void spin_end(struct spin *spin, bool found, uint64_t away, uint64_t now);

#endif
