/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_NFS41_COMPOUND_H
#define VSOCKFS_NFS41_COMPOUND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "nfs41/slot.h"
#include "nfs41/types.h"
#include "rpc/conn.h"
#include "util/buf.h"
#include "util/loop.h"
#include "util/wire.h"

/*
 * A COMPOUND (RFC 8881, 16.2): operations are appended with the functions of op.h, it is sent
 * on a worker's connection (conn.h puts SEQUENCE in front of it and finds a slot), and its results
 * are decoded and checked as a whole before its `done` is called. The encoded request is kept until
 * the reply, so that it can be sent again unchanged but for slot, sequence and xid.
 *
 * A compound belongs to one worker's thread. Its owner frees it, in or after `done`.
 */

struct nfs_conn;
struct nfs_compound;

#define NFS_COMPOUND_OPS  16   /* operations without an allocation for more */
#define NFS_COMPOUND_HEAD 8192 /* bytes of encoded arguments, payload not counted */

/*
 * Where COMPOUND4args (RFC 8881, 16.2.1) has what is filled in at sending: offsets into `head`.
 * The tag is always empty. SEQUENCE is its opcode, sessionid, sequence, slot, highest slot and
 * cachethis; the first operation follows it, or takes its place when there is none.
 */
#define NFS_COMPOUND_MINOR_AT	 4
#define NFS_COMPOUND_COUNT_AT	 8
#define NFS_COMPOUND_SEQUENCE_AT 12
#define NFS_COMPOUND_FIRST_AT	 48

struct nfs_op_slot;

/*
 * Decodes the body of one operation's result. Writes `res` only when all of the body is good; a
 * NULL `res` means check only. Called with NFS4_OK, or with an error for those operations whose
 * errors carry a body.
 */
typedef void (*nfs_decode_fn)(
	struct wire_in *in, uint32_t status, const struct nfs_op_slot *slot, void *res);

/* One operation as asked, and what its result is checked against. */
struct nfs_op_slot {
	uint32_t op;
	uint32_t limit;		/* most bytes of data or entries that may come back */
	nfs_decode_fn decode;	/* NULL: the result has no body */
	void *res;		/* NULL: not wanted */
	void *error_res;	/* the same for an error that has a body */
	struct nfs_bitmap want; /* attributes that may come back */
	uint8_t *data;		/* READ: where the bytes go; NULL: to the start of `buf` */
	struct buf *buf;	/* what `data` lies in, or NULL */
	size_t sunk;		/* READ: bytes that were received at `data` directly */
};

struct nfs_compound {
	struct rpc_call call;
	struct nfs_conn *conn;
	struct rpc_cred *cred; /* a reference */
	void (*done)(struct nfs_compound *c);
	void *arg; /* the owner's */

	/*
	 * Outcome, when `done` is called: 0; -errno for a local failure (-EIO or -ETIMEDOUT of a
	 * soft mount, -EINTR cancelled, -EOVERFLOW arguments too long for the compound, -EALREADY
	 * see `once`); nfsstat4 of the operation that failed. `ops_ok` operations, not counting
	 * SEQUENCE, succeeded and their results are in place.
	 */
	int status;
	unsigned ops_ok;

	/* how it was built */
	uint32_t label; /* the operation that statistics count it under */
	unsigned nops;
	struct nfs_op_slot *ops; /* inline_ops or allocated */
	struct wire_out out;	 /* arguments; the part after `payload_at` follows the payload */
	size_t payload_at;	 /* offset in `out`, SIZE_MAX without a payload */
	const uint8_t *payload;
	uint32_t payload_len;
	struct buf *payload_buf;
	size_t reply_size; /* largest legitimate results of its operations, bytes */
	bool sequenced;	   /* SEQUENCE in front */
	bool modifies;	   /* has an operation that must not be executed twice */
	bool has_read; /* has a READ, READDIR or READLINK: too long for a server's reply cache */
	bool overflow;
	bool privileged;  /* recovery's own: sent while others wait */
	bool optional;	  /* what it asks for can be had in another way: NFS4ERR_DELAY ends it */
	bool one_session; /* ends with -ESTALE rather than going into another session */
	/*
	 * It was under way when its session ended and was sent again in the next one: the server
	 * may have executed it before, so that EEXIST or ENOENT may be of its own making.
	 */
	bool replayed;
	/*
	 * It must not be executed a second time: in that case it is not sent again but ends with
	 * -EALREADY, and its owner finds out what has become of it.
	 */
	bool once;
	bool abandoned; /* nobody waits for it: freed when its reply has drained */

	/* private to the sender (call.c, reply.c) */
	struct nfs_compound_private {
		enum nfs_compound_place {
			NFS_COMPOUND_IDLE,    /* not sent yet, or done */
			NFS_COMPOUND_QUEUED,  /* waits for a slot */
			NFS_COMPOUND_UNREADY, /* waits for its user's security context */
			NFS_COMPOUND_SENT,
			NFS_COMPOUND_LENT,   /* sent, or about to be, by another worker */
			NFS_COMPOUND_HELD,   /* has a slot, waits for a connection */
			NFS_COMPOUND_MOVED,  /* waits to hear where its file system is */
			NFS_COMPOUND_PAUSED, /* will be sent again when the timer fires */
			NFS_COMPOUND_ENDING, /* `done` follows when the timer fires */
		} place;
		struct slot_grant grant;
		bool has_slot;
		bool owned;	/* its owner has yet to free it or to abandon it */
		bool delivered; /* `done` was called while the reply is still to come */
		bool listed;	/* in the worker's list of all that is under way */
		bool sent_once;
		bool uncertain;	      /* sent into a connection that ended: executed or not */
		bool stripped;	      /* only SEQUENCE is left of it */
		bool probe;	      /* see probe.c: in no list but that of the sent ones */
		bool moved_twice;     /* the file system was said to be elsewhere and then not */
		uint32_t moved_round; /* of asking, when that was said: see client_move.c */
		bool uncached;	      /* its reply is too big for the server's cache */
		unsigned delays;
		unsigned garbage, cuts; /* replies that did not come well, none good between */
		uint32_t cut_serial;	/* of the connection that ended the last time */
		uint64_t queued_at;	/* ns */
		struct loop_timer timer;
		TAILQ_ENTRY(nfs_compound) entry; /* in the list of its place */
		TAILQ_ENTRY(nfs_compound) all;
	} p;
	struct nfs_op_slot inline_ops[NFS_COMPOUND_OPS];
	uint8_t headroom[RPC_MSG_HEAD_MAX]; /* directly in front of `head` */
	uint8_t head[NFS_COMPOUND_HEAD];
};

