/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_RPC_GSS_LINK_H
#define VSOCKFS_RPC_GSS_LINK_H

#include <stddef.h>
#include <stdint.h>

/*
 * The conversation with the process that has the right to use keytabs and users' tickets. For each
 * context it is sent a request and one end of a socket pair (SOCK_SEQPACKET) through its own
 * socket, of the same kind. On the pair it sends tokens for the server and is sent the server's,
 * until it says what has become of the context; then it closes the pair.
 */

#define RPC_GSS_TOKEN_MAX 65536

struct rpc_gss_request {
	uint32_t uid;
};

enum rpc_gss_what {
	RPC_GSS_TOKEN, /* both ways: for the other side's gss_init_sec_context or its like */
	RPC_GSS_READY, /* an exported security context */
	RPC_GSS_FAILED /* a text for the log, no NUL */
};

/* One message: this, and bytes behind it. */
struct rpc_gss_message {
	uint32_t what;
	int32_t err;	   /* RPC_GSS_FAILED: -EACCES, -EKEYEXPIRED */
	uint32_t lifetime; /* RPC_GSS_READY: seconds */
};

#endif
