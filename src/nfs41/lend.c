/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdlib.h>

#include "nfs41/client_priv.h"

/*
 * A worker that has no connection, while others of the session have one, has these send for it: a
 * request may go out on any connection of its session, in the slot and with the sequence id that it
 * has. The loan is a call of its own, since the compound stays with its worker, who may abandon it
 * meanwhile; a posted task takes it to the lender, which reads the encoded request and writes at
 * most where a READ's data go, and another brings it back with a copy of the reply. All that
 * follows from the reply happens on the owner's thread.
 */

/* Connecting again takes no longer as a rule. */
#define LEND_AFTER UINT64_C(500000000) /* ns */
/* After a loan that came to nothing. */
#define LEND_AGAIN UINT64_C(100000000) /* ns */

struct loan {
	struct rpc_call call;
	struct nfs_compound *c;
	struct nfs_conn *lender;
	uint32_t generation;
	struct loop_task task;
	bool resent; /* its slot is the one that it had before */
	/* as rpc_call's; -EAGAIN: not sent; -EBUSY: nor is there a security context for it;
	 * -ENOMEM: the reply could not be kept */
	int err;
	uint8_t *data;
	size_t len, sink_len;
};

static struct loan *lend_of_task(struct loop_task *task)
{
	return (struct loan *)((char *)task - offsetof(struct loan, task));
}

static struct loan *lend_of_call(struct rpc_call *call)
{
	return (struct loan *)((char *)call - offsetof(struct loan, call));
}

static void lend_set(struct nfs_conn *conn, bool borrowing)
{
	if (borrowing && !conn->borrowing)
		atomic_fetch_add(&conn->client->borrowers, 1);
	if (!borrowing && conn->borrowing)
		atomic_fetch_sub(&conn->client->borrowers, 1);
	conn->borrowing = borrowing;
}

static void lend_time(struct loop_timer *timer)
{
	struct nfs_conn *conn =
		(struct nfs_conn *)((char *)timer - offsetof(struct nfs_conn, borrow));
	conn->borrow_set = false;
	lend_set(conn, true);
	call_pump(conn);
}

static void lend_set_timer(struct nfs_conn *conn, uint64_t delay)
{
	conn->borrow_set = true;
	conn->borrow.fire = lend_time;
	loop_timer_set(conn->loop, &conn->borrow, loop_now(conn->loop) + delay);
}

void lend_begin(struct nfs_conn *conn, bool now)
{
	if (conn->client->nconns == 1 || conn->borrowing)
		return;
	if (now)
		lend_set(conn, true);
	else if (!conn->borrow_set)
		lend_set_timer(conn, LEND_AFTER);
}

void lend_end(struct nfs_conn *conn)
{
	loop_timer_cancel(conn->loop, &conn->borrow);
	conn->borrow_set = false;
	lend_set(conn, false);
}

/* What became of it, on the owner's thread. */
static void lend_settle(struct loan *loan)
{
	struct nfs_compound *c = loan->c;
	struct nfs_conn *conn = c->conn;
	call_unplace(c);
	if (loan->err == -EAGAIN) {
		call_hold(c);
	} else if (loan->err == -EBUSY) {
		call_release(c, false, SLOT_NO_TARGET);
		call_pause(c, LEND_AGAIN);
	} else {
		c->call.sent_at = loan->call.sent_at;
		c->call.replied_at = loan->call.replied_at;
		c->call.bytes_out = loan->call.bytes_out;
		c->call.bytes_in = loan->call.bytes_in;
		c->call.reason = loan->call.reason;
		call_count_sent(c);
		int err = loan->err == -ENOMEM ? -ECONNRESET : loan->err;
		if (reply_received(c, err, loan->data, loan->len, loan->sink_len) == -EPROTO) {
			atomic_store(&loan->lender->spoilt, true);
			conn_kick(loan->lender);
		}
	}
	if (conn->borrowing && !TAILQ_EMPTY(&conn->held)) {
		lend_set(conn, false);
		lend_set_timer(conn, LEND_AGAIN);
	}
	conn_update(conn);
}

static void lend_come_back(struct loop_task *task)
{
	struct loan *loan = lend_of_task(task);
	lend_settle(loan);
	free(loan->data);
	free(loan);
}

