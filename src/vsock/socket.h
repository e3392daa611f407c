/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_VSOCK_SOCKET_H
#define VSOCKFS_VSOCK_SOCKET_H

#include <stddef.h>
#include <sys/socket.h>

#include "vsock/stream.h"

/*
 * A non-blocking, close-on-exec stream socket of the family of `sa`, set up as `config` asks and
 * bound to a reserved port where it asks for one. 0 or -errno.
 */
int socket_new(const struct sockaddr_storage *sa, const struct stream_config *config, int *fd);

/*
 * Asks for `size` bytes of buffer each way for a socket of AF_VSOCK, before it connects or listens;
 * a listener's is what it accepts has. A wish: the kernel may refuse.
 */
void socket_set_vsock_buffer(int fd, uint64_t size);

/*
 * How many bytes one sendmsg(2) to `peer` may hand over, on a kernel of that release (uname(2)).
 * From Linux 6.17 on a guest's virtio-vsock gives packets of more than 32 KiB to the device in
 * pieces, and many devices stop at those, for all their connections. SIZE_MAX: any number.
 */
size_t socket_send_max(const struct sockaddr_storage *peer, const char *release);

#endif
