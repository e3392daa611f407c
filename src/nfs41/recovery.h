/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_NFS41_RECOVERY_H
#define VSOCKFS_NFS41_RECOVERY_H

#include <stdbool.h>
#include <stdint.h>

/*
 * The life of client id and session as a pure state machine (RFC 8881, 8.4 and 2.10): events go in
 * with the time, actions come out, and whoever drives it (client.c) does the I/O. A first
 * start that fails is final; once a session has stood, every failure is tried again for ever.
 *
 *   IDLE -START-> EXCHANGE -> CREATE -> COMPLETE -> READY
 *   IDLE -START to resume-> EXCHANGE -> DISCARD (its session) -> CREATE -> COMPLETE -> READY
 *   READY -LOST-> CREATE (session gone), EXCHANGE (client id gone) or DISCARD (session unusable)
 *   CREATE -> RECLAIM -> COMPLETE -> READY   when the client id is a new one
 *   CREATE -> RECLAIM -> COMPLETE -> RECLAIM -> READY   when the server has no grace for all of it
 *   any -CLONED-> EXCHANGE (as somebody else) -> CREATE -> COMPLETE -> RECLAIM -> READY
 *   READY -MOVED-> DISCARD -> EXCHANGE (with another server) -> CREATE -> ...
 *   READY -STOP, DRAINED-> DESTROY_SESSION -> DESTROY_CLIENTID -> CLOSING -CLOSED-> IDLE
 */
enum recovery_state {
	RECOVERY_IDLE,		   /* not started, failed, or stopped */
	RECOVERY_EXCHANGE,	   /* EXCHANGE_ID */
	RECOVERY_CREATE,	   /* CREATE_SESSION */
	RECOVERY_RECLAIM,	   /* opens and locks are made anew */
	RECOVERY_COMPLETE,	   /* RECLAIM_COMPLETE */
	RECOVERY_READY,		   /* compounds flow */
	RECOVERY_DISCARD,	   /* DESTROY_SESSION, to make another, here or elsewhere */
	RECOVERY_DESTROY_SESSION,  /* the last one */
	RECOVERY_DESTROY_CLIENTID, /* the last one */
	RECOVERY_CLOSING,	   /* connections end */
};

enum recovery_event_type {
	RECOVERY_EV_START,     /* `timeout` ns for all of it; `resume` */
	RECOVERY_EV_UP,	       /* the first worker is connected */
	RECOVERY_EV_DOWN,      /* it is not, or no longer; status: -errno */
	RECOVERY_EV_RESULT,    /* of the RPC that state `step` asked for */
	RECOVERY_EV_RECLAIMED, /* status: 0, everything as far as it could be; -EAGAIN: the rest
				  without grace; -ESTALE: once more, the session went away */
	RECOVERY_EV_LOST,      /* session `generation` ended, as `status` (nfsstat4) says */
	RECOVERY_EV_CLONED,    /* session `generation` (0: whichever there is) and its client id are
				  another guest's: they must not be touched any more */
	RECOVERY_EV_MOVED,     /* everything goes on with another server */
	RECOVERY_EV_REVOKED,   /* the session goes on without state; `grace`: it may be reclaimed */
	RECOVERY_EV_TIME,      /* the deadline has come */
	RECOVERY_EV_STOP,      /* `timeout` ns for all of it */
	RECOVERY_EV_DRAINED,   /* no compound is under way any more */
	RECOVERY_EV_CLOSED,    /* no connection is left */
};

struct recovery_event {
	enum recovery_event_type type;
	enum recovery_state step; /* RESULT */
	int status; /* 0, -errno (-ECONNRESET: sent into a connection that ended; -ESTALE: into a
		       session that was replaced), or nfsstat4 */
	bool new_client;     /* EXCHANGE_ID: not the client id that was had before */
	uint32_t generation; /* CREATE_SESSION: the new session's; LOST, CLONED: the old one's */
	bool grace;
	uint64_t timeout; /* ns */
	bool resume;	  /* START: client id and session of a process that died are taken over */
};

/* What is to be done, in this order. */
#define RECOVERY_DO_HOLD	     0x0001 /* keep compounds back */
#define RECOVERY_DO_CONNECT	     0x0002
#define RECOVERY_DO_EXCHANGE_ID	     0x0004 /* with recovery.minor */
#define RECOVERY_DO_DESTROY_SESSION  0x0008
#define RECOVERY_DO_CREATE_SESSION   0x0010
#define RECOVERY_DO_RECLAIM	     0x0020 /* with recovery.grace; RECLAIMED follows */
#define RECOVERY_DO_RECLAIM_COMPLETE 0x0040
#define RECOVERY_DO_FLOW	     0x0080 /* let compounds go */
#define RECOVERY_DO_READY	     0x0100 /* tell the owner, once */
#define RECOVERY_DO_DRAIN	     0x0200 /* DRAINED follows when nothing is under way */
#define RECOVERY_DO_DESTROY_CLIENTID 0x0400
#define RECOVERY_DO_CLOSE	     0x0800 /* CLOSED follows */
#define RECOVERY_DO_FAILED	     0x1000 /* tell the owner: recovery.status, recovery.failed_in */
#define RECOVERY_DO_STOPPED	     0x2000 /* tell the owner */
/* Comes with HOLD, before what follows it: another client owner, and no connection that belonged to
 * the old one; UP follows. */
#define RECOVERY_DO_BECOME_OTHER 0x4000
/* The same for another server. */
#define RECOVERY_DO_CHANGE_SERVER 0x8000

struct recovery {
	enum recovery_state state;
	unsigned minor;
	bool minor_fixed; /* no other minor version may be tried */
	bool first;	  /* no session has stood yet */
	bool resume;	  /* until then: there is state to keep, or to reclaim */
	bool connected;
	bool issued;	 /* the state's RPC is under way */
	bool exchanged;	 /* EXCHANGE_ID has gone well since the session ended */
	bool reclaim;	 /* state is to be reclaimed before READY */
	bool grace;	 /* the server may accept reclaims */
	bool reclaiming; /* RECLAIMED will come */
	bool completed;	 /* RECLAIM_COMPLETE was accepted for this client id */
	bool cloned;	 /* nothing can be reclaimed: it is another's */
	bool leaving;	 /* the server is to be changed after this */
	bool stopping, drained;
	uint32_t generation;
	int status; /* of the failure */
	enum recovery_state failed_in;
	uint64_t retry_at, delay, ready_at; /* ns */
	uint64_t leave_at;		    /* if `leaving`, whatever the server says */
	uint64_t deadline;		    /* of start or stop */
};

/* minor: 1 or 2 alone, -1: 2, then 1. */
void recovery_init(struct recovery *r, int minor);
/* Returns a union of RECOVERY_DO_*. */
unsigned recovery_event(struct recovery *r, const struct recovery_event *ev, uint64_t now);
/* When RECOVERY_EV_TIME is due; UINT64_MAX: not at all. */
uint64_t recovery_deadline(const struct recovery *r);

#endif
