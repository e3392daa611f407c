/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_UNMOUNT_H
#define VSOCKFS_UNMOUNT_H

#include <stdbool.h>

/*
 * The helper of umount(8), umount.fuse.vsockfs: unmounts what referrals have led to below the mount
 * (mounter.h), as far as nobody uses it, and then the mount.
 */

/* Was the program called as that? */
bool unmount_is_called(const char *program);
/* DIR [-flnrv] [-N NAMESPACE] [-t TYPE]. An exit status of umount(8), after a line on stderr. */
int unmount_run(int argc, char **argv);

#endif
