/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_RPC_GSS_H
#define VSOCKFS_RPC_GSS_H

#include <stdbool.h>
#include <stdint.h>

#include "rpc/conn.h"
#include "util/loop.h"

/*
 * The security contexts of one connection, one for each user (RFC 2203). They are negotiated over
 * the connection with tokens that a helper process makes (gss_link.h), so that nothing here waits
 * for a KDC, and end with it; calls wait for their context. One is made anew before it expires,
 * and whenever the server does not know it any more: what was refused for that is sent again.
 * Private to src/rpc, on the loop's thread.
 */

struct rpc_gss;
struct rpc_gss_session;

struct rpc_gss_ops {
	/* Sends a call in that session. */
	void (*send)(void *arg, struct rpc_call *call, struct rpc_gss_session *session);
	/* The end of a session, to be told to the server in a call without arguments. */
	void (*destroy)(void *arg, struct rpc_call *call, struct rpc_gss_session *session);
	/* A call with a token: as rpc_conn_send. */
	void (*call)(void *arg, struct rpc_call *call);
	/* Ends a call that is not sent, since its user has no context. From the loop. */
	void (*fail)(void *arg, struct rpc_call *call, int err);
	/* What rpc_gss_prepare said -EAGAIN of may be asked for again. From the loop. */
	void (*ready)(void *arg);
	/* After rpc_gss_stop: nothing is in use any more, and it is gone. */
	void (*stopped)(void *arg);
};

/* `helper_fd`: -1 for none; every call fails then. */
int rpc_gss_new(struct loop *loop, int helper_fd, const struct rpc_gss_ops *ops, void *arg,
	struct rpc_gss **gss);
/* Nothing is negotiated any more. */
void rpc_gss_halt(struct rpc_gss *gss);
/* The end, when no call waits any more. `stopped` comes from here or from the loop. */
void rpc_gss_stop(struct rpc_gss *gss);

/*
 * Has a context made if `call` needs one. 0: it would be sent now; -EAGAIN: not now, and `ready`
 * follows; or why there is no context: -EACCES, -EKEYEXPIRED.
 */
int rpc_gss_prepare(struct rpc_gss *gss, const struct rpc_call *call);
/* Sends `call` now, or when there is a context whose window has room. 0 or -ENOMEM. */
int rpc_gss_submit(struct rpc_gss *gss, struct rpc_call *call);
/*
 * The server refused it with `auth_stat`. True if that means its context, and another one may do
 * better: to be submitted again then.
 */
bool rpc_gss_refused(struct rpc_gss *gss, struct rpc_call *call, uint32_t auth_stat);
/* Takes it out of where it waits, or is counted as sent. */
void rpc_gss_forget(struct rpc_gss *gss, struct rpc_call *call);
/* Calls were answered: what waited for that goes on. */
void rpc_gss_pump(struct rpc_gss *gss);
/* Has the server forget all contexts. */
void rpc_gss_destroy(struct rpc_gss *gss);

#endif
