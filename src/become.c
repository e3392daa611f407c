/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "become.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Exit statuses of mount(8) */
#define STATUS_USAGE   1
#define STATUS_SYSTEM  2
#define STATUS_FAILURE 32

static int enter(const char *program, const char *name)
{
	char path[64];

	/* mount(8) makes a path of a process id; others may not. */
	if (name[strspn(name, "0123456789")] == '\0') {
		snprintf(path, sizeof(path), "/proc/%s/ns/mnt", name);
		name = path;
	}
	int fd = open(name, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || setns(fd, CLONE_NEWNS) < 0) {
		int err = errno;
		fprintf(stderr, "%s: -N: cannot enter the mount namespace %s: %s\n", program, name,
			strerror(err));
		if (fd >= 0)
			close(fd);
		return err == EPERM || err == EACCES ? STATUS_USAGE : STATUS_FAILURE;
	}
	close(fd);
	return 0;
}

static int change_user(const char *program, const char *name)
{
	errno = 0;
	const struct passwd *user = getpwnam(name);
	if (!user) {
		fprintf(stderr, "%s: -o setuid=%s: %s\n", program, name,
			errno ? strerror(errno) : "no such user");
		return STATUS_USAGE;
	}
	if (geteuid() == user->pw_uid)
		return 0;
	if (initgroups(name, user->pw_gid) < 0 || setgid(user->pw_gid) < 0 ||
		setuid(user->pw_uid) < 0) {
		fprintf(stderr, "%s: -o setuid=%s: %s\n", program, name, strerror(errno));
		return errno == EPERM ? STATUS_USAGE : STATUS_SYSTEM;
	}
	/* The control socket is looked for where that user's other programs look. */
	unsetenv("XDG_RUNTIME_DIR");
	return setenv("HOME", user->pw_dir, 1) < 0 ? STATUS_SYSTEM : 0;
}

int become_other(const char *program, const char *mount_namespace, const char *user)
{
	int status = mount_namespace ? enter(program, mount_namespace) : 0;

	if (status == 0 && user)
		status = change_user(program, user);
	return status;
}
