/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_WRONGSEC_H
#define VSOCKFS_WRONGSEC_H

#include <stdbool.h>

/*
 * A file system inside the export that wants another flavor than the mount has (NFS4ERR_WRONGSEC):
 * EPERM, as from the kernel's client where that may not use it. The log names the flavors, asked
 * for with SECINFO, once in a while for each place.
 */

struct fsop_request;

/* A LOOKUP of this name was refused. True if that is why, and worth a line: it will be answered. */
bool wrongsec_lookup(struct fsop_request *req, const char *name);

#endif
