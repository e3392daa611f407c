/* SPDX-License-Identifier: LGPL-2.1-or-later */
#define FUSE_USE_VERSION 314

#include "guard.h"

#include <errno.h>
#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include "control.h"
#include "privilege.h"
#include "sandbox.h"
#include "util/log.h"

/* Linux 6.8; older kernel headers lack it. */
#define GUARD_STATX_MNT_ID_UNIQUE 0x4000U

enum guard_order { GUARD_MOUNT, GUARD_ADOPT, GUARD_READY, GUARD_UNLINK, GUARD_DETACH, GUARD_END };

/* One datagram each way. */
struct guard_request {
	enum guard_order order;
	uint32_t max_read;
	bool background;
	struct guard_mount_id id;
};

struct guard_reply {
	int err;
	struct guard_mount_id id;
};

struct guard {
	int fd;
	pid_t pid;
	struct guard_mount_id id;
};

/* The process itself. */
struct keeper {
	const struct options *options;
	enum guard_orphan orphan;
	int fd;
	struct guard_mount_id id; /* id 0: not mounted */
};

/* Control message of one descriptor. */
union guard_passed {
	struct cmsghdr header;
	char space[CMSG_SPACE(sizeof(int))];
};

/* Neither a mount whose server is away nor a dead one is asked anything. */
static int keeper_identify(int fd, struct guard_mount_id *id)
{
	struct statx stx;
	if (statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, GUARD_STATX_MNT_ID_UNIQUE, &stx) < 0)
		return -errno;
	bool unique = stx.stx_mask & GUARD_STATX_MNT_ID_UNIQUE;
	if (!unique && statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_MNT_ID, &stx) < 0)
		return -errno;
	*id = (struct guard_mount_id){.id = stx.stx_mnt_id,
		.major = stx.stx_dev_major,
		.minor = stx.stx_dev_minor,
		.unique = unique};
	return 0;
}

