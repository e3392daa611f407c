/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>

#include "nfs41/client_priv.h"

static struct nfs_op_stats *call_stats(struct nfs_compound *c)
{
	uint32_t label = c->label < NFS_OP_LIMIT ? c->label : 0;
	return &c->conn->stats.op[label];
}

static struct nfs_compound *call_of_timer(struct loop_timer *timer)
{
	return (struct nfs_compound *)((char *)timer - offsetof(struct nfs_compound, p.timer));
}

static struct compound_list *call_queue_of(struct nfs_compound *c)
{
	return c->privileged ? &c->conn->urgent : &c->conn->queue;
}

void call_place(struct nfs_compound *c, struct compound_list *list, enum nfs_compound_place place)
{
	TAILQ_INSERT_TAIL(list, c, p.entry);
	c->p.place = place;
}

void call_unplace(struct nfs_compound *c)
{
	struct nfs_conn *conn = c->conn;
	switch (c->p.place) {
	case NFS_COMPOUND_QUEUED: TAILQ_REMOVE(call_queue_of(c), c, p.entry); break;
	case NFS_COMPOUND_UNREADY: TAILQ_REMOVE(&conn->unready, c, p.entry); break;
	case NFS_COMPOUND_SENT: TAILQ_REMOVE(&conn->sent, c, p.entry); break;
	case NFS_COMPOUND_HELD: TAILQ_REMOVE(&conn->held, c, p.entry); break;
	case NFS_COMPOUND_LENT: TAILQ_REMOVE(&conn->lent, c, p.entry); break;
	case NFS_COMPOUND_MOVED: TAILQ_REMOVE(&conn->moved, c, p.entry); break;
	case NFS_COMPOUND_PAUSED: TAILQ_REMOVE(&conn->paused, c, p.entry); /* fallthrough */
	case NFS_COMPOUND_ENDING: loop_timer_cancel(conn->loop, &c->p.timer); break;
	case NFS_COMPOUND_IDLE: break;
	}
	c->p.place = NFS_COMPOUND_IDLE;
}

static void call_unlist(struct nfs_compound *c)
{
	if (c->p.listed)
		TAILQ_REMOVE(&c->conn->all, c, p.all);
	c->p.listed = false;
}

void call_release(struct nfs_compound *c, bool used, uint32_t target)
{
	struct nfs_client *client = c->conn->client;
	if (c->p.has_slot &&
		slot_release(&client->slots, &c->conn->waiter, &c->p.grant, used, target))
		client_kick_conns(client);
	c->p.has_slot = false;
}

void call_check_drained(struct nfs_conn *conn)
{
	if (conn->drained || !TAILQ_EMPTY(&conn->all) || !atomic_load(&conn->client->draining))
		return;
	conn->drained = true;
	client_conn_drained(conn->client);
}

static void call_count_end(struct nfs_compound *c)
{
	struct nfs_op_stats *stats = call_stats(c);
	uint64_t now = loop_now(c->conn->loop);
	if (c->p.sent_once && c->call.replied_at > 0) {
		conn_count(&stats->queue_ns, c->call.sent_at - c->p.queued_at);
		conn_count(&stats->rtt_ns, c->call.replied_at - c->call.sent_at);
	}
	conn_count(&stats->total_ns, now - c->p.queued_at);
	conn_count_max(&stats->max_ns, now - c->p.queued_at);
}

void call_end(struct nfs_compound *c, int status)
{
	struct nfs_conn *conn = c->conn;
	bool delivered = c->p.delivered;
	call_unplace(c);
	call_unlist(c);
	if (!delivered)
		call_count_end(c);
	if (!c->p.owned) {
		nfs_compound_free(c);
	} else if (!delivered) {
		c->status = status;
		c->done(c);
	}
	call_check_drained(conn);
}

static void call_end_from_timer(struct loop_timer *timer)
{
	struct nfs_compound *c = call_of_timer(timer);
	call_end(c, c->status);
}

void call_end_later(struct nfs_compound *c, int status)
{
	c->status = status;
	c->p.place = NFS_COMPOUND_ENDING;
	c->p.timer.fire = call_end_from_timer;
	loop_timer_set(c->conn->loop, &c->p.timer, loop_now(c->conn->loop));
}

void call_count_sent(struct nfs_compound *c)
{
	struct nfs_op_stats *stats = call_stats(c);
	if (c->call.bytes_out == 0)
		return; /* the connection was ending */
	conn_count(&stats->calls, 1);
	conn_count(&stats->bytes_out, c->call.bytes_out);
	if (c->p.sent_once)
		conn_count(&stats->retransmits, 1);
	c->p.sent_once = true;
}

static void call_transmitted(struct rpc_call *call)
{
	call_count_sent(
		(struct nfs_compound *)((char *)call - offsetof(struct nfs_compound, call)));
}

