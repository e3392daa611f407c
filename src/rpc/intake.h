/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_RPC_INTAKE_H
#define VSOCKFS_RPC_INTAKE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "rpc/conn.h"
#include "rpc/msg.h"
#include "rpc/record.h"

/*
 * The receiving half of a connection, without I/O: says where the next bytes are to be received,
 * takes them, and hands out whole messages. Private to src/rpc.
 *
 * Records that lie whole in the receive buffer are handed out where they are. Of others the part
 * that came is moved out of it, and the rest is received where it stays: a payload in its
 * sink, anything else in a buffer that the call's max_reply bounds. So at most one receive buffer
 * of a payload is copied: 0.5 us for RPC_INTAKE_BUFFER bytes, less than a receive of the header
 * alone would add to every small reply. Behind a payload that was received directly the next
 * receive is short, since in a run of READs it would bring payload again.
 */

#define RPC_INTAKE_BUFFER 16384
#define RPC_INTAKE_SHORT  1024
/* A shorter rest of a record comes through the receive buffer, with what follows it. */
#define RPC_INTAKE_DIRECT_MIN 2048
/* The kept part's buffer stays allocated up to this size. */
#define RPC_INTAKE_KEEP_MAX 65536

/*
 * Both functions that deliver return 0, -EPROTO when the message is garbage, or another negative
 * value to stop at once (the connection is being closed).
 */
struct rpc_intake_ops {
	/* The call outstanding under `xid`, or NULL. */
	struct rpc_call *(*find)(void *arg, uint32_t xid);
	/* The reply to `call`, with results `data[0..len)` and `sink_len` bytes in its sink, or
	 * with header->error when it was rejected; `wire_len` bytes with record marks. */
	int (*replied)(void *arg, struct rpc_call *call, const struct rpc_msg_header *header,
		const uint8_t *data, size_t len, size_t sink_len, size_t wire_len);
	/* A call with arguments `data[0..len)`. */
	int (*called)(void *arg, const struct rpc_msg_call *msg, const uint8_t *data, size_t len);
};

enum rpc_intake_mode {
	RPC_INTAKE_HEADER, /* the RPC header is not complete */
	RPC_INTAKE_ASK,	   /* the call's `sink` wants to see more */
	RPC_INTAKE_KEEP,   /* the whole record is kept */
	RPC_INTAKE_SINK,   /* the rest is payload */
};

struct rpc_intake {
	const struct rpc_intake_ops *ops;
	void *arg;
	size_t max_call, max_record;
	struct record_parser parser;

	/* the record under way */
	enum rpc_intake_mode mode;
	enum rpc_msg_kind kind;
	struct rpc_msg_header header;
	struct rpc_call *call;
	struct rpc_call *culprit; /* after -EPROTO: the call whose reply it was, if its owner does
				     not know yet */
	size_t ask_at;		  /* ask `sink` again from this length on */
	struct rpc_sink sink;
	size_t sunk, padding; /* bytes of payload, and behind it */
	size_t wire_len;      /* bytes with record marks */
	uint8_t *kept;	      /* what was moved out of `buffer` */
	size_t kept_len, kept_cap;
	const uint8_t *whole; /* the kept part where it lies in `buffer`; NULL: see `kept` */
	size_t whole_len;

	/* the receive under way */
	enum { RPC_INTAKE_TO_BUFFER, RPC_INTAKE_TO_KEPT, RPC_INTAKE_TO_SINK } target;
	bool direct; /* payload of this record was received directly */
	bool brief;  /* and that of the one before it */

	char why[96]; /* after -EPROTO or -ENOMEM: what was wrong */
	uint8_t buffer[RPC_INTAKE_BUFFER];
};

void rpc_intake_init(
	struct rpc_intake *in, size_t max_call, const struct rpc_intake_ops *ops, void *arg);
void rpc_intake_deinit(struct rpc_intake *in);

/* Lets records of `max_reply` bytes in; called before the reply can come. */
void rpc_intake_expect(struct rpc_intake *in, size_t max_reply);

/* Where to receive next, how much, and whether all of it. Valid until rpc_intake_got. */
uint8_t *rpc_intake_want(struct rpc_intake *in, size_t *len, bool *wait_all);

/*
 * `len` bytes came (not 0, not more than wanted). 0; -EPROTO after garbage and -ENOMEM, both with
 * in->why; or what stopped it. After an error nothing more may be fed.
 */
int rpc_intake_got(struct rpc_intake *in, size_t len);

/* Whether the stream may end here: no record is unfinished. */
bool rpc_intake_idle(const struct rpc_intake *in);

#endif
