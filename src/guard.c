/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "guard.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "guard_priv.h"
#include "notifier.h"
#include "util/passfd.h"

/* Linux 6.8; older kernel headers lack it. */
#define GUARD_STATX_MNT_ID_UNIQUE 0x4000U

struct guard {
	int fd;
	int notify_fd;
	pthread_mutex_t notify_mutex; /* one notification at a time */
	pid_t pid;
	struct guard_mount_id id;
	atomic_bool *kept; /* in memory that all processes share */
};

ssize_t guard_send(int sock, const void *data, size_t len, int fd)
{
	struct iovec iov = {.iov_base = (void *)data, .iov_len = len};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
	return passfd_send(sock, &msg, fd);
}

ssize_t guard_receive(int sock, void *data, size_t len, int *fd)
{
	struct iovec iov = {.iov_base = data, .iov_len = len};
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(sizeof(int))];
	} passed;
	struct msghdr msg = {.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &passed,
		.msg_controllen = sizeof(passed)};
	ssize_t n = recvmsg(sock, &msg, MSG_CMSG_CLOEXEC);
	struct cmsghdr *cmsg = n < 0 ? NULL : CMSG_FIRSTHDR(&msg);
	if (cmsg && cmsg->cmsg_level == SOL_SOCKET && cmsg->cmsg_type == SCM_RIGHTS)
		memcpy(fd, CMSG_DATA(cmsg), sizeof(*fd));
	return n;
}

int guard_identify(int fd, bool unique, struct guard_mount_id *id)
{
	struct statx stx;
	if (unique && statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, GUARD_STATX_MNT_ID_UNIQUE,
			      &stx) < 0)
		return -errno;
	unique = unique && (stx.stx_mask & GUARD_STATX_MNT_ID_UNIQUE);
	if (!unique && statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_MNT_ID, &stx) < 0)
		return -errno;
	*id = (struct guard_mount_id){.id = stx.stx_mnt_id,
		.major = stx.stx_dev_major,
		.minor = stx.stx_dev_minor,
		.unique = unique};
	return 0;
}

static void guard_close_pair(const int fds[2])
{
	close(fds[0]);
	close(fds[1]);
}

