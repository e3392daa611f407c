/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>
#include <unistd.h>

#include "nfs41/op.h"

/* Client ids and sessions: RFC 8881, 18.34 to 18.37, 18.45, 18.50, 18.51. */

#define SP4_NONE    0
#define AUTH_NONE   0
#define AUTH_SYS    1
#define RPCSEC_GSS  6
#define MACHINE_MAX 255 /* authsys_parms.machinename */

#define IMPL_DOMAIN	       "vsockfs.invalid"
#define IMPL_ID_WIRE_MAX       (4 + 2 * (4 + NFS4_OPAQUE_LIMIT) + 12)
#define EXCHANGE_ID_WIRE_MAX   (8 + 4 + 4 + 4 + 8 + 2 * (4 + NFS4_OPAQUE_LIMIT) + IMPL_ID_WIRE_MAX)
#define CHANNEL_ATTRS_WIRE_MAX 32
#define SECINFO_WIRE_MAX       4096

static void put_impl_id(struct wire_out *out, const char *name)
{
	if (!name) {
		wire_put_u32(out, 0);
		return;
	}
	wire_put_u32(out, 1);
	/* nii_domain, in which nobody's name is used; knfsd takes an empty one for bad XDR */
	wire_put_opaque(out, IMPL_DOMAIN, strlen(IMPL_DOMAIN));
	wire_put_opaque(out, name, strlen(name));
	wire_put_u64(out, 0); /* nii_date */
	wire_put_u32(out, 0);
}

/* For people: the beginning of `data`, NUL-terminated. */
static void copy_text(char to[128], const uint8_t *data, size_t len)
{
	if (len > 127)
		len = 127;
	memcpy(to, data, len);
	to[len] = '\0';
}

/* eir_server_impl_id<1> */
static void get_impl_id(struct wire_in *in, char name_out[128])
{
	uint32_t count = wire_get_u32(in), len;

	if (count > 1)
		in->bad = true;
	if (count == 0 || in->bad)
		return;
	wire_get_opaque(in, NFS4_OPAQUE_LIMIT, &len);
	const uint8_t *name = wire_get_opaque(in, NFS4_OPAQUE_LIMIT, &len);
	wire_get_raw(in, 12);
	if (!in->bad)
		copy_text(name_out, name, len);
}

static void decode_exchange_id(
	struct wire_in *in, uint32_t status, const struct nfs_op_slot *slot, void *res)
{
	struct nfs_exchange_id_res exchange = {.clientid = wire_get_u64(in)};
	uint32_t major_len, scope_len;

	exchange.sequenceid = wire_get_u32(in);
	exchange.flags = wire_get_u32(in);
	if (wire_get_u32(in) != SP4_NONE)
		in->bad = true;
	wire_get_u64(in); /* so_minor_id */
	const uint8_t *major = wire_get_opaque(in, NFS4_OPAQUE_LIMIT, &major_len);
	wire_get_opaque(in, NFS4_OPAQUE_LIMIT, &scope_len);
	get_impl_id(in, exchange.server_impl);
	if (in->bad || !res)
		return;
	copy_text(exchange.server_owner, major, major_len);
	memcpy(res, &exchange, sizeof(exchange));
}

void nfs_op_exchange_id(struct nfs_compound *c, const struct nfs_exchange_id_args *args,
	struct nfs_exchange_id_res *res)
{
	const struct nfs_op_slot slot = {
		.op = OP_EXCHANGE_ID, .decode = decode_exchange_id, .res = res};
	struct wire_out *out = nfs_compound_op(c, &slot, EXCHANGE_ID_WIRE_MAX);

	wire_put_fixed(out, args->verifier, NFS4_VERIFIER_SIZE);
	wire_put_opaque(out, args->owner, args->owner_len);
	wire_put_u32(out, args->flags);
	wire_put_u32(out, SP4_NONE);
	put_impl_id(out, args->impl);
}

