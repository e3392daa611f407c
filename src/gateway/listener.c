/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "gateway/listener.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
/* after <sys/socket.h> */
#include <linux/vm_sockets.h>

#include "gateway/carry.h"
#include "gateway/gateway.h"
#include "vsock/socket.h"

#define LISTENER_BACKLOG 128
/*
 * Of a vsock connection, bytes each way; the kernel's 256 KiB hold a quarter of a large READ, and
 * make the sender wait for credit. It is also what a guest that stops reading can make this machine
 * hold for each connection that it is allowed.
 */
#define LISTENER_BUFFER (2 << 20)
/* Accepted in one turn of the loop, so that a flood leaves the others their turns. */
#define LISTENER_BATCH 8
/* Refusals in a second; beyond that all newcomers wait a little. */
#define LISTENER_REFUSALS 2000
#define LISTENER_PAUSE	  UINT64_C(100000000) /* ns, when the system has no room */

int listener_open_vsock(uint32_t port, int *out)
{
	struct sockaddr_vm vm = {
		.svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_ANY, .svm_port = port};
	int fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
	if (bind(fd, (struct sockaddr *)&vm, sizeof(vm)) < 0 || listen(fd, LISTENER_BACKLOG) < 0) {
		int err = -errno;
		close(fd);
		return err;
	}
	*out = fd;
	return 0;
}

/* "PATH_PORT" is where a hypervisor connects for port PORT of the guest at PATH. */
static void listener_unix_path(const struct name *name, uint32_t port, char *out, size_t size)
{
	snprintf(out, size, "%s_%u", name->path, port);
}

/* Removes a socket that nobody listens on; anything else stays and is in the way of bind(2). */
static int listener_clear(const struct sockaddr_un *un)
{
	struct stat st;
	int fd, err = 0;

	if (lstat(un->sun_path, &st) < 0 || !S_ISSOCK(st.st_mode))
		return 0;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, (const struct sockaddr *)un, sizeof(*un)) == 0 || errno == EAGAIN)
		err = -EADDRINUSE;
	else if (errno == ECONNREFUSED)
		err = unlink(un->sun_path) < 0 ? -errno : 0;
	close(fd);
	return err;
}

static int listener_bind(int fd, const struct sockaddr_un *un, bool shared)
{
	mode_t mask = umask(shared ? 0117 : 0177);
	int err = listener_clear(un);

	if (!err && bind(fd, (const struct sockaddr *)un, sizeof(*un)) < 0)
		err = -errno;
	umask(mask);
	return err;
}

/*
 * As its owner: chown(2) afterwards would follow what an owner may have put in its place. Where the
 * owner may not write, this danger does not exist.
 */
static int listener_bind_as(int fd, const struct sockaddr_un *un, uid_t owner, gid_t group)
{
	bool shared = group != (gid_t)-1;
	int err;

	if (shared)
		setfsgid(group);
	setfsuid(owner);
	err = listener_bind(fd, un, shared);
	setfsuid(geteuid());
	setfsgid(getegid());
	if (err != -EACCES || geteuid() != 0)
		return err;
	err = listener_bind(fd, un, shared);
	if (!err && lchown(un->sun_path, owner, group) < 0)
		err = -errno;
	return err;
}

int listener_open_unix(const struct name *name, uint32_t port, uid_t owner, gid_t group, int *out)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), err;

	if (fd < 0)
		return -errno;
	listener_unix_path(name, port, un.sun_path, sizeof(un.sun_path));
	err = listener_bind_as(fd, &un, owner, group);
	if (!err && listen(fd, LISTENER_BACKLOG) < 0)
		err = -errno;
	if (err)
		close(fd);
	else
		*out = fd;
	return err;
}

/* A hypervisor appends _PORT to the path that it was told. */
static int listener_name_of_path(const char *path, uint32_t port, struct name *name)
{
	char suffix[16];
	size_t len = strlen(path);
	size_t n = (size_t)snprintf(suffix, sizeof(suffix), "_%u", port);

	memset(name, 0, sizeof(*name));
	name->kind = NAME_PATH;
	if (len > n && strcmp(path + len - n, suffix) == 0)
		len -= n;
	if (path[0] != '/' || len > NAME_PATH_MAX)
		return -EINVAL;
	memcpy(name->path, path, len);
	return 0;
}

int listener_identify(int fd, uint32_t port, struct name *name, uint32_t *guest_port,
	bool *listening, bool *vsock)
{
	union {
		struct sockaddr_storage sa;
		struct sockaddr_un un;
		struct sockaddr_vm vm;
	} local = {0}, peer = {0};
	socklen_t len = sizeof(local), peer_len = sizeof(peer), n = sizeof(int);
	int accepts = 0;

	*guest_port = 0;
	if (getsockname(fd, (struct sockaddr *)&local, &len) < 0 ||
		getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &accepts, &n) < 0)
		return -errno;
	*listening = accepts;
	*vsock = local.sa.ss_family == AF_VSOCK;
	if (local.sa.ss_family == AF_UNIX)
		return listener_name_of_path(local.un.sun_path, port, name);
	if (!*vsock)
		return -EAFNOSUPPORT;
	if (accepts)
		return 0;
	if (getpeername(fd, (struct sockaddr *)&peer, &peer_len) < 0)
		return -errno;
	*name = (struct name){.kind = NAME_CID, .cid = peer.vm.svm_cid};
	*guest_port = peer.vm.svm_port;
	return 0;
}