static struct guard *guard_new(void)
{
	struct guard *guard = calloc(1, sizeof(*guard));
	if (!guard)
		return NULL;
	guard->kept = mmap(NULL, sizeof(*guard->kept), PROT_READ | PROT_WRITE,
		MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (guard->kept != MAP_FAILED)
		return guard;
	free(guard);
	return NULL;
}

static void guard_delete(struct guard *guard)
{
	munmap(guard->kept, sizeof(*guard->kept));
	free(guard);
}

static int guard_failed(struct guard *guard, int err)
{
	guard_delete(guard);
	return err;
}

int guard_start(const struct options *options, enum guard_orphan orphan, struct guard **guard)
{
	const int type = SOCK_SEQPACKET | SOCK_CLOEXEC;
	int fds[2], notify[2];
	struct guard *g = guard_new();
	if (!g)
		return -ENOMEM;
	if (socketpair(AF_UNIX, type, 0, fds) < 0)
		return guard_failed(g, -errno);
	if (socketpair(AF_UNIX, type, 0, notify) < 0) {
		int err = -errno;
		guard_close_pair(fds);
		return guard_failed(g, err);
	}
	fflush(NULL);
	g->pid = fork();
	if (g->pid == 0) {
		struct keeper keeper = {.options = options,
			.orphan = orphan,
			.fd = fds[1],
			.notify_fd = notify[1],
			.kept = g->kept};
		keeper_main(&keeper);
	}
	if (g->pid < 0) {
		int err = -errno;
		guard_close_pair(fds);
		guard_close_pair(notify);
		return guard_failed(g, err);
	}
	close(fds[1]);
	close(notify[1]);
	g->fd = fds[0];
	g->notify_fd = notify[0];
	pthread_mutex_init(&g->notify_mutex, NULL);
	*guard = g;
	return 0;
}

static ssize_t notify_exchange(struct guard *guard, const void *message, size_t len)
{
	int32_t result;
	ssize_t n = send(guard->notify_fd, message, len, MSG_NOSIGNAL);
	while (n >= 0 && (n = recv(guard->notify_fd, &result, sizeof(result), 0)) < 0 &&
		errno == EINTR)
		n = 0;
	if (n == 0)
		errno = ENODEV;
	if (n != sizeof(result))
		return -1;
	errno = -result;
	return result < 0 ? -1 : (ssize_t)len;
}

ssize_t guard_notify(struct guard *guard, const struct iovec *iov, int count)
{
	char message[NOTIFIER_MESSAGE_MAX];
	size_t len = 0;
	for (int i = 0; i < count; i++) {
		if (iov[i].iov_len > sizeof(message) - len) {
			errno = EMSGSIZE;
			return -1;
		}
		memcpy(message + len, iov[i].iov_base, iov[i].iov_len);
		len += iov[i].iov_len;
	}
	pthread_mutex_lock(&guard->notify_mutex);
	ssize_t n = notify_exchange(guard, message, len);
	pthread_mutex_unlock(&guard->notify_mutex);
	return n;
}

void guard_keep(struct guard *guard, bool keep)
{
	atomic_store(guard->kept, keep);
}

static int guard_tell(struct guard *guard, const struct guard_request *request)
{
	return guard_send(guard->fd, request, sizeof(*request), -1) < 0 ? -errno : 0;
}

/* 0 or -errno. A descriptor that came with the answer goes to *fd_out. */
static int guard_hear(struct guard *guard, int timeout_ms, struct guard_reply *reply, int *fd_out)
{
	struct pollfd pfd = {.fd = guard->fd, .events = POLLIN};
	int none = -1;
	int n = poll(&pfd, 1, timeout_ms);
	if (n <= 0)
		return n == 0 ? -ETIMEDOUT : -errno;
	if (guard_receive(guard->fd, reply, sizeof(*reply), fd_out ? fd_out : &none) !=
		sizeof(*reply))
		return -ECHILD;
	return reply->err;
}

int guard_mount(struct guard *guard, uint32_t max_read, int *fd_out)
{
	struct guard_reply reply;
	int err = guard_tell(
		guard, &(struct guard_request){.order = GUARD_MOUNT, .max_read = max_read});
	*fd_out = -1;
	if (!err)
		err = guard_hear(guard, -1, &reply, fd_out);
	if (!err && *fd_out < 0)
		err = -EBADF;
	if (!err)
		guard->id = reply.id;
	return err;
}

int guard_adopt(struct guard *guard, const struct guard_mount_id *id, int device)
{
	const struct guard_request request = {.order = GUARD_ADOPT, .id = *id};
	struct guard_reply reply;
	guard->id = *id;
	/* Whoever mounted it has left it to us, and should we die it is there for the next. */
	guard_keep(guard, true);
	if (guard_send(guard->fd, &request, sizeof(request), device) < 0)
		return -errno;
	return guard_hear(guard, -1, &reply, NULL);
}

int guard_clear(struct guard *guard)
{
	struct guard_reply reply;
	int err = guard_tell(guard, &(struct guard_request){.order = GUARD_CLEAR});
	return err ? err : guard_hear(guard, -1, &reply, NULL);
}

const struct guard_mount_id *guard_id(const struct guard *guard)
{
	return &guard->id;
}

void guard_ready(struct guard *guard, bool background, bool rings)
{
	guard_tell(guard, &(struct guard_request){
				  .order = GUARD_READY, .background = background, .rings = rings});
}

int guard_unmount(struct guard *guard, int timeout_ms)
{
	struct guard_reply reply;
	int err = guard_tell(guard, &(struct guard_request){.order = GUARD_DETACH});
	return err ? err : guard_hear(guard, timeout_ms, &reply, NULL);
}

void guard_remove_control(struct guard *guard, ino_t inode)
{
	struct guard_reply reply;
	if (guard_tell(guard, &(struct guard_request){.order = GUARD_UNLINK, .inode = inode}) == 0)
		guard_hear(guard, -1, &reply, NULL);
}

void guard_free(struct guard *guard)
{
	if (!guard)
		return;
	guard_tell(guard, &(struct guard_request){.order = GUARD_END});
	close(guard->fd);
	close(guard->notify_fd);
	pthread_mutex_destroy(&guard->notify_mutex);
	while (waitpid(guard->pid, NULL, 0) < 0 && errno == EINTR)
		;
	guard_delete(guard);
}
