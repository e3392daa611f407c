/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_DROP_H
#define VSOCKFS_DROP_H

#include <stdio.h>

struct share;

/*
 * Has the kernel drop what it caches of the mount: attributes, pages (dirty ones are written
 * first), listings, and names where it can be told to (Linux 6.16); elsewhere these end with their
 * time. Waits for it, for some seconds. 0, with a line in `out` if there is something to say; or
 * -errno. Not from a worker.
 */
int drop_caches(struct share *share, FILE *out);

#endif
