/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_NFS41_CONN_H
#define VSOCKFS_NFS41_CONN_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "nfs41/compound.h"
#include "nfs41/slot.h"
#include "nfs41/stats.h"
#include "rpc/conn.h"
#include "util/loop.h"
#include "util/spare.h"

/*
 * One worker's connection and the compounds that go over it: conn.c makes and binds connections,
 * probe.c asks on each whether the session is ours alone, call.c sends compounds, reply.c judges
 * replies, lend.c has others send what cannot go on a broken one, watch.c looks at the clock.
 * Everything belongs to the worker's thread, except what is
 * atomic.
 */

#define CONN_BACKOFF_MIN UINT64_C(100000000) /* ns */

enum conn_state {
	CONN_DOWN,	 /* not wanted */
	CONN_BACKOFF,	 /* waits before connecting again */
	CONN_CONNECTING, /* or closing a connection that is not good */
	CONN_UP,	 /* connected; not bound to the session in force */
	CONN_PROBING,	 /* the probe is under way, or waits for its slot, or will be repeated */
	CONN_BINDING,	 /* the same of BIND_CONN_TO_SESSION */
	CONN_BOUND,	 /* compounds flow */
};

TAILQ_HEAD(compound_list, nfs_compound);

struct nfs_conn {
	struct nfs_client *client;
	struct loop *loop;
	unsigned index; /* among the client's */

	enum conn_state state;
	struct rpc_conn *rpc;	 /* NULL: none, not even a closing one */
	uint32_t serial;	 /* counts connections */
	unsigned garbage;	 /* connections in a row that ended in it and did nothing good */
	_Atomic uint32_t bound;	 /* generation of the session that it is bound to; 0: none */
	uint32_t joining;	 /* generation that it is to be bound to */
	bool probed, associated; /* to that one: what of it is done */
	bool probe_sent;	 /* and not answered */
	uint32_t identity;	 /* whose, and with which server, the connection is: as
				    nfs_client.identity */
	uint64_t bound_at;	 /* ns; 0: this connection never was */
	uint64_t backoff;	 /* ns; 0: the last connection was good for a while */
	int open_err;		 /* CONN_CONNECTING could not begin: -errno */
	int reset_err;		 /* why it was ended from here: -errno, or 0 */
	bool troubled;		 /* its loss was told */
	struct loop_timer retry;

	struct compound_list urgent, queue; /* wait for slots: privileged ones, others */
	struct compound_list unready;	    /* wait for security contexts, and have no slots */
	struct compound_list sent, held;    /* in the order of sending */
	struct compound_list moved;	    /* for client_move.c to decide about */
	struct compound_list paused, lent;
	struct compound_list all; /* every sequenced one, in the order of their coming */
	struct slot_waiter waiter;
	bool waiting; /* the slot table may have promised something */

	struct loop_timer borrow;
	bool borrow_set, borrowing; /* the others shall send what waits */

	struct loop_timer watch;
	bool watching;	    /* `watch` is set */
	uint64_t heard_at;  /* last reply, or when calls were first outstanding since */
	uint64_t pinged_at; /* while `pinging` */
	unsigned silences;  /* connections in a row that ended because of it */
	bool pinging;
	bool warned; /* the others know that this one is silent, or have said so themselves */
	struct rpc_call ping;
	struct {
		uint8_t headroom[RPC_MSG_HEAD_MAX];
		uint8_t end[4];
	} ping_head;

	struct loop_task task;
	atomic_bool posted;
	atomic_bool drained, closed; /* told to the client */
	atomic_bool renew;	     /* the lease is to be renewed */
	atomic_bool spoilt;	     /* it brought garbage for somebody else */
	atomic_bool suspected;	     /* another connection is silent */
	_Atomic uint64_t renewed_at; /* when the last SEQUENCE that was answered was sent */
	struct nfs_stats stats;
	struct spare spare; /* compounds */
};

/* Adds to a counter of which the worker is the only writer. */
static inline void conn_count(_Atomic uint64_t *counter, uint64_t n)
{
	uint64_t value = atomic_load_explicit(counter, memory_order_relaxed);
	atomic_store_explicit(counter, value + n, memory_order_relaxed);
}

/* The same for the largest number so far. */
static inline void conn_count_max(_Atomic uint64_t *counter, uint64_t n)
{
	if (n > atomic_load_explicit(counter, memory_order_relaxed))
		atomic_store_explicit(counter, n, memory_order_relaxed);
}

/* conn.c */
struct nfs_conn *conn_new(struct nfs_client *client, struct loop *loop, unsigned index);
void conn_free(struct nfs_conn *conn);
/* Makes the worker look at what the client wants, soon. Any thread. */
void conn_kick(struct nfs_conn *conn);
/* Does that now. */
void conn_update(struct nfs_conn *conn);
/* Ends the connection, to make another; `err` is what the log says. */
void conn_reset(struct nfs_conn *conn, int err);
/* It is good (`connected`), or no more wanted: of its trouble the log has heard. */
void conn_tell_recovery(struct nfs_conn *conn, bool connected);

