/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_NOTIFIER_H
#define VSOCKFS_NOTIFIER_H

/*
 * The process that tells the kernel to drop what it has cached. The kernel waits there for pages
 * that are being read or written, by requests in the daemon's hands, and cannot be interrupted: a
 * thread of the daemon would outlive its kill, and so keep the device open which the answers should
 * come from.
 *
 * A request is a message for the FUSE device, in one datagram; the answer is 0 or -errno as
 * int32_t.
 */

#define NOTIFIER_MESSAGE_MAX 4096

/* Serves until the other end of `socket` is closed. Does not return. */
void notifier_main(int socket, int device) __attribute__((noreturn));

#endif
