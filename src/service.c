/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "service.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "util/passfd.h"

/* Descriptors handed over begin here: SD_LISTEN_FDS_START. */
#define SERVICE_FIRST_FD 3

bool service_managed(void)
{
	const char *path = getenv("NOTIFY_SOCKET");
	return path && (path[0] == '/' || path[0] == '@') && path[1] != '\0';
}

/* One message, with a descriptor or without (-1). */
static int service_send(const char *text, int fd)
{
	const char *path = getenv("NOTIFY_SOCKET");
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	struct iovec iov = {.iov_base = (char *)text, .iov_len = strlen(text)};
	struct msghdr msg = {.msg_name = &sa, .msg_iov = &iov, .msg_iovlen = 1};
	if (!path || !service_managed())
		return 0;
	size_t len = strlen(path);
	if (len >= sizeof(sa.sun_path))
		return -ENAMETOOLONG;
	memcpy(sa.sun_path, path, len);
	if (path[0] == '@')
		sa.sun_path[0] = '\0';
	msg.msg_namelen = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len);
	int sock = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (sock < 0)
		return -errno;
	int err = passfd_send(sock, &msg, fd) < 0 ? -errno : 0;
	close(sock);
	return err;
}

int service_store_fd(int fd, const char *name)
{
	char text[96];
	/* Watching the device would wake the manager with each request: FDPOLL=0. */
	snprintf(text, sizeof(text), "FDSTORE=1\nFDNAME=%s\nFDPOLL=0", name);
	return service_send(text, fd);
}

int service_forget_fds(const char *name)
{
	char text[96];
	snprintf(text, sizeof(text), "FDSTOREREMOVE=1\nFDNAME=%s", name);
	return service_send(text, -1);
}

int service_ready(void)
{
	return service_send("READY=1", -1);
}

int service_stopping(void)
{
	return service_send("STOPPING=1", -1);
}

static unsigned service_number(const char *name)
{
	const char *text = getenv(name);
	char *end;
	if (!text || text[0] < '0' || text[0] > '9')
		return 0;
	unsigned long number = strtoul(text, &end, 10);
	return *end == '\0' && number <= INT32_MAX ? (unsigned)number : 0;
}

static unsigned service_listen_fds(void)
{
	if (service_number("LISTEN_PID") != (unsigned)getpid())
		return 0;
	return service_number("LISTEN_FDS");
}

bool service_has_device(void)
{
	const char *names = getenv("LISTEN_FDNAMES");
	return service_listen_fds() > 0 && names && strstr(names, SERVICE_FD_FUSE);
}

static void service_take_fd(struct service_fds *fds, int fd, const char *name, size_t len)
{
	fcntl(fd, F_SETFD, FD_CLOEXEC);
	if (len == strlen(SERVICE_FD_STATE) && memcmp(name, SERVICE_FD_STATE, len) == 0 &&
		fds->state < 0)
		fds->state = fd;
	else if (len == strlen(SERVICE_FD_FUSE) && memcmp(name, SERVICE_FD_FUSE, len) == 0 &&
		 fds->nfuse < SERVICE_FDS_MAX)
		fds->fuse[fds->nfuse++] = fd;
	else
		close(fd);
}

bool service_take_fds(struct service_fds *fds)
{
	unsigned count = service_listen_fds();
	const char *names = getenv("LISTEN_FDNAMES");
	*fds = (struct service_fds){.state = -1};
	for (unsigned i = 0; i < count && names; i++) {
		size_t len = strcspn(names, ":");
		service_take_fd(fds, SERVICE_FIRST_FD + (int)i, names, len);
		names += len;
		if (*names == ':')
			names++;
	}
	unsetenv("LISTEN_PID");
	unsetenv("LISTEN_FDS");
	unsetenv("LISTEN_FDNAMES");
	return fds->state >= 0 && fds->nfuse > 0;
}

void service_close_fds(struct service_fds *fds)
{
	if (fds->state >= 0)
		close(fds->state);
	for (unsigned i = 0; i < fds->nfuse; i++)
		if (fds->fuse[i] >= 0)
			close(fds->fuse[i]);
	*fds = (struct service_fds){.state = -1};
}
