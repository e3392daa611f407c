/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdlib.h>

#include "rpc/conn_priv.h"
#include "rpc/gss_token.h"
#include "util/probe.h"

/* Calls on their way out: in which order, under which number, and protected or plain. */

#define container_of(pointer, type, member) \
	((type *)(void *)((char *)(pointer)-offsetof(type, member)))

void conn_forget(struct rpc_conn *conn, struct rpc_call *call)
{
	if (conn->gss)
		rpc_gss_forget(conn->gss, call);
	LIST_REMOVE(call, bucket);
	TAILQ_REMOVE(&conn->calls, call, entry);
	conn->pending--;
}

void conn_enlist(struct rpc_conn *conn, struct rpc_call *call)
{
	call->msg.xid = conn->xid++;
	LIST_INSERT_HEAD(conn_bucket(conn, call->msg.xid), call, bucket);
	TAILQ_INSERT_TAIL(&conn->calls, call, entry);
	conn->pending++;
}

void conn_submit(struct rpc_conn *conn, struct rpc_call *call)
{
	/* until it is */
	call->sending = true;
	if (rpc_gss_submit(conn->gss, call) != 0)
		conn_end_with_log(conn, -ENOMEM, "no memory for a security context");
}

static void on_call_sent(struct stream_msg *msg, int err)
{
	container_of(msg, struct rpc_call, out)->sending = false;
}

/* call->out says what goes over the wire; `open` bytes of it are no file's data. */
static void transmit(struct rpc_conn *conn, struct rpc_call *call, size_t open)
{
	call->out.sent = on_call_sent;
	call->bytes_out = 0;
	for (unsigned i = 0; i < call->out.niov; i++)
		call->bytes_out += call->out.iov[i].iov_len;
	call->sending = true;
	call->sent_at = loop_now(conn->loop);
	if (rpc_tap_on(conn->tap))
		conn_tap_sent(conn, &call->out, call->tail_data ? open : call->bytes_out);
	PROBE4(rpc_send, conn->flow.index, call->msg.xid, call->name, call->bytes_out);
	rpc_intake_expect(&conn->intake, call->max_reply + call->slack);
	stream_send(conn->stream, &call->out);
	if (call->transmitted)
		call->transmitted(call);
}

static void send_plain(struct rpc_conn *conn, struct rpc_call *call)
{
	size_t body_len = call->head_len;

	for (unsigned i = 0; i < call->ntail; i++)
		body_len += call->tail[i].iov_len;
	uint8_t *start = rpc_msg_put_call(call->head, body_len, &call->msg, call->cred);
	call->out.iov[0] = (struct iovec){start, (size_t)(call->head - start) + call->head_len};
	for (unsigned i = 0; i < call->ntail; i++)
		call->out.iov[1 + i] = call->tail[i];
	call->out.niov = 1 + call->ntail;
	transmit(conn, call, call->out.iov[0].iov_len);
}

static void send_sealed(struct rpc_conn *conn, struct rpc_call *call,
	struct rpc_gss_session *session, enum rpc_gss_proc proc)
{
	int err = conn->closing ? -ECANCELED : rpc_gss_call_seal(session, call, proc);

	if (err)
		conn_end_with_log(conn, err, "a call cannot be protected");
	else
		transmit(
			conn, call, call->gss.sealed ? RPC_MSG_HEAD_MAX : call->out.iov[0].iov_len);
}

static void on_gss_send(void *arg, struct rpc_call *call, struct rpc_gss_session *session)
{
	send_sealed(arg, call, session, RPC_GSS_DATA);
}

/* What this layer sends itself may have no credential. */
static bool is_gss(const struct rpc_call *call)
{
	return call->cred && rpc_sec_is_gss(rpc_cred_gss(call->cred));
}

static void prepare(struct rpc_conn *conn, struct rpc_call *call)
{
	call->sent_at = loop_now(conn->loop);
	call->replied_at = 0;
	call->bytes_out = call->bytes_in = call->copied = 0;
	call->reason = NULL;
	call->sending = false;
	call->slack = is_gss(call) ? RPC_GSS_REPLY_SLACK : 0;
	call->gss.session = NULL;
	call->gss.peer = NULL;
	call->gss.sealed = NULL;
	call->gss.refusals = 0;
	conn_enlist(conn, call);
}

static void on_gss_destroy(void *arg, struct rpc_call *call, struct rpc_gss_session *session)
{
	struct rpc_conn *conn = arg;

	prepare(conn, call);
	send_sealed(conn, call, session, RPC_GSS_DESTROY);
}

static void on_gss_call(void *arg, struct rpc_call *call)
{
	rpc_conn_send(arg, call);
}

static void on_gss_fail(void *arg, struct rpc_call *call, int err)
{
	struct rpc_conn *conn = arg;

	conn_forget(conn, call);
	call->reason = "no Kerberos credentials";
	call->done(call, err, NULL, 0, 0);
}

static void on_gss_ready(void *arg)
{
	struct rpc_conn *conn = arg;

	if (!conn->closing && conn->ops->ready)
		conn->ops->ready(conn->arg);
}

/* False: the connection is ending for want of memory. */
static bool begin_gss(struct rpc_conn *conn)
{
	static const struct rpc_gss_ops ops = {on_gss_send, on_gss_destroy, on_gss_call,
		on_gss_fail, on_gss_ready, conn_gss_stopped};

	if (conn->gss || rpc_gss_new(conn->loop, conn->gss_fd, &ops, conn, &conn->gss) == 0)
		return true;
	conn_end_with_log(conn, -ENOMEM, "no memory for security contexts");
	return false;
}

int rpc_conn_prepare(struct rpc_conn *conn, const struct rpc_call *call)
{
	if (!is_gss(call))
		return 0;
	if (conn->closing || conn->secure || !begin_gss(conn))
		return -EAGAIN;
	return rpc_gss_prepare(conn->gss, call);
}

void rpc_conn_send(struct rpc_conn *conn, struct rpc_call *call)
{
	prepare(conn, call);
	/* It would go in plain text. */
	if (conn->secure)
		conn_end(conn, -ENOTCONN);
	if (conn->closing)
		return;
	if (!is_gss(call)) {
		send_plain(conn, call);
		return;
	}
	if (begin_gss(conn))
		conn_submit(conn, call);
}
