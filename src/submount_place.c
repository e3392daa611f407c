/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "guard_priv.h"
#include "mounter_priv.h"
#include "mountinfo.h"
#include "util/log.h"

/* FUSE's kind of handle, FILEID_INO64_GEN: the node id in two halves, and its generation. */
#define SUBMOUNT_HANDLE_TYPE 0x81
#define SUBMOUNT_HANDLE_LEN  12

static int place_fail(int err, char *why, size_t why_size, const char *what)
{
	snprintf(why, why_size, "%s: %s", what, strerror(-err));
	return err;
}

/* The working directory becomes the root of the daemon's mount. */
static int place_enter_root(const char *mountpoint, const struct guard_mount_id *id)
{
	struct guard_mount_id is = {0};
	int fd = open(mountpoint, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	int err = fd < 0 ? -errno : guard_identify(fd, id->unique, &is);
	if (!err && (is.id != id->id || is.major != id->major || is.minor != id->minor))
		err = -EXDEV;
	if (!err && fchdir(fd) < 0)
		err = -errno;
	if (fd >= 0)
		close(fd);
	return err;
}

/* No name is looked up on the way, and so nothing but what the kernel has under this number is
 * reached. */
static int place_open(uint64_t node)
{
	struct {
		struct file_handle head;
		uint32_t words[SUBMOUNT_HANDLE_LEN / sizeof(uint32_t)];
	} handle = {
		.head.handle_bytes = SUBMOUNT_HANDLE_LEN, .head.handle_type = SUBMOUNT_HANDLE_TYPE};
	const uint32_t words[] = {(uint32_t)(node >> 32), (uint32_t)node, 0};
	memcpy(handle.head.f_handle, words, sizeof(words));
	int fd = open_by_handle_at(AT_FDCWD, &handle.head, O_PATH | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

static int place_settle(
	const char *mountpoint, const struct guard_mount_id *id, struct submount_place *place)
{
	struct mountinfo info;
	struct statx stx;
	size_t len = strlen(mountpoint);
	if (!getcwd(place->path, sizeof(place->path)))
		return -errno;
	if (strncmp(place->path, mountpoint, len) != 0 || place->path[len] != '/')
		return -EXDEV;
	if (statx(AT_FDCWD, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_MNT_ID, &stx) < 0)
		return -errno;
	place->mount = (uint32_t)stx.stx_mnt_id;
	int err = mountinfo_find_self(mountpoint, &info);
	if (err)
		return err;
	if (info.id != place->mount || info.major != id->major || info.minor != id->minor)
		return -EXDEV;
	place->flags = info.flags;
	return 0;
}

int submount_enter(const struct options *options, const struct guard_mount_id *id, uint64_t node,
	struct submount_place *place, char *why, size_t why_size)
{
	const char *mountpoint = options->mountpoint;
	int err = place_enter_root(mountpoint, id);
	if (err)
		return place_fail(err, why, why_size, mountpoint);
	int fd = place_open(node);
	err = fd < 0 ? fd : fchdir(fd) < 0 ? -errno : 0;
	if (fd >= 0)
		close(fd);
	if (!err)
		err = place_settle(mountpoint, id, place);
	return err ? place_fail(err, why, why_size, "its directory") : 0;
}

void submount_leave(void)
{
	/* A working directory in the mount would keep it busy. */
	if (chdir("/") < 0)
		log_debug("cannot change to /: %s", strerror(errno));
}
