/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "rpc/conn.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "rpc/conn_priv.h"
#include "rpc/gss_token.h"
#include "rpc/secure.h"
#include "util/log.h"
#include "util/probe.h"
#include "util/wire.h"

#define container_of(pointer, type, member) \
	((type *)(void *)((char *)(pointer)-offsetof(type, member)))

/* An answer to the server. */
struct reply {
	struct stream_msg out;
	struct rpc_conn *conn;
	uint8_t data[];
};

void conn_end(struct rpc_conn *conn, int err)
{
	if (conn->closing)
		return;
	conn->closing = true;
	conn->err = err;
	loop_timer_cancel(conn->loop, &conn->secure_timer);
	stream_close(conn->stream);
}

void conn_end_with_log(struct rpc_conn *conn, int err, const char *why)
{
	if (!conn->ops->may_log || conn->ops->may_log(conn->arg))
		log_error("%s: %s: connection closed", conn->peer, why);
	conn_end(conn, err);
}

static struct rpc_call *on_find(void *arg, uint32_t xid)
{
	struct rpc_conn *conn = arg;
	struct rpc_call *call;

	LIST_FOREACH (call, conn_bucket(conn, xid), bucket)
		if (call->msg.xid == xid)
			break;
	return call;
}

/* What RPCSEC_GSS has to say about a reply: 0, -EPROTO with the call ended, or -EAGAIN: it was sent
 * again. */
static int unprotect(struct rpc_conn *conn, struct rpc_call *call,
	const struct rpc_msg_header *header, const uint8_t **data, size_t *len)
{
	const char *why;

	if (!call->gss.session)
		return 0;
	if (header->verf == 0) {
		if (!rpc_gss_refused(conn->gss, call, header->auth_stat))
			return 0;
		conn_forget(conn, call);
		conn_enlist(conn, call);
		conn_submit(conn, call);
		return -EAGAIN;
	}
	uint8_t *record = (uint8_t *)(uintptr_t)*data - header->body;
	int err = rpc_gss_call_open(call, header, record, data, len, &why);
	if (!err)
		return 0;
	snprintf(conn->intake.why, sizeof(conn->intake.why), "%s", why);
	conn_forget(conn, call);
	call->done(call, -EBADMSG, NULL, 0, 0);
	return err;
}

static int on_replied(void *arg, struct rpc_call *call, const struct rpc_msg_header *header,
	const uint8_t *data, size_t len, size_t sink_len, size_t wire_len)
{
	struct rpc_conn *conn = arg;

	conn->delivered = true;
	if (rpc_tap_on(conn->tap))
		conn_tap_received(conn, call, data, len);
	const uint8_t *record = data - header->body;
	int err = unprotect(conn, call, header, &data, &len);
	if (err)
		return conn->closing ? -ECANCELED : err == -EAGAIN ? 0 : err;
	conn_forget(conn, call);
	call->replied_at = loop_now(conn->loop);
	call->bytes_in = wire_len;
	call->reason = header->reason;
	call->verifier = record + header->verf;
	call->verifier_len = header->verf_len;
	PROBE5(rpc_reply, conn->flow.index, call->msg.xid, call->name, wire_len,
		call->replied_at - call->sent_at);
	if (header->error)
		err = call->done(call, header->error, NULL, 0, 0);
	else
		err = call->done(call, 0, data, len, sink_len);
	if (conn->gss && !conn->closing)
		rpc_gss_pump(conn->gss);
	return conn->closing ? -ECANCELED : err;
}

static int on_called(void *arg, const struct rpc_msg_call *msg, const uint8_t *data, size_t len)
{
	struct rpc_conn *conn = arg;

	conn->delivered = true;
	if (rpc_tap_on(conn->tap))
		conn_tap_received(conn, NULL, data, len);
	int err = conn->ops->called(conn->arg, msg, data, len);

	return conn->closing ? -ECANCELED : err;
}

static const struct rpc_intake_ops intake_ops = {on_find, on_replied, on_called};

static void receive(struct rpc_conn *conn)
{
	size_t len;
	bool wait_all;
	uint8_t *data = rpc_intake_want(&conn->intake, &len, &wait_all);

	stream_recv(conn->stream, data, len, wait_all);
}

static void come_up(struct rpc_conn *conn)
{
	conn->connected = true;
	PROBE2(connected, conn->flow.index, conn->flow.number);
	conn_tap_event(conn, RPC_TAP_UP);
	conn->ops->up(conn->arg);
	if (!conn->closing)
		receive(conn);
}

