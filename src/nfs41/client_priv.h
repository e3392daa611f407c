/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_NFS41_CLIENT_PRIV_H
#define VSOCKFS_NFS41_CLIENT_PRIV_H

#include <pthread.h>
#include <stdatomic.h>

#include "nfs41/callback.h"
#include "nfs41/client.h"
#include "nfs41/conn.h"
#include "nfs41/op.h"
#include "nfs41/recovery.h"
#include "nfs41/slot.h"
#include "util/log.h"
#include "vsock/machine.h"

/*
 * The client as client.c (the machine's driver), client_mail.c (what others want of it),
 * client_step.c (its RPCs) and client_why.c (its words) share it. What is not atomic and not under
 * a lock belongs to the first worker's thread.
 */

#define CLIENT_OWNER_MAX NFS_CLIENT_OWNER_MAX
#define CLIENT_OWNER_OWN (CLIENT_OWNER_MAX - 64) /* before the random part */
#define CLIENT_WHY_MAX	 640

/* What other threads want from the first worker; guarded by `lock`. */
struct client_mail {
	bool start, stop, reclaimed, revoked, grace, rebind, moved;
	uint64_t stop_timeout;
	uint32_t lost_generation; /* 0: none */
	bool cloned;
	uint32_t cloned_generation;
	int lost_status;
	int reclaim_err;
	unsigned drained, closed; /* connections */
};

/* What client_move.c keeps. */
struct client_move {
	_Atomic uint32_t round;	  /* of asking, counted */
	_Atomic uint32_t decided; /* the last that ended with nothing to follow */
	atomic_bool here;	  /* since the file system is where it was */
	bool wanted, asking;	  /* to be begun when the session is there; under way */
	struct address to;
	bool changed;	      /* it has gone there, and not heard who the server is */
	bool forgetful;	      /* it was to forget us, once */
	char left_owner[128]; /* of the server that it comes from, and what that knew us by */
	uint64_t left_clientid;
};

/* What the log calls the server. Those before are kept, since others may be using their words. */
struct client_peer {
	struct client_peer *before;
	char text[ADDRESS_HOST_MAX + 64];
};

struct nfs_client {
	struct nfs_client_config config; /* but for the address, which `lock` guards, it stays */
	char *clientaddr;
	struct rpc_cred *nobody;  /* for NULL calls: AUTH_NONE, or what the others have */
	const char *_Atomic peer; /* the text of `peers` */
	struct client_peer *peers;
	char owner[CLIENT_OWNER_MAX];
	uint8_t verifier[NFS4_VERIFIER_SIZE];

	struct machine *machine;
	struct nfs_conn **conns; /* fixed once started */
	unsigned nconns;
	struct slot_table slots;
	struct nfs_limits limits;
	_Atomic uint64_t next_owner;

	pthread_mutex_t lock;
	struct client_mail mail;
	struct loop_task task;
	atomic_bool posted;

	/* what the workers shall do (conn.c) */
	atomic_uint wanted;	     /* the first so many keep a connection up */
	atomic_bool draining;	     /* tell when nothing is under way any more */
	atomic_bool closing;	     /* end everything */
	atomic_bool silent;	     /* "not responding" was said */
	atomic_uint borrowers;	     /* connections that have others send for them */
	atomic_uint troubled;	     /* connections that were lost and are not there again */
	struct log_limit complaints; /* about connections */
	atomic_bool complained;	     /* that they work again is worth a line */
	atomic_uint minor;
	_Atomic uint32_t identity; /* counts the client owners that we have been, and the servers */

	pthread_mutex_t callback_lock;
	struct callback callback;
	const struct callback_ops *callback_ops;
	void *callback_arg;
	const struct nfs_reclaim_ops *reclaim_ops;
	void *reclaim_arg;
	const struct nfs_move_ops *move_ops;
	void *move_arg;
	struct client_move move;