static void put_channel_attrs(struct wire_out *out, const struct nfs_channel_attrs *attrs)
{
	wire_put_u32(out, attrs->headerpad);
	wire_put_u32(out, attrs->max_request);
	wire_put_u32(out, attrs->max_response);
	wire_put_u32(out, attrs->max_response_cached);
	wire_put_u32(out, attrs->max_ops);
	wire_put_u32(out, attrs->max_requests);
	wire_put_u32(out, 0); /* ca_rdma_ird<1> */
}

static void get_channel_attrs(struct wire_in *in, struct nfs_channel_attrs *attrs)
{
	attrs->headerpad = wire_get_u32(in);
	attrs->max_request = wire_get_u32(in);
	attrs->max_response = wire_get_u32(in);
	attrs->max_response_cached = wire_get_u32(in);
	attrs->max_ops = wire_get_u32(in);
	attrs->max_requests = wire_get_u32(in);

	uint32_t ird = wire_get_u32(in);
	if (ird > 1)
		in->bad = true;
	else if (ird == 1)
		wire_get_u32(in);
}

/* csa_sec_parms: the first is what servers use */
static void put_callback_sec(struct wire_out *out)
{
	char machine[MACHINE_MAX + 1] = "";

	gethostname(machine, sizeof(machine) - 1);
	wire_put_u32(out, 2);
	wire_put_u32(out, AUTH_SYS);
	wire_put_u32(out, 0); /* stamp */
	wire_put_opaque(out, machine, strlen(machine));
	wire_put_u32(out, 0); /* uid, gid, number of gids */
	wire_put_u32(out, 0);
	wire_put_u32(out, 0);
	wire_put_u32(out, AUTH_NONE);
}

static void decode_create_session(
	struct wire_in *in, uint32_t status, const struct nfs_op_slot *slot, void *res)
{
	struct nfs_create_session_res session;
	const uint8_t *id = wire_get_fixed(in, NFS4_SESSIONID_SIZE);

	session.sequence = wire_get_u32(in);
	session.flags = wire_get_u32(in);
	get_channel_attrs(in, &session.fore);
	get_channel_attrs(in, &session.back);
	if (in->bad || !res)
		return;
	memcpy(session.sessionid, id, NFS4_SESSIONID_SIZE);
	memcpy(res, &session, sizeof(session));
}

void nfs_op_create_session(struct nfs_compound *c, const struct nfs_create_session_args *args,
	struct nfs_create_session_res *res)
{
	const struct nfs_op_slot slot = {
		.op = OP_CREATE_SESSION, .decode = decode_create_session, .res = res};
	struct wire_out *out =
		nfs_compound_op(c, &slot, NFS4_SESSIONID_SIZE + 8 + 2 * CHANNEL_ATTRS_WIRE_MAX);

	wire_put_u64(out, args->clientid);
	wire_put_u32(out, args->sequence);
	wire_put_u32(out, args->flags);
	put_channel_attrs(out, &args->fore);
	put_channel_attrs(out, &args->back);
	wire_put_u32(out, args->cb_program);
	put_callback_sec(out);
}

static void decode_bind(
	struct wire_in *in, uint32_t status, const struct nfs_op_slot *slot, void *res)
{
	wire_get_fixed(in, NFS4_SESSIONID_SIZE);
	uint32_t dir = wire_get_u32(in);
	wire_get_bool(in); /* bctsr_use_conn_in_rdma_mode */
	if (dir < CDFS4_FORE || dir > CDFS4_BOTH)
		in->bad = true;
	if (!in->bad && res)
		memcpy(res, &dir, sizeof(dir));
}

