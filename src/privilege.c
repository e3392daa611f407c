/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "privilege.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#ifdef VSOCKFS_SANDBOX
#include <cap-ng.h>
#endif

#include "mountinfo.h"
#include "util/log.h"

/* As sshd and udevd have it or close to it: processes that hold data go first. */
#define PRIVILEGE_OOM_SCORE	 "-900"
#define PRIVILEGE_OOM_SCORE_ROOT "-1000"
#define PRIVILEGE_GROUPS_MAX	 256
#ifndef PR_SET_IO_FLUSHER
#define PR_SET_IO_FLUSHER 57 /* Linux 5.6 */
#endif

static void privilege_set_oom_score(const char *score)
{
	int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : write(fd, score, strlen(score));
	if (n < 0)
		log_debug("the OOM score stays: %s", strerror(errno));
	if (fd >= 0)
		close(fd);
}

void privilege_prepare(const struct options *options)
{
	const struct rlimit unlimited = {RLIM_INFINITY, RLIM_INFINITY};
	if (prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0) < 0)
		log_debug("not an I/O flusher: %s", strerror(errno));
	if (geteuid() == 0)
		privilege_set_oom_score(
			options->rootfs ? PRIVILEGE_OOM_SCORE_ROOT : PRIVILEGE_OOM_SCORE);
	/* With a limit, locking future mappings would make them fail at some point instead. */
	if (setrlimit(RLIMIT_MEMLOCK, &unlimited) < 0 ||
		mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) < 0)
		log_debug("memory is not locked: %s", strerror(errno));
}

#ifdef VSOCKFS_SANDBOX
static void privilege_keep_only(const unsigned *caps, unsigned count)
{
	unsigned keep[2] = {0};
	unsigned kept = 0;
	if (capng_get_caps_process() < 0)
		return;
	for (unsigned i = 0; i < count; i++)
		if (capng_have_capability(CAPNG_PERMITTED, caps[i]))
			keep[kept++] = caps[i];
	capng_clear(CAPNG_SELECT_ALL);
	for (unsigned i = 0; i < kept; i++)
		capng_update(CAPNG_ADD, CAPNG_EFFECTIVE | CAPNG_PERMITTED, keep[i]);
	/* Who may not change the bounding set (-4) has nothing in it to gain from. */
	int err = capng_apply(CAPNG_SELECT_ALL);
	if (err < 0 && err != -4)
		log_warn("capabilities cannot be dropped: %s", strerror(errno));
}
#else
static void privilege_keep_only(const unsigned *caps, unsigned count)
{
	(void)caps;
	(void)count;
}
#endif

static void privilege_no_new(void)
{
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		log_debug("no_new_privs: %s", strerror(errno));
}

/* hidepid= hides other users' processes, and so their groups, from all but the group of gid=. */
static void privilege_join_proc(void)
{
	struct mountinfo info;
	gid_t groups[PRIVILEGE_GROUPS_MAX];
	if (mountinfo_find_self("/proc", &info) != 0 || !info.has_gid)
		return;
	int count = getgroups(PRIVILEGE_GROUPS_MAX - 1, groups);
	if (count < 0)
		return;
	groups[count++] = info.gid;
	if (setgroups((size_t)count, groups) < 0)
		log_debug("not in the group that /proc is for: %s", strerror(errno));
}

void privilege_drop(const struct options *options)
{
	unsigned caps[2], count = 0;
	privilege_join_proc();
	if (options->reserved_port)
		caps[count++] = CAP_NET_BIND_SERVICE;
	if (options->server.proto == ADDRESS_UNIX && options->socket_buffer > 0)
		caps[count++] = CAP_NET_ADMIN;
	privilege_keep_only(caps, count);
	privilege_no_new();
}

void privilege_drop_guard(void)
{
	static const unsigned unmount[] = {CAP_SYS_ADMIN};
	privilege_keep_only(unmount, 1);
	/* Other users' mounts go by fusermount3, which is set-user-id. */
	if (geteuid() == 0)
		privilege_no_new();
}

void privilege_drop_kerberos(void)
{
	static const unsigned identity[] = {CAP_SETUID, CAP_SETGID};
	privilege_keep_only(identity, 2);
	privilege_no_new();
}

void privilege_drop_all(void)
{
	privilege_keep_only(NULL, 0);
	privilege_no_new();
}
