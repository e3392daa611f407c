/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "nfs41/conn.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "nfs41/client_priv.h"
#include "nfs41/error.h"
#include "nfs41/handling.h"
#include "util/log.h"

#define CONN_BACKOFF_MAX UINT64_C(5000000000) /* ns */
/* After a connection that was good for so long the next one is made without delay. */
#define CONN_GOOD UINT64_C(5000000000) /* ns */
/* Longest call from the server: what the backchannel was created for, and the RPC header. */
#define CONN_CALL_MAX 8192

/* accept_stat of RFC 5531 */
#define RPC_SUCCESS	  0
#define RPC_PROG_UNAVAIL  1
#define RPC_PROG_MISMATCH 2
#define RPC_PROC_UNAVAIL  3
#define RPC_GARBAGE_ARGS  4

static void conn_retry(struct loop_timer *timer);
static void conn_run_task(struct loop_task *task);

static void conn_wake(struct slot_waiter *waiter)
{
	conn_kick((struct nfs_conn *)((char *)waiter - offsetof(struct nfs_conn, waiter)));
}

struct nfs_conn *conn_new(struct nfs_client *client, struct loop *loop, unsigned index)
{
	struct nfs_conn *conn = calloc(1, sizeof(*conn));
	if (!conn)
		return NULL;
	conn->client = client;
	conn->loop = loop;
	conn->index = index;
	conn->waiter.wake = conn_wake;
	conn->task.run = conn_run_task;
	conn->retry.fire = conn_retry;
	TAILQ_INIT(&conn->urgent);
	TAILQ_INIT(&conn->queue);
	TAILQ_INIT(&conn->unready);
	TAILQ_INIT(&conn->sent);
	TAILQ_INIT(&conn->held);
	TAILQ_INIT(&conn->moved);
	TAILQ_INIT(&conn->paused);
	TAILQ_INIT(&conn->lent);
	TAILQ_INIT(&conn->all);
	return conn;
}

void conn_free(struct nfs_conn *conn)
{
	if (!conn)
		return;
	spare_deinit(&conn->spare);
	free(conn);
}

void conn_kick(struct nfs_conn *conn)
{
	if (!atomic_exchange(&conn->posted, true))
		loop_post(conn->loop, &conn->task);
}

static void conn_run_task(struct loop_task *task)
{
	struct nfs_conn *conn = (struct nfs_conn *)((char *)task - offsetof(struct nfs_conn, task));
	atomic_store(&conn->posted, false);
	conn_update(conn);
}

/* Whether the log may say now that a connection ended. */
static bool conn_may_log(void *arg)
{
	struct nfs_conn *conn = arg;
	if (!log_limit_pass(&conn->client->complaints, loop_now(conn->loop)))
		return false;
	atomic_store(&conn->client->complained, true);
	return true;
}

/* About garbage, and about TLS, there is a line already. */
static bool conn_is_told(int err)
{
	return err == -EPROTO || err == -EKEYREJECTED || err == -EBADMSG;
}

/* One line for all connections that a server's end breaks. */
static void conn_tell_trouble(struct nfs_conn *conn, int err)
{
	if (conn->troubled)
		return;
	conn->troubled = true;
	if (atomic_fetch_add(&conn->client->troubled, 1) == 0 && !conn_is_told(err) &&
		conn_may_log(conn))
		log_warn("%s: connection lost: %s; connecting again", conn->client->peer,
			strerror(-err));
}

/* Once mounted, a server without TLS is one that is not there. */
static void conn_insecure(void *arg, const char *why)
{
	struct nfs_conn *conn = arg;
	struct nfs_client *client = conn->client;
	if (conn->index == 0 && client->recovery.first)
		snprintf(client->insecure, sizeof(client->insecure), "%s", why);
	else if (conn_may_log(conn))
		log_warn("%s: %s; connecting again", client->peer, why);
}

void conn_tell_recovery(struct nfs_conn *conn, bool connected)
{
	if (!conn->troubled)
		return;
	conn->troubled = false;
	if (atomic_fetch_sub(&conn->client->troubled, 1) == 1 && connected &&
		atomic_exchange(&conn->client->complained, false))
		log_info("%s: connected again", conn->client->peer);
}

