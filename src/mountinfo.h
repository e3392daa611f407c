/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_MOUNTINFO_H
#define VSOCKFS_MOUNTINFO_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

/*
 * /proc/self/mountinfo (proc_pid_mountinfo(5)), read without touching any mount: asking a dead one
 * for its attributes would wait for the server.
 */

#define MOUNTINFO_VSOCKFS "fuse.vsockfs"

struct mountinfo {
	uint32_t id;	       /* statx(2)'s STATX_MNT_ID, which is used again */
	uint32_t major, minor; /* device number */
	bool fuse_user;	       /* user_id= was given */
	uid_t user;	       /* who mounted it, from FUSE's user_id= */
	bool has_gid;	       /* gid= was given */
	gid_t gid;	       /* whose members see everything, from procfs' gid= */
	unsigned long flags;   /* MS_* of mount(2), the mount's and the file system's */
	char super[512];       /* the file system's options as they are shown, cut off if longer */
	char type[64];
	char source[PATH_MAX];
};

/*
 * The topmost mount on exactly `path`, of this type only if that is not NULL, from `file`, whose
 * lines have mountinfo's form. 0, -ENOENT, or -errno of reading.
 */
int mountinfo_find(FILE *file, const char *path, const char *type, struct mountinfo *info);

/* The same of any type from /proc/self/mountinfo. */
int mountinfo_find_self(const char *path, struct mountinfo *info);

/* Is a file system with this device number mounted anywhere? 0, -ENOENT or -errno. */
int mountinfo_find_device(uint32_t major, uint32_t minor);

/*
 * The mount on `path`, which may be a symbolic link to it, and its name in `resolved`. A link is
 * followed only where nothing is mounted on the name itself, so that a dead server does not matter.
 * 0, -ENOENT or -errno.
 */
int mountinfo_find_path(const char *path, char resolved[PATH_MAX], struct mountinfo *info);

/* Resolves the kernel's \ooo escapes in place. */
void mountinfo_unescape(char *text);

/* True if `word`, of `len` bytes, is one of a comma list's. */
bool mountinfo_has(const char *list, const char *word, size_t len);

/*
 * `path` made absolute with all symbolic links resolved but one in its last component, which is
 * not looked up at all. 0 or -errno.
 */
int mountinfo_canonical(const char *path, char out[PATH_MAX]);

#endif
