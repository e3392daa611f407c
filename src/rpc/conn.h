/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_RPC_CONN_H
#define VSOCKFS_RPC_CONN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "rpc/cred.h"
#include "rpc/msg.h"
#include "rpc/tap.h"
#include "vsock/stream.h"

/*
 * One RPC connection over one stream: a table of outstanding calls by xid, batching of sends,
 * and calls in the other direction. It lives from connect to its first error; whoever owns it
 * opens another and sends again what was not answered. All on one loop's thread.
 */

#define RPC_CONN_REPLIES_MAX 64

struct rpc_conn;
struct rpc_call;
struct rpc_gss_peer;
struct rpc_gss_session;

/* Longest checksum of RPCSEC_GSS (Kerberos: 16 bytes of header and a MAC of 12 to 24). */
#define RPC_CALL_MIC_MAX 64

/* What a call with a credential of rpc_cred_new_gss needs beside itself: gss.c, gss_token.c. */
struct rpc_call_gss {
	struct rpc_gss_session *session;       /* it was sent in, until the reply */
	struct rpc_gss_peer *peer;	       /* whose context it waits for */
	TAILQ_ENTRY(rpc_call) entry;	       /* among those of either */
	uint32_t seq;			       /* its number in the session */
	unsigned refusals;		       /* of contexts that it was sent in */
	uint8_t *sealed;		       /* krb5p: what is sent */
	uint8_t trailer[4 + RPC_CALL_MIC_MAX]; /* krb5i: what is sent behind the arguments */
};

/* The end of a record that goes elsewhere than into the reply buffer: a READ's data. */
struct rpc_sink {
	/* the record's first `head` bytes stay in the reply, the payload follows them: at least
	 * `body`, at most `len` of the call of `sink` that tells it */
	size_t head;
	size_t len;    /* bytes of payload announced by the message itself */
	uint8_t *data; /* room for `len` bytes */
};

/*
 * An outgoing call, embedded in its owner's structure. The owner fills the upper part and
 * keeps all of it, and the memory its iovecs name, until `done`.
 */
struct rpc_call {
	struct rpc_msg_call msg; /* xid is given out by rpc_conn_send (a new one each time) */
	const struct rpc_cred *cred;
	uint8_t *head;	 /* first part of the arguments, with RPC_MSG_HEAD_MAX bytes of headroom */
	size_t head_len; /* bytes */
	struct iovec tail[2]; /* the rest: payload, and padding with what follows it */
	unsigned ntail;
	bool tail_data;	  /* tail[0] is a file's data, which a capture leaves out */
	size_t max_reply; /* a longer reply record is garbage; the allocation is bounded by it */
	/*
	 * Optional; called until it knows, possibly with the whole record. Looks at the first `len`
	 * bytes of the reply (RPC header included; the results begin at `body`) and says whether a
	 * payload runs from some offset to the record's end (but for padding): 1 and *sink; 0: no
	 * payload, keep all; -EAGAIN: ask again with more bytes; -EPROTO: garbage.
	 */
	int (*sink)(struct rpc_call *call, const uint8_t *data, size_t len, size_t body,
		struct rpc_sink *sink);
	/*
	 * Optional, for a capture that leaves files' data out: how many of the reply's first `len`
	 * bytes come before any. Without it that is all but the sink's.
	 */
	size_t (*without_data)(
		const struct rpc_call *call, const uint8_t *data, size_t len, size_t body);
	/*
	 * Optional; whenever it goes to the stream: from rpc_conn_send, or later where it had to
	 * wait for a security context, or goes again in another one.
	 */
	void (*transmitted)(struct rpc_call *call);
	/*
	 * The call's end. err 0: the reply's results are `data[0..len)`, valid during the call
	 * only, without what went to the sink (whose `sink_len` bytes all arrived; 0 if there was
	 * none). err -errno: rejected (-EACCES, -EPROTONOSUPPORT, -EPROTO), or never sent since its
	 * user has no tickets (-EACCES, -EKEYEXPIRED); -ECONNRESET: the
	 * connection ended and no reply will come on it; -EBADMSG: it ended because this call's
	 * reply was garbage. Returns 0, or -EPROTO when the results are garbage: the connection
	 * then ends with one log line.
	 */
	int (*done)(
		struct rpc_call *call, int err, const uint8_t *data, size_t len, size_t sink_len);
	/* for the owner: when it was sent and answered (ns), bytes each way with record marks */
	uint64_t sent_at, replied_at;
	size_t bytes_out, bytes_in;
	size_t copied;	  /* bytes of payload that came to the sink by way of the receive buffer */
	const char *name; /* the owner's word for it, constant, for that line; or NULL */
	const char *reason; /* of a rejection: constant words, such as "AUTH_TOOWEAK"; else NULL */
	const uint8_t *verifier; /* of an accepted reply, during `done` */
	size_t verifier_len;
	/* private */
	struct stream_msg out;
	bool sending; /* the stream still has `out` */
	size_t slack; /* what RPCSEC_GSS may put around the reply, bytes */
	struct rpc_call_gss gss;
	LIST_ENTRY(rpc_call) bucket;
	TAILQ_ENTRY(rpc_call) entry;
};

