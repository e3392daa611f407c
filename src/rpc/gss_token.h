/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_RPC_GSS_TOKEN_H
#define VSOCKFS_RPC_GSS_TOKEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "rpc/conn.h"
#include "rpc/cred.h"
#include "rpc/msg.h"

/*
 * RPCSEC_GSS (RFC 2203) over one established security context: what goes into calls and how replies
 * are checked, without I/O. libtirpc's own compares each verifier with the latest sequence number
 * only, so that calls could not be pipelined. One thread.
 */

#define RPC_GSS_FLAVOR	   6
#define RPC_GSS_HANDLE_MAX 256
/* Beyond that a context has to be made anew (RFC 2203, 5.3.3.1). */
#define RPC_GSS_SEQ_MAX UINT32_C(0x80000000)

enum rpc_gss_proc {
	RPC_GSS_DATA,
	RPC_GSS_INIT,
	RPC_GSS_CONTINUE_INIT,
	RPC_GSS_DESTROY,
};

struct rpc_gss_session; /* an established context; counted references */

/*
 * Of a context that another process has negotiated and exported. 0, -EPROTO: it cannot be used
 * (tokens that are too long for a header); -ENOMEM.
 */
int rpc_gss_session_new(enum rpc_sec sec, const void *exported, size_t len, const uint8_t *handle,
	size_t handle_len, uint32_t window, struct rpc_gss_session **session);
struct rpc_gss_session *rpc_gss_session_ref(struct rpc_gss_session *session);
void rpc_gss_session_unref(struct rpc_gss_session *session); /* NULL is allowed */

/* Whether `data` of `len` bytes is a MIC of `number`, as verifiers of replies are. */
bool rpc_gss_session_verify(
	struct rpc_gss_session *session, uint32_t number, const uint8_t *data, size_t len);

/*
 * Whether one more call may be under way: its number may not be further from the oldest
 * unanswered one's than the server's window is wide, since it drops what falls out of that.
 */
bool rpc_gss_session_room(const struct rpc_gss_session *session);
/* No call is under way. */
bool rpc_gss_session_idle(const struct rpc_gss_session *session);
/* No number is left. */
bool rpc_gss_session_worn(const struct rpc_gss_session *session);

/*
 * Fills call->out with the call as it goes over the wire, under the next sequence number, and
 * binds it to the session until rpc_gss_call_release. 0, -ENOMEM, or -EPROTO when the library
 * refuses (logged).
 */
int rpc_gss_call_seal(
	struct rpc_gss_session *session, struct rpc_call *call, enum rpc_gss_proc proc);
/*
 * Checks the verifier of the reply in `record` (header included) against the call's own number,
 * and what `sec` protects; decrypts in place. The results are then at *data. 0, or -EPROTO with
 * *why.
 */
int rpc_gss_call_open(struct rpc_call *call, const struct rpc_msg_header *header, uint8_t *record,
	const uint8_t **data, size_t *len, const char **why);
/* Its reply has come, or none will. Safe on any call that went through rpc_conn_send. */
void rpc_gss_call_release(struct rpc_call *call);

/* The wire form of a credential for a call that carries a token, for rpc_cred_new_wire. */
size_t rpc_gss_token_cred(enum rpc_sec sec, enum rpc_gss_proc proc, const uint8_t *handle,
	size_t handle_len, uint8_t wire[RPC_CRED_WIRE_MAX]);
/* What a reply can be longer than its results. */
#define RPC_GSS_REPLY_SLACK 256

#endif
