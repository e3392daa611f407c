/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_BECOME_H
#define VSOCKFS_BECOME_H

/*
 * Enters another mount namespace, then becomes another user with his groups; see options_become.
 * mount(8) leaves the first to its helpers, and the second to mount.fuse3.
 */
int become_other(const char *program, const char *mount_namespace, const char *user);

#endif
