/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "rpc/cred.h"

#include <errno.h>
#include <rpc/auth.h>
#include <rpc/auth_unix.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "util/wire.h"

#define PSEUDO_KRB5 UINT32_C(390003)

struct rpc_cred {
	atomic_uint refs;
	uid_t uid;
	enum rpc_sec gss;
	size_t len;
	uint8_t wire[];
};

/* Encodes `auth` and the null verifier that goes with it. */
static int cred_new(const struct opaque_auth *auth, uid_t uid, struct rpc_cred **out)
{
	struct opaque_auth credential = *auth, verifier = {.oa_flavor = AUTH_NONE};
	char wire[RPC_CRED_WIRE_MAX];
	XDR xdr;

	xdrmem_create(&xdr, wire, sizeof(wire), XDR_ENCODE);
	if (!xdr_opaque_auth(&xdr, &credential) || !xdr_opaque_auth(&xdr, &verifier))
		return -ENOMEM;

	return rpc_cred_new_wire(uid, (const uint8_t *)wire, xdr_getpos(&xdr), out);
}

static enum rpc_sec gss_of_wire(const uint8_t *wire, size_t len)
{
	uint32_t flavor = len >= 4 ? wire_load_u32(wire) : 0;

	if (flavor < PSEUDO_KRB5 || flavor > PSEUDO_KRB5 + (RPC_SEC_KRB5P - RPC_SEC_KRB5))
		return RPC_SEC_SYS;
	return RPC_SEC_KRB5 + (flavor - PSEUDO_KRB5);
}

int rpc_cred_new_wire(uid_t uid, const uint8_t *wire, size_t len, struct rpc_cred **out)
{
	if (len > RPC_CRED_WIRE_MAX)
		return -EINVAL;
	struct rpc_cred *cred = malloc(sizeof(*cred) + len);
	if (!cred)
		return -ENOMEM;
	atomic_init(&cred->refs, 1);
	cred->uid = uid;
	cred->gss = gss_of_wire(wire, len);
	cred->len = len;
	memcpy(cred->wire, wire, len);
	*out = cred;
	return 0;
}

int rpc_cred_new_sys(const char *machine, uid_t uid, gid_t gid, const gid_t *groups,
	unsigned ngroups, struct rpc_cred **cred)
{
	char name[RPC_CRED_MACHINE_MAX + 1];
	gid_t gids[RPC_CRED_GROUPS_MAX];
	char body[MAX_AUTH_BYTES];
	XDR xdr;

	/* libtirpc's encoder takes what it only reads by non-const pointers */
	size_t name_len = strnlen(machine, RPC_CRED_MACHINE_MAX);
	memcpy(name, machine, name_len);
	name[name_len] = '\0';
	if (ngroups > RPC_CRED_GROUPS_MAX)
		ngroups = RPC_CRED_GROUPS_MAX;
	if (ngroups > 0)
		memcpy(gids, groups, ngroups * sizeof(*gids));

	struct authunix_parms parms = {
		.aup_machname = name,
		.aup_uid = uid,
		.aup_gid = gid,
		.aup_len = ngroups,
		.aup_gids = gids,
	};
	xdrmem_create(&xdr, body, sizeof(body), XDR_ENCODE);
	if (!xdr_authunix_parms(&xdr, &parms))
		return -ENOMEM;

	struct opaque_auth auth = {
		.oa_flavor = AUTH_SYS, .oa_base = body, .oa_length = xdr_getpos(&xdr)};
	return cred_new(&auth, uid, cred);
}

int rpc_cred_new_none(struct rpc_cred **cred)
{
	return cred_new(&(struct opaque_auth){.oa_flavor = AUTH_NONE}, 0, cred);
}

int rpc_cred_new_gss(enum rpc_sec sec, uid_t uid, struct rpc_cred **cred)
{
	uint8_t wire[8];

	if (!rpc_sec_is_gss(sec))
		return -EINVAL;
	wire_store_u32(wire, rpc_sec_flavor(sec));
	wire_store_u32(wire + 4, uid);
	return rpc_cred_new_wire(uid, wire, sizeof(wire), cred);
}

struct rpc_cred *rpc_cred_ref(struct rpc_cred *cred)
{
	atomic_fetch_add_explicit(&cred->refs, 1, memory_order_relaxed);
	return cred;
}

void rpc_cred_unref(struct rpc_cred *cred)
{
	if (cred && atomic_fetch_sub_explicit(&cred->refs, 1, memory_order_acq_rel) == 1)
		free(cred);
}

const uint8_t *rpc_cred_wire(const struct rpc_cred *cred, size_t *len)
{
	*len = cred->len;
	return cred->wire;
}

uid_t rpc_cred_uid(const struct rpc_cred *cred)
{
	return cred->uid;
}

enum rpc_sec rpc_cred_gss(const struct rpc_cred *cred)
{
	return cred->gss;
}

const char *rpc_sec_name(enum rpc_sec sec)
{
	static const char *const names[RPC_SEC_COUNT] = {"sys", "none", "krb5", "krb5i", "krb5p"};

	return names[sec];
}

uint32_t rpc_sec_flavor(enum rpc_sec sec)
{
	return rpc_sec_is_gss(sec)   ? PSEUDO_KRB5 + (sec - RPC_SEC_KRB5)
	       : sec == RPC_SEC_NONE ? AUTH_NONE
				     : AUTH_SYS;
}

bool rpc_sec_list_has(const struct rpc_sec_list *list, enum rpc_sec sec)
{
	return memchr(list->secs, (int)sec, list->count) != NULL;
}

void rpc_sec_list_add(struct rpc_sec_list *list, enum rpc_sec sec)
{
	if (!rpc_sec_list_has(list, sec))
		list->secs[list->count++] = (uint8_t)sec;
}
