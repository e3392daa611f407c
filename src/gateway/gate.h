/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_GATEWAY_GATE_H
#define VSOCKFS_GATEWAY_GATE_H

#include <stdbool.h>
#include <stdint.h>

/*
 * Bounds how many calls of one guest are under way at the server, over all its streams. A call is
 * under way from its last byte on, until its answer has come or its stream has ended. While as many
 * are as may be, nothing goes to the server, not even a part of another call; a call of which the
 * guest has sent only a part is not under way and stops nobody. Answers may be slow, and records
 * may be none that anybody answers: after GATE_PATIENCE without another call one more may go, and
 * from then on one that is under way does not count.
 *
 * Why: what is under way stands in the server's queues before everybody else's calls, and what
 * arrives on many streams at the same time wakes as many of its threads, which then spend more time
 * on each other than on the calls.
 *
 * The server calls back on the same streams, and the guest answers: that counts as an answer and a
 * call, in this order. Zeroed to begin with. Times are nanoseconds of a monotonic clock, passed in.
 */

#define GATE_PATIENCE  UINT64_C(10000000) /* ns */
#define GATE_CALLBACKS 64		  /* more that have no answer are not believed */

struct gate {
	/* private */
	int64_t under_way, late; /* those that do not count are among those under way */
	uint64_t until;
};

/* Whether `most` are under way, so that at most one call may go. */
bool gate_is_full(const struct gate *gate, int64_t most);
/* When a call may go at the latest; `now` if it may now. */
uint64_t gate_when(const struct gate *gate, int64_t most, uint64_t now);
/* The last bytes of so many calls have gone. */
void gate_sent(struct gate *gate, uint64_t calls, int64_t most, uint64_t now);
/* So many answers have come, or will not come; fewer than 0 when callbacks will have none. */
void gate_answered(struct gate *gate, int64_t calls);

#endif
