/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_NFS41_STATE_H
#define VSOCKFS_NFS41_STATE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "nfs41/range.h"
#include "nfs41/types.h"
#include "rpc/cred.h"

/*
 * What the server holds for us: opens (share reservations) and byte-range locks (RFC 8881, 8 and
 * 9). Each open(2) has an open-owner of its own, so that opens of one file never share a stateid
 * and close independently. Each (file, FUSE lock owner) pair that ever locked has a lock-owner,
 * whose lock stateid hangs on the open that it locked through first. By that open servers judge
 * each lock, so it is opened for more (nfs_open_widened) where the process has another open that
 * allows more. Any thread; the mutex inside is never held across an RPC.
 */

struct nfs_state;

/* One OPEN. `access`, `owner`, `cred`, `fh` and `notifies` never change; the stateid does when it
 * is reclaimed.
 */
struct nfs_open {
	struct nfs_fh fh;
	uint32_t access; /* OPEN4_SHARE_ACCESS_READ | _WRITE */
	uint64_t owner;
	struct rpc_cred *cred; /* of the process that opened */
	bool notifies;	       /* the server calls when a lock that was waited for is free */
	/* under the mutex of nfs_state */
	struct nfs_stateid stateid;
	uint32_t granted; /* what the server has it opened for: `access`, and what locks need */
	int err;	  /* lost for good: -EIO or -ESTALE; otherwise 0 */
	bool stale;	  /* the server does not hold it: to be opened again */
	bool ending;	  /* its file is released, and what was locked by it is being freed */
	bool closing;	  /* its file is closed, and it goes with the last lock on it */
	bool closed;	  /* off the record */
	bool local;	  /* the server does not know of it: the stateid is a delegation's */
	unsigned refs;
	uint32_t record; /* the journal's own */
	LIST_ENTRY(nfs_open) entry;
};

/* The lock-owner of one process (or open file description) on one file. */
struct nfs_lock {
	uint64_t fuse_owner; /* as the kernel names it */
	uint64_t owner;	     /* as the server knows it */
	/* under the mutex of nfs_state */
	struct nfs_open *open;	     /* NULL: that open is closed, and the lock stateid with it */
	const struct nfs_open *user; /* that it was taken by, last; NULL: which is closed */
	struct nfs_stateid stateid;
	struct range_set ranges;
	bool established; /* the server has given a lock stateid */
	bool stale;	  /* its ranges are to be reclaimed */
	bool lost;	  /* some of its ranges could not be */
	bool shared;	  /* the process locks by another open, too */
	bool visited;	  /* by the reclaim under way */
	unsigned refs;
	uint32_t record; /* the journal's own */
	LIST_ENTRY(nfs_lock) entry;
};

int nfs_state_new(struct nfs_state **state);
/* Forgets what is left; the server drops it with the client id. NULL is allowed. */
void nfs_state_free(struct nfs_state *state);

/*
 * For a process that may have to take over: hears of each change on record, under the mutex.
 * `gone`: off the record.
 */
struct nfs_state_journal {
	void (*open)(void *arg, struct nfs_open *open, bool gone);
	void (*lock)(void *arg, struct nfs_lock *lock, bool gone);
};
void nfs_state_set_journal(
	struct nfs_state *state, const struct nfs_state_journal *journal, void *arg);
/* A lock of another process, on record without being told of; with room for one range more. NULL
 * without memory. */
struct nfs_lock *nfs_lock_restore(struct nfs_state *state, struct nfs_open *open,
	uint64_t fuse_owner, uint64_t owner, const struct range *ranges, unsigned count);

/* Records a granted OPEN. A reference to `cred` is taken. NULL without memory. */
struct nfs_open *nfs_open_new(struct nfs_state *state, const struct nfs_fh *fh, uint32_t access,
	uint64_t owner, struct rpc_cred *cred, const struct nfs_stateid *stateid);
/*
 * Takes it off the record, with its locks: it is not reclaimed any more. True: CLOSE is to be sent,
 * with *stateid. The reference that nfs_open_new gave remains, until nfs_open_forget takes it when
 * that has been answered: the journal hears no sooner that it is gone.
 */
bool nfs_open_close(struct nfs_state *state, struct nfs_open *open, struct nfs_stateid *stateid);
void nfs_open_forget(struct nfs_state *state, struct nfs_open *open);
/*
 * To be asked before: a process may hold, or be about to get, a lock by this open while it has
 * another of the file. True: nfs_lock_unref will have `closer` called for it, with nothing locked.
 */
bool nfs_open_close_later(struct nfs_state *state, struct nfs_open *open);
void nfs_state_set_closer(
	struct nfs_state *state, void (*closer)(void *arg, struct nfs_open *open_take), void *arg);
/* It is one under a delegation: see deleg.h. */
bool nfs_open_is_local(struct nfs_state *state, const struct nfs_open *open);
struct nfs_open *nfs_open_ref(struct nfs_state *state, struct nfs_open *open);
void nfs_open_unref(struct nfs_state *state, struct nfs_open *open);
struct nfs_stateid nfs_open_stateid(struct nfs_state *state, const struct nfs_open *open);
/* The server does not have it opened for all of `access`. */
bool nfs_open_lacks(struct nfs_state *state, const struct nfs_open *open, uint32_t access);
/* OPEN by its owner for `access`, when it was open already, has brought `stateid`. */
void nfs_open_widened(struct nfs_state *state, struct nfs_open *open, uint32_t access,
	const struct nfs_stateid *stateid);
