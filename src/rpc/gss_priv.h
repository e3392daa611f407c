/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_RPC_GSS_PRIV_H
#define VSOCKFS_RPC_GSS_PRIV_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "rpc/gss.h"
#include "rpc/gss_token.h"
#include "util/log.h"

/* gss.c has users and the calls that wait for their contexts, gss_nego.c makes contexts. */

struct rpc_gss_nego;

struct rpc_gss_peer {
	struct rpc_gss *gss;
	uid_t uid;
	enum rpc_sec sec;
	uint32_t prog, vers;		 /* of its calls */
	struct rpc_gss_session *session; /* NULL: none */
	uint64_t expires, renew_at;	 /* of that, ns */
	struct rpc_gss_nego *nego;	 /* another one is being made */
	int err;			 /* why there is none: -errno, until `retry_at` */
	uint64_t retry_at;		 /* ns */
	TAILQ_HEAD(rpc_gss_calls, rpc_call) waiting;
	LIST_ENTRY(rpc_gss_peer) entry;
};

struct rpc_gss {
	struct loop *loop;
	int helper_fd;
	const struct rpc_gss_ops *ops;
	void *arg;
	bool stopping; /* nothing is begun any more */
	bool ending;   /* the last negotiation ends it */
	bool waited;   /* something may wait for room in a window */
	bool awaited;  /* ops->ready */
	unsigned negos;
	struct log_limit complaints;
	struct loop_timer timer;
	LIST_HEAD(, rpc_gss_peer) peers;
};

/* Begins to make a context; how it ends is told to one of the two below. */
void rpc_gss_negotiate(struct rpc_gss_peer *peer);
void rpc_gss_negotiate_cancel(struct rpc_gss_nego *nego);
/* A new session, taken over; it lasts `lifetime` seconds. */
void rpc_gss_established(
	struct rpc_gss_peer *peer, struct rpc_gss_session *session_take, uint32_t lifetime);
/* There will be none for now: -errno. */
void rpc_gss_failed(struct rpc_gss_peer *peer, int err, const char *why);
/* A negotiation is over and its memory gone. */
void rpc_gss_nego_gone(struct rpc_gss *gss);

#endif
