/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "rpc/gss_link.h"
#include "rpc/gss_priv.h"
#include "util/passfd.h"
#include "util/wire.h"

/*
 * One context in the making: the helper's token goes to the server in a call to procedure 0, the
 * server's comes back in its reply and goes to the helper (RFC 2203, 5.2), until both are content.
 */

#define GSS_S_COMPLETE	      0
#define GSS_S_CONTINUE_NEEDED 1

struct rpc_gss_nego {
	struct rpc_gss *gss;
	struct rpc_gss_peer *peer; /* NULL: nobody wants it any more */
	int fd;			   /* the helper's */
	struct loop_poll poll;
	bool polling, calling;
	bool complete; /* the server says so, and this is what it said */
	uint32_t window;
	size_t handle_len, verifier_len;
	uint8_t handle[RPC_GSS_HANDLE_MAX];
	uint8_t verifier[RPC_CALL_MIC_MAX];
	struct rpc_cred *cred;
	struct rpc_call call;
	struct {
		struct rpc_gss_message head;
		uint8_t body[RPC_GSS_TOKEN_MAX];
	} message;
	uint8_t headroom[RPC_MSG_HEAD_MAX];
	uint8_t token[4 + RPC_GSS_TOKEN_MAX];
};

static void nego_free_if_idle(struct rpc_gss_nego *nego)
{
	struct rpc_gss *gss = nego->gss;

	if (nego->peer || nego->polling || nego->calling)
		return;
	if (nego->fd >= 0)
		close(nego->fd);
	rpc_cred_unref(nego->cred);
	free(nego);
	rpc_gss_nego_gone(gss);
}

/* Its peer has no part in it any more. */
static struct rpc_gss_peer *nego_leave(struct rpc_gss_nego *nego)
{
	struct rpc_gss_peer *peer = nego->peer;

	if (peer)
		peer->nego = NULL;
	nego->peer = NULL;
	return peer;
}

static void nego_fail(struct rpc_gss_nego *nego, int err, const char *why)
{
	struct rpc_gss_peer *peer = nego_leave(nego);

	if (peer)
		rpc_gss_failed(peer, err, why);
}

void rpc_gss_negotiate_cancel(struct rpc_gss_nego *nego)
{
	nego_leave(nego);
	if (nego->polling)
		loop_poll_cancel(nego->gss->loop, &nego->poll);
	nego_free_if_idle(nego);
}

static void nego_listen(struct rpc_gss_nego *nego)
{
	nego->polling = true;
	loop_poll_start(nego->gss->loop, &nego->poll);
}

/* rpc_gss_init_res; false: it is garbage. */
static bool nego_take_reply(struct rpc_gss_nego *nego, const uint8_t *data, size_t len,
	uint32_t *major, uint32_t *minor, const uint8_t **token, uint32_t *token_len)
{
	struct wire_in in;
	uint32_t handle_len;

	wire_in_init(&in, data, len);
	const uint8_t *handle = wire_get_opaque(&in, RPC_GSS_HANDLE_MAX, &handle_len);
	*major = wire_get_u32(&in);
	*minor = wire_get_u32(&in);
	nego->window = wire_get_u32(&in);
	*token = wire_get_opaque(&in, RPC_GSS_TOKEN_MAX, token_len);
	if (in.bad || in.pos != in.len)
		return false;
	nego->handle_len = handle_len;
	memcpy(nego->handle, handle, handle_len);
	return true;
}

/* Of the last reply: a MIC of the window, which is checked once there is a context. */
static bool nego_take_verifier(struct rpc_gss_nego *nego)
{
	nego->complete = true;
	nego->verifier_len = nego->call.verifier_len;
	if (nego->verifier_len > sizeof(nego->verifier))
		return false;
	memcpy(nego->verifier, nego->call.verifier, nego->verifier_len);
	return true;
}