/* `why`: what TLS has to say, or NULL. */
static void end_insecure(struct rpc_conn *conn, int err, const char *why)
{
	if (why && !conn->closing && conn->ops->insecure)
		conn->ops->insecure(conn->arg, why);
	conn_end(conn, err);
}

static void on_secure_late(struct loop_timer *timer)
{
	end_insecure(container_of(timer, struct rpc_conn, secure_timer), -ETIMEDOUT,
		"the server takes too long to agree on TLS");
}

static void on_connected(void *arg, int err)
{
	struct rpc_conn *conn = arg;

	if (conn->closing)
		return;
	if (!err && !conn->secure) {
		come_up(conn);
		return;
	}
	if (!err)
		err = rpc_secure_begin(conn->secure, conn->stream);
	if (err)
		conn_end(conn, err);
	else if (conn->secure->timeout_ns > 0)
		loop_timer_set(conn->loop, &conn->secure_timer,
			loop_now(conn->loop) + conn->secure->timeout_ns);
}

static void on_secured(void *arg, int err)
{
	struct rpc_conn *conn = arg;

	if (conn->closing)
		return;
	if (err) {
		end_insecure(conn, err, stream_why(conn->stream));
		return;
	}
	loop_timer_cancel(conn->loop, &conn->secure_timer);
	free(conn->secure);
	conn->secure = NULL;
	come_up(conn);
}

static void on_received(void *arg, ssize_t result)
{
	struct rpc_conn *conn = arg;
	const char *why;

	if (conn->closing)
		return;
	if (conn->secure) {
		int err = rpc_secure_received(conn->secure, conn->stream, result, &why);
		if (err && err != -EAGAIN)
			end_insecure(conn, err, why);
	} else if (result < 0) {
		end_insecure(conn, (int)result, stream_why(conn->stream));
	} else if (result == 0 && rpc_intake_idle(&conn->intake)) {
		conn_end(conn, -ECONNRESET);
	} else if (result == 0) {
		conn_end_with_log(conn, -EPROTO, "the stream ends within a record");
	} else {
		conn->delivered = false;
		int err = rpc_intake_got(&conn->intake, (size_t)result);
		if (err && rpc_tap_on(conn->tap))
			conn_tap_garbage(conn, (size_t)result);
		if (conn->closing)
			return;
		conn->culprit = err == -EPROTO ? conn->intake.culprit : NULL;
		if (err)
			conn_end_with_log(conn, err, conn->intake.why);
		else
			receive(conn);
	}
}

static void on_broken(void *arg, int err)
{
	struct rpc_conn *conn = arg;

	end_insecure(conn, err, stream_why(conn->stream));
}

static void end_calls(struct rpc_conn *conn)
{
	struct rpc_call *call;

	while ((call = TAILQ_FIRST(&conn->calls)) != NULL) {
		conn_forget(conn, call);
		call->done(call, call == conn->culprit ? -EBADMSG : -ECONNRESET, NULL, 0, 0);
	}
}

/* The last step. */
void conn_gss_stopped(void *arg)
{
	struct rpc_conn *conn = arg;

	conn->gss = NULL;
	end_calls(conn);
	conn->ops->down(conn->arg, conn->err);
	rpc_intake_deinit(&conn->intake);
	free(conn->secure);
	free(conn);
}

static void on_closed(void *arg)
{
	struct rpc_conn *conn = arg;

	PROBE4(disconnected, conn->flow.index, conn->flow.number, conn->err, conn->pending);
	conn_tap_event(conn, RPC_TAP_DOWN);
	if (conn->gss)
		rpc_gss_halt(conn->gss);
	end_calls(conn);
	if (conn->gss)
		rpc_gss_stop(conn->gss);
	else
		conn_gss_stopped(conn);
}

static const struct stream_ops stream_ops = {
	on_connected, on_received, on_broken, on_closed, on_secured};

static struct rpc_conn *conn_alloc(
	struct loop *loop, size_t max_call, const struct rpc_conn_ops *ops, void *arg)
{
	struct rpc_conn *conn = malloc(sizeof(*conn));

	if (!conn)
		return NULL;
	memset(conn, 0, offsetof(struct rpc_conn, intake));
	conn->loop = loop;
	conn->ops = ops;
	conn->arg = arg;
	conn->gss_fd = -1;
	TAILQ_INIT(&conn->calls);
	for (unsigned i = 0; i < RPC_CONN_BUCKETS; i++)
		LIST_INIT(&conn->buckets[i]);
	/* a stranger to earlier connections, whose late replies a server may have cached */
	if (getrandom(&conn->xid, sizeof(conn->xid), GRND_NONBLOCK) != sizeof(conn->xid))
		conn->xid = (uint32_t)loop_clock();
	rpc_intake_init(&conn->intake, max_call, &intake_ops, conn);
	return conn;
}