/* The end of this worker's part, after which the client may be freed. */
static void conn_shut(struct nfs_conn *conn)
{
	if (atomic_load(&conn->closed))
		return;
	loop_timer_cancel(conn->loop, &conn->retry);
	if (conn->rpc) {
		conn->state = CONN_CONNECTING;
		rpc_conn_close(conn->rpc);
		return;
	}
	lend_end(conn);
	/* these come back when the others end */
	if (!TAILQ_EMPTY(&conn->lent))
		return;
	conn->state = CONN_DOWN;
	conn_tell_recovery(conn, false);
	conn->backoff = 0;
	call_fail_all(conn, -EIO);
	call_pump(conn);
	loop_timer_cancel(conn->loop, &conn->watch);
	conn->watching = false;
	atomic_store(&conn->closed, true);
	client_conn_closed(conn->client);
}

static void conn_down(void *arg, int err)
{
	struct nfs_conn *conn = arg;
	struct nfs_client *client = conn->client;
	bool was_bound = conn->bound_at > 0;
	conn->rpc = NULL;
	conn->bound = 0;
	call_reconsider(conn);
	bool closing = atomic_load(&client->closing);
	if (conn->reset_err)
		err = conn->reset_err;
	else if (err == -EPIPE)
		err = -ECONNRESET; /* the same news, from the sending side */
	conn->reset_err = 0;
	if (!closing && conn->bound_at > 0 && err != -ESTALE)
		conn_tell_trouble(conn, err);
	if (conn->bound_at > 0 && loop_now(conn->loop) - conn->bound_at >= CONN_GOOD)
		conn->backoff = 0;
	conn->bound_at = 0;
	conn->state = CONN_BACKOFF;
	loop_timer_set(conn->loop, &conn->retry, loop_now(conn->loop) + conn->backoff);
	conn->backoff = conn->backoff == 0 ? CONN_BACKOFF_MIN : conn->backoff * 2;
	if (conn->backoff > CONN_BACKOFF_MAX)
		conn->backoff = CONN_BACKOFF_MAX;
	if (err == -EPROTO)
		call_suspect_held(conn);
	lend_begin(conn, !was_bound);
	call_pump(conn);
	/* another one has to watch now */
	if (was_bound)
		client_kick_conns(client);
	if (conn->index == 0)
		client_event(
			client, &(struct recovery_event){.type = RECOVERY_EV_DOWN, .status = err});
	if (closing)
		conn_shut(conn);
}

static void conn_up(void *arg)
{
	struct nfs_conn *conn = arg;
	struct nfs_client *client = conn->client;
	if (atomic_load(&client->closing)) {
		conn_shut(conn);
		return;
	}
	conn->state = CONN_UP;
	/* begun as somebody else, or to another server */
	if (conn->identity != atomic_load(&client->identity)) {
		conn_reset(conn, -ESTALE);
		return;
	}
	conn->heard_at = loop_now(conn->loop);
	conn->pinging = false;
	conn->warned = false;
	atomic_store(&conn->suspected, false);
	conn->probe_sent = false;
	conn_count(&conn->stats.connects, 1);
	if (conn->index == 0) {
		client->connected_once = true;
		client_event(client, &(struct recovery_event){.type = RECOVERY_EV_UP});
	}
	conn_update(conn);
}

/* The server's CB_COMPOUND, answered at once. */
static int conn_called_compound(
	struct nfs_conn *conn, uint32_t xid, const uint8_t *data, size_t len)
{
	struct nfs_client *client = conn->client;
	uint8_t reply[CALLBACK_REPLY_MAX];
	struct wire_out out;
	wire_out_init(&out, reply, sizeof(reply));
	pthread_mutex_lock(&client->callback_lock);
	int err = callback_compound(&client->callback, data, len, &out);
	pthread_mutex_unlock(&client->callback_lock);
	if (err)
		rpc_conn_reply(conn->rpc, xid, RPC_GARBAGE_ARGS, NULL, 0);
	else
		rpc_conn_reply(conn->rpc, xid, RPC_SUCCESS, reply, out.len);
	return 0;
}

static int conn_called(void *arg, const struct rpc_msg_call *msg, const uint8_t *data, size_t len)
{
	static const uint8_t versions[8] = {0, 0, 0, NFS_CB_VERSION, 0, 0, 0, NFS_CB_VERSION};
	struct nfs_conn *conn = arg;
	conn_count(&conn->stats.callbacks, 1);
	if (msg->prog != NFS4_CALLBACK)
		rpc_conn_reply(conn->rpc, msg->xid, RPC_PROG_UNAVAIL, NULL, 0);
	else if (msg->vers != NFS_CB_VERSION)
		rpc_conn_reply(conn->rpc, msg->xid, RPC_PROG_MISMATCH, versions, sizeof(versions));
	else if (msg->proc == CB_COMPOUND)
		return conn_called_compound(conn, msg->xid, data, len);
	else
		rpc_conn_reply(conn->rpc, msg->xid,
			msg->proc == CB_NULL ? RPC_SUCCESS : RPC_PROC_UNAVAIL, NULL, 0);
	return 0;
}