/*
 * A compound to send on `conn` (NULL in unit tests of the encoding), with a reference to
 * `cred`. `label` is the OP_* it is counted under. NULL without memory. Sequenced unless
 * nfs_compound_unsequenced is called before the first operation.
 */
struct nfs_compound *nfs_compound_new(struct nfs_conn *conn, struct rpc_cred *cred, uint32_t label);
void nfs_compound_unsequenced(struct nfs_compound *c);
/*
 * NULL is allowed. One whose `done` was called may be freed even where its reply is still to come
 * (a soft mount's timeout): it then goes when that has drained. Before `done`, this is
 * nfs_compound_abandon.
 */
void nfs_compound_free(struct nfs_compound *c);

/* Sends it, or queues it for a slot. `done` is called once, later, on the worker's thread. */
void nfs_compound_send(struct nfs_compound *c, void (*done)(struct nfs_compound *c), void *arg);
/*
 * The owner no longer waits: `done` will not be called, result places will not be written, the
 * compound frees itself when it may. Whether it was executed remains unknown, so an owner that
 * would have something to undo waits for the end instead.
 */
void nfs_compound_abandon(struct nfs_compound *c);

/* The outcome as 0 or -errno; nfsstat4 mapped once, here (error.c). */
int nfs_compound_errno(const struct nfs_compound *c);

/* Whether to ask the server to keep the reply for a retransmission (sa_cachethis). */
static inline bool nfs_compound_cachethis(const struct nfs_compound *c)
{
	return c->modifies && !c->has_read;
}

/*
 * For op.h: opens the arguments of the operation described by `slot`, which is copied (with a
 * reference to its `buf`). The result needs at most `res_size` bytes after opcode and status.
 */
struct wire_out *nfs_compound_op(
	struct nfs_compound *c, const struct nfs_op_slot *slot, size_t res_size);
/*
 * Puts `len` bytes at `data` and their padding into the arguments by reference, once per
 * compound. `buf` gets a reference; NULL: the memory outlives the compound.
 */
void nfs_compound_payload(
	struct nfs_compound *c, struct buf *buf, const uint8_t *data, uint32_t len);

/*
 * For the sender. Completes the arguments: the count of operations and, in c->call, program,
 * credentials, iovecs, max_reply and the sink for a last READ's data. 0, or -EOVERFLOW. May be
 * called again before it is sent again.
 */
int nfs_compound_finish(struct nfs_compound *c);
/* For the sender: as rpc_call's without_data, of this compound's reply. */
size_t nfs_compound_without_data(
	const struct nfs_compound *c, const uint8_t *data, size_t len, size_t body);
/*
 * For the sender, at each sending: the minor version, and SEQUENCE's arguments, which an
 * unsequenced compound ignores (sessionid may then be NULL).
 */
void nfs_compound_patch_sequence(struct nfs_compound *c, uint32_t minor,
	const uint8_t sessionid[NFS4_SESSIONID_SIZE], uint32_t sequence, uint32_t slot,
	uint32_t highest, bool cachethis);

/*
 * For the sender: whether all operations before the one that failed may be executed again, so that
 * NFS4ERR_DELAY can be answered by sending the whole once more.
 */
bool nfs_compound_may_repeat(const struct nfs_compound *c);
/*
 * For the sender: drops all operations but SEQUENCE. Sent in place of an
 * abandoned compound, it finds out whether the slot's sequence id was used up, without making the
 * server execute what nobody wants any more.
 */
void nfs_compound_strip(struct nfs_compound *c);

/* SEQUENCE4resok; what identifies the slot was checked against what was sent. */
struct nfs_sequence_res {
	uint8_t sessionid[NFS4_SESSIONID_SIZE];
	uint32_t sequence, slot, highest_slot, target_highest_slot, status_flags;
	uint32_t status; /* nfsstat4 of SEQUENCE, or of the COMPOUND if it was refused as a whole */
};
/*
 * Decodes COMPOUND4res from `data` for the operations of `c`. `sink_len` bytes at the end of
 * it were received at a last READ's data (its padding may be in `data` or not). SEQUENCE's result
 * goes to `seq`, which may be NULL. Result places of an abandoned compound are left alone.
 * Returns 0 with c->status and c->ops_ok set, or -EPROTO for results that do not answer what
 * was asked.
 */
int nfs_compound_decode(struct nfs_compound *c, const uint8_t *data, size_t len, size_t sink_len,
	struct nfs_sequence_res *seq);
/* The same for a stripped one: looks at SEQUENCE alone, since the server may answer with the cached
 * reply to what was there before. */
int nfs_compound_decode_stripped(
	struct nfs_compound *c, const uint8_t *data, size_t len, struct nfs_sequence_res *seq);

#endif
