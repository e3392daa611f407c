/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_NFS41_POSIX_ACL_H
#define VSOCKFS_NFS41_POSIX_ACL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "util/wire.h"

/*
 * posixace4<> (draft-ietf-nfsv4-posix-acls), and the form that programs get and set as
 * system.posix_acl_access and _default (linux/posix_acl_xattr.h). Users and groups are the guest's
 * there, and the server's strings on the wire.
 */

/* One without a name, on the wire, and one in the programs' form, bytes; in front of each list are
 * four. */
#define NFS_POSIX_ACE_SIZE_MIN	 12
#define NFS_POSIX_ACE_XATTR_SIZE 8
/* The list that says no more than the mode: owner, group, others. */
#define NFS_POSIX_ACL_MODE_SIZE (4 + 3 * NFS_POSIX_ACE_SIZE_MIN)

/* Is it a list of entries with tags and permissions that there are, and nothing else? */
bool nfs_posix_acl_good(const uint8_t *data, size_t len);
/* A good one, as programs know it: *size bytes in `to`. 0, or -EOVERFLOW: there is room for `cap`.
 */
int nfs_posix_acl_show(const uint8_t *data, size_t len, uint8_t *to, size_t cap, size_t *size);
/*
 * And back, whatever a program gave. 0; -EINVAL: it is none, or the server does not know somebody;
 * -EOPNOTSUPP: a form that is not known; -EOVERFLOW.
 */
int nfs_posix_acl_take(const uint8_t *xattr, size_t size, struct wire_out *out);

#endif
