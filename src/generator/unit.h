/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_GENERATOR_UNIT_H
#define VSOCKFS_GENERATOR_UNIT_H

#include <stddef.h>

#include "generator/entry.h"

/* Units of systemd.mount(5) and systemd.automount(5) for a share. */

/* NAME_MAX with its NUL; systemd has the same limit. */
#define UNIT_NAME_MAX 256

/* The name of the unit for the mount point `where`, as systemd-escape(1) makes it, with `suffix`
 * (".mount"). 0 or -ENAMETOOLONG. */
int unit_name(const char *where, const char *suffix, char out[UNIT_NAME_MAX]);

/*
 * Writes the units to the directory `dir_fd`, and the links by which local-fs.target wants or
 * requires them. `origin` is the file that the entry was found in. 0; -EEXIST: there is one for
 * that mount point; or another -errno, when some of it may be there.
 */
int unit_write(int dir_fd, const struct entry *entry, const char *origin);

#endif