static void conn_ready(void *arg)
{
	struct nfs_conn *conn = arg;
	call_reconsider(conn);
	call_pump(conn);
}

static const struct rpc_conn_ops conn_ops = {
	conn_up, conn_down, conn_called, conn_may_log, conn_insecure, conn_ready};

/* When nothing is connected. */
static void conn_connect(struct nfs_conn *conn)
{
	const struct nfs_client_config *config = &conn->client->config;
	struct address address;
	client_check_machine(conn->client);
	conn->identity = client_target(conn->client, &address);
	conn->state = CONN_CONNECTING;
	conn->serial++;
	lend_begin(conn, false);
	conn->open_err = rpc_conn_open(
		conn->loop, &address, &config->stream, CONN_CALL_MAX, &conn_ops, conn, &conn->rpc);
	if (conn->open_err) {
		/* tell it from the loop, as any other failure */
		conn->rpc = NULL;
		loop_timer_set(conn->loop, &conn->retry, loop_now(conn->loop));
		return;
	}
	rpc_conn_set_gss(conn->rpc, config->gss_fd);
	rpc_conn_set_tap(conn->rpc, config->tap, conn->index);
	if (config->tls && rpc_conn_secure(conn->rpc, config->tls, NFS4_PROGRAM, NFS4_VERSION,
				   config->stream.connect_timeout_ns) < 0) {
		conn->reset_err = -ENOMEM;
		rpc_conn_close(conn->rpc);
	}
}

void conn_reset(struct nfs_conn *conn, int err)
{
	if (conn->state < CONN_UP)
		return;
	conn->reset_err = err;
	conn->bound = 0;
	loop_timer_cancel(conn->loop, &conn->retry);
	conn->state = CONN_CONNECTING;
	rpc_conn_close(conn->rpc);
}

static void conn_retry(struct loop_timer *timer)
{
	struct nfs_conn *conn =
		(struct nfs_conn *)((char *)timer - offsetof(struct nfs_conn, retry));
	if (conn->state == CONN_CONNECTING)
		conn_down(conn, conn->open_err);
	else if (conn->state == CONN_BACKOFF)
		conn_connect(conn);
	else if (conn->state == CONN_BINDING)
		conn_bind(conn);
	else if (conn->state > CONN_UP)
		probe_send(conn);
}

void conn_update(struct nfs_conn *conn)
{
	struct nfs_client *client = conn->client;
	if (atomic_load(&client->closing)) {
		conn_shut(conn);
		return;
	}
	bool alive;
	uint32_t generation = slot_table_session(&client->slots, NULL, &alive);
	call_leave_session(conn, generation);
	if (conn->state == CONN_DOWN && conn->index < atomic_load(&client->wanted))
		conn_connect(conn);
	if (conn->state >= CONN_UP && conn->identity != atomic_load(&client->identity))
		conn_reset(conn, -ESTALE);
	if (atomic_exchange(&conn->spoilt, false))
		conn_reset(conn, -EPROTO);
	if (alive && conn_is_stray(conn, generation))
		conn_join(conn, generation, false);
	else if (alive && conn->state == CONN_PROBING)
		probe_send(conn);
	if (alive && conn->state == CONN_BOUND && atomic_exchange(&conn->renew, false))
		probe_send(conn);
	if (alive)
		call_resend(conn);
	move_settle(conn);
	call_pump(conn);
	if (atomic_exchange(&conn->suspected, false))
		watch_suspected(conn);
	watch_start(conn);
	call_check_drained(conn);
}

struct nfs_client *nfs_conn_client(const struct nfs_conn *conn)
{
	return conn->client;
}

struct loop *nfs_conn_loop(const struct nfs_conn *conn)
{
	return conn->loop;
}

const struct nfs_stats *nfs_conn_stats(const struct nfs_conn *conn)
{
	return &conn->stats;
}

void nfs_conn_count_copied(struct nfs_conn *conn, size_t len)
{
	conn_count(&conn->stats.copied, len);
}
