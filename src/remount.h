/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_REMOUNT_H
#define VSOCKFS_REMOUNT_H

#include "options.h"

/*
 * Changes the mount that is there, in the kernel alone: its daemon goes on as it is. `options` are
 * those of OPTIONS_REMOUNT. An exit status of mount(8), after one line on stderr if it is not 0.
 */
int remount_run(const struct options *options);

#endif
