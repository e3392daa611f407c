/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_UTIL_PASSFD_H
#define VSOCKFS_UTIL_PASSFD_H

#include <sys/socket.h>
#include <sys/types.h>

/*
 * Sends `msg`, and with it a duplicate of `fd` (-1: none), through a Unix socket; msg's control
 * part is set. As sendmsg(2), but without SIGPIPE, and again after EINTR.
 */
ssize_t passfd_send(int sock, struct msghdr *msg, int fd);

#endif
