/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "control.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "mountinfo.h"
#include "util/log.h"
#include "util/loop.h"

#define REQUEST_MAX	  128 /* bytes of a request line */
#define CLIENT_TIMEOUT_NS UINT64_C(2000000000)
#define THREAD_STACK	  (256 << 10)
#define REQUEST_FDS	  4 /* descriptors looked at; the kernel drops more */

struct control {
	int listen_fd, wake_fd;
	pthread_t thread;
	const struct control_ops *ops;
	void *arg;
	ino_t inode; /* of the socket's file */
};

/* Waits until `fd` is ready; false when the time is over or the control shall end. */
static bool wait_for(struct control *control, int fd, short events, uint64_t deadline)
{
	struct pollfd fds[] = {{control->wake_fd, POLLIN, 0}, {fd, events, 0}};

	for (;;) {
		uint64_t now = deadline ? loop_clock() : 0;
		if (deadline && now >= deadline)
			return false;
		int timeout = deadline ? (int)((deadline - now) / 1000000) + 1 : -1;
		int n = poll(fds, 2, timeout);
		if (n < 0 && errno == EINTR)
			continue;
		return n > 0 && !fds[0].revents;
	}
}

/* As recv(2), with the descriptors that come along: the first one stays, in *fd. */
static ssize_t receive(int from, char *data, size_t size, int *fd)
{
	union {
		char buffer[CMSG_SPACE(REQUEST_FDS * sizeof(int))];
		struct cmsghdr align;
	} control;
	struct iovec iov = {.iov_base = data, .iov_len = size};
	struct msghdr msg = {.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control.buffer,
		.msg_controllen = sizeof(control.buffer)};
	ssize_t n = recvmsg(from, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

	if (n < 0)
		return n;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&msg); c; c = CMSG_NXTHDR(&msg, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t i = 0; CMSG_LEN((i + 1) * sizeof(int)) <= c->cmsg_len; i++) {
			int got;
			memcpy(&got, CMSG_DATA(c) + i * sizeof(int), sizeof(got));
			if (*fd < 0)
				*fd = got;
			else
				close(got);
		}
	}
	return n;
}

static bool read_request(struct control *control, int from, char *line, int *fd, uint64_t deadline)
{
	size_t len = 0;

	while (len < REQUEST_MAX - 1) {
		if (!wait_for(control, from, POLLIN, deadline))
			return false;
		ssize_t n = receive(from, line + len, REQUEST_MAX - 1 - len, fd);
		if (n < 0 && (errno == EINTR || errno == EAGAIN))
			continue;
		if (n <= 0)
			return false;
		len += (size_t)n;
		line[len] = '\0';
		char *end = strchr(line, '\n');
		if (end) {
			*end = '\0';
			return true;
		}
	}
	return false;
}

static void send_text(
	struct control *control, int fd, const char *text, size_t len, uint64_t deadline)
{
	while (len > 0) {
		if (!wait_for(control, fd, POLLOUT, deadline))
			return;
		ssize_t n = send(fd, text, len, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n < 0 && (errno == EINTR || errno == EAGAIN))
			continue;
		if (n <= 0)
			return;
		text += n;
		len -= (size_t)n;
	}
}

static void send_answer(struct control *control, int to, const char *request, int *fd)
{
	char *text = NULL, head[64];
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);

	if (!out)
		return;
	bool good = control->ops->answer(control->arg, request, fd, out);
	uint64_t deadline = loop_clock() + CLIENT_TIMEOUT_NS;
	if (fclose(out) == 0) {
		int n = good ? snprintf(head, sizeof(head), "vsockfs-control 1 ok %zu\n", len)
			     : snprintf(head, sizeof(head), "vsockfs-control 1 error ");
		send_text(control, to, head, (size_t)n, deadline);
		send_text(control, to, text, len, deadline);
	}
	free(text);
}

static bool peer_allowed(int fd)
{
	struct ucred peer;
	socklen_t len = sizeof(peer);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0)
		return false;
	return peer.uid == 0 || peer.uid == geteuid();
}

static void serve_client(struct control *control, int client)
{
	static const char denied[] = "vsockfs-control 1 error permission denied\n";
	uint64_t deadline = loop_clock() + CLIENT_TIMEOUT_NS;
	char line[REQUEST_MAX];
	int fd = -1;

	/* The request is read in any case: closing with it unread would take the answer away. */
	if (read_request(control, client, line, &fd, deadline)) {
		if (!peer_allowed(client))
			send_text(control, client, denied, sizeof(denied) - 1, deadline);
		else
			send_answer(control, client, line, &fd);
	}
	if (fd >= 0)
		close(fd);
}

static void *control_thread(void *arg)
{
	struct control *control = arg;

	while (wait_for(control, control->listen_fd, POLLIN, 0)) {
		int fd = accept4(control->listen_fd, NULL, NULL, SOCK_CLOEXEC);
		if (fd < 0 && (errno == EMFILE || errno == ENFILE || errno == ENOMEM)) {
			/* The client stays in the queue and would wake us at once again. */
			wait_for(control, -1, 0, loop_clock() + CLIENT_TIMEOUT_NS / 5);
			continue;
		}
		if (fd < 0)
			continue;
		serve_client(control, fd);
		close(fd);
	}
	return NULL;
}

/* The directory must be ours alone: others could put their own sockets there. */
static int check_directory(const char *directory)
{
	struct stat st;
	int r = 0;

	if (mkdir(directory, 0755) < 0 && errno != EEXIST)
		return -errno;
	int fd = open(directory, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) < 0)
		r = -errno;
	else if (st.st_uid != geteuid() || (st.st_mode & 022))
		r = -EPERM;
	close(fd);
	return r;
}