	struct recovery recovery;
	struct loop_timer timer;       /* the machine's */
	struct loop_timer renew;       /* the lease's */
	bool connected_once;	       /* since the start: tells "nothing listens" from "no NFS" */
	char insecure[256];	       /* what TLS said on the first connection; or empty */
	_Atomic uint32_t status_flags; /* SEQ4_STATUS_* seen and dealt with */
	_Atomic uint64_t clientid;
	_Atomic uint64_t salt; /* of `owner` */
	bool has_clientid;
	bool resume; /* `resumed_session` is another process's, which has died */
	uint8_t resumed_session[NFS4_SESSIONID_SIZE];
	uint32_t create_sequence; /* of the next CREATE_SESSION */
	bool create_sent;	  /* with that sequence, on connection `create_serial` first */
	uint32_t create_serial;
	bool create_misordered; /* the server counts differently: learn it from EXCHANGE_ID */
	struct nfs_exchange_id_res exchange;
	struct nfs_create_session_res session;
	struct nfs_fsattr root;

	nfs_client_ready_fn ready;
	void *ready_arg;
	void (*stopped)(void *arg);
	void *stopped_arg;
	char why[CLIENT_WHY_MAX];
};

static inline struct nfs_conn *client_first(const struct nfs_client *client)
{
	return client->conns[0];
}

/* client.c */
/* Feeds the machine and does what it says. First worker's thread. */
void client_event(struct nfs_client *client, const struct recovery_event *ev);
void client_kick_conns(struct nfs_client *client);
/* Between the backchannel and the owner's handlers; the argument is the client. */
extern const struct callback_ops client_callback_ops;

/*
 * client_mail.c: a mailbox. Any thread puts in what it wants or has seen; several of a kind count
 * as one. The first worker takes all of it at once, as events for the machine. nfs_client_start and
 * nfs_client_stop are here too.
 */
void client_session_lost(struct nfs_client *client, uint32_t generation, int status);
void client_seen_flags(struct nfs_client *client, uint32_t generation, uint32_t status_flags);
/* Another guest uses session `generation`: one of the two is a clone. */
void client_cloned(struct nfs_client *client, uint32_t generation);
/* Before connecting (again): whether the machine is still the one that it was. */
void client_check_machine(struct nfs_client *client);
void client_conn_drained(struct nfs_client *client);
void client_conn_closed(struct nfs_client *client);
/* The end of nfs_reclaim_ops.reclaim; the argument is the client. */
void client_reclaimed(void *arg, int err);
/* First worker's thread: the task that reads it. */
void client_read_mail(struct loop_task *task);

/* Writes its words for the log. 0 or -ENOMEM. */
int client_name_peer(struct nfs_client *client, const struct address *address);
/* A verifier that the server has not seen: it forgets what it holds for this client owner. */
int client_make_verifier(struct nfs_client *client);

/*
 * client_move.c: a file system that the server says to be elsewhere. Compounds that meet that wait
 * (move_await) for the owner to find out (nfs_move_ops.ask) and either end with NFS4ERR_MOVED, or
 * go to the server that the client then changes to.
 */
/* There may be something to ask about. First worker's thread. */
void client_move_consider(struct nfs_client *client);
/* Any thread: so that it is asked. */
void client_moved(struct nfs_client *client);
/* Takes the new address into use. */
void client_change_server(struct nfs_client *client);
/*
 * EXCHANGE_ID was answered. True: it is another server, which knows us from earlier, and must
 * forget that: to be sent once more.
 */
bool client_meet_server(struct nfs_client *client, bool confirmed);
/* Who it is is known: `new_client` as RESULT has it. */
void client_met_server(struct nfs_client *client, bool new_client);
/* Where to connect to; returns the identity that goes with it. Any thread. */
uint32_t client_target(struct nfs_client *client, struct address *address);

/* client_step.c: each sends one RPC on the first connection; its RESULT follows. */
void client_step_exchange_id(struct nfs_client *client);
void client_step_create_session(struct nfs_client *client);
void client_step_destroy_session(struct nfs_client *client);
void client_step_destroy_clientid(struct nfs_client *client);
void client_step_reclaim_complete(struct nfs_client *client);
/* Has the lease renewed by a probe when nothing else did; sets its timer anew. */
void client_step_renew(struct nfs_client *client);

/* client_why.c: what made the start fail, as a sentence in client->why; returns -errno. */
int client_why(struct nfs_client *client);

#endif
