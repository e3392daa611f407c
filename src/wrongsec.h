/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_WRONGSEC_H
#define VSOCKFS_WRONGSEC_H

#include <stdbool.h>

/*
 * A file system inside the export that wants another flavor than the mount has (NFS4ERR_WRONGSEC).
 * Which, SECINFO tells. If it can be had, and sec= does not leave it out, the name is a directory
 * of our own (moved.h) which is followed as a referral is, to the same server (referral.h): that
 * mount finds out on its way which flavor it takes (flavor.h). Otherwise it is EPERM, as from the
 * kernel's client, and the log names the flavors, once in a while for each place.
 */

struct fsop_request;

/* A LOOKUP of this name was refused. True if that is why, and it will be answered. */
bool wrongsec_lookup(struct fsop_request *req, const char *name);

#endif
