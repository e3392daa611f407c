/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_MOVED_H
#define VSOCKFS_MOVED_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "nfs41/locations.h"
#include "vsock/address.h"

/*
 * What the server says to be elsewhere (NFS4ERR_MOVED): a name that is a referral, or a file system
 * that was here. Programs get EREMOTE, and the log the place, asked for with fs_locations, once in
 * a while for each. Only mounting follows (export.c): other mounts are for who administers the
 * guest.
 */

#define MOVED_PLACES 64

struct moved {
	_Atomic uint64_t told[MOVED_PLACES]; /* what, and when */
};

struct fsop_request;

/* Before `req` is answered with `err`, which it will be. False: there is nothing to ask. */
bool moved_ask(struct fsop_request *req, int err);

/* The first of `list` that can be followed, which is a vsock address: its index, or `count`. */
size_t moved_choose(const struct nfs_location *list, size_t count, struct address *address);

#endif
