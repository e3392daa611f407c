/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_SUPPORT_H
#define VSOCKFS_SUPPORT_H

#include <stdbool.h>

#include "nfs41/types.h"

/*
 * What each file system of the mount has beyond what all have: asked once, when it is first needed,
 * and remembered as long as the mount lives. Any thread.
 */

#define SUPPORT_XATTR 0x01u /* user.* */
#define SUPPORT_LABEL 0x02u /* security.selinux */
#define SUPPORT_ACL   0x04u /* system.nfs4_acl */
#define SUPPORT_DACL  0x08u /* system.nfs4_dacl */
#define SUPPORT_SACL  0x10u /* system.nfs4_sacl */
#define SUPPORT_POSIX 0x20u /* system.posix_acl_access and _default */

struct support_table;
struct options;

/* What `options` and NFSv4.`minor` leave over of all that: what is not in it no file system has. */
unsigned support_possible(const struct options *options, unsigned minor);

int support_table_new(struct support_table **table);
/* NULL is allowed. */
void support_table_free(struct support_table *table);

/* The attributes of a file system to ask for. */
void support_want(struct nfs_bitmap *want);
/* They were given, for the file system with this number (node.fsid). */
void support_put(struct support_table *table, uint16_t fsid, const struct nfs_fsattr *fs);
/* SUPPORT_* of a file system, and other bits. False: not known yet. */
bool support_get(struct support_table *table, uint16_t fsid, unsigned *has);

#endif
