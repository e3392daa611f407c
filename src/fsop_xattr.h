/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_FSOP_XATTR_H
#define VSOCKFS_FSOP_XATTR_H

#include "fsop.h"

/*
 * Extended attributes, as fsop_xattr.c (which asks for them) and fsop_xattr_set.c (which changes
 * them) share them. Names are as programs give them, with their prefix.
 */

/* SUPPORT_* that a name asks for, or 0. */
unsigned xattr_kind(const char *name);
/* FATTR4_* that it is for the server, or 0: it is one of RFC 8276, */
unsigned xattr_attr(const struct fsop_request *req);
/* with this name. */
const char *xattr_key(const struct fsop_request *req);
/* system.posix_acl_*: a list that may be missing? */
bool xattr_is_posix(const struct fsop_request *req);

/* `name` NULL: all of them. Returns NULL: answered, since no file here has what is asked for, or as
 * fsop_begin. */
struct fsop_request *xattr_begin(fuse_req_t fuse, fuse_ino_t ino, const char *name);
/* req->then, where the file system has what is asked for. */
void xattr_ask(struct fsop_request *req);
/* A place in req->value for `size` bytes. False: answered. */
bool xattr_room(struct fsop_request *req, size_t size);
/* Puts the operation that gets it into the compound; the result goes to req->u.xattr.res. */
void xattr_put_get(struct fsop_request *req, uint8_t *data, size_t cap);
/* The outcome of a compound as 0 or -errno. */
int xattr_errno(const struct nfs_compound *c);

#endif
