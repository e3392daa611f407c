/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_NFS41_RECLAIM_H
#define VSOCKFS_NFS41_RECLAIM_H

#include <stdbool.h>
#include <sys/queue.h>

#include "nfs41/client.h"
#include "nfs41/state.h"
#include "util/loop.h"

/*
 * Opens and locks are made anew when the server has lost them (RFC 8881, 8.4 and 9.3): all of them
 * when the client id is gone, and single ones when the server refuses a stateid. For each open:
 *
 *   TEST_OPEN -> (FREE_OPEN ->) OPEN -> then for each of its lock-owners
 *   TEST_LOCK -> (FREE_LOCK ->) LOCK, range after range
 *
 * TEST_* ask for what may still stand, and are left out where it cannot. OPEN is CLAIM_PREVIOUS in
 * the grace period, else CLAIM_FH. LOCK is a reclaim always: a lock that cannot be reclaimed is
 * lost, since another client may have held it meanwhile (as with the kernel's client and its
 * recover_lost_locks=0). An open that was closed meanwhile ends in CLOSE.
 */

struct reclaim;

struct reclaim_config {
	struct nfs_state *state;
	/*
	 * The file cannot be opened again (`err`: -EIO or -ESTALE), or (`lock`) a lock on it is
	 * lost. On the thread of some worker.
	 */
	void (*lost)(void *arg, const struct nfs_fh *fh, bool lock, int err);
	void *arg;
};

int reclaim_new(const struct reclaim_config *config, struct reclaim **reclaim);
/* NULL is allowed. */
void reclaim_free(struct reclaim *reclaim);

/* For nfs_client_set_reclaim, with the reclaim as argument. */
extern const struct nfs_reclaim_ops reclaim_ops;

/*
 * One request's use of a stateid. Zero-initialised; lives at least until its request has ended, and
 * belongs to its worker's thread.
 */
struct reclaim_use {
	struct nfs_open *open;
	struct nfs_lock *lock; /* NULL: the open's stateid is in use */
	struct nfs_stateid stateid;
	/* private */
	unsigned tries;
	bool newest; /* the server has a later seqid than is on record */
	void (*again)(struct reclaim_use *use);
	struct loop *loop;
	struct loop_task task;
	LIST_ENTRY(reclaim_use) entry;
};

/* Puts the open's stateid into use->stateid: 0 or -errno, as nfs_open_use. */
int reclaim_use_open(struct reclaim *reclaim, struct reclaim_use *use, struct nfs_open *open);
/*
 * For LOCK: the lock's stateid, and true, or while there is none that of `open`, which is
 * nfs_lock_open's. For LOCKU: `unlock`, and false when nothing is to be asked of the server.
 */
bool reclaim_use_lock(struct reclaim *reclaim, struct reclaim_use *use, struct nfs_open *open,
	struct nfs_lock *lock, bool unlock);

/*
 * A compound with use->stateid ended with `status`. True: that stateid is dead, and `again` will be
 * called, perhaps at once, when another is on record or nothing more can be done about it. False:
 * something else was wrong, or it was tried often enough.
 */
bool reclaim_refused(struct reclaim *reclaim, struct reclaim_use *use, struct nfs_conn *conn,
	int status, void (*again)(struct reclaim_use *use));

#endif