static void listener_arm(struct listener *l)
{
	if (l->armed || l->paused || l->ended)
		return;
	l->armed = true;
	loop_poll_start(l->gateway->loop, &l->poll);
}

static void listener_unpause(struct loop_timer *timer)
{
	struct listener *l = (struct listener *)((char *)timer - offsetof(struct listener, pause));

	l->paused = false;
	listener_arm(l);
}

void listener_resume(struct listener *l)
{
	if (l->full)
		loop_timer_cancel(l->gateway->loop, &l->pause);
	l->full = false;
	if (!l->pause.set)
		l->paused = false;
	listener_arm(l);
}

static void listener_pause_until(struct listener *l, uint64_t when)
{
	l->paused = true;
	loop_timer_set(l->gateway->loop, &l->pause, when);
}

/* Whether the guest of this socket may have one more now; else the socket waits. */
static bool listener_has_room(struct listener *l)
{
	uint64_t now = loop_now(l->gateway->loop), when;
	const char *why;
	struct guest *guest = guest_get(l->gateway, &l->name, &why);

	if (!guest)
		return true; /* it is refused, with a word about why */
	guest->listener = l;
	/* One that makes room is gone when the loop has given it back, which resumes us. */
	if (guest->count >= guest->limits.connections) {
		l->paused = l->full = true;
		if (!carry_make_room(guest, &when) && when != UINT64_MAX)
			listener_pause_until(l, when);
		return false;
	}
	if (limit_ok(&guest->connects, now))
		return true;
	listener_pause_until(l, limit_when(&guest->connects, now));
	return false;
}

static void listener_accept_failed(struct listener *l, int err)
{
	if (err == EAGAIN || err == EINTR || err == ECONNABORTED || err == EPROTO)
		return;
	log_warn("accepting a connection: %s", strerror(err));
	listener_pause_until(l, loop_now(l->gateway->loop) + LISTENER_PAUSE);
}

/* False when no more is to be accepted in this turn. */
static bool listener_accept(struct listener *l)
{
	uint64_t now = loop_now(l->gateway->loop);
	struct sockaddr_vm vm = {0};
	socklen_t len = sizeof(vm);
	struct name name = l->name;
	uint32_t port = 0;

	if (!l->vsock && !listener_has_room(l))
		return false;
	int fd = accept4(l->fd, l->vsock ? (struct sockaddr *)&vm : NULL, l->vsock ? &len : NULL,
		SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (fd < 0) {
		listener_accept_failed(l, errno);
		return false;
	}
	if (l->vsock) {
		name = (struct name){.kind = NAME_CID, .cid = vm.svm_cid};
		port = vm.svm_port;
	}
	if (!gateway_admit(l->gateway, fd, &name, port))
		limit_take(&l->refusals, 1, now);
	if (!limit_ok(&l->refusals, now))
		listener_pause_until(l, limit_when(&l->refusals, now));
	return !l->paused;
}

static void listener_free_if_idle(struct listener *l)
{
	struct gateway *gateway = l->gateway;

	if (!l->ended || l->armed)
		return;
	close(l->fd);
	gateway->closing--;
	free(l);
	gateway_left(gateway);
}

static void listener_ready(struct loop_poll *poll, int result)
{
	struct listener *l = (struct listener *)((char *)poll - offsetof(struct listener, poll));

	l->armed = false;
	if (l->ended) {
		listener_free_if_idle(l);
		return;
	}
	for (int i = 0; i < LISTENER_BATCH && !l->ended; i++)
		if (!listener_accept(l))
			break;
	listener_arm(l);
}

int listener_start(
	struct gateway *gateway, int fd, bool vsock, const struct name *name, bool remove)
{
	struct listener *l = calloc(1, sizeof(*l));
	int flags = fcntl(fd, F_GETFL);

	if (!l) {
		close(fd);
		return -ENOMEM;
	}
	/* What others made may block. */
	fcntl(fd, F_SETFL, flags | O_NONBLOCK);
	l->gateway = gateway;
	l->fd = fd;
	l->vsock = vsock;
	if (vsock)
		socket_set_vsock_buffer(fd, LISTENER_BUFFER);
	else
		l->name = *name;
	l->remove = remove;
	l->poll.fd = fd;
	l->poll.events = POLLIN;
	l->poll.done = listener_ready;
	l->pause.fire = listener_unpause;
	limit_init(
		&l->refusals, LISTENER_REFUSALS, LISTENER_REFUSALS / 10, loop_now(gateway->loop));
	TAILQ_INSERT_TAIL(&gateway->listeners, l, entry);
	listener_arm(l);
	return 0;
}

void listener_end(struct listener *l)
{
	struct gateway *gateway = l->gateway;
	char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
	struct guest *guest;

	TAILQ_FOREACH (guest, &gateway->guests, entry)
		if (guest->listener == l)
			guest->listener = NULL;
	if (l->remove) {
		listener_unix_path(&l->name, gateway->conf->port, path, sizeof(path));
		unlink(path);
	}
	TAILQ_REMOVE(&gateway->listeners, l, entry);
	gateway->closing++;
	l->ended = true;
	loop_timer_cancel(gateway->loop, &l->pause);
	loop_poll_cancel(gateway->loop, &l->poll);
	listener_free_if_idle(l);
}
