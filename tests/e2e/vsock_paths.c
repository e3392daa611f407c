/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Preloaded: this machine has no vsock peers, so what connects to CID and port gets the Unix socket
 * CID.PORT in the directory VSOCK_PATHS. The first VSOCK_RESETS of them (none by default) are
 * reset.
 */
#include <dlfcn.h>
#include <errno.h>
#include <linux/vm_sockets.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>

#define EXPORTED __attribute__((visibility("default")))

EXPORTED int socket(int family, int type, int protocol)
{
	int (*next)(int, int, int) = (int (*)(int, int, int))dlsym(RTLD_NEXT, "socket");
	return next(family == AF_VSOCK ? AF_UNIX : family, type, protocol);
}

EXPORTED int bind(int fd, const struct sockaddr *address, socklen_t len)
{
	int (*next)(int, const struct sockaddr *, socklen_t) =
		(int (*)(int, const struct sockaddr *, socklen_t))dlsym(RTLD_NEXT, "bind");
	return address->sa_family == AF_VSOCK ? 0 : next(fd, address, len);
}

static int reset(void)
{
	static atomic_int count;
	const char *resets = getenv("VSOCK_RESETS");
	return resets && atomic_fetch_add(&count, 1) < atoi(resets);
}

EXPORTED int connect(int fd, const struct sockaddr *address, socklen_t len)
{
	int (*next)(int, const struct sockaddr *, socklen_t) =
		(int (*)(int, const struct sockaddr *, socklen_t))dlsym(RTLD_NEXT, "connect");
	const struct sockaddr_vm *vm = (const struct sockaddr_vm *)address;
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	if (address->sa_family != AF_VSOCK)
		return next(fd, address, len);
	if (reset()) {
		errno = ECONNRESET;
		return -1;
	}
	snprintf(un.sun_path, sizeof(un.sun_path), "%s/%u.%u", getenv("VSOCK_PATHS"), vm->svm_cid,
		vm->svm_port);
	int ret = next(fd, (const struct sockaddr *)&un, sizeof(un));
	/* as AF_VSOCK has it */
	if (ret < 0 && (errno == ENOENT || errno == ECONNREFUSED))
		errno = ECONNRESET;
	return ret;
}
