/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_NFS41_CLIENT_H
#define VSOCKFS_NFS41_CLIENT_H

#include <stdbool.h>
#include <stdint.h>

#include "nfs41/callback.h"
#include "nfs41/compound.h"
#include "nfs41/stats.h"
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

/* What the server knows this client by. Kept, it lets another process go on with its state. */
#define NFS_CLIENT_OWNER_MAX 384
struct nfs_client_identity {
	char owner[NFS_CLIENT_OWNER_MAX]; /* co_ownerid */
	uint8_t verifier[NFS4_VERIFIER_SIZE];
	uint8_t sessionid[NFS4_SESSIONID_SIZE];
	uint64_t clientid;
};

struct nfs_client_config {
	struct address address;
	struct stream_config stream;
	const struct tls_context *tls; /* RPC-with-TLS or nothing; outlives the client; or NULL */
	struct rpc_cred *cred; /* for client id and session management; a reference is taken */
	int gss_fd;	       /* as rpc_conn_set_gss; -1: no Kerberos */
	int minor;	       /* -1: 2, else 1, whichever the server speaks; 1 or 2: that one */
	bool scout; /* looks at a server and ends: does not notice that the machine was cloned */
	bool soft;
	bool softerr;	   /* a soft call that fails does so with -ETIMEDOUT, not -EIO */
	uint64_t timeo_ns; /* a soft call fails after timeo * (retrans + 1) */
	unsigned retrans;
	uint32_t rsize, wsize;	/* largest payload wanted, bytes */
	unsigned max_requests;	/* slots wanted */
	struct rpc_tap *tap;	/* sees what the connections carry; outlives the client; or NULL */
	const char *clientaddr; /* for the client's owner string; NULL: the host's name */
	/* Whenever a session has come into force, on the first worker's thread; may be NULL. */
	void (*identified)(void *arg, const struct nfs_client_identity *identity);
	void *identified_arg;
};

/*
 * rsize and wsize are multiples of it, bytes: the kernel asks for no less at a time, and takes a
 * short READ for the end of the file. A session with room for less is none.
 */
#define NFS_CLIENT_IO_UNIT 4096

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
/*
 * All connections must be down (nfs_client_stop, or `ready` told a failure) and the loops must have
 * returned. NULL is allowed.
 */
void nfs_client_free(struct nfs_client *client);

/*
 * What the server's callbacks and the recovery of the session ask of the owner of opens and locks.
 * Both are set before nfs_client_start; not to set them is allowed.
 *
 * Callbacks come on the thread of the connection that brought them, one at a time, and must not
 * send compounds before they have returned.
 */
void nfs_client_set_callbacks(struct nfs_client *client, const struct callback_ops *ops, void *arg);

struct nfs_reclaim_ops {
	/*
	 * Called on the first worker's thread when opens and locks are gone. To be made
	 * anew with privileged compounds on `conn`; `done` is called once at the end. `grace`: the
	 * server may accept reclaims (NFS4ERR_NO_GRACE: it does not); otherwise they were revoked,
	 * or could not be reclaimed, and only ordinary opens are left, which servers allow no
	 * sooner than after RECLAIM_COMPLETE.
	 *
	 * `err` is 0; -EAGAIN: call it again without grace, for what is left; or -ESTALE: the
	 * session went away, call it again as before.
	 */
	void (*reclaim)(void *arg, struct nfs_conn *conn, bool grace,
		void (*done)(void *done_arg, int err), void *done_arg);
	/*
	 * This guest is a clone, or was cloned: what the server holds belongs to the other one, and
	 * this one becomes a client of its own. Opens have to be made anew (`reclaim`, without
	 * grace, follows); locks and delegations are lost, without a word to the server. First
	 * worker's thread; may be NULL.
	 */
	void (*cloned)(void *arg);
};
void nfs_client_set_reclaim(
	struct nfs_client *client, const struct nfs_reclaim_ops *ops, void *arg);