static int keeper_open(const struct keeper *keeper)
{
	int fd = open(keeper->options->mountpoint, O_PATH | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

static int keeper_run_fusermount(const struct keeper *keeper)
{
	char *words[] = {"fusermount3", "-u", "-z", "-q", "--", keeper->options->mountpoint, NULL};
	posix_spawnattr_t attr;
	pid_t pid;
	int status = 0;
	sigset_t none;
	sigemptyset(&none);
	posix_spawnattr_init(&attr);
	posix_spawnattr_setsigmask(&attr, &none);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK);
	int err = -posix_spawnp(&pid, words[0], NULL, &attr, words, environ);
	posix_spawnattr_destroy(&attr);
	if (err)
		return err;
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -EPERM;
}

/* Another mount on the same place, above ours or instead of it, is nobody's business here. */
static int keeper_detach(struct keeper *keeper)
{
	struct guard_mount_id id = {0};
	char path[32];
	if (keeper->id.id == 0)
		return 0;
	int fd = keeper_open(keeper);
	if (fd < 0)
		return fd;
	int err = keeper_identify(fd, &id);
	if (!err && (id.id != keeper->id.id || id.major != keeper->id.major ||
			    id.minor != keeper->id.minor)) {
		close(fd);
		keeper->id.id = 0;
		return 0;
	}
	/* By descriptor: what was looked at is what is unmounted. */
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (!err && umount2(path, MNT_DETACH) < 0)
		err = -errno;
	close(fd);
	if (err == -EPERM)
		err = keeper_run_fusermount(keeper);
	if (!err)
		keeper->id.id = 0;
	return err;
}

static struct fuse_session *keeper_session(const struct keeper *keeper, uint32_t max_read)
{
	static const struct fuse_lowlevel_ops none;
	struct fuse_args args = FUSE_ARGS_INIT(0, NULL);
	struct fuse_session *session = NULL;
	char text[48];
	/* fusermount3 has an auto_unmount of its own, which waits for the end of this process. */
	snprintf(text, sizeof(text), "max_read=%u%s", max_read,
		geteuid() != 0 && keeper->orphan == GUARD_UNMOUNT ? ",auto_unmount" : "");
	if (fuse_opt_add_arg(&args, "vsockfs") == 0 && fuse_opt_add_arg(&args, "-o") == 0 &&
		fuse_opt_add_arg(&args, keeper->options->fuse_options) == 0 &&
		fuse_opt_add_arg(&args, "-o") == 0 && fuse_opt_add_arg(&args, text) == 0)
		session = fuse_session_new(&args, &none, sizeof(none), NULL);
	fuse_opt_free_args(&args);
	return session;
}

/* The FUSE device, or -errno. */
static int keeper_mount(struct keeper *keeper, uint32_t max_read)
{
	struct fuse_session *session = keeper_session(keeper, max_read);
	if (!session)
		return -EINVAL;
	/* libfuse's session ends with this process: it would keep the device open, and unmount by
	 * path alone. */
	if (fuse_session_mount(session, keeper->options->mountpoint) != 0)
		return -EIO;
	int dir = keeper_open(keeper);
	int err = dir < 0 ? dir : keeper_identify(dir, &keeper->id);
	if (dir >= 0)
		close(dir);
	return err ? err : fuse_session_fd(session);
}

static void keeper_read_ahead(const struct keeper *keeper, uint32_t max_read)
{
	char path[64], text[16];
	snprintf(path, sizeof(path), "/sys/class/bdi/%u:%u/read_ahead_kb", keeper->id.major,
		keeper->id.minor);
	int len = snprintf(text, sizeof(text), "%u", max_read / 1024);
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	/* Only root may, and only the speed of reading depends on it. */
	if (fd < 0 || write(fd, text, (size_t)len) != len)
		log_debug("%s stays as it is: %s", path, strerror(errno));
	if (fd >= 0)
		close(fd);
}

static void keeper_settle(const struct keeper *keeper, const struct guard_request *request)
{
	keeper_read_ahead(keeper, request->max_read);
	if (chdir("/") < 0)
		log_debug("cannot change to /: %s", strerror(errno));
	if (request->background) {
		int null = open("/dev/null", O_RDWR | O_CLOEXEC);
		for (int fd = STDIN_FILENO; null >= 0 && fd <= STDERR_FILENO; fd++)
			dup2(null, fd);
		if (null >= 0)
			close(null);
		log_init(LOG_TARGET_SYSLOG, keeper->options->debug);
	}
	if (geteuid() != 0 || !keeper->options->sandbox)
		return;
	privilege_drop_guard();
	int err = sandbox_enter_guard();
	if (err)
		log_debug("the guard has no system call filter: %s", strerror(-err));
}

static void keeper_unlink(const struct keeper *keeper)
{
	char directory[CONTROL_PATH_MAX], path[CONTROL_PATH_MAX + 32];
	if (control_directory(geteuid(), directory) != 0)
		return;
	control_path(directory, keeper->id.major, keeper->id.minor, path, sizeof(path));
	unlink(path);
}

static bool keeper_reply(struct keeper *keeper, int err, int fd)
{
	struct guard_reply reply = {.err = err, .id = keeper->id};
	struct iovec iov = {.iov_base = &reply, .iov_len = sizeof(reply)};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
	union guard_passed passed = {0};
	if (fd >= 0) {
		msg.msg_control = &passed;
		msg.msg_controllen = sizeof(passed);
		struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);
		cmsg->cmsg_level = SOL_SOCKET;
		cmsg->cmsg_type = SCM_RIGHTS;
		cmsg->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(cmsg), &fd, sizeof(fd));
	}
	return sendmsg(keeper->fd, &msg, MSG_NOSIGNAL) >= 0;
}

static void keeper_serve_mount(struct keeper *keeper, uint32_t max_read)
{
	int fd = keeper_mount(keeper, max_read);
	bool told = keeper_reply(keeper, fd < 0 ? fd : 0, fd);
	/* The daemon's must be the only one, so that its death ends the connection. */
	if (fd >= 0)
		close(fd);
	if (!told)
		keeper_detach(keeper);
}

/* False: there is nothing more to wait for. */
static bool keeper_serve(struct keeper *keeper)
{
	struct guard_request request;
	ssize_t n;
	do
		n = recv(keeper->fd, &request, sizeof(request), 0);
	while (n < 0 && errno == EINTR);
	if (n != sizeof(request)) {
		int err = keeper->orphan == GUARD_UNMOUNT ? keeper_detach(keeper) : 0;
		if (err)
			log_error("%s: the daemon has died, and its mount cannot be removed: %s",
				keeper->options->mountpoint, strerror(-err));
		return false;
	}
	switch (request.order) {
	case GUARD_MOUNT: keeper_serve_mount(keeper, request.max_read); return true;
	case GUARD_ADOPT: keeper->id = request.id; return keeper_reply(keeper, 0, -1);
	case GUARD_READY: keeper_settle(keeper, &request); return true;
	case GUARD_UNLINK: keeper_unlink(keeper); return keeper_reply(keeper, 0, -1);
	case GUARD_DETACH: return keeper_reply(keeper, keeper_detach(keeper), -1);
	case GUARD_END: break;
	}
	return false;
}

