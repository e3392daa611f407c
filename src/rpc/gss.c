/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "rpc/gss.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "rpc/gss_priv.h"

/* A user without tickets is not looked for at each call. */
#define GSS_RETRY UINT64_C(2000000000) /* ns */
/* Contexts that a call is refused in before it fails. */
#define GSS_REFUSALS_MAX 3
/* A context is renewed when a tenth of its life is left, if that is no less. */
#define GSS_RENEW_MIN UINT64_C(1000000000) /* ns */

/* auth_stat of RFC 5531, 9, and RFC 2203, 5.3.3.3 */
#define AUTH_BADCRED	       1
#define AUTH_REJECTEDVERF      4
#define RPCSEC_GSS_CREDPROBLEM 13
#define RPCSEC_GSS_CTXPROBLEM  14

static void gss_fail_waiting(struct loop_timer *timer);

static void gss_tell_ready(struct rpc_gss *gss)
{
	if (!gss->awaited || gss->stopping)
		return;
	gss->awaited = false;
	gss->ops->ready(gss->arg);
}

int rpc_gss_new(struct loop *loop, int helper_fd, const struct rpc_gss_ops *ops, void *arg,
	struct rpc_gss **out)
{
	struct rpc_gss *gss = calloc(1, sizeof(*gss));

	if (!gss)
		return -ENOMEM;
	gss->loop = loop;
	gss->helper_fd = helper_fd;
	gss->ops = ops;
	gss->arg = arg;
	gss->timer.fire = gss_fail_waiting;
	LIST_INIT(&gss->peers);
	*out = gss;
	return 0;
}

void rpc_gss_halt(struct rpc_gss *gss)
{
	gss->stopping = true;
}

static void gss_finish(struct rpc_gss *gss)
{
	struct rpc_gss_peer *peer;

	while ((peer = LIST_FIRST(&gss->peers)) != NULL) {
		LIST_REMOVE(peer, entry);
		rpc_gss_session_unref(peer->session);
		free(peer);
	}
	gss->ops->stopped(gss->arg);
	free(gss);
}

void rpc_gss_stop(struct rpc_gss *gss)
{
	struct rpc_gss_peer *peer;

	gss->stopping = gss->ending = true;
	loop_timer_cancel(gss->loop, &gss->timer);
	gss->negos++; /* so that the last one does not end it here */
	LIST_FOREACH (peer, &gss->peers, entry)
		if (peer->nego)
			rpc_gss_negotiate_cancel(peer->nego);
	rpc_gss_nego_gone(gss);
}

void rpc_gss_nego_gone(struct rpc_gss *gss)
{
	if (--gss->negos == 0 && gss->ending)
		gss_finish(gss);
}

static struct rpc_gss_peer *gss_peer(struct rpc_gss *gss, const struct rpc_call *call)
{
	uid_t uid = rpc_cred_uid(call->cred);
	enum rpc_sec sec = rpc_cred_gss(call->cred);
	struct rpc_gss_peer *peer;

	LIST_FOREACH (peer, &gss->peers, entry)
		if (peer->uid == uid && peer->sec == sec)
			return peer;
	peer = calloc(1, sizeof(*peer));
	if (!peer)
		return NULL;
	peer->gss = gss;
	peer->uid = uid;
	peer->sec = sec;
	peer->prog = call->msg.prog;
	peer->vers = call->msg.vers;
	TAILQ_INIT(&peer->waiting);
	LIST_INSERT_HEAD(&gss->peers, peer, entry);
	return peer;
}

/* Fails what waits for contexts that there will not be. */
static void gss_fail_waiting(struct loop_timer *timer)
{
	struct rpc_gss *gss = (struct rpc_gss *)((char *)timer - offsetof(struct rpc_gss, timer));
	struct rpc_gss_peer *peer;
	struct rpc_call *call;

	LIST_FOREACH (peer, &gss->peers, entry) {
		struct rpc_gss_calls failed = TAILQ_HEAD_INITIALIZER(failed);
		int err = peer->err;
		if (!err || peer->session)
			continue;
		/* what comes while these end has its own turn */
		TAILQ_CONCAT(&failed, &peer->waiting, gss.entry);
		while ((call = TAILQ_FIRST(&failed)) != NULL) {
			TAILQ_REMOVE(&failed, call, gss.entry);
			call->gss.peer = NULL;
			gss->ops->fail(gss->arg, call, err);
		}
	}
	gss_tell_ready(gss);
}

static void peer_pump(struct rpc_gss_peer *peer)
{
	struct rpc_gss *gss = peer->gss;
	struct rpc_call *call;

	while ((call = TAILQ_FIRST(&peer->waiting)) != NULL && peer->session) {
		if (!rpc_gss_session_room(peer->session)) {
			gss->waited = true;
			return;
		}
		TAILQ_REMOVE(&peer->waiting, call, gss.entry);
		call->gss.peer = NULL;
		gss->ops->send(gss->arg, call, peer->session);
	}
}

/* Makes another context where the present one is at its end, or nearly. */
static void peer_look_at_time(struct rpc_gss_peer *peer)
{
	uint64_t now = loop_now(peer->gss->loop);

	if (peer->session && (now >= peer->expires || rpc_gss_session_worn(peer->session))) {
		rpc_gss_session_unref(peer->session);
		peer->session = NULL;
	}
	if (now >= peer->retry_at)
		peer->err = 0;
	if (peer->nego || peer->err || peer->gss->stopping)
		return;
	if (!peer->session || now >= peer->renew_at)
		rpc_gss_negotiate(peer);
}

