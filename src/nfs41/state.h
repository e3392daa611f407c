/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_NFS41_STATE_H
#define VSOCKFS_NFS41_STATE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "nfs41/types.h"
#include "rpc/cred.h"

/*
 * What the server holds for us: opens (share reservations) and byte-range locks (RFC 8881, 8 and
 * 9). Each open(2) has an open-owner of its own, so that opens of one file never share a stateid
 * and close independently. Each (file, FUSE lock owner) pair that ever locked has a lock-owner,
 * whose lock stateid hangs on the open that it locked through first. Any thread; the mutex inside
 * is never held across an RPC.
 */

struct nfs_state;

/* One OPEN. `access`, `owner`, `cred` and `fh` never change; the stateid does when it is reclaimed.
 */
struct nfs_open {
	struct nfs_fh fh;
	uint32_t access; /* OPEN4_SHARE_ACCESS_READ | _WRITE */
	uint64_t owner;
	struct rpc_cred *cred; /* of the process that opened */
	/* under the mutex of nfs_state */
	struct nfs_stateid stateid;
	LIST_ENTRY(nfs_open) entry;
};

/* The lock-owner of one process (or open file description) on one file. */
struct nfs_lock {
	uint64_t fuse_owner; /* as the kernel names it */
	uint64_t owner;	     /* as the server knows it */
	/* under the mutex of nfs_state */
	struct nfs_open *open; /* NULL: that open is closed, and the lock stateid with it */
	struct nfs_stateid stateid;
	bool established; /* the server has given a lock stateid */
	unsigned refs;
	LIST_ENTRY(nfs_lock) entry;
};

int nfs_state_new(struct nfs_state **state);
/* Forgets what is left; the server drops it with the client id. NULL is allowed. */
void nfs_state_free(struct nfs_state *state);

/* Records a granted OPEN. A reference to `cred` is taken. NULL without memory. */
struct nfs_open *nfs_open_new(struct nfs_state *state, const struct nfs_fh *fh, uint32_t access,
	uint64_t owner, struct rpc_cred *cred, const struct nfs_stateid *stateid);
/* Takes it off the record, once CLOSE was sent: it is not reclaimed any more. Its locks go with it.
 */
void nfs_open_free(struct nfs_state *state, struct nfs_open *open);
struct nfs_stateid nfs_open_stateid(struct nfs_state *state, const struct nfs_open *open);

/*
 * The lock-owner of `fuse_owner` on the file of `open`, with a reference; one numbered `new_owner`
 * is made when there is none. NULL without memory.
 */
struct nfs_lock *nfs_lock_get(
	struct nfs_state *state, struct nfs_open *open, uint64_t fuse_owner, uint64_t new_owner);
/* The same if it exists and the server gave it a stateid, or NULL. */
struct nfs_lock *nfs_lock_find(
	struct nfs_state *state, const struct nfs_fh *fh, uint64_t fuse_owner);
void nfs_lock_unref(struct nfs_state *state, struct nfs_lock *lock); /* NULL is allowed */
/* The lock stateid, if the server gave one. */
bool nfs_lock_stateid(
	struct nfs_state *state, const struct nfs_lock *lock, struct nfs_stateid *out);
/* After LOCK or LOCKU. */
void nfs_lock_granted(
	struct nfs_state *state, struct nfs_lock *lock, const struct nfs_stateid *stateid);

/* Opens on record, for statistics. */
unsigned nfs_state_opens(struct nfs_state *state);

#endif
