/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "rpc/msg.h"

#include <errno.h>
#include <rpc/rpc.h>
#include <string.h>

#include "rpc/record.h"
#include "util/wire.h"

#define CALL_FIXED  24 /* xid to procedure */
#define REPLY_FIXED 24 /* xid to accept_stat, with a null verifier */
/* Longest header either way: a call with two authenticators of full length. */
#define DECODE_MAX (CALL_FIXED + 2 * (8 + MAX_AUTH_BYTES))

uint8_t *rpc_msg_put_call(uint8_t *body, size_t body_len, const struct rpc_msg_call *call,
	const struct rpc_cred *cred)
{
	struct rpc_msg msg = {
		.rm_xid = call->xid, .rm_call = {.cb_prog = call->prog, .cb_vers = call->vers}};
	u_int32_t proc = call->proc;
	size_t cred_len;
	const uint8_t *cred_wire = rpc_cred_wire(cred, &cred_len);
	uint8_t *head = body - cred_len - CALL_FIXED;
	XDR xdr;

	wire_store_u32(head - 4, (uint32_t)(body - head + body_len) | RECORD_LAST);
	xdrmem_create(&xdr, (char *)head, CALL_FIXED, XDR_ENCODE);
	/* both fit: the two together are CALL_FIXED bytes */
	(void)(xdr_callhdr(&xdr, &msg) && xdr_u_int32_t(&xdr, &proc));
	memcpy(head + CALL_FIXED, cred_wire, cred_len);
	return head - 4;
}

uint8_t *rpc_msg_put_reply(uint8_t *body, size_t body_len, uint32_t xid, uint32_t accept_stat)
{
	u_int32_t fields[] = {xid, REPLY, MSG_ACCEPTED};
	struct opaque_auth verifier = {.oa_flavor = AUTH_NONE};
	uint8_t *head = body - REPLY_FIXED;
	XDR xdr;

	wire_store_u32(head - 4, (uint32_t)(REPLY_FIXED + body_len) | RECORD_LAST);
	xdrmem_create(&xdr, (char *)head, REPLY_FIXED, XDR_ENCODE);
	for (unsigned i = 0; i < 3; i++)
		(void)xdr_u_int32_t(&xdr, &fields[i]);
	(void)(xdr_opaque_auth(&xdr, &verifier) && xdr_u_int32_t(&xdr, &accept_stat));
	return head - 4;
}

/*
 * The decoders go field by field and not by xdr_callmsg and xdr_replymsg, which do not tell a
 * header that ends too early from one that is wrong.
 */

/* Skips an authenticator: RPC_MSG_SHORT, RPC_MSG_BAD, or `kind` when it was all there. */
static enum rpc_msg_kind skip_auth(XDR *xdr, enum rpc_msg_kind kind)
{
	char body[MAX_AUTH_BYTES];
	/* with a buffer of its own libtirpc allocates nothing */
	struct opaque_auth auth = {.oa_base = body};

	if (xdr_opaque_auth(xdr, &auth))
		return kind;
	return auth.oa_length > MAX_AUTH_BYTES ? RPC_MSG_BAD : RPC_MSG_SHORT;
}

/* The same of a reply, and tells where it was. */
static enum rpc_msg_kind get_verifier(XDR *xdr, struct rpc_msg_header *header)
{
	char body[MAX_AUTH_BYTES];
	struct opaque_auth auth = {.oa_base = body};
	u_int at = xdr_getpos(xdr);

	if (!xdr_opaque_auth(xdr, &auth))
		return auth.oa_length > MAX_AUTH_BYTES ? RPC_MSG_BAD : RPC_MSG_SHORT;
	header->verf_flavor = (uint32_t)auth.oa_flavor;
	header->verf = at + 8;
	header->verf_len = auth.oa_length;
	return RPC_MSG_REPLY;
}

static enum rpc_msg_kind get_call(XDR *xdr, struct rpc_msg_header *header)
{
	u_int32_t version;
	enum rpc_msg_kind kind;

	if (!xdr_u_int32_t(xdr, &version))
		return RPC_MSG_SHORT;
	if (version != RPC_MSG_VERSION)
		return RPC_MSG_BAD;
	if (!xdr_u_int32_t(xdr, &header->call.prog) || !xdr_u_int32_t(xdr, &header->call.vers) ||
		!xdr_u_int32_t(xdr, &header->call.proc))
		return RPC_MSG_SHORT;
	kind = skip_auth(xdr, RPC_MSG_CALL);
	return kind == RPC_MSG_CALL ? skip_auth(xdr, RPC_MSG_CALL) : kind;
}

