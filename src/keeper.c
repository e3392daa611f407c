/* SPDX-License-Identifier: LGPL-2.1-or-later */
#define FUSE_USE_VERSION 314

#include <errno.h>
#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "control.h"
#include "guard_priv.h"
#include "mountinfo.h"
#include "notifier.h"
#include "privilege.h"
#include "rootfs.h"
#include "sandbox.h"
#include "util/log.h"

static int keeper_open(const struct keeper *keeper)
{
	/* Without O_DIRECTORY, which would have autofs mount something there. */
	int fd = open(keeper->options->mountpoint, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

/* -ENOENT: it is certain that there is none. */
static int keeper_find(const struct keeper *keeper, const char *type, struct mountinfo *info)
{
	FILE *file = fopen("/proc/self/mountinfo", "re");
	if (!file)
		return -ENOSYS;
	int err = mountinfo_find(file, keeper->options->mountpoint, type, info);
	fclose(file);
	return err;
}

/* Which mount is the vsockfs there. Another one may be above it already, or it may have gone, and
 * what is on top then is not ours. */
static int keeper_recognize(struct keeper *keeper)
{
	struct mountinfo info;
	struct guard_mount_id top = {0};
	int fd = keeper_open(keeper);
	int err = fd < 0 ? fd : guard_identify(fd, true, &top);
	if (fd >= 0)
		close(fd);
	if (err)
		return err;
	err = keeper_find(keeper, MOUNTINFO_VSOCKFS, &info);
	if (err == -ENOENT)
		top = (struct guard_mount_id){0};
	else if (!err && (info.major != top.major || info.minor != top.minor))
		top = (struct guard_mount_id){
			.id = info.id, .major = info.major, .minor = info.minor};
	keeper->id = top;
	return 0;
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

/* False: something else is on top there, or nothing. To look at the place itself would make autofs
 * mount what it has just unmounted. */
static bool keeper_is_mounted(const struct keeper *keeper)
{
	struct mountinfo info;
	int err = keeper_find(keeper, NULL, &info);
	return err ? err != -ENOENT
		   : info.major == keeper->id.major && info.minor == keeper->id.minor;
}

/* By descriptor: what was looked at is what is unmounted. */
static int keeper_unmount(const struct keeper *keeper, int fd)
{
	char path[32];
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (umount2(path, MNT_DETACH | (keeper->abort ? MNT_FORCE : 0)) == 0)
		return 0;
	/* Who is not root has fusermount3, which knows paths only, and unmounts what is on top even
	 * if that was mounted after the look. */
	return errno == EPERM ? keeper_run_fusermount(keeper) : -errno;
}

/* Another mount on the same place, above ours or instead of it, is nobody's business here. */
static int keeper_detach(struct keeper *keeper)
{
	struct guard_mount_id id = {0};
	if (keeper->id.id == 0)
		return 0;
	if (!keeper_is_mounted(keeper)) {
		keeper->id.id = 0;
		return 0;
	}
	int fd = keeper_open(keeper);
	if (fd < 0)
		return fd;
	int err = guard_identify(fd, keeper->id.unique, &id);
	if (!err && (id.id != keeper->id.id || id.major != keeper->id.major ||
			    id.minor != keeper->id.minor)) {
		close(fd);
		keeper->id.id = 0;
		return 0;
	}
	if (!err)
		err = keeper_unmount(keeper, fd);
	close(fd);
	if (!err)
		keeper->id.id = 0;
	return err;
}

static int keeper_clear(struct keeper *keeper)
{
	struct mountinfo info;
	if (mountinfo_find_self(keeper->options->mountpoint, &info) != 0 ||
		strcmp(info.type, MOUNTINFO_VSOCKFS) != 0)
		return 0;
	keeper->abort = true;
	int err = keeper_recognize(keeper);
	if (!err)
		err = keeper_detach(keeper);
	keeper->abort = false;
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
	/* The working directory is what it is, whatever its name leads to by now. fusermount3 wants
	 * the name. */
	const char *where =
		keeper->options->here && geteuid() == 0 ? "." : keeper->options->mountpoint;
	/* libfuse's session ends with this process: it would keep the device open, and unmount by
	 * path alone. */
	if (fuse_session_mount(session, where) != 0)
		return -EIO;
	int err = keeper_recognize(keeper);
	return err ? err : fuse_session_fd(session);
}

static void keeper_read_ahead(const struct keeper *keeper)
{
	char path[64], text[16];
	snprintf(path, sizeof(path), "/sys/class/bdi/%u:%u/read_ahead_kb", keeper->id.major,
		keeper->id.minor);
	int len = snprintf(text, sizeof(text), "%u", keeper->options->max_readahead / 1024);
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	/* Only root may, and only the speed of reading depends on it. */
	if (fd < 0 || write(fd, text, (size_t)len) != len)
		log_debug("%s stays as it is: %s", path, strerror(errno));
	if (fd >= 0)
		close(fd);
}

/* Kept open, since afterwards no file is opened for writing, and the mount may be out of sight. */
static void keeper_prepare_abort(struct keeper *keeper)
{
	char path[64];
	snprintf(path, sizeof(path), "/sys/fs/fuse/connections/%u/abort", keeper->id.minor);
	keeper->abort_fd = open(path, O_WRONLY | O_CLOEXEC);
	if (keeper->abort_fd < 0)
		log_debug("%s: %s", path, strerror(errno));
}

/*
 * The notifier may wait for a page which a request has locked that the dead daemon had, and keeps
 * the connection alive by that.
 */
static void keeper_abort(const struct keeper *keeper)
{
	char path[32];
	if (keeper->abort_fd >= 0 && write(keeper->abort_fd, "1", 1) == 1)
		return;
	int fd = keeper_open(keeper);
	struct guard_mount_id id = {0};
	if (fd >= 0 && guard_identify(fd, keeper->id.unique, &id) == 0 && id.id == keeper->id.id) {
		/* It is busy, with this descriptor, and so stays where it is. */
		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		umount2(path, MNT_FORCE);
	}
	if (fd >= 0)
		close(fd);
}

/* Of the terminal, the session and the working directory; of the session not where the daemon has
 * made one for all. */
static void keeper_let_go(const struct keeper *keeper)
{
	if (!keeper->options->rootfs)
		setsid();
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	for (int fd = STDIN_FILENO; null >= 0 && fd <= STDERR_FILENO; fd++)
		dup2(null, fd);
	if (null >= 0)
		close(null);
	if (chdir("/") < 0)
		log_debug("cannot change to /: %s", strerror(errno));
}

static void keeper_settle(struct keeper *keeper, const struct guard_request *request)
{
	keeper_read_ahead(keeper);
	keeper->rings = request->rings;
	if (keeper->rings)
		keeper_prepare_abort(keeper);
	if (chdir("/") < 0)
		log_debug("cannot change to /: %s", strerror(errno));
	if (request->background) {
		keeper_let_go(keeper);
		log_init(rootfs_log_target(keeper->options), keeper->options->debug);
	}
	if (geteuid() != 0 || !keeper->options->sandbox)
		return;
	privilege_drop_guard();
	int err = sandbox_enter_guard();
	if (err)
		log_debug("the guard has no system call filter: %s", strerror(-err));
}

static bool keeper_reply(struct keeper *keeper, int err, int fd)
{
	struct guard_reply reply = {.err = err, .id = keeper->id};
	return guard_send(keeper->fd, &reply, sizeof(reply), fd) >= 0;
}

static void __attribute__((noreturn)) keeper_become_notifier(struct keeper *keeper, int device)
{
	struct notifier notifier;
	close(keeper->fd);
	prctl(PR_SET_NAME, "vsockfs-notify");
	keeper_let_go(keeper);
	if (notifier_init(&notifier, keeper->notify_fd, device, keeper->kept) != 0)
		_exit(1);
	if (keeper->options->sandbox) {
		privilege_drop_all();
		sandbox_enter_guard();
	}
	notifier_main(&notifier);
}

static int keeper_fork(struct keeper *keeper, int device)
{
	pid_t pid = fork();
	if (pid == 0)
		keeper_become_notifier(keeper, device);
	/* It hears of the daemon's end when nobody else has its socket. */
	close(keeper->notify_fd);
	keeper->notify_fd = -1;
	keeper->notifier = pid < 0 ? 0 : pid;
	return pid < 0 ? -errno : 0;
}

static void keeper_serve_mount(struct keeper *keeper, uint32_t max_read)
{
	int fd = keeper_mount(keeper, max_read);
	int err = fd < 0 ? fd : keeper_fork(keeper, fd);
	bool told = keeper_reply(keeper, err, fd);
	/* The daemon's must be the last one, so that its death ends the connection. */
	if (fd >= 0)
		close(fd);
	if (!told || err)
		keeper_detach(keeper);
}

static bool keeper_serve_adopt(struct keeper *keeper, const struct guard_mount_id *id, int device)
{
	keeper->id = *id;
	int err = device < 0 ? -EBADF : keeper_fork(keeper, device);
	if (device >= 0)
		close(device);
	return keeper_reply(keeper, err, -1);
}

/* False: there is nothing more to wait for. */
static bool keeper_serve(struct keeper *keeper)
{
	struct guard_request request;
	int fd = -1;
	ssize_t n;
	do
		n = guard_receive(keeper->fd, &request, sizeof(request), &fd);
	while (n < 0 && errno == EINTR);
	if (n != sizeof(request)) {
		if (keeper->rings)
			keeper_abort(keeper);
		int err = keeper->orphan == GUARD_UNMOUNT ? keeper_detach(keeper) : 0;
		if (err)
			log_error("%s: the daemon has died, and its mount cannot be removed: %s",
				keeper->options->mountpoint, strerror(-err));
		return false;
	}
	switch (request.order) {
	case GUARD_MOUNT: keeper_serve_mount(keeper, request.max_read); return true;
	case GUARD_ADOPT: return keeper_serve_adopt(keeper, &request.id, fd);
	case GUARD_CLEAR: return keeper_reply(keeper, keeper_clear(keeper), -1);
	case GUARD_READY: keeper_settle(keeper, &request); return true;
	case GUARD_UNLINK:
		control_remove(keeper->id.major, keeper->id.minor, request.inode);
		return keeper_reply(keeper, 0, -1);
	case GUARD_DETACH: return keeper_reply(keeper, keeper_detach(keeper), -1);
	case GUARD_END: break;
	}
	return false;
}

/* What it inherits it would keep open when the daemon has gone. */
static void keeper_close_others(const struct keeper *keeper)
{
	unsigned low = (unsigned)keeper->fd, high = (unsigned)keeper->notify_fd;
	unsigned first = STDERR_FILENO + 1;
	if (low > high) {
		unsigned swap = low;
		low = high;
		high = swap;
	}
	if (low > first)
		close_range(first, low - 1, 0);
	if (high > low + 1)
		close_range(low + 1, high - 1, 0);
	close_range(high + 1, ~0U, 0);
}

void keeper_main(struct keeper *keeper)
{
	keeper_close_others(keeper);
	keeper->abort_fd = -1;
	static const int ignored[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGPIPE};
	for (size_t i = 0; i < sizeof(ignored) / sizeof(ignored[0]); i++)
		signal(ignored[i], SIG_IGN);
	prctl(PR_SET_NAME, "vsockfs-guard");
	while (keeper_serve(keeper))
		;
	/* It ends with the daemon as well. Not so a fusermount3 that unmounts by itself, which ends
	 * after this process. */
	while (keeper->notifier > 0 && waitpid(keeper->notifier, NULL, 0) < 0 && errno == EINTR)
		;
	_exit(0);
}
