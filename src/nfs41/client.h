/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_NFS41_CLIENT_H
#define VSOCKFS_NFS41_CLIENT_H

#include <stdbool.h>
#include <stdint.h>

#include "nfs41/compound.h"
#include "nfs41/types.h"
#include "rpc/conn.h"
#include "rpc/cred.h"
#include "util/loop.h"

/*
 * The client's relation to one server: client id, one session with its slots, and one connection
 * per worker bound to that session (RFC 8881, 2.4 and 2.10). Workers attach before their
 * loops run; what is shared between them is inside, under locks that are never held across an RPC.
 */

struct nfs_client;
struct nfs_conn; /* one worker's connection, made anew whenever it breaks */

struct nfs_client_config {
	struct address address;
	struct stream_config stream;
	struct rpc_cred *cred; /* for client id and session management; a reference is taken */
	int minor;	       /* -1: 2, else 1, whichever the server speaks; 1 or 2: that one */
	bool soft;
	uint64_t timeo_ns; /* a soft call fails after timeo * (retrans + 1) */
	unsigned retrans;
	uint32_t rsize, wsize;	/* largest payload wanted, bytes */
	unsigned max_requests;	/* slots wanted */
	const char *clientaddr; /* for the client's owner string; NULL: the host's name */
};

/* What the server granted; stable once `ready` was called. */
struct nfs_limits {
	unsigned minor;
	uint32_t rsize,
		wsize; /* bytes of payload that fit the session and the server's maxread/maxwrite */
	uint32_t max_ops;		    /* operations per compound, SEQUENCE included */
	uint32_t max_request, max_response; /* bytes */
	uint32_t lease_time;		    /* seconds */
};

int nfs_client_new(const struct nfs_client_config *config, struct nfs_client **client);
/* All connections must be down (nfs_client_stop). NULL is allowed. */
void nfs_client_free(struct nfs_client *client);

/* Adds a worker's connection. The first one attached does the client's own work (lease, recovery).
 */
int nfs_client_attach(struct nfs_client *client, struct loop *loop, struct nfs_conn **conn);

/*
 * Connects, makes client id and session. `ready` comes on the first worker's loop: 0, or -errno for
 * a failure that trying again does not cure (-ECONNREFUSED, -ENODEV, -EPROTONOSUPPORT: no NFSv4.1,
 * -EACCES, -ETIMEDOUT, ...), with `why` a sentence for the user. Further connections come up by
 * themselves. The loops must run.
 */
typedef void (*nfs_client_ready_fn)(void *arg, int err, const char *why);
void nfs_client_start(struct nfs_client *client, nfs_client_ready_fn ready, void *arg);

/*
 * Gives session and client id back (waiting at most `timeout_ns` for the server) and closes every
 * connection. Outstanding compounds end with -EIO. `stopped` comes on the first worker's loop.
 */
void nfs_client_stop(
	struct nfs_client *client, uint64_t timeout_ns, void (*stopped)(void *arg), void *arg);

const struct nfs_limits *nfs_client_limits(const struct nfs_client *client);
/* After GETATTR of maxread and maxwrite at the root: lowers rsize and wsize to them. */
void nfs_client_limit_io(struct nfs_client *client, uint64_t maxread, uint64_t maxwrite);

struct nfs_client *nfs_conn_client(const struct nfs_conn *conn);
struct loop *nfs_conn_loop(const struct nfs_conn *conn);

/* A number for a new open-owner or lock-owner, unique within this client id. Any thread. */
uint64_t nfs_client_owner(struct nfs_client *client);
uint64_t nfs_client_id(const struct nfs_client *client);

#endif
