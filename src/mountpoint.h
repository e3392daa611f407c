/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_MOUNTPOINT_H
#define VSOCKFS_MOUNTPOINT_H

#include <limits.h>
#include <stddef.h>

/*
 * Checks that `path` is a directory on which `source` (as mountinfo shows it) is not mounted yet,
 * and puts its absolute name without symbolic links into `resolved`. 0, or -errno with a sentence
 * for the user in `why`: -EBUSY already mounted, -ENOTCONN a mount there has lost its daemon, ...
 */
int mountpoint_resolve(
	const char *path, const char *source, char resolved[PATH_MAX], char *why, size_t why_size);

#endif
