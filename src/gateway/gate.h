/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_GATEWAY_GATE_H
#define VSOCKFS_GATEWAY_GATE_H

#include <stdint.h>

/*
 * Lets the calls of one guest to the server one at a time, over all its streams. A call is under
 * way from its last byte on, until anything has come back on its stream, the stream has ended, or
 * GATE_PATIENCE is over: a call that takes long must not stop the others. While one is under way
 * nothing goes to the server, not even a part of another call; a call of which the guest has sent
 * only a part is not under way and stops nobody.
 *
 * Why: calls that arrive on many streams at the same time wake as many threads of the server, which
 * then spend more time on each other than on the calls, and everybody waits for that. Zeroed to
 * begin with. Times are nanoseconds of a monotonic clock, passed in.
 */

#define GATE_PATIENCE UINT64_C(10000000) /* ns */

struct gate {
	/* private */
	const void *stream; /* of the call that is under way, or NULL */
	uint64_t until;
};

/* When bytes may go to the server at the latest; `now` if they may now. */
uint64_t gate_when(const struct gate *gate, uint64_t now);
/* The last byte of a call has gone on this stream, which is known by its address only. */
void gate_close(struct gate *gate, const void *stream, uint64_t now);
/* Something has come back on this stream, or it has ended. */
void gate_answer(struct gate *gate, const void *stream);

#endif