int rpc_conn_open(struct loop *loop, const struct address *address,
	const struct stream_config *config, size_t max_call, const struct rpc_conn_ops *ops,
	void *arg, struct rpc_conn **out)
{
	struct rpc_conn *conn = conn_alloc(loop, max_call, ops, arg);

	if (!conn)
		return -ENOMEM;
	address_describe(address, conn->peer, sizeof(conn->peer));
	int err = stream_connect(loop, address, config, &stream_ops, conn, &conn->stream);
	if (err) {
		free(conn);
		return err;
	}
	*out = conn;
	return 0;
}

int rpc_conn_adopt(struct loop *loop, int fd_take, size_t max_call, const struct rpc_conn_ops *ops,
	void *arg, struct rpc_conn **out)
{
	struct rpc_conn *conn = conn_alloc(loop, max_call, ops, arg);

	if (!conn) {
		close(fd_take);
		return -ENOMEM;
	}
	snprintf(conn->peer, sizeof(conn->peer), "socket %d", fd_take);
	int err = stream_adopt(loop, fd_take, &stream_ops, conn, &conn->stream);
	if (err) {
		free(conn);
		return err;
	}
	*out = conn;
	return 0;
}

int rpc_conn_secure(struct rpc_conn *conn, const struct tls_context *context, uint32_t prog,
	uint32_t vers, uint64_t timeout_ns)
{
	conn->secure = calloc(1, sizeof(*conn->secure));
	if (!conn->secure)
		return -ENOMEM;
	conn->secure->context = context;
	conn->secure->msg = (struct rpc_msg_call){.xid = conn->xid++, .prog = prog, .vers = vers};
	conn->secure->timeout_ns = timeout_ns;
	conn->secure_timer.fire = on_secure_late;
	return 0;
}

void rpc_conn_set_tap(struct rpc_conn *conn, struct rpc_tap *tap, unsigned index)
{
	static _Atomic uint32_t connections;

	conn->tap = tap;
	conn->flow = (struct rpc_tap_flow){
		.index = index, .number = atomic_fetch_add(&connections, 1) + 1};
}

void rpc_conn_set_gss(struct rpc_conn *conn, int helper_fd)
{
	conn->gss_fd = helper_fd;
}

static void on_reply_sent(struct stream_msg *msg, int err)
{
	struct reply *reply = container_of(msg, struct reply, out);

	reply->conn->replies--;
	free(reply);
}

void rpc_conn_reply(
	struct rpc_conn *conn, uint32_t xid, uint32_t accept_stat, const void *data, size_t len)
{
	if (conn->closing)
		return;
	if (conn->replies == RPC_CONN_REPLIES_MAX) {
		conn_end_with_log(conn, -EPROTO, "calls without end whose replies are not read");
		return;
	}
	struct reply *reply = malloc(sizeof(*reply) + RPC_MSG_HEAD_MAX + len);
	if (!reply) {
		/* without an answer the server would wait: it asks again on the next connection */
		conn_end_with_log(conn, -ENOMEM, "no memory to answer a call");
		return;
	}
	uint8_t *body = reply->data + RPC_MSG_HEAD_MAX;
	if (len > 0)
		memcpy(body, data, len);
	uint8_t *start = rpc_msg_put_reply(body, len, xid, accept_stat);
	reply->conn = conn;
	reply->out = (struct stream_msg){
		.iov = {{start, (size_t)(body - start) + len}}, .niov = 1, .sent = on_reply_sent};
	conn->replies++;
	if (rpc_tap_on(conn->tap))
		conn_tap_sent(conn, &reply->out, reply->out.iov[0].iov_len);
	stream_send(conn->stream, &reply->out);
}

void rpc_conn_close(struct rpc_conn *conn)
{
	if (conn->gss && conn->connected && !conn->closing) {
		rpc_gss_halt(conn->gss);
		rpc_gss_destroy(conn->gss);
		if (!conn->closing)
			stream_flush(conn->stream);
	}
	conn_end(conn, -ECANCELED);
}

unsigned rpc_conn_pending(const struct rpc_conn *conn)
{
	return conn->pending;
}