/* conn_join.c */
/* Has it join session `generation`, with which it is `associated` already or not. */
void conn_join(struct nfs_conn *conn, uint32_t generation, bool associated);
/* Does it have to join that one (again)? */
bool conn_is_stray(const struct nfs_conn *conn, uint32_t generation);
/* BIND_CONN_TO_SESSION. */
void conn_bind(struct nfs_conn *conn);
/* The present connection is associated with session `generation` (CREATE_SESSION does that). */
void conn_set_associated(struct nfs_conn *conn, uint32_t generation);
/* The probe went well, or says that nothing speaks against going on. */
void conn_set_probed(struct nfs_conn *conn);
/* Joins the session once more, from the beginning. */
void conn_rejoin(struct nfs_conn *conn);
/* What it waits for is to be tried again soon. */
void conn_retry_later(struct nfs_conn *conn);
/* BIND_CONN_TO_SESSION once more, for the sake of the backchannel. */
void conn_rebind(struct nfs_conn *conn);
/* The server says that it does not. */
void conn_lost_binding(struct nfs_conn *conn);

/* call.c */
/* Out of the list, or off the timer, that it waits in; and into another list. */
void call_unplace(struct nfs_compound *c);
void call_place(struct nfs_compound *c, struct compound_list *list, enum nfs_compound_place place);
/* A slot of that session, or not now: none is free, or there is another session. */
bool call_take_slot(struct nfs_compound *c, uint32_t generation);
/* It was handed to a stream. */
void call_count_sent(struct nfs_compound *c);
/* Puts what waited for a security context into the queues again: there may be one. */
void call_reconsider(struct nfs_conn *conn);
/* Sends what waits, as far as there are slots. */
void call_pump(struct nfs_conn *conn);
/* Sends again what is held, on a connection bound to its session. */
void call_resend(struct nfs_conn *conn);
/* Ends all that is not in the hands of an RPC connection. */
void call_fail_all(struct nfs_conn *conn, int status);
/* The compound waits for the next connection. It is in no list. */
void call_hold(struct nfs_compound *c);
/* It waits for a slot, in front of the others. It is in no list and has no slot. */
void call_queue_first(struct nfs_compound *c);
/* As after a reply that leaves it undone, or in part (p.uncertain): as the next two. */
void call_again(struct nfs_compound *c);
/*
 * It may have been executed, and its slot's cache cannot tell any more: it goes there as a
 * repetition, or ends (nfs_compound.once).
 */
void call_repeat(struct nfs_compound *c);
/* It is sent again after `delay` ns; a slot that it has it keeps. It is in no list. */
void call_pause(struct nfs_compound *c, uint64_t delay);
/* The end. It is in no list but `all`, and has no slot. */
void call_end(struct nfs_compound *c, int status);
/* The same, once the caller has returned: `done` is never called from nfs_compound_send. */
void call_end_later(struct nfs_compound *c, int status);
/* Gives its slot back, if it has one; as slot_release. */
void call_release(struct nfs_compound *c, bool used, uint32_t target);
/* Tells the client when nothing is under way any more, if it wants to know. */
void call_check_drained(struct nfs_conn *conn);
/* A soft mount's patience is over. */
void call_give_up(struct nfs_compound *c);
/* Sends a probe in the slot that its grant names. Its end is told to probe_answered. */
void call_send_probe(struct nfs_compound *c, const struct slot_grant *grant);

/* call_leave.c */
/* Takes what was held in a session that is gone to the head of the queue. */
void call_leave_session(struct nfs_conn *conn, uint32_t generation);
/* The connection ended in garbage: counts it against what it left unanswered, and ends with -EIO
 * what can only fail again, so that its program does not wait for ever. */
void call_suspect_held(struct nfs_conn *conn);

/* probe.c */
/* Sends a probe, if none is under way: for a new connection (CONN_PROBING), or to renew the lease.
 */
void probe_send(struct nfs_conn *conn);
/*
 * `seq` is NULL, and `err` -errno, when there is no reply. `foreign`: the reply is a good one, but
 * not to a probe.
 */
void probe_answered(
	struct nfs_compound *c, const struct nfs_sequence_res *seq, int err, bool foreign);

/* client_move.c */
/* Its file system is elsewhere, says the server. It is in no list and has no slot. */
void move_await(struct nfs_compound *c);
/* Ends those that wait in vain, and sends those again that need not wait. */
void move_settle(struct nfs_conn *conn);

/* reply.c: rpc_call's `done` */
int reply_done(struct rpc_call *call, int err, const uint8_t *data, size_t len, size_t sink_len);
/* The same for a compound that is in no list, its call done. */
int reply_received(
	struct nfs_compound *c, int err, const uint8_t *data, size_t len, size_t sink_len);

/* lend.c */
/* There is no connection: after a while (or `now`) the others send what waits. */
void lend_begin(struct nfs_conn *conn, bool now);
/* There is one again, or none is wanted. */
void lend_end(struct nfs_conn *conn);
/* Sends what waits through others, as far as there are slots. */
void lend_pump(struct nfs_conn *conn);

/* watch.c */
/* Something was sent, or the connection has come up: time has to be watched. */
void watch_start(struct nfs_conn *conn);
/* Asks whether this connection is as dead as another one seems to be. */
void watch_suspected(struct nfs_conn *conn);
/* The server has said something. */
void watch_heard(struct nfs_conn *conn);

#endif
