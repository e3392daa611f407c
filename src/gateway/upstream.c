/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "gateway/upstream.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <unistd.h>

/* Below the lowest are the well-known services, which may still want to start. */
#define UPSTREAM_PORT_MAX 1023
#define UPSTREAM_PORT_MIN 665

static void upstream_free_bind(int fd, sa_family_t family)
{
	int on = 1;

	if (family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_FREEBIND, &on, sizeof(on));
}

/*
 * Whether this machine would receive what it sends to this address. A datagram that comes back
 * tells; the loopback device delivers it before send(2) returns.
 */
static bool upstream_is_local(const struct inet *address)
{
	int fd = socket(address->family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct sockaddr_storage sa;
	socklen_t len = inet_sockaddr(address, 0, &sa);
	char byte = 0;
	bool local;

	if (fd < 0)
		return false;
	upstream_free_bind(fd, address->family);
	/* Without this, the datagram for an address of another machine would leave. */
	local = setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, "lo", 2) == 0 &&
		bind(fd, (struct sockaddr *)&sa, len) == 0 &&
		getsockname(fd, (struct sockaddr *)&sa, &len) == 0 &&
		connect(fd, (struct sockaddr *)&sa, len) == 0 && send(fd, &byte, 1, 0) == 1 &&
		recv(fd, &byte, 1, 0) == 1;
	close(fd);
	return local;
}

/* One attempt, from `port` or, with 0, from any. */
static int upstream_try(const struct upstream *u, uint16_t port, int *out)
{
	int fd = socket(u->server.family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	struct sockaddr_storage sa;
	int on = 1, err;
	socklen_t len;

	if (fd < 0)
		return -errno;
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	upstream_free_bind(fd, u->from.family);
	/* Past connections linger in TIME_WAIT; what matters is the pair of addresses. */
	if (port)
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	else
		setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof(on));
	len = inet_sockaddr(&u->from, port, &sa);
	if (bind(fd, (struct sockaddr *)&sa, len) < 0) {
		err = -errno;
		close(fd);
		return err;
	}
	len = inet_sockaddr(&u->server, u->server_port, &sa);
	err = connect(fd, (struct sockaddr *)&sa, len) < 0 ? -errno : 0;
	if (err && err != -EINPROGRESS) {
		close(fd);
		/* Of connect(2) it means that this very pair of addresses is in use. */
		return err == -EADDRNOTAVAIL ? -EADDRINUSE : err;
	}
	*out = fd;
	return err;
}

int upstream_connect(const struct upstream *u, uint16_t *next_port, int *fd)
{
	int err = -EADDRINUSE;

	if (u->from.family == AF_INET6 && !upstream_is_local(&u->from))
		return -EADDRNOTAVAIL;
	if (!u->reserved)
		return upstream_try(u, 0, fd);
	for (unsigned i = UPSTREAM_PORT_MIN; i <= UPSTREAM_PORT_MAX && err == -EADDRINUSE; i++) {
		if (*next_port < UPSTREAM_PORT_MIN || *next_port > UPSTREAM_PORT_MAX)
			*next_port = UPSTREAM_PORT_MAX;
		err = upstream_try(u, (*next_port)--, fd);
	}
	return err;
}
