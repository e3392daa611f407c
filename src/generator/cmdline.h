/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_GENERATOR_CMDLINE_H
#define VSOCKFS_GENERATOR_CMDLINE_H

#include <stdbool.h>

#define CMDLINE_VALUE_MAX 4096

/*
 * The value of the next word of the kernel's command line at *at that begins with `key`, with
 * double quotes taken off as the kernel does it. False at the end; a value that is too long is left
 * out.
 */
bool cmdline_next(const char **at, const char *key, char value[CMDLINE_VALUE_MAX]);

#endif
