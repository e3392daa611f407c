/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_NFS41_ATTR_H
#define VSOCKFS_NFS41_ATTR_H

#include "nfs41/types.h"
#include "util/wire.h"

/*
 * fattr4 and its parts (RFC 8881, 3.3.7 and 5). An attribute that was not asked for is an
 * error, since its length cannot be known; so is an attrlist that is not used up exactly.
 */

/* Longest fattr4 accepted for what nfs_attr or nfs_fsattr can hold, bytes. */
#define NFS_ATTR_WIRE_MAX 3072

/* bitmap4, without trailing zero words */
void nfs_attr_put_bitmap(struct wire_out *out, const struct nfs_bitmap *map);
/* Words beyond NFS_BITMAP_WORDS must be zero. */
void nfs_attr_get_bitmap(struct wire_in *in, struct nfs_bitmap *map);
/* Longest bitmap4 accepted, bytes. */
#define NFS_ATTR_BITMAP_WIRE_MAX (4 + 4 * 16)

/* createattrs and SETATTR's obj_attributes; NULL: none */
void nfs_attr_put_set(struct wire_out *out, const struct nfs_setattr *set);

/* `want` bounds what may be there. The result is zero but for what `have` says. */
void nfs_attr_get(struct wire_in *in, const struct nfs_bitmap *want, struct nfs_attr *attr);
void nfs_attr_get_fs(struct wire_in *in, const struct nfs_bitmap *want, struct nfs_fsattr *attr);

/* change_info4 */
void nfs_attr_get_change_info(struct wire_in *in, struct nfs_change_info *cinfo);
#define NFS_ATTR_CHANGE_INFO_SIZE 20

/* stateid4 */
void nfs_attr_put_stateid(struct wire_out *out, const struct nfs_stateid *stateid);
void nfs_attr_get_stateid(struct wire_in *in, struct nfs_stateid *stateid);
#define NFS_ATTR_STATEID_SIZE 16

#endif