void nfs_op_bind_conn_to_session(struct nfs_compound *c,
	const uint8_t sessionid[NFS4_SESSIONID_SIZE], uint32_t dir, uint32_t *bound_dir)
{
	const struct nfs_op_slot slot = {
		.op = OP_BIND_CONN_TO_SESSION, .decode = decode_bind, .res = bound_dir};
	struct wire_out *out = nfs_compound_op(c, &slot, NFS4_SESSIONID_SIZE + 8);

	wire_put_fixed(out, sessionid, NFS4_SESSIONID_SIZE);
	wire_put_u32(out, dir);
	wire_put_bool(out, false);
}

void nfs_op_destroy_session(struct nfs_compound *c, const uint8_t sessionid[NFS4_SESSIONID_SIZE])
{
	wire_put_fixed(nfs_compound_op(c, &(struct nfs_op_slot){.op = OP_DESTROY_SESSION}, 0),
		sessionid, NFS4_SESSIONID_SIZE);
}

void nfs_op_destroy_clientid(struct nfs_compound *c, uint64_t clientid)
{
	wire_put_u64(
		nfs_compound_op(c, &(struct nfs_op_slot){.op = OP_DESTROY_CLIENTID}, 0), clientid);
}

void nfs_op_reclaim_complete(struct nfs_compound *c, bool one_fs)
{
	wire_put_bool(
		nfs_compound_op(c, &(struct nfs_op_slot){.op = OP_RECLAIM_COMPLETE}, 0), one_fs);
}

/* A mechanism's object identifier, with its DER header or (as Linux has it) without. */
static bool is_kerberos(const uint8_t *oid, size_t len)
{
	static const uint8_t kerberos[] = {0x2a, 0x86, 0x48, 0x86, 0xf7, 0x12, 0x01, 0x02, 0x02};
	size_t head = len - sizeof(kerberos);

	return len >= sizeof(kerberos) && (head == 0 || head == 2) &&
	       memcmp(oid + head, kerberos, sizeof(kerberos)) == 0;
}

/* rpcsec_gss_info */
static void get_gss_flavor(struct wire_in *in, struct rpc_sec_list *flavors)
{
	uint32_t len;
	const uint8_t *oid = wire_get_opaque(in, NFS4_OPAQUE_LIMIT, &len);

	wire_get_u32(in); /* qop */
	uint32_t service = wire_get_u32(in);
	if (!in->bad && is_kerberos(oid, len) && service >= 1 && service <= 3)
		rpc_sec_list_add(flavors, RPC_SEC_KRB5 + (service - 1));
}

/* SECINFO4resok */
static void decode_secinfo(
	struct wire_in *in, uint32_t status, const struct nfs_op_slot *slot, void *res)
{
	struct rpc_sec_list flavors = {0};
	uint32_t count = wire_get_u32(in);

	for (; count > 0 && !in->bad; count--) {
		uint32_t flavor = wire_get_u32(in);

		if (in->bad)
			break;
		if (flavor == AUTH_NONE)
			rpc_sec_list_add(&flavors, RPC_SEC_NONE);
		else if (flavor == AUTH_SYS)
			rpc_sec_list_add(&flavors, RPC_SEC_SYS);
		else if (flavor == RPCSEC_GSS)
			get_gss_flavor(in, &flavors);
	}
	if (!in->bad && res)
		memcpy(res, &flavors, sizeof(flavors));
}

void nfs_op_secinfo_no_name(struct nfs_compound *c, uint32_t style, struct rpc_sec_list *flavors)
{
	const struct nfs_op_slot slot = {
		.op = OP_SECINFO_NO_NAME, .decode = decode_secinfo, .res = flavors};

	wire_put_u32(nfs_compound_op(c, &slot, SECINFO_WIRE_MAX), style);
}

void nfs_op_secinfo(
	struct nfs_compound *c, const char *name, size_t len, struct rpc_sec_list *flavors)
{
	const struct nfs_op_slot slot = {
		.op = OP_SECINFO, .decode = decode_secinfo, .res = flavors};

	wire_put_opaque(nfs_compound_op(c, &slot, SECINFO_WIRE_MAX), name, len);
}
