/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_NOTIFIER_H
#define VSOCKFS_NOTIFIER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <sys/types.h>

/*
 * The process that tells the kernel to drop what it has cached. The kernel waits there for pages
 * that are being read or written, by requests in the daemon's hands, and cannot be interrupted: a
 * thread of the daemon would outlive its kill, and so keep the device open which the answers should
 * come from.
 *
 * What waits there still when the daemon is dead keeps the connection alive by its own hold on the
 * device, and requests that nobody has read yet may be what it waits for. So it has a parent, which
 * then refuses them all (ENOTCONN) until the child has ended, and the connection with it. Unless
 * another daemon will serve them: the daemon says so in memory that they share, so that it holds
 * from one instruction on, whenever it is killed.
 *
 * A request is a message for the FUSE device, in one datagram; the answer is 0 or -errno as
 * int32_t.
 */

#define NOTIFIER_MESSAGE_MAX 4096

struct notifier {
	int socket, device;
	int channel;		 /* of the device, for refusals */
	const atomic_bool *kept; /* the daemon's: nothing is refused */
	pid_t child;		 /* 0: this is it */
};

/* Forks; both processes go on with notifier_main. 0 or -errno. */
int notifier_init(struct notifier *notifier, int socket, int device, const atomic_bool *kept);
/* Serves until the other end of the socket is closed. */
void notifier_main(struct notifier *notifier) __attribute__((noreturn));

#endif
