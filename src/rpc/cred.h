/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_RPC_CRED_H
#define VSOCKFS_RPC_CRED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* RPC credentials, encoded once (by libtirpc) and copied into each call header. RFC 5531, 8.2,
 * appendix A. */

#define RPC_CRED_GROUPS_MAX  16
#define RPC_CRED_MACHINE_MAX 255
#define RPC_CRED_WIRE_MAX    (8 + 400 + 8) /* credential and null verifier, encoded */

struct rpc_cred; /* immutable; reference-counted; any thread */

/* Security flavors, as sec= names them. */
enum rpc_sec { RPC_SEC_SYS, RPC_SEC_NONE, RPC_SEC_KRB5, RPC_SEC_KRB5I, RPC_SEC_KRB5P };
#define RPC_SEC_COUNT 5

/* Some of them, the best first. */
struct rpc_sec_list {
	uint8_t count;
	uint8_t secs[RPC_SEC_COUNT]; /* enum rpc_sec, none twice */
};

bool rpc_sec_list_has(const struct rpc_sec_list *list, enum rpc_sec sec);
/* Unless it is there already. */
void rpc_sec_list_add(struct rpc_sec_list *list, enum rpc_sec sec);

const char *rpc_sec_name(enum rpc_sec sec);
/* Its number: AUTH_SYS, AUTH_NONE, or a pseudo flavor of RFC 2623, 2.2.1. */
uint32_t rpc_sec_flavor(enum rpc_sec sec);
/* Kerberos protects it. */
static inline bool rpc_sec_is_gss(enum rpc_sec sec)
{
	return sec >= RPC_SEC_KRB5;
}

/* AUTH_SYS; groups beyond RPC_CRED_GROUPS_MAX are left out. 0 or -ENOMEM. */
int rpc_cred_new_sys(const char *machine, uid_t uid, gid_t gid, const gid_t *groups,
	unsigned ngroups, struct rpc_cred **cred);
/* AUTH_NONE. */
int rpc_cred_new_none(struct rpc_cred **cred);
/*
 * RPCSEC_GSS with Kerberos: who acts is the user `uid` of this machine, with the tickets that he
 * has (0: the machine, with its keytab). What is sent depends on the connection (gss.h); the wire
 * form below is a name for it that is only kept and compared. 0, -EINVAL or -ENOMEM.
 */
int rpc_cred_new_gss(enum rpc_sec sec, uid_t uid, struct rpc_cred **cred);
/* One whose wire form was kept. 0, -EINVAL: too long; -ENOMEM. */
int rpc_cred_new_wire(uid_t uid, const uint8_t *wire, size_t len, struct rpc_cred **cred);
struct rpc_cred *rpc_cred_ref(struct rpc_cred *cred);
void rpc_cred_unref(struct rpc_cred *cred); /* NULL is allowed */

/* Encoded credential and verifier, ready for a call header. */
const uint8_t *rpc_cred_wire(const struct rpc_cred *cred, size_t *len);
uid_t rpc_cred_uid(const struct rpc_cred *cred);
/* Of rpc_cred_new_gss: its flavor; RPC_SEC_SYS for all others. */
enum rpc_sec rpc_cred_gss(const struct rpc_cred *cred);

#endif