static void keeper_main(struct keeper *keeper)
{
	static const int ignored[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGPIPE};
	for (size_t i = 0; i < sizeof(ignored) / sizeof(ignored[0]); i++)
		signal(ignored[i], SIG_IGN);
	prctl(PR_SET_NAME, "vsockfs-guard");
	while (keeper_serve(keeper))
		;
	_exit(0);
}

int guard_start(const struct options *options, enum guard_orphan orphan, struct guard **guard)
{
	int fds[2];
	struct guard *g = calloc(1, sizeof(*g));
	if (!g)
		return -ENOMEM;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) < 0) {
		free(g);
		return -errno;
	}
	fflush(NULL);
	g->pid = fork();
	if (g->pid == 0) {
		struct keeper keeper = {.options = options, .orphan = orphan, .fd = fds[1]};
		close(fds[0]);
		keeper_main(&keeper);
	}
	close(fds[1]);
	if (g->pid < 0) {
		int err = -errno;
		close(fds[0]);
		free(g);
		return err;
	}
	g->fd = fds[0];
	*guard = g;
	return 0;
}

static int guard_tell(struct guard *guard, const struct guard_request *request)
{
	ssize_t n = send(guard->fd, request, sizeof(*request), MSG_NOSIGNAL);
	return n < 0 ? -errno : 0;
}

/* 0 or -errno. A descriptor that came with the answer goes to *fd_out. */
static int guard_hear(struct guard *guard, int timeout_ms, struct guard_reply *reply, int *fd_out)
{
	struct pollfd pfd = {.fd = guard->fd, .events = POLLIN};
	struct iovec iov = {.iov_base = reply, .iov_len = sizeof(*reply)};
	union guard_passed passed;
	struct msghdr msg = {.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &passed,
		.msg_controllen = sizeof(passed)};
	int n = poll(&pfd, 1, timeout_ms);
	if (n <= 0)
		return n == 0 ? -ETIMEDOUT : -errno;
	if (recvmsg(guard->fd, &msg, MSG_CMSG_CLOEXEC) != sizeof(*reply))
		return -ECHILD;
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);
	if (fd_out && cmsg && cmsg->cmsg_type == SCM_RIGHTS)
		memcpy(fd_out, CMSG_DATA(cmsg), sizeof(*fd_out));
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

int guard_adopt(struct guard *guard, const struct guard_mount_id *id)
{
	struct guard_reply reply;
	int err = guard_tell(guard, &(struct guard_request){.order = GUARD_ADOPT, .id = *id});
	if (!err)
		err = guard_hear(guard, -1, &reply, NULL);
	guard->id = *id;
	return err;
}

const struct guard_mount_id *guard_id(const struct guard *guard)
{
	return &guard->id;
}

void guard_ready(struct guard *guard, uint32_t max_read, bool background)
{
	guard_tell(guard,
		&(struct guard_request){
			.order = GUARD_READY, .max_read = max_read, .background = background});
}

int guard_unmount(struct guard *guard, int timeout_ms)
{
	struct guard_reply reply;
	int err = guard_tell(guard, &(struct guard_request){.order = GUARD_DETACH});
	return err ? err : guard_hear(guard, timeout_ms, &reply, NULL);
}

void guard_remove_control(struct guard *guard)
{
	struct guard_reply reply;
	if (guard_tell(guard, &(struct guard_request){.order = GUARD_UNLINK}) == 0)
		guard_hear(guard, -1, &reply, NULL);
}

void guard_free(struct guard *guard)
{
	if (!guard)
		return;
	guard_tell(guard, &(struct guard_request){.order = GUARD_END});
	close(guard->fd);
	while (waitpid(guard->pid, NULL, 0) < 0 && errno == EINTR)
		;
	free(guard);
}
