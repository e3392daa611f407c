/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "fsop.h"
#include "guard.h"
#include "ring.h"
#include "share.h"
#include "takeover.h"
#include "util/log.h"

/* The share's side of the kernel: its session, the device and each worker's channel of it. */

/* The kernel sends FUSE_INIT as soon as the mount is made. */
#define SHARE_INIT_MS 10000
/* Linux 6.9; older headers lack it. */
#define SHARE_NOTIFY_RESEND 7

static struct fuse_session *share_new_session(struct share *share)
{
	struct fuse_args args = FUSE_ARGS_INIT(0, NULL);
	char max_read[32];
	snprintf(max_read, sizeof(max_read), "max_read=%u", share->rsize);
	struct fuse_session *session = NULL;
	if (fuse_opt_add_arg(&args, "vsockfs") == 0 && fuse_opt_add_arg(&args, "-o") == 0 &&
		fuse_opt_add_arg(&args, share->options->fuse_options) == 0 &&
		fuse_opt_add_arg(&args, "-o") == 0 && fuse_opt_add_arg(&args, max_read) == 0)
		session = fuse_session_new(&args, &fsop_table, sizeof(fsop_table), share);
	fuse_opt_free_args(&args);
	return session;
}

struct share_serve {
	struct worker *worker;
	int fd;
};

static void share_serve(void *arg)
{
	struct share_serve *serve = arg;
	worker_serve(serve->worker, serve->fd);
}

/*
 * A channel of a worker's own. The session's is nobody's: libfuse closes it when it unmounts, while
 * workers may still read theirs.
 */
static int share_clone(int fd)
{
	int clone = open("/dev/fuse", O_RDWR | O_CLOEXEC | O_NONBLOCK);
	if (clone < 0)
		return -errno;
	uint32_t session = (uint32_t)fd;
	if (ioctl(clone, FUSE_DEV_IOC_CLONE, &session) != 0) {
		int err = -errno;
		close(clone);
		return err;
	}
	return clone;
}

/* The channels of the last daemon are those on which requests are waiting. */
static int share_channel(struct share *share, unsigned i)
{
	struct takeover *takeover = share->takeover;
	if (!takeover || i >= takeover->fds.nfuse)
		return share_clone(share->fuse_fd);
	int fd = takeover->fds.fuse[i];
	takeover->fds.fuse[i] = -1;
	return fd;
}

static int share_wait_init(struct share *share)
{
	struct pollfd pfd = {.fd = share->event_fd, .events = POLLIN};
	eventfd_t value;
	while (!share->init_done && !share->ended) {
		int n = poll(&pfd, 1, SHARE_INIT_MS);
		if (n == 0)
			return -ETIMEDOUT;
		if (n < 0 && errno != EINTR)
			return -errno;
		eventfd_read(share->event_fd, &value);
	}
	/* Unmounted as soon as it was there, before this thread ran again: that is a good end. */
	return share->init_done ? 0 : -ENODEV;
}

static int share_serve_all(struct share *share)
{
	int err = notify_start(share->notify, share->session);
	for (unsigned i = 0; !err && i < share->nworkers; i++) {
		struct share_serve serve = {
			.worker = share->workers[i], .fd = share_channel(share, i)};
		if (serve.fd < 0)
			err = serve.fd;
		else
			worker_call(serve.worker, share_serve, &serve);
	}
	return err ? err : share_wait_init(share);
}

static void share_start_ring(void *arg)
{
	struct worker *worker = arg;
	ring_start(worker->ring);
}

/*
 * The kernel has been told of the rings, and lets nobody ask before it has all of them or one has
 * failed.
 */
static int share_start_rings(struct share *share)
{
	int err = 0;
	if (!share->ring_agreed)
		return share->options->fuse_ring == OPTIONS_RING_ON ? -EOPNOTSUPP : 0;
	for (unsigned i = 0; !err && i < share->nworkers; i++)
		err = ring_new(share->workers[i], &share->workers[i]->ring);
	for (unsigned i = 0; !err && i < share->nworkers; i++)
		worker_call(share->workers[i], share_start_ring, share->workers[i]);
	return err;
}

/*
 * Goes on with the device of the last daemon. The kernel has agreed on FUSE_INIT with that one, and
 * libfuse decodes nothing before it has seen it: it sees it again, and its answer goes nowhere.
 * What was under way is sent again before anybody reads, so that no request of ours is among it.
 */
static int share_resume_device(struct share *share)
{
	const struct record_setup *setup = &share->takeover->setup;
	const struct guard_mount_id id = {.id = setup->mount_id,
		.major = setup->major,
		.minor = setup->minor,
		.unique = setup->unique};
	const struct fuse_out_header resend = {.len = sizeof(resend), .error = SHARE_NOTIFY_RESEND};
	int err = guard_adopt(share->guard, &id, share->takeover->fds.fuse[0]);
	if (share->rsize < setup->rsize || share->wsize < setup->wsize) {
		snprintf(share->why, sizeof(share->why),
			"the server takes less at a time than it did before");
		return -EPROTO;
	}
	share->rsize = setup->rsize;
	share->wsize = setup->wsize;
	share->init_len = setup->init_len;
	memcpy(share->init, setup->init, setup->init_len);
	if (!err && (share->fuse_fd = fcntl(share->takeover->fds.fuse[0], F_DUPFD_CLOEXEC, 0)) < 0)
		err = -errno;
	if (!err)
		err = -fuse_session_custom_io(share->session, &fsop_custom_io, share->fuse_fd);
	if (!err)
		err = fsop_replay_init(share);
	takeover_begin(share->takeover);
	if (!err && write(share->fuse_fd, &resend, sizeof(resend)) != sizeof(resend))
		err = -errno;
	if (err)
		snprintf(share->why, sizeof(share->why), "taking over the mount on %s: %s",
			share->options->mountpoint, strerror(-err));
	return err;
}

static int share_open_device(struct share *share)
{
	const char *mountpoint = share->options->mountpoint;
	if (share->takeover && share->takeover->resumed)
		return share_resume_device(share);
	int err = guard_mount(share->guard, share->rsize, &share->fuse_fd);
	if (err)
		snprintf(share->why, sizeof(share->why), "mounting on %s failed", mountpoint);
	else
		err = -fuse_session_custom_io(share->session, &fsop_custom_io, share->fuse_fd);
	return err;
}

int share_mount(struct share *share)
{
	share->session = share_new_session(share);
	if (!share->session) {
		snprintf(share->why, sizeof(share->why),
			"the FUSE library refuses the options \"%s\"",
			share->options->fuse_options);
		return -EINVAL;
	}
	int err = share_open_device(share);
	if (err) {
		share_unmount(share, 0);
		return err;
	}
	err = share_serve_all(share);
	if (!err)
		err = share_start_rings(share);
	if (err) {
		snprintf(share->why, sizeof(share->why),
			"the kernel does not answer on /dev/fuse: %s", strerror(-err));
		share_unmount(share, 0);
		return err;
	}
	share->mounted_at = loop_clock();
	return 0;
}

void share_unmount(struct share *share, int timeout_ms)
{
	int err = guard_unmount(share->guard, timeout_ms);
	/* What is not written by then (the server is away) ends with the device. */
	if (err && err != -ETIMEDOUT)
		log_error("%s is not unmounted: %s", share->options->mountpoint, strerror(-err));
}
