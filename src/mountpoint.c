/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "mountpoint.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "control.h"
#include "mountinfo.h"
#include "source.h"

/* True if the daemon of our mount at `path` is alive; asked over its control socket first, since
 * statfs(2) of a mount whose server is away does not return. stat(2) would not ask the daemon while
 * attributes are cached. */
static bool mounted_alive(const char *path, const struct mountinfo *info)
{
	struct statfs st;
	int fd = control_connect(info->major, info->minor, info->user);

	if (fd >= 0) {
		close(fd);
		return true;
	}
	/* ECONNABORTED: it died while it was being asked. */
	return statfs(path, &st) == 0 || (errno != ENOTCONN && errno != ECONNABORTED);
}

static int stale(const char *path, char *why, size_t why_size)
{
	snprintf(why, why_size,
		"a mount whose daemon has died is in the way: run 'fusermount3 -u %s' "
		"(root: 'umount %s') first",
		path, path);
	return -ENOTCONN;
}

static int check_mounts(const char *path, const char *source, char *why, size_t why_size)
{
	struct mountinfo info;

	if (mountinfo_find_self(path, &info) < 0)
		return 0;
	if (strcmp(info.type, MOUNTINFO_VSOCKFS) != 0 || !source_same(info.source, source))
		return 0;
	if (!mounted_alive(path, &info))
		return stale(path, why, why_size);
	snprintf(why, why_size, "%s is already mounted there", source);
	return -EBUSY;
}

int mountpoint_resolve(
	const char *path, const char *source, char resolved[PATH_MAX], char *why, size_t why_size)
{
	struct stat st;
	char named[PATH_MAX];
	int r = mountinfo_canonical(path, resolved);

	if (r == 0) {
		/* before anything is asked of the mount that may be there */
		r = check_mounts(resolved, source, why, why_size);
		if (r < 0)
			return r;
		memcpy(named, resolved, strlen(resolved) + 1);
		if (!realpath(path, resolved))
			r = -errno;
	}
	if (r == 0 && strcmp(named, resolved) != 0) {
		r = check_mounts(resolved, source, why, why_size);
		if (r < 0)
			return r;
	}
	if (r == 0 && stat(resolved, &st) < 0)
		r = -errno;
	if (r == 0 && !S_ISDIR(st.st_mode))
		r = -ENOTDIR;

	switch (r) {
	case 0: return 0;
	case -ENOTCONN: return stale(path, why, why_size);
	case -ENOENT: snprintf(why, why_size, "no such directory: create it first"); return r;
	case -ENOTDIR:
		/* By mount.fuse3, which has taken the right to unmount it away from us. */
		snprintf(why, why_size, "%s",
			strncmp(path, "/dev/fd/", 8) == 0
				? "mounting is vsockfs's own: leave drop_privileges out, its "
				  "daemon drops them in any case; 'umount' what mount.fuse3 has "
				  "mounted before"
				: "not a directory");
		return r;
	default: snprintf(why, why_size, "%s", strerror(-r)); return r;
	}
}