static void lend_return(struct loan *loan, int err)
{
	loan->err = err;
	loan->task.run = lend_come_back;
	loop_post(loan->c->conn->loop, &loan->task);
}

/* rpc_call's `done`, on the lender's thread. */
static int lend_answered(
	struct rpc_call *call, int err, const uint8_t *data, size_t len, size_t sink_len)
{
	struct loan *loan = lend_of_call(call);
	if (err != -ECONNRESET && err != -EBADMSG)
		watch_heard(loan->lender);
	if (!err && len > 0) {
		loan->data = malloc(len);
		if (loan->data)
			memcpy(loan->data, data, len);
		else
			err = -ENOMEM;
	}
	loan->len = len;
	loan->sink_len = sink_len;
	lend_return(loan, err);
	return 0;
}

static int lend_sink(
	struct rpc_call *call, const uint8_t *data, size_t len, size_t body, struct rpc_sink *sink)
{
	struct nfs_compound *c = lend_of_call(call)->c;
	return c->call.sink(&c->call, data, len, body, sink);
}

static size_t lend_without_data(
	const struct rpc_call *call, const uint8_t *data, size_t len, size_t body)
{
	const struct loan *loan =
		(const struct loan *)((const char *)call - offsetof(struct loan, call));
	return nfs_compound_without_data(loan->c, data, len, body);
}

static void lend_send(struct loop_task *task)
{
	struct loan *loan = lend_of_task(task);
	struct nfs_conn *lender = loan->lender;
	if (lender->state != CONN_BOUND || lender->bound != loan->generation) {
		lend_return(loan, -EAGAIN);
		return;
	}
	int err = loan->resent ? 0 : rpc_conn_prepare(lender->rpc, &loan->call);
	if (err) {
		lend_return(loan, err == -EAGAIN ? -EBUSY : err);
		return;
	}
	if (rpc_conn_pending(lender->rpc) == 0)
		lender->heard_at = loop_now(lender->loop);
	rpc_conn_send(lender->rpc, &loan->call);
	watch_start(lender);
}

/* Takes `c`, which is in no list and has a slot, to the lender; without memory it is held. */
static void lend_compound(struct nfs_compound *c, struct nfs_conn *lender)
{
	struct loan *loan = calloc(1, sizeof(*loan));
	if (!loan) {
		call_hold(c);
		return;
	}
	loan->call = c->call;
	loan->call.sink = c->call.sink ? lend_sink : NULL;
	loan->call.without_data = c->call.without_data ? lend_without_data : NULL;
	loan->call.transmitted = NULL;
	loan->call.bytes_out = 0;
	loan->call.reason = NULL;
	loan->call.done = lend_answered;
	loan->c = c;
	loan->lender = lender;
	loan->generation = c->p.grant.generation;
	loan->resent = c->p.uncertain;
	loan->task.run = lend_send;
	call_place(c, &c->conn->lent, NFS_COMPOUND_LENT);
	loop_post(lender->loop, &loan->task);
}

static struct nfs_conn *lend_find(const struct nfs_conn *conn, uint32_t *generation)
{
	struct nfs_client *client = conn->client;
	for (unsigned i = 1; i < client->nconns; i++) {
		struct nfs_conn *other = client->conns[(conn->index + i) % client->nconns];
		*generation = atomic_load(&other->bound);
		if (*generation != 0)
			return other;
	}
	return NULL;
}

static void lend_list(struct compound_list *list, struct nfs_conn *lender, uint32_t generation)
{
	struct nfs_compound *c;
	while ((c = TAILQ_FIRST(list)) != NULL && call_take_slot(c, generation)) {
		call_unplace(c);
		lend_compound(c, lender);
	}
}

void lend_pump(struct nfs_conn *conn)
{
	uint32_t generation;
	struct nfs_compound *c, *last = TAILQ_LAST(&conn->held, compound_list);
	struct nfs_conn *lender = lend_find(conn, &generation);
	if (!lender)
		return;
	/* what cannot be lent comes back to the end of the list */
	for (bool more = last != NULL; more;) {
		c = TAILQ_FIRST(&conn->held);
		more = c != last;
		call_unplace(c);
		if (c->p.grant.generation == generation)
			lend_compound(c, lender);
		else
			call_hold(c);
	}
	lend_list(&conn->urgent, lender, generation);
	lend_list(&conn->queue, lender, generation);
}
