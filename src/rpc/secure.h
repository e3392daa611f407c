/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_RPC_SECURE_H
#define VSOCKFS_RPC_SECURE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "rpc/msg.h"
#include "vsock/stream.h"

/*
 * What comes first on a connection of RPC-with-TLS (RFC 9289, 4.1): a NULL call with AUTH_TLS asks,
 * in plain text, whether the server speaks TLS; if it says so the handshake follows. Private to
 * src/rpc.
 */

#define RPC_SECURE_REPLY_MAX 128 /* bytes, with the record mark */

struct rpc_secure {
	const struct tls_context *context;
	struct rpc_msg_call msg;
	uint64_t timeout_ns; /* for all of it, 0: for ever */
	bool asked;	     /* the question has left */
	struct stream_msg out;
	uint8_t call[RPC_MSG_HEAD_MAX];
	uint8_t reply[RPC_SECURE_REPLY_MAX];
	size_t got;
};

/* On a stream that has connected: asks. 0 or -ENOMEM. `secure` stays until the stream is gone. */
int rpc_secure_begin(struct rpc_secure *secure, struct stream *stream);

/*
 * The stream has received `result` (as stream_ops.received). 0: the answer is yes, and the
 * handshake has begun; -EAGAIN: more has to come; or -errno, with *why for people or NULL:
 * -EKEYREJECTED where the server has no TLS.
 */
int rpc_secure_received(
	struct rpc_secure *secure, struct stream *stream, ssize_t result, const char **why);

#endif
