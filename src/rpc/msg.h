/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_RPC_MSG_H
#define VSOCKFS_RPC_MSG_H

#include <stddef.h>
#include <stdint.h>

#include "rpc/cred.h"

/* Call and reply headers of ONC RPC version 2 (RFC 5531, section 9), encoded and decoded by
 * libtirpc. */

/* Largest call header, with its 4-byte record mark. */
#define RPC_MSG_HEAD_MAX (4 + 24 + RPC_CRED_WIRE_MAX)

struct rpc_msg_call {
	uint32_t xid, prog, vers, proc;
};

/*
 * Writes record mark (one last fragment) and call header so that they end just before
 * `body`, in the RPC_MSG_HEAD_MAX bytes of headroom in front of it. Returns where they start.
 * `body_len` is all that follows the header, in bytes, wherever it lies.
 */
uint8_t *rpc_msg_put_call(uint8_t *body, size_t body_len, const struct rpc_msg_call *call,
	const struct rpc_cred *cred);

enum rpc_msg_kind {
	RPC_MSG_CALL,
	RPC_MSG_REPLY,	  /* accepted, executed */
	RPC_MSG_REJECTED, /* a reply with any other outcome; see `error` */
	RPC_MSG_SHORT,	  /* the header goes beyond `len`: more bytes may complete it */
	RPC_MSG_BAD,	  /* not an RPC message */
};

struct rpc_msg_header {
	struct rpc_msg_call call; /* xid always; the rest for RPC_MSG_CALL */
	size_t body;		  /* offset of what follows the header */
	/* RPC_MSG_REJECTED: -EACCES auth error, -EPROTONOSUPPORT program or version, -EPROTO
	 * others */
	int error;
	const char *reason; /* RPC_MSG_REJECTED: constant words, such as "AUTH_TOOWEAK" */
	uint32_t auth_stat; /* with -EACCES, as the server said it */
	/* of an accepted reply: the verifier's flavor, and where its body lies in the record */
	uint32_t verf_flavor;
	size_t verf, verf_len;
};

/* Decodes the header at the start of a record of which `len` bytes are here. Never reads beyond. */
enum rpc_msg_kind rpc_msg_get(const uint8_t *data, size_t len, struct rpc_msg_header *header);

/* Writes record mark and an accepted reply's header with status `accept_stat` (0 is SUCCESS) in
 * front of `body`, in the same headroom. PROG_MISMATCH's versions are the body's matter. Returns
 * where it starts. */
uint8_t *rpc_msg_put_reply(uint8_t *body, size_t body_len, uint32_t xid, uint32_t accept_stat);

#endif
