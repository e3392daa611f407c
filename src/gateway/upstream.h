/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_GATEWAY_UPSTREAM_H
#define VSOCKFS_GATEWAY_UPSTREAM_H

#include <stdbool.h>
#include <stdint.h>

#include "gateway/inet.h"

/*
 * Connections to the NFS server, from an address of the guest's own. IPv4 addresses must be local
 * (all of 127.0.0.0/8 is); an IPv6 address may also come from a local route to its network
 * (ip -6 route add local NETWORK dev lo), which needs no address on an interface.
 */

struct upstream {
	struct inet server;
	uint16_t server_port;
	struct inet from;
	bool reserved; /* from a port below 1024 */
};

/*
 * Starts a connection and sets *fd, a non-blocking socket. 0 when it is made, -EINPROGRESS when
 * POLLOUT will tell, or -errno without a socket: -EADDRNOTAVAIL when `from` is no address of this
 * machine, -EADDRINUSE when all reserved ports are taken, -EACCES without the right to one.
 * *next_port is where the search for a reserved port goes on; 0 at first.
 */
int upstream_connect(const struct upstream *upstream, uint16_t *next_port, int *fd);

#endif
