/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "notifier.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <poll.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* A WRITE of the largest wsize, and its head: the kernel gives nothing to a smaller buffer. */
#define NOTIFIER_REQUEST_MAX ((1u << 20) + (64u << 10))
#define NOTIFIER_TURN_MS     10

int notifier_init(struct notifier *notifier, int socket, int device, const atomic_bool *kept)
{
	uint32_t session = (uint32_t)device;
	*notifier = (struct notifier){.socket = socket, .device = device, .kept = kept};
	notifier->channel = open("/dev/fuse", O_RDWR | O_CLOEXEC | O_NONBLOCK);
	if (notifier->channel < 0)
		return -errno;
	if (ioctl(notifier->channel, FUSE_DEV_IOC_CLONE, &session) < 0)
		return -errno;
	notifier->child = fork();
	return notifier->child < 0 ? -errno : 0;
}

static void __attribute__((noreturn)) notifier_serve(const struct notifier *notifier)
{
	static char message[NOTIFIER_MESSAGE_MAX];
	close(notifier->channel);
	for (;;) {
		ssize_t len = recv(notifier->socket, message, sizeof(message), 0);
		if (len < 0 && errno == EINTR)
			continue;
		if (len <= 0)
			_exit(0);
		int32_t result = write(notifier->device, message, (size_t)len) < 0 ? -errno : 0;
		if (send(notifier->socket, &result, sizeof(result), MSG_NOSIGNAL) < 0)
			_exit(0);
	}
}

/* One request, if there is one. Those that want no answer (FORGET) take none either. */
static bool notifier_refuse(const struct notifier *notifier, void *buffer)
{
	const struct fuse_in_header *in = buffer;
	ssize_t n = read(notifier->channel, buffer, NOTIFIER_REQUEST_MAX);
	if (n < (ssize_t)sizeof(*in))
		return false;
	const struct fuse_out_header out = {
		.len = sizeof(out), .error = -ENOTCONN, .unique = in->unique};
	return write(notifier->channel, &out, sizeof(out)) > 0 || errno == ENOENT ||
	       errno == EINVAL;
}

static void notifier_refuse_all(const struct notifier *notifier)
{
	struct pollfd pfd = {.fd = notifier->channel, .events = POLLIN};
	void *buffer = mmap(NULL, NOTIFIER_REQUEST_MAX, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	while (buffer != MAP_FAILED && waitpid(notifier->child, NULL, WNOHANG) == 0) {
		while (notifier_refuse(notifier, buffer))
			;
		poll(&pfd, 1, NOTIFIER_TURN_MS);
	}
}

void notifier_main(struct notifier *notifier)
{
	struct pollfd pfd = {.fd = notifier->socket};
	if (notifier->child == 0)
		notifier_serve(notifier);
	close(notifier->device);
	while (!(pfd.revents & POLLHUP))
		poll(&pfd, 1, -1);
	if (!atomic_load(notifier->kept))
		notifier_refuse_all(notifier);
	_exit(0);
}
