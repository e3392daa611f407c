/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_MOVED_H
#define VSOCKFS_MOVED_H

#include <stdbool.h>
#include <stdint.h>

#include "nfs41/locations.h"
#include "node.h"
#include "vsock/address.h"

/*
 * What the server says to be elsewhere (NFS4ERR_MOVED): a name that is a referral, or a file system
 * that was here. The log names the place, asked for with fs_locations, once in a while for each.
 *
 * A referral is an empty directory, on which what it leads to is mounted: by us, when it is used
 * (referral.h), or by others. Where it is not, everything but a look at it is EREMOTE, and so is
 * everything in a file system that has moved to where the mount cannot go on (migrate.h). Mounting
 * follows both (export.c).
 */

struct fsop_request;

/* A LOOKUP of this name was refused: answers it, if that is so since the name is a referral. */
bool moved_lookup(struct fsop_request *req, const char *name);
/* For what a directory of our own stands: a referral, or a file system that is entered likewise
 * (wrongsec.h), and where that is not possible everything but a look is EPERM. */
enum standin_kind { STANDIN_REFERRAL, STANDIN_SECURITY };
/* What it has in the place of a handle, the same each time. */
void moved_standin_fh(
	struct nfs_fh *fh, enum standin_kind kind, const struct node *dir, const char *name);
/* Is it one? The server knows nothing of it. */
bool moved_is_standin(const struct node *node);
/* What it looks like. */
void moved_standin_attr(struct nfs_attr *attr);
/* A request for one: false if it is a look, and goes on. */
bool moved_refuse(struct fsop_request *req);

/* Before any other `req` is answered with `err`, which it will be. False: there is nothing to ask.
 */
bool moved_ask(struct fsop_request *req, int err);

/* The first of `list` that can be followed, which is a vsock address: its index, or `count`. */
size_t moved_choose(const struct nfs_location *list, size_t count, struct address *address);

#endif