struct rpc_conn_ops {
	/* Connected. */
	void (*up)(void *arg);
	/*
	 * The connection has ended, err is -errno (of connect(2) where it never was up; -EPROTO
	 * after garbage). Every call outstanding has had its `done`, in the order sent; the
	 * connection is gone when this returns. Called once, also after rpc_conn_close
	 * (-ECANCELED).
	 */
	void (*down)(void *arg, int err);
	/*
	 * A call from the server; the arguments are `data[0..len)`. The handler answers with
	 * rpc_conn_reply, now or later. Returns -EPROTO for garbage, which ends the connection.
	 */
	int (*called)(void *arg, const struct rpc_msg_call *msg, const uint8_t *data, size_t len);
	/* Optional: whether garbage may be logged now. NULL: always. */
	bool (*may_log)(void *arg);
	/*
	 * TLS was asked for and the connection has none, or none any more; `why` is for people, and
	 * valid during the call. `down` follows, with -EKEYREJECTED where trying again cannot help.
	 * Optional where rpc_conn_secure is not used.
	 */
	void (*insecure)(void *arg, const char *why);
	/* After rpc_conn_prepare said -EAGAIN: to be asked again. Optional if it is not used. */
	void (*ready)(void *arg);
};

/* Starts to connect; as stream_connect. `max_call` bounds calls from the server, in bytes. */
int rpc_conn_open(struct loop *loop, const struct address *address,
	const struct stream_config *config, size_t max_call, const struct rpc_conn_ops *ops,
	void *arg, struct rpc_conn **conn);
/* The same over a connected socket, which is closed on failure: how tests play the other side. */
int rpc_conn_adopt(struct loop *loop, int fd_take, size_t max_call, const struct rpc_conn_ops *ops,
	void *arg, struct rpc_conn **conn);

/*
 * At once after rpc_conn_open or _adopt: `up` comes when the server (asked by a NULL call
 * of `prog` and `vers`) has agreed to TLS and is who it should be. There is no other way to go on,
 * and a call that is sent before ends the connection (-ENOTCONN).
 * The context outlives the connection; `timeout_ns` is for all that, once connected; 0: none.
 * 0, or -ENOMEM: close it.
 */
int rpc_conn_secure(struct rpc_conn *conn, const struct tls_context *context, uint32_t prog,
	uint32_t vers, uint64_t timeout_ns);

/* Shows what the connection of worker `index` carries to `tap`, from now on; NULL is allowed. */
void rpc_conn_set_tap(struct rpc_conn *conn, struct rpc_tap *tap, unsigned index);

/*
 * For calls with credentials of rpc_cred_new_gss: the process that negotiates (gss.h), -1: there is
 * none and they fail with -EACCES. Before rpc_conn_send.
 */
void rpc_conn_set_gss(struct rpc_conn *conn, int helper_fd);

/*
 * Whether `call` would leave at once if it were sent now. 0: yes. -EAGAIN: no, for want of a
 * security context, which is being made, or of room in its window; `ready` follows, or `down`.
 * -EACCES, -EKEYEXPIRED: its user has no tickets. rpc_conn_send takes it in any case.
 */
int rpc_conn_prepare(struct rpc_conn *conn, const struct rpc_call *call);
/*
 * Sends `call` with a new xid; it leaves with what else is sent in this turn of the loop. Its
 * `done` is never called from here; it is -ECONNRESET when the connection is ending already, so do
 * not answer that by sending again on the same one.
 */
void rpc_conn_send(struct rpc_conn *conn, struct rpc_call *call);
/*
 * Answers a server's call with `len` bytes of results (copied). accept_stat 0 is SUCCESS. A server
 * that leaves RPC_CONN_REPLIES_MAX answers unread is cut off.
 */
void rpc_conn_reply(
	struct rpc_conn *conn, uint32_t xid, uint32_t accept_stat, const void *data, size_t len);
/* Starts the end; `down` follows from the loop. */
void rpc_conn_close(struct rpc_conn *conn);

/* Calls sent and not answered. */
unsigned rpc_conn_pending(const struct rpc_conn *conn);

#endif
