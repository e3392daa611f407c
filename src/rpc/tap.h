/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_RPC_TAP_H
#define VSOCKFS_RPC_TAP_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

/*
 * Whoever wants to see the records of connections as they are sent and received (a packet capture).
 * While `on` is false a connection does nothing for it but look.
 */

#define RPC_TAP_IOV 5

/* One connection, as told apart in what is recorded. Belongs to its connection. */
struct rpc_tap_flow {
	unsigned index;	   /* of the worker */
	uint32_t number;   /* of the connection among all of the process; counts from 1 */
	uint64_t bytes[2]; /* seen so far, sent and received: for the tap to keep */
};

enum rpc_tap_event { RPC_TAP_UP, RPC_TAP_SENT, RPC_TAP_RECEIVED, RPC_TAP_DOWN };

struct rpc_tap_record {
	enum rpc_tap_event event;
	/* of a record, with its mark; of one that was received in fragments, as one fragment */
	struct iovec iov[RPC_TAP_IOV];
	unsigned niov;
	size_t open; /* bytes in front of a file's data: what follows is not for everybody */
};

struct rpc_tap {
	atomic_bool on;
	/* On the connection's thread; must not block. */
	void (*record)(struct rpc_tap *tap, struct rpc_tap_flow *flow,
		const struct rpc_tap_record *record);
};

static inline bool rpc_tap_on(const struct rpc_tap *tap)
{
	return tap && atomic_load_explicit(&tap->on, memory_order_relaxed);
}

#endif
