/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_RPC_CONN_PRIV_H
#define VSOCKFS_RPC_CONN_PRIV_H

#include "rpc/conn.h"
#include "rpc/gss.h"
#include "rpc/intake.h"

/* conn.c has the connection and what it receives, conn_send.c the calls, conn_tap.c shows all that
 * to a capture. */

/* xids count up, so that neighbours in time are in different buckets. */
#define RPC_CONN_BUCKETS 64

LIST_HEAD(call_list, rpc_call);
TAILQ_HEAD(call_queue, rpc_call);

struct rpc_conn {
	struct loop *loop;
	struct stream *stream;
	const struct rpc_conn_ops *ops;
	void *arg;
	char peer[ADDRESS_HOST_MAX + 64]; /* for the log */

	uint32_t xid; /* the next call's */
	unsigned pending;
	struct call_queue calls; /* outstanding, in the order sent */
	struct call_list buckets[RPC_CONN_BUCKETS];
	unsigned replies; /* of rpc_conn_reply, not yet taken by the kernel */

	struct rpc_tap *tap; /* or NULL */
	struct rpc_tap_flow flow;
	bool delivered; /* a record, of what was received last */

	struct rpc_secure *secure; /* until TLS is there; or NULL */
	struct loop_timer secure_timer;

	int gss_fd;	     /* as rpc_gss_new's */
	struct rpc_gss *gss; /* NULL: not needed so far */

	bool connected, closing;
	int err;			/* for ops->down */
	const struct rpc_call *culprit; /* outstanding, and its reply was garbage */
	struct rpc_intake intake;
};

static inline struct call_list *conn_bucket(struct rpc_conn *conn, uint32_t xid)
{
	return &conn->buckets[xid % RPC_CONN_BUCKETS];
}

/* conn.c: no more is sent or received; `down` follows. */
void conn_end(struct rpc_conn *conn, int err);
void conn_end_with_log(struct rpc_conn *conn, int err, const char *why);
/* rpc_gss_ops.stopped, the last step. */
void conn_gss_stopped(void *arg);

/* conn_send.c: off the lists of what is outstanding; on them, with a new xid, behind all others. */
void conn_forget(struct rpc_conn *conn, struct rpc_call *call);
void conn_enlist(struct rpc_conn *conn, struct rpc_call *call);
/* To RPCSEC_GSS, which sends it when it can. */
void conn_submit(struct rpc_conn *conn, struct rpc_call *call);

/* conn_tap.c; all but the first where rpc_tap_on. */
void conn_tap_event(struct rpc_conn *conn, enum rpc_tap_event event);
/* `open`: bytes in front of a file's data. */
void conn_tap_sent(struct rpc_conn *conn, const struct stream_msg *msg, size_t open);
/* The message whose body is at `data`, of which `len` bytes were kept and the rest went to the
 * sink. */
void conn_tap_received(
	struct rpc_conn *conn, const struct rpc_call *call, const uint8_t *data, size_t len);
/* What was no message: the bytes as they came, if nothing before them in the buffer was one. */
void conn_tap_garbage(struct rpc_conn *conn, size_t len);

#endif
