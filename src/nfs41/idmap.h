/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_NFS41_IDMAP_H
#define VSOCKFS_NFS41_IDMAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * Owner strings (RFC 8881, 5.9): "1000" and "name@domain" to ids and back. Names go through the
 * guest's user database, with a bounded cache; an unknown name is IDMAP_NOBODY. Ids of the guest
 * and of the server may differ, see idmap_rules.h. Any thread.
 */

#define IDMAP_NOBODY	 65534
#define IDMAP_STRING_MAX 300

/* Once, before threads: numeric ids only (a root file system has no user database yet). */
void idmap_init(bool numeric_only);

uid_t idmap_uid(const uint8_t *owner, size_t len);
gid_t idmap_gid(const uint8_t *group, size_t len);

/*
 * Numeric strings, until idmap_use_names was called because the server answered
 * NFS4ERR_BADOWNER: then "name@domain" with the domain last seen from the server. Returns the
 * length.
 */
size_t idmap_owner(uid_t uid, char out[IDMAP_STRING_MAX]);
size_t idmap_group(gid_t gid, char out[IDMAP_STRING_MAX]);
/* False when names were in use already or no domain is known: trying again is useless. */
bool idmap_use_names(void);

#endif