int rpc_gss_prepare(struct rpc_gss *gss, const struct rpc_call *call)
{
	struct rpc_gss_peer *peer = gss_peer(gss, call);

	/* rpc_gss_submit says so */
	if (!peer)
		return 0;
	peer_look_at_time(peer);
	if (peer->session && TAILQ_EMPTY(&peer->waiting) && rpc_gss_session_room(peer->session))
		return 0;
	if (peer->err && !peer->session)
		return peer->err;
	gss->awaited = true;
	if (peer->session)
		gss->waited = true;
	return -EAGAIN;
}

int rpc_gss_submit(struct rpc_gss *gss, struct rpc_call *call)
{
	struct rpc_gss_peer *peer = gss_peer(gss, call);

	if (!peer)
		return -ENOMEM;
	call->gss.peer = peer;
	TAILQ_INSERT_TAIL(&peer->waiting, call, gss.entry);
	peer_look_at_time(peer);
	peer_pump(peer);
	if (peer->err && !peer->session && !gss->stopping)
		loop_timer_set(gss->loop, &gss->timer, loop_now(gss->loop));
	return 0;
}

bool rpc_gss_refused(struct rpc_gss *gss, struct rpc_call *call, uint32_t auth_stat)
{
	struct rpc_gss_session *session = call->gss.session;
	struct rpc_gss_peer *peer;

	if (!session || gss->stopping)
		return false;
	if (auth_stat != RPCSEC_GSS_CREDPROBLEM && auth_stat != RPCSEC_GSS_CTXPROBLEM &&
		(auth_stat < AUTH_BADCRED || auth_stat > AUTH_REJECTEDVERF))
		return false;
	/* unless another one is in its place already */
	LIST_FOREACH (peer, &gss->peers, entry) {
		if (peer->session != session)
			continue;
		rpc_gss_session_unref(session);
		peer->session = NULL;
	}
	rpc_gss_call_release(call);
	return ++call->gss.refusals < GSS_REFUSALS_MAX;
}

void rpc_gss_forget(struct rpc_gss *gss, struct rpc_call *call)
{
	if (call->gss.peer)
		TAILQ_REMOVE(&call->gss.peer->waiting, call, gss.entry);
	call->gss.peer = NULL;
	rpc_gss_call_release(call);
}

void rpc_gss_pump(struct rpc_gss *gss)
{
	struct rpc_gss_peer *peer;

	if (!gss->waited)
		return;
	gss->waited = false;
	LIST_FOREACH (peer, &gss->peers, entry)
		peer_pump(peer);
	gss_tell_ready(gss);
}

struct gss_farewell {
	struct rpc_call call;
	uint8_t headroom[RPC_MSG_HEAD_MAX];
	uint8_t end[4];
};

static int farewell_done(
	struct rpc_call *call, int err, const uint8_t *data, size_t len, size_t sink_len)
{
	free((char *)call - offsetof(struct gss_farewell, call));
	return 0;
}

/* Has the server forget `session`, which is given up. */
static void peer_destroy(struct rpc_gss_peer *peer, struct rpc_gss_session *session)
{
	struct gss_farewell *farewell =
		rpc_gss_session_idle(session) ? calloc(1, sizeof(*farewell)) : NULL;

	if (farewell) {
		farewell->call.msg =
			(struct rpc_msg_call){.prog = peer->prog, .vers = peer->vers, .proc = 0};
		farewell->call.head = farewell->end;
		farewell->call.max_reply = RPC_GSS_REPLY_SLACK;
		farewell->call.name = "RPCSEC_GSS_DESTROY";
		farewell->call.done = farewell_done;
		peer->gss->ops->destroy(peer->gss->arg, &farewell->call, session);
	}
	rpc_gss_session_unref(session);
}

void rpc_gss_destroy(struct rpc_gss *gss)
{
	struct rpc_gss_peer *peer;

	LIST_FOREACH (peer, &gss->peers, entry) {
		if (peer->session)
			peer_destroy(peer, peer->session);
		peer->session = NULL;
	}
}

void rpc_gss_established(
	struct rpc_gss_peer *peer, struct rpc_gss_session *session_take, uint32_t lifetime)
{
	uint64_t now = loop_now(peer->gss->loop), ns = lifetime * UINT64_C(1000000000);
	struct rpc_gss_session *old = peer->session;

	peer->session = session_take;
	peer->err = 0;
	peer->expires = now + ns;
	peer->renew_at = ns / 10 < GSS_RENEW_MIN ? peer->expires : now + ns / 10 * 9;
	if (old)
		peer_destroy(peer, old);
	peer_pump(peer);
	gss_tell_ready(peer->gss);
}

void rpc_gss_failed(struct rpc_gss_peer *peer, int err, const char *why)
{
	struct rpc_gss *gss = peer->gss;
	uint64_t now = loop_now(gss->loop);

	if (gss->stopping)
		return;
	if (log_limit_pass(&gss->complaints, now))
		log_warn("no Kerberos credentials for user %u: %s", (unsigned)peer->uid, why);
	peer->err = err;
	peer->retry_at = now + GSS_RETRY;
	if (!peer->session)
		loop_timer_set(gss->loop, &gss->timer, now);
}
