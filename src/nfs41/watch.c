/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>

#include "nfs41/client_priv.h"
#include "util/log.h"

/*
 * Looks at the clock while something is under way. A stream that was restored with its machine
 * may be dead without an error (there is no keepalive on vsock), so a connection on which nothing
 * was heard for WATCH_PING gets a NULL call, and is ended if there is nothing until WATCH_DEAD: all
 * is sent again on the next one, exactly once thanks to the session. A server that is merely slow
 * with something answers NULL and keeps its connection. With a small timeo, both are parts of it.
 */
#define WATCH_PING UINT64_C(5000000000)	 /* ns */
#define WATCH_DEAD UINT64_C(15000000000) /* ns */

#define WATCH_TICK_MIN UINT64_C(10000000)   /* ns */
#define WATCH_TICK_MAX UINT64_C(5000000000) /* ns */
#define WATCH_PING_MAX 1024		    /* bytes of a NULL reply */

static uint64_t watch_patience(const struct nfs_client_config *config)
{
	return config->timeo_ns * (config->retrans + 1);
}

void watch_heard(struct nfs_conn *conn)
{
	struct nfs_client *client = conn->client;
	conn->heard_at = loop_now(conn->loop);
	if (atomic_load_explicit(&client->silent, memory_order_relaxed) &&
		atomic_exchange(&client->silent, false))
		log_warn("%s: server OK", client->peer);
}

static int watch_pinged(
	struct rpc_call *call, int err, const uint8_t *data, size_t len, size_t sink_len)
{
	struct nfs_conn *conn = (struct nfs_conn *)((char *)call - offsetof(struct nfs_conn, ping));
	struct nfs_op_stats *stats = &conn->stats.op[0];
	conn->pinging = false;
	if (err == -ECONNRESET)
		return 0;
	conn_count(&stats->replies, 1);
	conn_count(&stats->bytes_in, call->bytes_in);
	conn_count(&stats->rtt_ns, call->replied_at - call->sent_at);
	conn_count(&stats->total_ns, call->replied_at - call->sent_at);
	if (err)
		conn_count(&stats->errors, 1);
	watch_heard(conn);
	return 0;
}

static void watch_ping(struct nfs_conn *conn)
{
	struct rpc_call *call = &conn->ping;
	call->msg = (struct rpc_msg_call){
		.prog = NFS4_PROGRAM, .vers = NFS4_VERSION, .proc = NFSPROC4_NULL};
	call->cred = conn->client->config.cred;
	call->head = conn->ping_head.end;
	call->head_len = 0;
	call->ntail = 0;
	call->max_reply = WATCH_PING_MAX;
	call->done = watch_pinged;
	conn->pinging = true;
	rpc_conn_send(conn->rpc, call);
	if (call->bytes_out > 0) {
		conn_count(&conn->stats.op[0].calls, 1);
		conn_count(&conn->stats.op[0].bytes_out, call->bytes_out);
	}
}

static void watch_silence(struct nfs_conn *conn, uint64_t now)
{
	uint64_t timeo = conn->client->config.timeo_ns;
	uint64_t dead = timeo < WATCH_DEAD ? timeo : WATCH_DEAD;
	uint64_t ping = timeo / 2 < WATCH_PING ? timeo / 2 : WATCH_PING;
	if (conn->state < CONN_UP || rpc_conn_pending(conn->rpc) == 0)
		return;
	uint64_t quiet = now - conn->heard_at;
	if (quiet >= dead)
		conn_reset(conn, -ETIMEDOUT);
	else if (quiet >= ping && !conn->pinging)
		watch_ping(conn);
}

static void watch_complain(struct nfs_conn *conn, uint64_t now)
{
	struct nfs_client *client = conn->client;
	const struct nfs_compound *oldest = TAILQ_FIRST(&conn->all);
	uint64_t timeo = client->config.timeo_ns;
	if (!oldest || now - oldest->p.queued_at < timeo || now - conn->heard_at < timeo)
		return;
	if (!atomic_exchange(&client->silent, true))
		log_warn("%s: server not responding%s", client->peer,
			client->config.soft ? ", timed out" : ", still trying");
}

/* The oldest compound that may be given up: recovery has all the time it needs. */
static struct nfs_compound *watch_oldest(const struct nfs_conn *conn)
{
	struct nfs_compound *c;
	TAILQ_FOREACH (c, &conn->all, p.all)
		if (!c->privileged)
			break;
	return c;
}

static void watch_patience_over(struct nfs_conn *conn, uint64_t now)
{
	struct nfs_compound *c;
	uint64_t patience = watch_patience(&conn->client->config);
	while ((c = watch_oldest(conn)) != NULL && now - c->p.queued_at >= patience)
		call_give_up(c);
}

static uint64_t watch_next(const struct nfs_conn *conn, uint64_t now)
{
	const struct nfs_client_config *config = &conn->client->config;
	uint64_t tick = config->timeo_ns / 4;
	tick = tick < WATCH_TICK_MIN ? WATCH_TICK_MIN : tick;
	tick = tick > WATCH_TICK_MAX ? WATCH_TICK_MAX : tick;
	const struct nfs_compound *oldest = watch_oldest(conn);
	if (config->soft && oldest) {
		uint64_t end = oldest->p.queued_at + watch_patience(config);
		if (end < now + tick)
			return end;
	}
	return now + tick;
}

static void watch_fire(struct loop_timer *timer)
{
	struct nfs_conn *conn =
		(struct nfs_conn *)((char *)timer - offsetof(struct nfs_conn, watch));
	uint64_t now = loop_now(conn->loop);
	conn->watching = false;
	watch_complain(conn, now);
	if (conn->client->config.soft)
		watch_patience_over(conn, now);
	watch_silence(conn, now);
	if (!TAILQ_EMPTY(&conn->all) || (conn->rpc && rpc_conn_pending(conn->rpc) > 0))
		watch_start(conn);
}

void watch_start(struct nfs_conn *conn)
{
	if (conn->watching)
		return;
	conn->watching = true;
	conn->watch.fire = watch_fire;
	loop_timer_set(conn->loop, &conn->watch, watch_next(conn, loop_now(conn->loop)));
}
