/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_NFS41_ACL_H
#define VSOCKFS_NFS41_ACL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "util/wire.h"

/* nfsace4<> (RFC 8881, 6.2.1), which programs get and set as it is on the wire. */

/* Longest `who` that is accepted, bytes. */
#define NFS_ACL_WHO_MAX 1024

/* Is it a list of ACEs, and nothing else? */
bool nfs_acl_good(const uint8_t *data, size_t len);
/*
 * Puts a good one into `out`, with the users and groups that it names by their numbers as the
 * guest, or the server, knows them. 0; -EINVAL: the server does not know one; -EOVERFLOW.
 */
int nfs_acl_convert(const uint8_t *data, size_t len, bool to_server, struct wire_out *out);

#endif