static void call_transmit(struct nfs_compound *c)
{
	struct nfs_conn *conn = c->conn;
	c->call.transmitted = call_transmitted;
	if (rpc_conn_pending(conn->rpc) == 0)
		conn->heard_at = loop_now(conn->loop);
	call_place(c, &conn->sent, NFS_COMPOUND_SENT);
	rpc_conn_send(conn->rpc, &c->call);
	watch_start(conn);
}

static void call_patch(struct nfs_compound *c)
{
	const struct slot_grant *grant = &c->p.grant;
	nfs_compound_patch_sequence(c, atomic_load(&c->conn->client->minor), grant->sessionid,
		grant->sequence, grant->slot, grant->highest,
		nfs_compound_cachethis(c) && !c->p.uncached);
}

void call_send_probe(struct nfs_compound *c, const struct slot_grant *grant)
{
	memset(&c->p, 0, sizeof(c->p));
	c->p.probe = c->p.owned = c->p.has_slot = true;
	c->p.grant = *grant;
	c->p.queued_at = loop_now(c->conn->loop);
	c->call.done = reply_done;
	nfs_compound_finish(c);
	call_patch(c);
	call_transmit(c);
}

bool call_take_slot(struct nfs_compound *c, uint32_t generation)
{
	struct nfs_conn *conn = c->conn;
	struct nfs_client *client = conn->client;
	const struct slot_grant *grant = &c->p.grant;
	if (!slot_take(&client->slots, &conn->waiter, c->privileged, &c->p.grant)) {
		conn->waiting = true;
		return false;
	}
	c->p.has_slot = true;
	if (grant->generation != generation) {
		call_release(c, false, SLOT_NO_TARGET);
		return false;
	}
	call_patch(c);
	return true;
}

static void call_refuse(struct nfs_compound *c, int err)
{
	conn_count(&call_stats(c)->errors, 1);
	call_end_later(c, err);
}

/*
 * Whether it would go out at once, given a slot: one user's calls that wait for a KDC must not have
 * the slots of all. Otherwise it is not in the queue any more.
 */
static bool call_is_ready(struct nfs_compound *c)
{
	struct nfs_conn *conn = c->conn;
	int err = rpc_conn_prepare(conn->rpc, &c->call);
	if (!err)
		return true;
	call_unplace(c);
	if (err == -EAGAIN)
		call_place(c, &conn->unready, NFS_COMPOUND_UNREADY);
	else
		call_refuse(c, err);
	return false;
}

static void call_pump_list(struct nfs_conn *conn, struct compound_list *list)
{
	struct nfs_compound *c;
	while ((c = TAILQ_FIRST(list)) != NULL) {
		if (!call_is_ready(c))
			continue;
		if (!call_take_slot(c, conn->bound))
			return;
		call_unplace(c);
		call_transmit(c);
	}
}

void call_reconsider(struct nfs_conn *conn)
{
	struct nfs_compound *c;
	/* last first, so that the heads of the queues have them in their order */
	while ((c = TAILQ_LAST(&conn->unready, compound_list)) != NULL) {
		call_unplace(c);
		call_queue_first(c);
	}
}

void call_pump(struct nfs_conn *conn)
{
	if (conn->state == CONN_BOUND) {
		call_pump_list(conn, &conn->urgent);
		call_pump_list(conn, &conn->queue);
	} else if (conn->borrowing) {
		lend_pump(conn);
	}
	bool sending = conn->state == CONN_BOUND || conn->borrowing;
	bool content = TAILQ_EMPTY(&conn->urgent) && TAILQ_EMPTY(&conn->queue);
	if (conn->waiting && (content || !sending)) {
		conn->waiting = false;
		slot_renounce(&conn->client->slots, &conn->waiter);
	}
}

void call_hold(struct nfs_compound *c)
{
	/* nobody wants it executed any more, if that has not happened yet */
	if (c->abandoned && !c->p.stripped) {
		c->p.stripped = true;
		nfs_compound_strip(c);
		nfs_compound_finish(c);
	}
	call_place(c, &c->conn->held, NFS_COMPOUND_HELD);
}

void call_resend(struct nfs_conn *conn)
{
	struct nfs_compound *c;
	while (conn->state == CONN_BOUND && (c = TAILQ_FIRST(&conn->held)) != NULL) {
		call_unplace(c);
		call_transmit(c);
	}
}

void call_queue_first(struct nfs_compound *c)
{
	if (c->abandoned) {
		call_end(c, -ECANCELED);
		return;
	}
	TAILQ_INSERT_HEAD(call_queue_of(c), c, p.entry);
	c->p.place = NFS_COMPOUND_QUEUED;
}

void call_repeat(struct nfs_compound *c)
{
	c->p.uncertain = false;
	if (c->modifies)
		c->replayed = true;
	if (c->replayed && c->once && !c->abandoned)
		call_end(c, -EALREADY);
	else
		call_queue_first(c);
}