static void nego_pass_on(struct rpc_gss_nego *nego, const uint8_t *token, size_t len)
{
	nego->message.head = (struct rpc_gss_message){.what = RPC_GSS_TOKEN};
	memcpy(nego->message.body, token, len);
	if (send(nego->fd, &nego->message, sizeof(nego->message.head) + len,
		    MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
		nego_fail(nego, -EACCES, strerror(errno));
	else
		nego_listen(nego);
}

static int nego_replied(
	struct rpc_call *call, int err, const uint8_t *data, size_t len, size_t sink_len)
{
	struct rpc_gss_nego *nego =
		(struct rpc_gss_nego *)((char *)call - offsetof(struct rpc_gss_nego, call));
	uint32_t major = 0, minor = 0, token_len = 0;
	const uint8_t *token = NULL;
	char why[96];

	nego->calling = false;
	if (!nego->peer) {
		nego_free_if_idle(nego);
		return 0;
	}
	if (err) {
		snprintf(why, sizeof(why), "the server rejects the ticket: %s",
			call->reason ? call->reason : "it closes the connection");
		nego_fail(nego, -EACCES, why);
	} else if (!nego_take_reply(nego, data, len, &major, &minor, &token, &token_len)) {
		nego_fail(nego, -EACCES, "garbage from the server");
		err = -EPROTO;
	} else if (major != GSS_S_COMPLETE && major != GSS_S_CONTINUE_NEEDED) {
		snprintf(why, sizeof(why), "the server refuses the ticket (GSS status %x, %x)",
			major, minor);
		nego_fail(nego, -EACCES, why);
	} else if (major == GSS_S_COMPLETE && !nego_take_verifier(nego)) {
		nego_fail(nego, -EACCES, "a verifier that is too long");
	} else {
		nego_pass_on(nego, token, token_len);
	}
	nego_free_if_idle(nego);
	return err == -EPROTO ? err : 0;
}

static void nego_call(struct rpc_gss_nego *nego, size_t len)
{
	struct rpc_gss *gss = nego->gss;
	uint8_t wire[RPC_CRED_WIRE_MAX];
	struct rpc_call *call = &nego->call;
	struct wire_out out;
	bool first = nego->handle_len == 0;

	rpc_cred_unref(nego->cred);
	nego->cred = NULL;
	size_t wire_len = rpc_gss_token_cred(nego->peer->sec,
		first ? RPC_GSS_INIT : RPC_GSS_CONTINUE_INIT, nego->handle, nego->handle_len, wire);
	if (rpc_cred_new_wire(nego->peer->uid, wire, wire_len, &nego->cred) != 0) {
		nego_fail(nego, -EACCES, "out of memory");
		return;
	}
	wire_out_init(&out, nego->token, sizeof(nego->token));
	wire_put_opaque(&out, nego->message.body, len);
	if (out.bad) {
		nego_fail(nego, -EACCES, "a token that is too long");
		return;
	}
	*call = (struct rpc_call){
		.msg = {.prog = nego->peer->prog, .vers = nego->peer->vers, .proc = 0},
		.cred = nego->cred,
		.head = nego->token,
		.head_len = out.len,
		.max_reply = RPC_MSG_HEAD_MAX + RPC_GSS_HANDLE_MAX + 32 + RPC_GSS_TOKEN_MAX,
		.name = "RPCSEC_GSS_INIT",
		.done = nego_replied};
	nego->calling = true;
	gss->ops->call(gss->arg, call);
}

static void nego_ready(struct rpc_gss_nego *nego, size_t len)
{
	struct rpc_gss_session *session;
	uint32_t lifetime = nego->message.head.lifetime;
	int err = nego->complete ? rpc_gss_session_new(nego->peer->sec, nego->message.body, len,
					   nego->handle, nego->handle_len, nego->window, &session)
				 : -EPROTO;

	explicit_bzero(nego->message.body, len);
	if (err) {
		nego_fail(nego, -EACCES, "the context cannot be used");
	} else if (!rpc_gss_session_verify(
			   session, nego->window, nego->verifier, nego->verifier_len)) {
		rpc_gss_session_unref(session);
		nego_fail(nego, -EACCES, "the server does not prove who it is");
	} else {
		rpc_gss_established(nego_leave(nego), session, lifetime);
	}
}

static void nego_hear(struct rpc_gss_nego *nego)
{
	ssize_t n = recv(nego->fd, &nego->message, sizeof(nego->message), MSG_DONTWAIT);

	if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
		nego_listen(nego);
		return;
	}
	if (n < (ssize_t)sizeof(nego->message.head)) {
		nego_fail(nego, -EACCES, "the process that negotiates has ended");
		return;
	}
	size_t len = (size_t)n - sizeof(nego->message.head);
	switch (nego->message.head.what) {
	case RPC_GSS_TOKEN: nego_call(nego, len); break;
	case RPC_GSS_READY: nego_ready(nego, len); break;
	default:
		nego->message.body[len < RPC_GSS_TOKEN_MAX ? len : RPC_GSS_TOKEN_MAX - 1] = '\0';
		nego_fail(nego, nego->message.head.err < 0 ? nego->message.head.err : -EACCES,
			(const char *)nego->message.body);
	}
}

static void nego_polled(struct loop_poll *poll, int result)
{
	struct rpc_gss_nego *nego =
		(struct rpc_gss_nego *)((char *)poll - offsetof(struct rpc_gss_nego, poll));

	nego->polling = false;
	if (nego->peer && nego->gss->stopping)
		nego_leave(nego);
	if (nego->peer)
		nego_hear(nego);
	nego_free_if_idle(nego);
}

/* The helper gets one end of a pair, and the request. 0 or -errno. */
static int nego_ask(struct rpc_gss_nego *nego)
{
	struct rpc_gss_request request = {.uid = nego->peer->uid};
	struct iovec iov = {.iov_base = &request, .iov_len = sizeof(request)};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
	int pair[2];

	if (nego->gss->helper_fd < 0)
		return -ENOSYS;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	int err = passfd_send(nego->gss->helper_fd, &msg, pair[1]) < 0 ? -errno : 0;
	close(pair[1]);
	nego->fd = pair[0];
	return err;
}

void rpc_gss_negotiate(struct rpc_gss_peer *peer)
{
	struct rpc_gss_nego *nego = calloc(1, sizeof(*nego));

	if (!nego) {
		rpc_gss_failed(peer, -EACCES, "out of memory");
		return;
	}
	nego->gss = peer->gss;
	nego->peer = peer;
	nego->fd = -1;
	peer->nego = nego;
	peer->gss->negos++;
	int err = nego_ask(nego);
	if (err) {
		nego_fail(nego, -EACCES, strerror(-err));
		nego_free_if_idle(nego);
		return;
	}
	nego->poll = (struct loop_poll){.fd = nego->fd, .events = POLLIN, .done = nego_polled};
	nego_listen(nego);
}
