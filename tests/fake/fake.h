/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_FAKE_FAKE_H
#define VSOCKFS_FAKE_FAKE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "nfs41/callback.h"
#include "nfs41/types.h"
#include "util/loop.h"
#include "util/wire.h"

/*
 * An NFSv4.1 server for tests, on the loop of the test itself. It keeps client ids, one session
 * with its reply cache and the binding of connections by the book; a script may answer any compound
 * otherwise. It knows the operations that the session layer uses, PUTROOTFH, GETATTR (lease_time,
 * change), LOOKUP, READ and REMOVE;
 * PUTFH, OPEN by filehandle, CLOSE, DELEGRETURN, GET_DIR_DELEGATION, without remembering anything
 * of them.
 */

#define FAKE_SLOTS    64
#define FAKE_OPS      16
#define FAKE_REPLY    8192
#define FAKE_CALLS    4096
#define FAKE_READ_MAX 2048

struct fake;

struct fake_conn {
	struct fake *fake;
	int fd;
	struct loop_poll poll;
	bool bound, dead;
	bool mute;     /* what comes is lost, and nothing is said about it */
	uint8_t *data; /* what was received and not yet answered */
	size_t len, cap;
	TAILQ_ENTRY(fake_conn) entry;
};

/* One call of the client, as decoded. */
struct fake_call {
	struct fake_conn *conn;
	uint32_t xid, prog, vers, proc, minor;
	uint32_t nops, op[FAKE_OPS]; /* SEQUENCE included */
	uint32_t count[FAKE_OPS];    /* READ: bytes asked for */
	bool sequenced;
	uint8_t sessionid[NFS4_SESSIONID_SIZE];
	uint32_t sequence, slot, highest;
	bool cachethis;
	uint64_t clientid;	  /* CREATE_SESSION, DESTROY_CLIENTID */
	uint32_t create_sequence; /* CREATE_SESSION */
	uint32_t fore[6], back[6], flags, cb_program;
	char owner[512];
	uint8_t verifier[NFS4_VERIFIER_SIZE];
	struct wire_in args; /* raw COMPOUND4args */
	/* by the script: this operation fails so */
	uint32_t fail_at;
	uint32_t fail_status; /* 0: none does */
};

/* The operation that a script may take it for; 0: a NULL call. */
static inline uint32_t fake_last_op(const struct fake_call *call)
{
	return call->nops > 0 && call->nops <= FAKE_OPS ? call->op[call->nops - 1] : 0;
}

static inline bool fake_is_probe(const struct fake_call *call)
{
	return call->sequenced && call->nops == 2 && call->op[1] == OP_PUTROOTFH;
}

enum fake_verdict {
	FAKE_NORMAL,
	FAKE_SILENT,	   /* neither executed nor answered */
	FAKE_EXECUTE_ONLY, /* executed, not answered */
	FAKE_CLOSE,	   /* the connection ends instead */
	FAKE_EXECUTE_CLOSE,
	FAKE_ANSWERED, /* the script has sent something */
};

typedef enum fake_verdict (*fake_script)(struct fake *fake, struct fake_call *call);

struct fake_slot {
	uint32_t sequence;
	bool cached;
	size_t reply_len;
	uint8_t reply[FAKE_REPLY];
};

struct fake {
	struct loop *loop;
	char path[108];
	int listen_fd;
	struct loop_poll listen_poll;
	TAILQ_HEAD(, fake_conn) conns;
	unsigned nconns;
	fake_script script; /* NULL: all as it should be */
	void *arg;

	/* may be set by tests */
	uint32_t minor_max;	/* 2 */
	uint32_t granted_slots; /* fewer than asked for */
	uint32_t target;	/* sr_target_highest_slotid; UINT32_MAX: all granted */
	uint32_t status_flags, lease;
	uint32_t max_request, max_response; /* granted at most */
	bool no_bind_op;		    /* BIND_CONN_TO_SESSION is not supported */
	bool strict_bind;		    /* SEQUENCE does not do what it does */
	bool refuse;			    /* connections are closed as soon as they come */
	uint32_t delegate;		    /* what each OPEN brings: OPEN_DELEGATE_*; one with
					       CLAIM_PREVIOUS if it asks for it */
	bool recall;			    /* it brings that at once */
	bool delegate_unasked;		    /* or without */
	const char *delegation;		    /* 12 bytes of its stateid, or NULL */
	bool refuse_dirs;		    /* GET_DIR_DELEGATION says that there is none */
	uint32_t open_rflags;		    /* OPEN4_RESULT_* of each OPEN */

	/* what it is */
	uint64_t clientid;
	bool clientid_known, clientid_confirmed, reclaim_completed, session_alive;
	uint8_t sessionid[NFS4_SESSIONID_SIZE];
	uint32_t slots, create_sequence;
	struct fake_slot slot[FAKE_SLOTS];
	size_t create_reply_len;
	uint8_t create_reply[512];

	/* what it saw */
	unsigned trailing;		  /* calls with bytes behind the last operation */
	uint32_t open_access, open_claim; /* of the last OPEN */
	uint32_t open_delegate;		  /* the type that it reclaims */
	unsigned accepted, sessions, replays, executed[NFS_OP_LIMIT], ncalls, pings, highest_used;
	uint64_t bytes_in, bytes_out; /* with record marks */
	struct fake_call last;
	struct fake_call_note {
		uint32_t xid, sequence, slot, highest, op;
		bool cachethis;
	} calls[FAKE_CALLS]; /* sequenced ones, ring; `op` is the last operation */
	unsigned nsequenced;
	struct fake_call_note probe; /* the last one; they are not among `calls` */
	unsigned probes;
	uint8_t cb_reply[2048]; /* RPC reply to the last fake_callback */
	size_t cb_reply_len;
	unsigned cb_replies;
};

int fake_start(struct fake *fake, struct loop *loop);
/* Runs the loop until nothing of it is left there. */
void fake_stop(struct fake *fake);

/* As if the server's machine were started anew: connections end, it knows nobody. */
void fake_restart(struct fake *fake);
/* The session ends; the client id stays. */
void fake_lose_session(struct fake *fake);
void fake_cut(struct fake *fake);
void fake_kill(struct fake_conn *conn);
/* As if another client had sent that many more requests in the slot, the last of which is the one
 * whose reply is given: cached, or with `len` 0 not cached. */
void fake_advance(struct fake *fake, uint32_t slot, uint32_t by, const void *reply, size_t len);
/* The present connections go on without end and without an answer, as those of a guest that was
 * restored from a snapshot. */
void fake_mute(struct fake *fake);

/* Sends one record with these bytes on a connection. */
void fake_send_record(struct fake_conn *conn, const void *data, size_t len);
void fake_send_raw(struct fake_conn *conn, const void *data, size_t len);
/* An accepted reply with results; and the beginning of one, for scripts that go on themselves. */
void fake_reply(struct fake_conn *conn, uint32_t xid, const void *results, size_t len);
void fake_put_reply_head(struct wire_out *out, uint32_t xid);
/* COMPOUND4res of a whole call, executed by the book. */
void fake_execute(struct fake *fake, struct fake_call *call, struct wire_out *out);
/* Calls the client on its oldest connection: CB_COMPOUND, or what is said. */
void fake_callback(struct fake *fake, uint32_t prog, uint32_t vers, uint32_t proc, const void *args,
	size_t len);

#endif