/* What the owner of the mounted file system has found out. */
enum nfs_move {
	NFS_MOVE_NONE, /* it has moved to where we do not follow */
	NFS_MOVE_HERE, /* it is where it was, and some other has moved */
	NFS_MOVE_TO,   /* it can be used at another address */
};
struct nfs_move_ops {
	/*
	 * On the first worker's thread: the server says of some file system, or of state in one,
	 * that it is elsewhere. To be found out with privileged compounds on `conn`; `done` is
	 * called once at the end, on this thread. What met that waits meanwhile; with NFS_MOVE_TO
	 * it goes on there, as after a restart of the server: with another session, and state that
	 * is reclaimed unless that server knows it.
	 */
	void (*ask)(void *arg, struct nfs_conn *conn,
		void (*done)(void *done_arg, enum nfs_move move, const struct address *to),
		void *done_arg);
	/* The client has come there, nothing else has yet. `same`: it is the same server, which has
	 * kept all that it had of ours. First worker's thread. */
	void (*moved)(void *arg, bool same);
};
/* Without these, NFS4ERR_MOVED is for the compound's owner. Before nfs_client_start. */
void nfs_client_set_move(struct nfs_client *client, const struct nfs_move_ops *ops, void *arg);
/* Where the server is now. Any thread. */
void nfs_client_address(struct nfs_client *client, struct address *address);
/* A client like this one, of another server, to look at that; it has no connection yet. 0 or
 * -errno.
 */
int nfs_client_new_like(
	struct nfs_client *client, const struct address *address, struct nfs_client **other);
/* It has stopped, and nothing of it waits to be run: it may be freed before its loops have
 * returned, on the thread that all of them are of. */
bool nfs_client_is_at_rest(const struct nfs_client *client);

/*
 * Before nfs_client_start: takes over from a process that has died. Its session is destroyed, so
 * that nothing of it is executed any more; opens and locks on record are kept, or reclaimed if the
 * server has restarted. Numbers of owners begin at `first_owner`.
 */
void nfs_client_resume(struct nfs_client *client, const struct nfs_client_identity *identity,
	uint64_t first_owner);

/*
 * Adds a worker's connection, before nfs_client_start. The first one attached does the client's
 * own work (lease, recovery).
 */
int nfs_client_attach(struct nfs_client *client, struct loop *loop, struct nfs_conn **conn);

/* Can the server not have given the lease up yet, for all that it has answered? Any thread, once
 * `ready` was called. */
bool nfs_client_lease_stands(const struct nfs_client *client);

/*
 * Connects, makes client id and session. `ready` comes on the first worker's loop: 0, or -errno for
 * a failure (-ECONNREFUSED, -ENODEV, -EPROTONOSUPPORT: no NFSv4.1, -EACCES, -ETIMEDOUT,
 * -EKEYREJECTED: no TLS, ...), with `why` a sentence for the user, valid during the call; every
 * connection is down then, and nfs_client_start may be called again. Further connections come up by
 * themselves. Any thread may call this. The loops must run.
 */
typedef void (*nfs_client_ready_fn)(void *arg, int err, const char *why);
void nfs_client_start(struct nfs_client *client, nfs_client_ready_fn ready, void *arg);

/*
 * Gives session and client id back and closes every connection. Waits at most `timeout_ns`, for
 * outstanding compounds and for the server; what is under way then ends with -EIO. `stopped` comes
 * on the first worker's loop. Any thread may call this.
 */
void nfs_client_stop(
	struct nfs_client *client, uint64_t timeout_ns, void (*stopped)(void *arg), void *arg);

const struct nfs_limits *nfs_client_limits(const struct nfs_client *client);
/* After GETATTR of maxread and maxwrite at the root: lowers rsize and wsize to them. */
void nfs_client_limit_io(struct nfs_client *client, uint64_t maxread, uint64_t maxwrite);

struct nfs_client *nfs_conn_client(const struct nfs_conn *conn);
struct loop *nfs_conn_loop(const struct nfs_conn *conn);
/* For how long the server has said nothing while something was asked of it, ns. On its thread. */
uint64_t nfs_conn_silence(const struct nfs_conn *conn);
/* Any thread may read it. */
const struct nfs_stats *nfs_conn_stats(const struct nfs_conn *conn);
/* So many bytes of files' data were copied in memory: see nfs_stats. On its thread. */
void nfs_conn_count_copied(struct nfs_conn *conn, size_t len);

/* A number for a new open-owner or lock-owner, unique within this client id. Any thread. */
uint64_t nfs_client_owner(struct nfs_client *client);
/* A number that no other client has, clones included: it changes when this guest turns out to be
 * one. Any thread. */
uint64_t nfs_client_salt(const struct nfs_client *client);
uint64_t nfs_client_id(const struct nfs_client *client);

#endif
