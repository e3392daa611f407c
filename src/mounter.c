/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "mounter.h"

#include <errno.h>
#include <linux/capability.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "control.h"
#include "mounter_priv.h"
#include "mounttree.h"
#include "options_words.h"
#include "util/log.h"

/* How often it is looked whether the process has ended. */
#define MOUNTER_END_NS	5000000
#define MOUNTER_END_MAX 200

struct mounter {
	int fd;
	pid_t pid;
};

/* Root of a container may lack it. */
static bool mounter_may_mount(void)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];
	return geteuid() == 0 && syscall(SYS_capget, &header, data) == 0 &&
	       (data[0].effective & 1U << CAP_SYS_ADMIN) &&
	       (data[0].effective & 1U << CAP_DAC_READ_SEARCH);
}

int mounter_start(const struct options *options, struct mounter **mounter)
{
	int fds[2];
	*mounter = NULL;
	/* What is a root file system by now was mounted in another tree. */
	if (!options->referrals || options->rootfs || !mounter_may_mount())
		return 0;
	struct mounter *m = calloc(1, sizeof(*m));
	if (!m)
		return -ENOMEM;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) < 0) {
		free(m);
		return -errno;
	}
	fflush(NULL);
	m->pid = fork();
	if (m->pid == 0) {
		/* it would not hear of the daemon's end */
		close(fds[0]);
		submount_main(options, fds[1]);
	}
	int err = m->pid < 0 ? -errno : 0;
	close(fds[1]);
	if (err) {
		close(fds[0]);
		free(m);
		return err;
	}
	m->fd = fds[0];
	*mounter = m;
	return 0;
}

static int mounter_send(struct mounter *mounter, const struct mounter_request *request)
{
	ssize_t n;
	do
		n = send(mounter->fd, request, sizeof(*request), MSG_NOSIGNAL | MSG_DONTWAIT);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : 0;
}

void mounter_ready(struct mounter *mounter, const struct guard_mount_id *id, bool background)
{
	const struct mounter_request request = {
		.order = MOUNTER_READY, .id = *id, .background = background};
	int err = mounter_send(mounter, &request);
	if (err)
		log_debug("referrals are not followed: %s", strerror(-err));
}

void mounter_adopt(struct mounter *mounter, uint64_t node)
{
	const struct mounter_request request = {.order = MOUNTER_ADOPT, .node = node};
	int err = mounter_send(mounter, &request);
	if (err)
		log_debug("a referral stays mounted: %s", strerror(-err));
}

bool mounter_is_caller(const struct mounter *mounter, pid_t tid)
{
	/* It leads a session of its own; whoever mounts leaves it only when that is done. */
	return tid > 0 && getpgid(tid) == mounter->pid;
}

static int mounter_order(struct mounter *mounter, enum mounter_order order, uint64_t node,
	const struct address *server, const char *path)
{
	struct mounter_request request = {
		.order = order, .node = node, .cid = server->cid, .port = server->port};
	size_t len = strlen(path);
	if (len >= sizeof(request.path))
		return -ENAMETOOLONG;
	memcpy(request.path, path, len + 1);
	return mounter_send(mounter, &request);
}

int mounter_ask(
	struct mounter *mounter, uint64_t node, const struct address *server, const char *path)
{
	return mounter_order(mounter, MOUNTER_FOLLOW, node, server, path);
}

int mounter_ask_same(
	struct mounter *mounter, uint64_t node, const struct address *server, const char *path)
{
	static const struct address own;
	return mounter_order(
		mounter, MOUNTER_ENTER, node, server->proto == ADDRESS_VSOCK ? server : &own, path);
}

bool mounter_hear(struct mounter *mounter, struct mounter_reply *reply)
{
	ssize_t n;
	do
		n = recv(mounter->fd, reply, sizeof(*reply), 0);
	while (n < 0 && errno == EINTR);
	return n == sizeof(*reply);
}

void mounter_stop(struct mounter *mounter)
{
	shutdown(mounter->fd, SHUT_RDWR);
}

void mounter_free(struct mounter *mounter)
{
	if (!mounter)
		return;
	const struct timespec pause = {.tv_nsec = MOUNTER_END_NS};
	close(mounter->fd);
	/* It may wait for a mount that this one lies on, and whose server is away. */
	for (unsigned i = 0; i < MOUNTER_END_MAX && waitpid(mounter->pid, NULL, WNOHANG) == 0; i++)
		nanosleep(&pause, NULL);
	free(mounter);
}

bool mounter_has_made(const struct mounttree_entry *entry)
{
	char why[128], *text = NULL;
	size_t len;
	int fd = control_connect(entry->major, entry->minor, (uid_t)entry->uid);
	FILE *out = fd < 0 ? NULL : open_memstream(&text, &len);
	bool made = false;
	if (out) {
		int err = control_request(fd, "options", -1, out, why, sizeof(why));
		made = fclose(out) == 0 && !err && words_have(text, MOUNTER_WORD);
	} else if (fd >= 0) {
		close(fd);
	}
	free(text);
	return made;
}
