/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>

#include "nfs41/client_priv.h"
#include "util/log.h"

/*
 * Looks at the clock. A stream that was restored with its machine may be dead without an error
 * (there is no keepalive on vsock), so a connection on which nothing was heard for WATCH_PING gets
 * a NULL call, and is ended if there is nothing until WATCH_DEAD: all is sent again on the next
 * one, exactly once thanks to the session. A server that is merely slow with something answers NULL
 * and keeps its connection. With a small timeo, both are parts of it.
 *
 * Without anything under way one connection is watched for all (watch_is_sentry). While that one
 * does not answer, the others are asked too, early enough that all that are dead end at the same
 * time.
 *
 * A link so slow that a large message takes longer than this would never get it through: each
 * connection in a row that ends so doubles the patience with the next.
 */
#define WATCH_PING	 UINT64_C(2500000000) /* ns */
#define WATCH_DEAD	 UINT64_C(5000000000) /* ns */
#define WATCH_DOUBLE_MAX 3

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
	conn->warned = false;
	if (atomic_load_explicit(&client->silent, memory_order_relaxed) &&
		atomic_exchange(&client->silent, false))
		log_warn("%s: server OK", client->peer);
}

uint64_t nfs_conn_silence(const struct nfs_conn *conn)
{
	uint64_t now = loop_now(conn->loop);
	const struct nfs_compound *oldest = TAILQ_FIRST(&conn->all);
	uint64_t since = oldest ? oldest->p.queued_at : now;
	return now - (since > conn->heard_at ? since : conn->heard_at);
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
	conn_count_max(&stats->max_ns, call->replied_at - call->sent_at);
	if (err)
		conn_count(&stats->errors, 1);
	conn->silences = 0;
	watch_heard(conn);
	return 0;
}

/* The first connection that is bound: it is watched even when nothing is under way. */
static bool watch_is_sentry(const struct nfs_conn *conn)
{
	for (unsigned i = 0; i < conn->index; i++)
		if (atomic_load_explicit(&conn->client->conns[i]->bound, memory_order_relaxed) != 0)
			return false;
	return conn->state == CONN_BOUND;
}

static void watch_ping(struct nfs_conn *conn)
{
	struct rpc_call *call = &conn->ping;
	call->msg = (struct rpc_msg_call){
		.prog = NFS4_PROGRAM, .vers = NFS4_VERSION, .proc = NFSPROC4_NULL};
	call->cred = conn->client->nobody;
	call->head = conn->ping_head.end;
	call->head_len = 0;
	call->ntail = 0;
	call->max_reply = WATCH_PING_MAX;
	call->done = watch_pinged;
	conn->pinging = true;
	conn->pinged_at = loop_now(conn->loop);
	rpc_conn_send(conn->rpc, call);
	if (call->bytes_out > 0) {
		conn_count(&conn->stats.op[0].calls, 1);
		conn_count(&conn->stats.op[0].bytes_out, call->bytes_out);
	}
}

/* Of two numbers of ns. */
static uint64_t watch_min(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static uint64_t watch_limit(const struct nfs_conn *conn, uint64_t limit, unsigned part)
{
	uint64_t timeo = conn->client->config.timeo_ns / part;
	return watch_min(limit, timeo) << conn->silences;
}

/* Whether silence on it means anything. */
static bool watch_is_due(const struct nfs_conn *conn)
{
	return conn->state >= CONN_UP &&
	       (rpc_conn_pending(conn->rpc) > 0 || !TAILQ_EMPTY(&conn->unready) ||
		       watch_is_sentry(conn));
}

static uint64_t watch_ping_at(const struct nfs_conn *conn)
{
	return conn->heard_at + watch_limit(conn, WATCH_PING, 2);
}

static uint64_t watch_warn_at(const struct nfs_conn *conn)
{
	return conn->heard_at + watch_limit(conn, WATCH_DEAD, 1) / 4 * 3;
}

/* Of one that is asked. It gets a moment to answer, however long it was silent before: perhaps it
 * was this process, or the machine, that stood still. */
static uint64_t watch_dead_at(const struct nfs_conn *conn)
{
	uint64_t dead = watch_limit(conn, WATCH_DEAD, 1);
	uint64_t at = conn->heard_at + dead, moment = conn->pinged_at + dead / 4;
	return at > moment ? at : moment;
}

static void watch_warn_others(struct nfs_conn *conn)
{
	struct nfs_client *client = conn->client;
	conn->warned = true;
	for (unsigned i = 0; i < client->nconns; i++) {
		struct nfs_conn *other = client->conns[i];
		if (other == conn)
			continue;
		atomic_store(&other->suspected, true);
		conn_kick(other);
	}
}

static void watch_silence(struct nfs_conn *conn, uint64_t now)
{
	if (!watch_is_due(conn))
		return;
	if (!conn->pinging) {
		if (now >= watch_ping_at(conn))
			watch_ping(conn);
	} else if (now >= watch_dead_at(conn)) {
		if (conn->silences < WATCH_DOUBLE_MAX)
			conn->silences++;
		conn_reset(conn, -ETIMEDOUT);
	} else if (now >= watch_warn_at(conn) && !conn->warned) {
		watch_warn_others(conn);
	}
}

void watch_suspected(struct nfs_conn *conn)
{
	if (conn->state < CONN_UP)
		return;
	conn->warned = true;
	if (!conn->pinging)
		watch_ping(conn);
	conn->watching = false;
	watch_start(conn);
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

/* When to look next; UINT64_MAX: when something was sent. */
static uint64_t watch_next(const struct nfs_conn *conn, uint64_t now)
{
	const struct nfs_client_config *config = &conn->client->config;
	const struct nfs_compound *oldest = watch_oldest(conn);
	uint64_t next = UINT64_MAX;
	if (!TAILQ_EMPTY(&conn->all))
		next = now + watch_min(config->timeo_ns / 4, WATCH_TICK_MAX);
	if (config->soft && oldest)
		next = watch_min(next, oldest->p.queued_at + watch_patience(config));
	if (watch_is_due(conn) && !conn->pinging)
		next = watch_min(next, watch_ping_at(conn));
	else if (watch_is_due(conn) && !conn->warned)
		next = watch_min(next, watch_warn_at(conn));
	else if (watch_is_due(conn))
		next = watch_min(next, watch_dead_at(conn));
	return next < now + WATCH_TICK_MIN ? now + WATCH_TICK_MIN : next;
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
	watch_start(conn);
}

void watch_start(struct nfs_conn *conn)
{
	/* whatever it was set for, it is no later than what is new needs */
	if (conn->watching && conn->silences == 0)
		return;
	uint64_t next = watch_next(conn, loop_now(conn->loop));
	if (next == UINT64_MAX)
		return;
	conn->watching = true;
	conn->watch.fire = watch_fire;
	loop_timer_set(conn->loop, &conn->watch, next);
}