/*
 * The stateid for I/O: 0, or -errno when the open is lost, or (-EIO) when a lock is that hangs on
 * it, or was taken by it last, until that is unlocked.
 */
int nfs_open_use(struct nfs_state *state, const struct nfs_open *open, struct nfs_stateid *out);

/* Whose locks are meant: flock(2)'s are those of an open, and of no other that the kernel calls by
 * the same number later; fcntl(2)'s are a process's, by whichever of its opens of the file. */
enum nfs_lock_scope { NFS_LOCK_OF_OPEN, NFS_LOCK_OF_PROCESS };
/*
 * The lock-owner of `fuse_owner` on the file of `open`, with a reference: that which has locks, or
 * is about to, or the open's own, made as `new_owner` when there is none. NULL without memory.
 */
struct nfs_lock *nfs_lock_get(struct nfs_state *state, struct nfs_open *open, uint64_t fuse_owner,
	enum nfs_lock_scope scope, uint64_t new_owner);
/* The same if it holds, or has lost, something; or NULL. */
struct nfs_lock *nfs_lock_find(struct nfs_state *state, const struct nfs_open *open,
	uint64_t fuse_owner, enum nfs_lock_scope scope);
void nfs_lock_unref(struct nfs_state *state, struct nfs_lock *lock); /* NULL is allowed */
/* The open that its lock stateid hangs on, or will: on record as long as the caller has its
 * reference of the lock, whichever open it got that by. NULL: it was closed before. */
struct nfs_open *nfs_lock_open(struct nfs_state *state, const struct nfs_lock *lock);
/*
 * The file of the open is released: what is still locked by it is to be freed, and no lock-owner of
 * it is anybody's any more, though the kernel may call another one by the same number already. A
 * lock-owner that locked by it last and has ranges, with a reference, or NULL.
 */
struct nfs_lock *nfs_open_end(struct nfs_state *state, struct nfs_open *open);
/* What the process has locked on the file it has locked by another open last, which is for reading:
 * that may have been released meanwhile. */
bool nfs_lock_may_end(struct nfs_state *state, const struct nfs_open *open, uint64_t fuse_owner);
/* What the lock-owner that the server knows as `owner` has locked: */
enum nfs_lock_end {
	NFS_LOCK_STANDS,
	NFS_LOCK_ENDING, /* its open is released, and frees it */
	NFS_LOCK_ENDED,	 /* it has nothing, or there is none such */
};
enum nfs_lock_end nfs_lock_end(struct nfs_state *state, uint64_t owner);
/* Room to record one change, for every reference that there is now. 0 or -ENOLCK. */
int nfs_lock_reserve(struct nfs_state *state, struct nfs_lock *lock);
/* The lock stateid, if the server gave one. */
bool nfs_lock_stateid(
	struct nfs_state *state, const struct nfs_lock *lock, struct nfs_stateid *out);
/* The stateid to unlock with. False: the server holds nothing of it. */
bool nfs_lock_held(struct nfs_state *state, const struct nfs_lock *lock, struct nfs_stateid *out);
bool nfs_lock_is_lost(struct nfs_state *state, const struct nfs_lock *lock);
/* After LOCK or LOCKU (RANGE_FREE) of `range`. `stateid` NULL: only we knew of it. */
void nfs_lock_changed(struct nfs_state *state, struct nfs_lock *lock,
	const struct nfs_stateid *stateid, const struct range *range);

/*
 * For reclaim.h, in state_round.c: steps through all opens on record. nfs_state_rewind begins a
 * round; with `stale`, everything counts as gone from the server (delegations: as deleg_lapse_all
 * says). nfs_state_next gives the next open of the round that is not lost, with a reference, or
 * NULL.
 */
void nfs_state_rewind(struct nfs_state *state, bool stale);
struct nfs_open *nfs_state_next(struct nfs_state *state);
/* True while opens or locks are stale. */
bool nfs_state_has_stale(struct nfs_state *state);
/* Everything about the open is to be made anew: it is stale, and its locks are. */
void nfs_open_gone(struct nfs_state *state, struct nfs_open *open);
/* It was opened again. False: it was closed meanwhile, so that the stateid has to be given back. */
bool nfs_open_regained(
	struct nfs_state *state, struct nfs_open *open, const struct nfs_stateid *stateid);
bool nfs_open_is_stale(struct nfs_state *state, const struct nfs_open *open);
/* What it is to be opened for now. Without `reclaim` its locks are lost, and what they needed. */
uint32_t nfs_open_wanted(struct nfs_state *state, struct nfs_open *open, bool reclaim);
void nfs_open_lost(struct nfs_state *state, struct nfs_open *open, int err);
/* Steps through the lock-owners of the open that hold something, in the same way. */
void nfs_open_rewind_locks(struct nfs_state *state, struct nfs_open *open);
struct nfs_lock *nfs_open_next_lock(struct nfs_state *state, struct nfs_open *open);
/* Its ranges are to be locked again. */
void nfs_lock_gone(struct nfs_state *state, struct nfs_lock *lock);
bool nfs_lock_is_stale(struct nfs_state *state, const struct nfs_lock *lock);
/* The first range at or after `offset`, if it is to be locked. */
bool nfs_lock_next_range(
	struct nfs_state *state, struct nfs_lock *lock, uint64_t offset, struct range *range);
/*
 * All its ranges were locked again, or (`lost`) not all. `stateid`: what the server gave, or NULL.
 */
void nfs_lock_settled(struct nfs_state *state, struct nfs_lock *lock,
	const struct nfs_stateid *stateid, bool lost);

#endif
