/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "vsock/socket.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/random.h>
#include <sys/time.h>
#include <unistd.h>
/* after <sys/socket.h> and <sys/time.h> */
#include <linux/vm_sockets.h>

/* Below the lowest are the well-known services, which may still want to start. */
#define SOCKET_RESERVED_MAX 1023
#define SOCKET_RESERVED_MIN 665
#define SOCKET_RESERVED	    (SOCKET_RESERVED_MAX - SOCKET_RESERVED_MIN + 1)

/* What fits into one packet of one piece, with what the kernel has in front of it and behind. */
#define SOCKET_VSOCK_PIECE (28u << 10)

size_t socket_send_max(const struct sockaddr_storage *peer, const char *release)
{
	const struct sockaddr_vm *vm = (const struct sockaddr_vm *)peer;
	unsigned major, minor;

	if (peer->ss_family != AF_VSOCK || vm->svm_cid == VMADDR_CID_LOCAL ||
		sscanf(release, "%u.%u", &major, &minor) != 2)
		return SIZE_MAX;
	return major > 6 || (major == 6 && minor >= 17) ? SOCKET_VSOCK_PIECE : SIZE_MAX;
}

void socket_set_vsock_buffer(int fd, uint64_t size)
{
	/* The maximum first: it bounds the size. */
	setsockopt(fd, AF_VSOCK, SO_VM_SOCKETS_BUFFER_MAX_SIZE, &size, sizeof(size));
	setsockopt(fd, AF_VSOCK, SO_VM_SOCKETS_BUFFER_SIZE, &size, sizeof(size));
}

/* Buffers and timeouts are wishes: a kernel that refuses one still makes a connection. */
static void socket_tune_vsock(int fd, const struct stream_config *config)
{
	uint64_t ns = config->connect_timeout_ns;

	if (config->buffer_size > 0)
		socket_set_vsock_buffer(fd, config->buffer_size);
	if (ns > 0) {
		/* Rounded up, since the kernel takes 0 for its own choice. */
		uint64_t us = (ns + 999) / 1000;
		struct timeval tv = {
			.tv_sec = (time_t)(us / 1000000),
			.tv_usec = (suseconds_t)(us % 1000000),
		};
		setsockopt(fd, AF_VSOCK, SO_VM_SOCKETS_CONNECT_TIMEOUT, &tv, sizeof(tv));
	}
}

static void socket_tune_unix(int fd, const struct stream_config *config)
{
	int size = config->buffer_size > INT32_MAX ? INT32_MAX : (int)config->buffer_size;

	if (size == 0)
		return;
	/* Beyond net.core.wmem_max for root only. */
	if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size)) < 0)
		setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)) < 0)
		setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
}

static void socket_tune(int fd, sa_family_t family, const struct stream_config *config)
{
	int on = 1;

	if (family == AF_VSOCK)
		socket_tune_vsock(fd, config);
	else if (family == AF_UNIX)
		socket_tune_unix(fd, config);
	else
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

static int socket_bind_port(int fd, sa_family_t family, unsigned port)
{
	struct sockaddr_vm vm = {
		.svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_ANY, .svm_port = port};
	struct sockaddr_in6 in6 = {.sin6_family = AF_INET6,
		.sin6_addr = in6addr_any,
		.sin6_port = htons((uint16_t)port)};
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
	int ret;

	if (family == AF_VSOCK)
		ret = bind(fd, (struct sockaddr *)&vm, sizeof(vm));
	else if (family == AF_INET6)
		ret = bind(fd, (struct sockaddr *)&in6, sizeof(in6));
	else
		ret = bind(fd, (struct sockaddr *)&in, sizeof(in));
	return ret < 0 ? -errno : 0;
}

/* The first that can be had, from the highest but `skip` downwards and round. */
static int socket_bind_any(int fd, sa_family_t family, unsigned skip)
{
	int err = -EADDRINUSE;

	for (unsigned i = 0; i < SOCKET_RESERVED && err == -EADDRINUSE; i++)
		err = socket_bind_port(
			fd, family, SOCKET_RESERVED_MAX - (i + skip) % SOCKET_RESERVED);
	return err;
}

/*
 * Past connections of TCP linger in TIME_WAIT for a minute, and each has its port. When all are
 * taken one is shared, which disturbs nobody, as what matters is the pair of addresses. Should that
 * be in use, connect(2) says so, and the next attempt shares another. Both sides of sharing have to
 * allow it, so each socket does once it has its port.
 */
static int socket_bind_reserved(int fd, sa_family_t family)
{
	unsigned skip = 0;
	int on = 1, err;

	if (family == AF_UNIX)
		return 0;
	err = socket_bind_any(fd, family, 0);
	if (family == AF_VSOCK)
		return err;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (err != -EADDRINUSE)
		return err;
	if (getrandom(&skip, sizeof(skip), GRND_NONBLOCK) != sizeof(skip))
		skip = 0;
	return socket_bind_any(fd, family, skip % SOCKET_RESERVED);
}

int socket_new(const struct sockaddr_storage *sa, const struct stream_config *config, int *out)
{
	int fd = socket(sa->ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int err;

	if (fd < 0)
		return -errno;
	socket_tune(fd, sa->ss_family, config);
	err = config->reserved_port ? socket_bind_reserved(fd, sa->ss_family) : 0;
	if (err) {
		close(fd);
		return err;
	}
	*out = fd;
	return 0;
}
