/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_SOURCE_H
#define VSOCKFS_SOURCE_H

#include <stdbool.h>

/* What stands in the first column of fstab(5): "2:/export". */

/*
 * The path of an export without empty and "." components; "/" at least. NULL with errno: EINVAL
 * for one with "..", ENOMEM.
 */
char *source_normalise_path(const char *path);

/* True if both mean the same export of the same server: "2:/export", "vsock:2://export/". */
bool source_same(const char *a, const char *b);

#endif
