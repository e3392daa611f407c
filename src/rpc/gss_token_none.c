/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>

#include "rpc/gss_token.h"

/* Instead of gss_token.c where there is no libgssapi: no session comes to be, so nothing can be
 * done with one. */

int rpc_gss_session_new(enum rpc_sec sec, const void *exported, size_t len, const uint8_t *handle,
	size_t handle_len, uint32_t window, struct rpc_gss_session **session)
{
	return -EPROTONOSUPPORT;
}

struct rpc_gss_session *rpc_gss_session_ref(struct rpc_gss_session *session)
{
	return session;
}

void rpc_gss_session_unref(struct rpc_gss_session *session)
{
}

bool rpc_gss_session_verify(
	struct rpc_gss_session *session, uint32_t number, const uint8_t *data, size_t len)
{
	return false;
}

bool rpc_gss_session_room(const struct rpc_gss_session *session)
{
	return false;
}

bool rpc_gss_session_idle(const struct rpc_gss_session *session)
{
	return true;
}

bool rpc_gss_session_worn(const struct rpc_gss_session *session)
{
	return true;
}

int rpc_gss_call_seal(
	struct rpc_gss_session *session, struct rpc_call *call, enum rpc_gss_proc proc)
{
	return -EPROTONOSUPPORT;
}

int rpc_gss_call_open(struct rpc_call *call, const struct rpc_msg_header *header, uint8_t *record,
	const uint8_t **data, size_t *len, const char **why)
{
	*why = "a protected reply";
	return -EPROTO;
}

void rpc_gss_call_release(struct rpc_call *call)
{
}

size_t rpc_gss_token_cred(enum rpc_sec sec, enum rpc_gss_proc proc, const uint8_t *handle,
	size_t handle_len, uint8_t wire[RPC_CRED_WIRE_MAX])
{
	return 0;
}
