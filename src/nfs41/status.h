/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_NFS41_STATUS_H
#define VSOCKFS_NFS41_STATUS_H

#include <stdbool.h>
#include <stdint.h>

#include "nfs41/client.h"
#include "nfs41/state.h"

/* How client and connections are at the moment, for people. */

struct nfs_conn_status {
	const char *state;	/* one word */
	bool lending;		/* others send for it */
	uint32_t serial;	/* connections so far, failed ones included */
	unsigned sent, waiting; /* compounds: not answered; without a slot or a connection */
	uint64_t oldest_ns;	/* age of the oldest compound; 0: there is none */
	uint64_t silence_ns;	/* as nfs_conn_silence */
};

struct nfs_client_status {
	const char *state; /* one word: of recovery.h */
	char owner[NFS_CLIENT_OWNER_MAX];
	char server_owner[128], server_impl[128];
	uint64_t clientid;
	uint8_t sessionid[NFS4_SESSIONID_SIZE];
	uint32_t sessions; /* so far */
	bool alive;	   /* the last one is usable */
	uint32_t slots, slots_busy;
	uint64_t renewed_ns; /* age of the last renewal of the lease */
	struct nfs_limits limits;
};

/* On the connection's thread. */
void nfs_conn_status(const struct nfs_conn *conn, struct nfs_conn_status *status);
/* On the first connection's thread. */
void nfs_client_status(struct nfs_client *client, struct nfs_client_status *status);

/* What is on record; any thread. */
struct nfs_state_status {
	unsigned opens, local_opens, stale_opens;
	unsigned lock_owners, ranges, stale_locks, lost_locks;
};
void nfs_state_status(struct nfs_state *state, struct nfs_state_status *status);

/* What recovery.h calls it, as one word. */
const char *nfs_recovery_name(unsigned state);

#endif
