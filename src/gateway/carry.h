/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_GATEWAY_CARRY_H
#define VSOCKFS_GATEWAY_CARRY_H

#include "gateway/guest.h"
#include "gateway/marks.h"

/*
 * One connection of a guest, carried to the server. It begins while the server is being connected
 * to, which is tried again for as long as the configuration says; then two lanes move bytes until
 * the server closes, the guest has closed and the server has answered that, a limit ends it, or
 * the gateway does. It logs one line at its end.
 */

struct carry {
	struct guest *guest;
	int guest_fd, server_fd;
	uint32_t guest_port; /* 0 of a Unix socket */
	struct upstream upstream;
	struct carry_lane up, down; /* to the server, from it */
	struct marks calls, answers;
	struct loop_poll watch, connect; /* for the guest's end, and for the server's word */
	bool watching, connecting, open, ended;
	struct loop_timer timer; /* the next attempt, or idleness */
	uint64_t started, moved_at, retry_ns;
	TAILQ_ENTRY(carry) entry; /* of the guest's */
};

/* Takes the guest's socket, which is non-blocking. -ENOMEM, with the socket closed, or 0. */
int carry_start(struct guest *guest, int fd_take, uint32_t guest_port);

/* Whether it goes to the server. */
bool carry_is_up(const struct carry_lane *lane);

/* Moves bytes of one lane, and says how many, and how many calls began in them. A lane to the
 * server takes `at_once` calls at most; `under_way` is for the guest's gate. The connection may be
 * gone afterwards. */
uint64_t carry_move(struct carry_lane *lane, uint64_t at_once, int64_t under_way, uint64_t *calls);

/* Ends at once; `why` is for the log. The memory lives until the loop has given it back. */
void carry_end(struct carry *carry, const char *why);

/*
 * Whether the guest, who has as many connections as it may, can have another one: it can when the
 * one that has been silent for longest has been for a fifteenth of what ends it, and that ends now.
 * Else *when tells when to ask again, UINT64_MAX for never. Devices leave connections open that the
 * guest has closed.
 */
bool carry_make_room(struct guest *guest, uint64_t *when);

/* Takes no more requests, and ends once the server has been quiet for a moment. */
void carry_drain(struct carry *carry);

#endif
