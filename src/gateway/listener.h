/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_GATEWAY_LISTENER_H
#define VSOCKFS_GATEWAY_LISTENER_H

#include "gateway/guest.h"

/*
 * A socket on which guests connect: AF_VSOCK for all that have a CID, or a Unix socket for the one
 * guest whose hypervisor connects there. The first closes what a guest has too much of, since the
 * others stand in the same queue; the second leaves it in the queue.
 */

struct listener {
	struct gateway *gateway;
	int fd;
	bool vsock;
	struct name name; /* of a Unix socket */
	bool remove;	  /* made by us: its path goes with it */
	struct loop_poll poll;
	bool armed, paused, ended;
	bool full; /* paused until one of its guest's connections ends */
	struct loop_timer pause;
	struct limit refusals;
	TAILQ_ENTRY(listener) entry;
};

TAILQ_HEAD(listener_list, listener);

/* A listening AF_VSOCK socket on this port of every CID that we have. 0 or -errno. */
int listener_open_vsock(uint32_t port, int *fd);
/*
 * A listening Unix socket at NAME_PORT that only the owner (and the group, unless it is (gid_t)-1)
 * may connect to. What is left of an earlier one there is removed; -EADDRINUSE when someone
 * listens on it. 0 or -errno.
 */
int listener_open_unix(const struct name *name, uint32_t port, uid_t owner, gid_t group, int *fd);

/*
 * What a socket that was handed to us is: the guest behind it, when that is known by the socket.
 * *listening tells whether it listens, else it is a connection. 0, or -errno for a socket of
 * another kind.
 */
int listener_identify(int fd, uint32_t port, struct name *name, uint32_t *guest_port,
	bool *listening, bool *vsock);

/* Starts to accept; takes the socket. 0 or -ENOMEM, with the socket closed. */
int listener_start(
	struct gateway *gateway, int fd_take, bool vsock, const struct name *name, bool remove);
/* Accepts no more and closes; the memory lives until the loop has given it back. */
void listener_end(struct listener *listener);
/* There is room for another connection of its guest. */
void listener_resume(struct listener *listener);

#endif