/* Nobody listens any more. */
static bool is_abandoned(const struct sockaddr_un *sa)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	bool refused = fd >= 0 && connect(fd, (const struct sockaddr *)sa, sizeof(*sa)) < 0 &&
		       errno == ECONNREFUSED;

	if (fd >= 0)
		close(fd);
	return refused;
}

static bool is_control_name(const char *name, uint32_t *major, uint32_t *minor)
{
	int len = 0;

	return sscanf(name, "%" SCNu32 ":%" SCNu32 ".sock%n", major, minor, &len) == 2 && len > 0 &&
	       name[len] == '\0';
}

/*
 * Daemons that were killed left them. Not those of file systems that are mounted: a daemon may be
 * between bind(2) and listen(2), or else vsockfsctl tells by it that the daemon is dead.
 */
static void sweep(const char *directory)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	DIR *dir = opendir(directory);
	const struct dirent *entry;
	uint32_t major, minor;

	while (dir && (entry = readdir(dir)))
		if (is_control_name(entry->d_name, &major, &minor) &&
			control_path(directory, major, minor, sa.sun_path, sizeof(sa.sun_path)) &&
			is_abandoned(&sa) && mountinfo_find_device(major, minor) == -ENOENT)
			unlink(sa.sun_path);
	if (dir)
		closedir(dir);
}

/*
 * The kernel gives the device number of a file system that has gone out again: what has its socket
 * is a daemon that died, or one that has not noticed yet that it was unmounted.
 */
static int replace_stale(const char *path)
{
	struct stat st;

	if (lstat(path, &st) < 0)
		return errno == ENOENT ? 0 : -errno;
	if (!S_ISSOCK(st.st_mode))
		return -EEXIST;
	return unlink(path) < 0 && errno != ENOENT ? -errno : 0;
}

static int listen_at(struct control *control, const char *directory, uint32_t major, uint32_t minor)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	struct stat st;
	int r = check_directory(directory);

	if (r < 0)
		return r;
	if (!control_path(directory, major, minor, sa.sun_path, sizeof(sa.sun_path)))
		return -ENAMETOOLONG;
	r = replace_stale(sa.sun_path);
	if (r < 0)
		return r;

	control->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (control->listen_fd < 0)
		return -errno;
	/* The mode set before bind(2) is the one that the socket's file is made with. */
	if (fchmod(control->listen_fd, 0600) < 0 ||
		bind(control->listen_fd, (struct sockaddr *)&sa, sizeof(sa)) < 0)
		return -errno;
	if (lstat(sa.sun_path, &st) < 0 || listen(control->listen_fd, 4) < 0) {
		r = -errno;
		unlink(sa.sun_path);
		return r;
	}
	control->inode = st.st_ino;
	return 0;
}

static int start_thread(struct control *control)
{
	pthread_attr_t attr;
	sigset_t all, before;

	control->wake_fd = eventfd(0, EFD_CLOEXEC);
	if (control->wake_fd < 0)
		return -errno;
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, THREAD_STACK);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	int r = -pthread_create(&control->thread, &attr, control_thread, control);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attr);
	return r;
}

static void destroy(struct control *control)
{
	if (control->listen_fd >= 0)
		close(control->listen_fd);
	if (control->wake_fd >= 0)
		close(control->wake_fd);
	free(control);
}

int control_new_in(const char *directory, uint32_t major, uint32_t minor,
	const struct control_ops *ops, void *arg, struct control **control)
{
	struct control *c = calloc(1, sizeof(*c));

	if (!c)
		return -ENOMEM;
	c->listen_fd = c->wake_fd = -1;
	c->ops = ops;
	c->arg = arg;
	int r = listen_at(c, directory, major, minor);
	if (r == 0) {
		sweep(directory);
		r = start_thread(c);
		if (r < 0)
			control_remove_in(directory, major, minor, c->inode);
	}
	if (r < 0) {
		log_debug("no control socket in %s: %s", directory, strerror(-r));
		destroy(c);
		return r;
	}
	*control = c;
	return 0;
}

int control_new(uint32_t major, uint32_t minor, const struct control_ops *ops, void *arg,
	struct control **control)
{
	char directory[CONTROL_PATH_MAX];
	int r = control_directory(geteuid(), directory);

	if (r < 0) {
		log_debug("no control socket: %s", strerror(-r));
		return r;
	}
	return control_new_in(directory, major, minor, ops, arg, control);
}

void control_free(struct control *control)
{
	uint64_t one = 1;

	if (!control)
		return;
	while (write(control->wake_fd, &one, sizeof(one)) < 0 && errno == EINTR)
		;
	pthread_join(control->thread, NULL);
	destroy(control);
}

ino_t control_inode(const struct control *control)
{
	return control->inode;
}

void control_remove_in(const char *directory, uint32_t major, uint32_t minor, ino_t inode)
{
	char path[CONTROL_PATH_MAX];
	struct stat st;

	if (control_path(directory, major, minor, path, sizeof(path)) && lstat(path, &st) == 0 &&
		st.st_ino == inode)
		unlink(path);
}

void control_remove(uint32_t major, uint32_t minor, ino_t inode)
{
	char directory[CONTROL_PATH_MAX];

	if (control_directory(geteuid(), directory) == 0)
		control_remove_in(directory, major, minor, inode);
}
