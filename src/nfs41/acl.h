/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_NFS41_ACL_H
#define VSOCKFS_NFS41_ACL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "util/wire.h"

/*
 * Access control lists of NFS (RFC 8881, 6.2), which programs get and set as they are on the wire:
 * nfsace4<> of FATTR4_ACL, and nfsacl41, with flags in front of that, of FATTR4_DACL and _SACL.
 */

/* Longest `who` that is accepted, bytes. */
#define NFS_ACL_WHO_MAX 1024

/* Is it a list of ACEs, and nothing else? */
bool nfs_acl_good(unsigned attr, const uint8_t *data, size_t len);
/*
 * Puts a good one into `out`, with the users and groups that it names by their numbers as the
 * guest, or the server, knows them. 0; -EINVAL: the server does not know one; -EOVERFLOW.
 */
int nfs_acl_convert(
	unsigned attr, const uint8_t *data, size_t len, bool to_server, struct wire_out *out);

#endif
