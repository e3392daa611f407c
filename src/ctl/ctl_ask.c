/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <limits.h>
#include <mntent.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "control.h"
#include "ctl.h"
#include "mountinfo.h"

int ctl_fail(int status, const char *format, ...)
{
	va_list args;

	fputs("vsockfsctl: ", stderr);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	return status;
}

int ctl_flush(void)
{
	return fflush(stdout) == 0 ? 0 : ctl_fail(CTL_FAILURE, "cannot write: %s", strerror(errno));
}

static int explain_connect(const char *path, int err)
{
	switch (err) {
	case -ENOENT: return ctl_fail(CTL_FAILURE, "%s: the daemon has no control socket", path);
	case -ECONNREFUSED:
		return ctl_fail(CTL_FAILURE, "%s: the daemon is dead: unmount with 'umount %s'",
			path, path);
	case -EACCES:
	case -EPERM:
		return ctl_fail(CTL_FAILURE,
			"%s: only root and the user who mounted it may ask its daemon", path);
	default:
		return ctl_fail(
			CTL_FAILURE, "%s: cannot reach the daemon: %s", path, strerror(-err));
	}
}

int ctl_ask(const char *path, const char *request, int with, FILE *out)
{
	struct mountinfo info = {0};
	char name[PATH_MAX], why[600];
	int r = mountinfo_find_path(path, name, &info);

	if (r == -ENOENT)
		return ctl_fail(CTL_FAILURE, "%s: not a mount point", path);
	if (r < 0)
		return ctl_fail(CTL_FAILURE, "%s: %s", path, strerror(-r));
	/* subtype= may have changed the rest of the type. */
	if (strncmp(info.type, "fuse", 4) != 0)
		return ctl_fail(
			CTL_FAILURE, "%s: a mount of type %s, not of vsockfs", path, info.type);

	int fd = control_connect(info.major, info.minor, info.user);
	if (fd < 0)
		return strcmp(info.type, MOUNTINFO_VSOCKFS) != 0 && fd == -ENOENT
			       ? ctl_fail(CTL_FAILURE, "%s: a mount of type %s, not of vsockfs",
					 path, info.type)
			       : explain_connect(path, fd);
	if (control_request(fd, request, with, out, why, sizeof(why)) < 0)
		return ctl_fail(CTL_FAILURE, "%s: %s", path, why);
	return 0;
}

int ctl_ask_text(const char *path, const char *request, int with, char **text)
{
	size_t len = 0;
	*text = NULL;
	FILE *out = open_memstream(text, &len);

	if (!out)
		return ctl_fail(CTL_FAILURE, "%s", strerror(errno));
	int status = ctl_ask(path, request, with, out);
	if (fclose(out) != 0)
		status = ctl_fail(CTL_FAILURE, "%s: %s", path, strerror(errno));
	if (status != 0) {
		free(*text);
		*text = NULL;
	}
	return status;
}

int ctl_each_mount(int (*ask)(const char *path))
{
	FILE *mounts = setmntent("/proc/self/mounts", "re");
	const struct mntent *entry;
	int status = 0;

	if (!mounts)
		return ctl_fail(CTL_FAILURE, "/proc/self/mounts: %s", strerror(errno));
	while ((entry = getmntent(mounts)))
		if (strcmp(entry->mnt_type, MOUNTINFO_VSOCKFS) == 0 && ask(entry->mnt_dir) != 0)
			status = CTL_FAILURE;
	endmntent(mounts);
	return status;
}