static enum rpc_msg_kind rejected(struct rpc_msg_header *header, int error, const char *reason)
{
	header->error = error;
	header->reason = reason;
	return RPC_MSG_REJECTED;
}

/* Skips the lowest and highest version that a mismatch names. */
static enum rpc_msg_kind mismatch(
	XDR *xdr, struct rpc_msg_header *header, int error, const char *reason)
{
	u_int32_t low, high;

	if (!xdr_u_int32_t(xdr, &low) || !xdr_u_int32_t(xdr, &high))
		return RPC_MSG_SHORT;
	return rejected(header, error, reason);
}

static enum rpc_msg_kind get_accepted(XDR *xdr, struct rpc_msg_header *header)
{
	u_int32_t status;
	enum rpc_msg_kind kind = get_verifier(xdr, header);

	if (kind != RPC_MSG_REPLY)
		return kind;
	if (!xdr_u_int32_t(xdr, &status))
		return RPC_MSG_SHORT;
	switch (status) {
	case SUCCESS: return RPC_MSG_REPLY;
	case PROG_UNAVAIL: return rejected(header, -EPROTONOSUPPORT, "PROG_UNAVAIL");
	case PROG_MISMATCH: return mismatch(xdr, header, -EPROTONOSUPPORT, "PROG_MISMATCH");
	case PROC_UNAVAIL: return rejected(header, -EPROTO, "PROC_UNAVAIL");
	case GARBAGE_ARGS: return rejected(header, -EPROTO, "GARBAGE_ARGS");
	case SYSTEM_ERR: return rejected(header, -EPROTO, "SYSTEM_ERR");
	default: return RPC_MSG_BAD;
	}
}

static enum rpc_msg_kind get_denied(XDR *xdr, struct rpc_msg_header *header)
{
	static const char *const auth_names[] = {
		[AUTH_OK] = "AUTH_OK",
		[AUTH_BADCRED] = "AUTH_BADCRED",
		[AUTH_REJECTEDCRED] = "AUTH_REJECTEDCRED",
		[AUTH_BADVERF] = "AUTH_BADVERF",
		[AUTH_REJECTEDVERF] = "AUTH_REJECTEDVERF",
		[AUTH_TOOWEAK] = "AUTH_TOOWEAK",
		[AUTH_INVALIDRESP] = "AUTH_INVALIDRESP",
		[AUTH_FAILED] = "AUTH_FAILED",
		[RPCSEC_GSS_CREDPROBLEM] = "RPCSEC_GSS_CREDPROBLEM",
		[RPCSEC_GSS_CTXPROBLEM] = "RPCSEC_GSS_CTXPROBLEM",
	};
	const size_t count = sizeof(auth_names) / sizeof(*auth_names);
	u_int32_t status, why;

	if (!xdr_u_int32_t(xdr, &status))
		return RPC_MSG_SHORT;
	if (status == RPC_MISMATCH)
		return mismatch(xdr, header, -EPROTO, "RPC_MISMATCH");
	if (status != AUTH_ERROR)
		return RPC_MSG_BAD;
	if (!xdr_u_int32_t(xdr, &why))
		return RPC_MSG_SHORT;
	header->auth_stat = why;
	return rejected(
		header, -EACCES, why < count && auth_names[why] ? auth_names[why] : "AUTH_ERROR");
}

static enum rpc_msg_kind get_reply(XDR *xdr, struct rpc_msg_header *header)
{
	u_int32_t status;

	if (!xdr_u_int32_t(xdr, &status))
		return RPC_MSG_SHORT;
	switch (status) {
	case MSG_ACCEPTED: return get_accepted(xdr, header);
	case MSG_DENIED: return get_denied(xdr, header);
	default: return RPC_MSG_BAD;
	}
}

enum rpc_msg_kind rpc_msg_get(const uint8_t *data, size_t len, struct rpc_msg_header *header)
{
	enum rpc_msg_kind kind;
	u_int32_t direction;
	XDR xdr;

	*header = (struct rpc_msg_header){0};
	xdrmem_create(&xdr, (char *)data, len < DECODE_MAX ? (u_int)len : DECODE_MAX, XDR_DECODE);
	if (!xdr_u_int32_t(&xdr, &header->call.xid) || !xdr_u_int32_t(&xdr, &direction))
		return RPC_MSG_SHORT;
	switch (direction) {
	case CALL: kind = get_call(&xdr, header); break;
	case REPLY: kind = get_reply(&xdr, header); break;
	default: return RPC_MSG_BAD;
	}
	header->body = xdr_getpos(&xdr);
	return kind;
}
