/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_RPC_CRED_H
#define VSOCKFS_RPC_CRED_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* RPC credentials, encoded once (by libtirpc) and copied into each call header. RFC 5531, 8.2,
 * appendix A. */

#define RPC_CRED_GROUPS_MAX  16
#define RPC_CRED_MACHINE_MAX 255
#define RPC_CRED_WIRE_MAX    (8 + 400 + 8) /* credential and null verifier, encoded */

struct rpc_cred; /* immutable; reference-counted; any thread */

/* AUTH_SYS; groups beyond RPC_CRED_GROUPS_MAX are left out. 0 or -ENOMEM. */
int rpc_cred_new_sys(const char *machine, uid_t uid, gid_t gid, const gid_t *groups,
	unsigned ngroups, struct rpc_cred **cred);
/* AUTH_NONE. */
int rpc_cred_new_none(struct rpc_cred **cred);
/* One whose wire form was kept. 0, -EINVAL: too long; -ENOMEM. */
int rpc_cred_new_wire(uid_t uid, const uint8_t *wire, size_t len, struct rpc_cred **cred);
struct rpc_cred *rpc_cred_ref(struct rpc_cred *cred);
void rpc_cred_unref(struct rpc_cred *cred); /* NULL is allowed */

/* Encoded credential and verifier, ready for a call header. */
const uint8_t *rpc_cred_wire(const struct rpc_cred *cred, size_t *len);
uid_t rpc_cred_uid(const struct rpc_cred *cred);

#endif