void call_again(struct nfs_compound *c)
{
	if (c->p.uncertain)
		call_repeat(c);
	else
		call_queue_first(c);
}

static void call_resume(struct loop_timer *timer)
{
	struct nfs_compound *c = call_of_timer(timer);
	struct nfs_conn *conn = c->conn;
	call_unplace(c);
	if (c->p.has_slot) {
		call_hold(c);
		conn_update(conn);
	} else {
		call_place(c, call_queue_of(c), NFS_COMPOUND_QUEUED);
		call_pump(conn);
	}
}

void call_pause(struct nfs_compound *c, uint64_t delay)
{
	if (c->abandoned && !c->p.has_slot) {
		call_end(c, -ECANCELED);
		return;
	}
	call_place(c, &c->conn->paused, NFS_COMPOUND_PAUSED);
	c->p.timer.fire = call_resume;
	loop_timer_set(c->conn->loop, &c->p.timer, loop_now(c->conn->loop) + delay);
}

static void call_fail_list(struct compound_list *list, int status)
{
	struct nfs_compound *c;
	while ((c = TAILQ_FIRST(list)) != NULL) {
		call_release(c, false, SLOT_NO_TARGET);
		call_end(c, status);
	}
}

void call_fail_all(struct nfs_conn *conn, int status)
{
	call_fail_list(&conn->all, status);
	/* those that were given up already are not in `all` any more */
	call_fail_list(&conn->held, status);
	call_fail_list(&conn->paused, status);
}

void call_give_up(struct nfs_compound *c)
{
	int status = c->conn->client->config.softerr ? -ETIMEDOUT : -EIO;
	conn_count(&call_stats(c)->timeouts, 1);
	if (!c->p.has_slot) {
		call_end(c, status);
		return;
	}
	/* The slot stays taken until the reply, or the next connection, tells what became of it. */
	call_unlist(c);
	call_count_end(c);
	c->abandoned = c->p.delivered = true;
	c->status = status;
	if (c->p.place == NFS_COMPOUND_HELD) {
		call_unplace(c);
		call_hold(c);
	}
	struct nfs_conn *conn = c->conn;
	c->done(c);
	call_check_drained(conn);
}

/* The first part of its life: never sent, in no list. */
static void call_begin(struct nfs_compound *c)
{
	struct nfs_conn *conn = c->conn;
	memset(&c->p, 0, sizeof(c->p));
	c->status = 0;
	c->ops_ok = 0;
	c->abandoned = c->replayed = false;
	c->p.owned = true;
	c->p.queued_at = loop_now(conn->loop);
	c->call.done = reply_done;
	if (c->sequenced) {
		TAILQ_INSERT_TAIL(&conn->all, c, p.all);
		c->p.listed = true;
	}
}

void nfs_compound_send(struct nfs_compound *c, void (*done)(struct nfs_compound *c), void *arg)
{
	struct nfs_conn *conn = c->conn;
	c->done = done;
	c->arg = arg;
	call_begin(c);
	int err = nfs_compound_finish(c);
	if (err) {
		call_end_later(c, err);
	} else if (atomic_load_explicit(&conn->client->closing, memory_order_relaxed)) {
		call_end_later(c, c->sequenced ? -EIO : -ECONNRESET);
	} else if (c->sequenced) {
		call_place(c, call_queue_of(c), NFS_COMPOUND_QUEUED);
		watch_start(conn);
		call_pump(conn);
		if (c->p.place == NFS_COMPOUND_QUEUED && conn->state == CONN_BOUND)
			conn_count(&conn->stats.slot_waits, 1);
	} else if (conn->state >= CONN_UP) {
		nfs_compound_patch_sequence(c, atomic_load(&conn->client->minor), NULL, 0, 0, 0, 0);
		call_transmit(c);
	} else {
		call_end_later(c, -ECONNRESET);
	}
}

void nfs_compound_abandon(struct nfs_compound *c)
{
	struct nfs_conn *conn = c->conn;
	c->abandoned = true;
	c->p.owned = false;
	switch (c->p.place) {
	case NFS_COMPOUND_LENT:
	case NFS_COMPOUND_SENT: break;
	case NFS_COMPOUND_HELD:
		call_unplace(c);
		call_hold(c);
		break;
	case NFS_COMPOUND_PAUSED:
		if (!c->p.has_slot)
			call_end(c, -ECANCELED);
		break;
	case NFS_COMPOUND_MOVED:
	case NFS_COMPOUND_UNREADY:
	case NFS_COMPOUND_QUEUED:
		call_end(c, -ECANCELED);
		call_pump(conn);
		break;
	case NFS_COMPOUND_ENDING: call_end(c, -ECANCELED); break;
	case NFS_COMPOUND_IDLE: nfs_compound_free(c); break;
	}
}
