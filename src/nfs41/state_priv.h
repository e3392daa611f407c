/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_NFS41_STATE_PRIV_H
#define VSOCKFS_NFS41_STATE_PRIV_H

#include "nfs41/deleg.h"
#include "nfs41/state.h"

/*
 * The record as state.c (opens and locks as requests change them), state_round.c (what recovery
 * makes of them), deleg.c and delegreturn.c (delegations) share it.
 */

#define DELEG_BUCKETS 512
/* Credentials that a delegation remembers the server's permission for. */
#define DELEG_CREDS 3
/* Recalls that have come before the delegation has. */
#define DELEG_EARLY 16

/* One delegation. All under the mutex but what is constant and what is `returner`'s. */
struct nfs_deleg {
	struct nfs_fh fh; /* constant, as the next three */
	struct rpc_cred *cred;
	struct nfs_stateid stateid;
	bool write, dir;
	uint64_t serial; /* of all that were granted; constant */
	bool due;	 /* it is to be returned, or being so */
	bool gone;	 /* the server does not know it any more */
	bool lapsed;	 /* it has forgotten it in its restart, and may give it back */
	bool visited;	 /* by the round of reclaim.c */
	uint64_t used_at;
	struct deleg_known {
		struct rpc_cred *cred; /* referenced, or NULL */
		uint32_t access;
	} known[DELEG_CREDS];
	unsigned next_known;
	LIST_ENTRY(nfs_deleg) hash_entry;
	TAILQ_ENTRY(nfs_deleg) entry; /* in held, due or returning */
	/* of whoever returns it */
	struct nfs_state *state;
	struct deleg_flush flush;
	struct nfs_open *open; /* being made real; referenced */
	bool claim_fh;
	struct nfs_open_res opened;
};

TAILQ_HEAD(nfs_deleg_queue, nfs_deleg);
LIST_HEAD(nfs_open_list, nfs_open);

struct deleg_table {
	enum deleg_mode mode;
	const struct deleg_ops *ops;
	void *arg;
	bool xor ;
	uint64_t pause_until;
	uint64_t epoch;	 /* counts the times when all were gone */
	unsigned asking; /* OPENs under way */
	unsigned count, returning;
	LIST_HEAD(, nfs_deleg) buckets[DELEG_BUCKETS];
	struct nfs_deleg_queue held; /* that used longest ago first */
	struct nfs_deleg_queue due, active;
	bool news, hurry;	   /* `due` has to be told; that somebody waits */
	_Atomic unsigned together; /* of those that are returned */
	bool more;		   /* there was no room for all that are due */
	struct deleg_early {
		struct nfs_fh fh;
		struct nfs_stateid stateid;
	} early[DELEG_EARLY];
	unsigned nearly, next_early;
	struct rpc_cred *dir_cred; /* who has last asked for a directory, or NULL */
	pthread_cond_t none;	   /* nothing is left */
	struct deleg_stats stats;
};

struct nfs_state {
	pthread_mutex_t mutex;
	struct nfs_open_list opens;
	struct nfs_open_list ahead;  /* on record as well: the round has yet to come to them */
	LIST_HEAD(, nfs_lock) locks; /* of open files only */
	unsigned lost_locks;	     /* of them */
	struct deleg_table delegs;
	const struct nfs_state_journal *journal;
	void *journal_arg;
	void (*closer)(void *arg, struct nfs_open *open_take);
	void *closer_arg;
};

/* state.c: an open that is in no list yet; and on record, with the mutex held. */
struct nfs_open *state_new_open(const struct nfs_fh *fh, uint32_t access, uint64_t owner,
	struct rpc_cred *cred, const struct nfs_stateid *stateid);
void state_free_open(struct nfs_open *open);
void state_add_open(struct nfs_state *state, struct nfs_open *open);
/* With the mutex held, too: tells the journal. */
void state_note_open(struct nfs_state *state, struct nfs_open *open, bool gone);
void state_note_lock(struct nfs_state *state, struct nfs_lock *lock, bool gone);
/* The same: sets lock->lost. */
void state_set_lost(struct nfs_state *state, struct nfs_lock *lock, bool lost);
/* Answers may be processed in another order than the server gave them in. */
bool state_stateid_is_older(const struct nfs_stateid *a, const struct nfs_stateid *b);
/* With the mutex held: unless an answer that the server gave later was there before. */
void state_set_lock_stateid(struct nfs_lock *lock, const struct nfs_stateid *stateid);

/* deleg.c */
void deleg_table_init(struct deleg_table *table);
void deleg_table_deinit(struct nfs_state *state);
/* Unlocks the mutex, and tells the owner what has become due. */
void state_unlock(struct nfs_state *state);
/* Of what an OPEN, or GET_DIR_DELEGATION, has brought. NULL: no delegation, or no memory. */
struct nfs_deleg *deleg_new(const struct deleg_grant *grant);
void deleg_free(struct nfs_deleg *deleg);
/* With the mutex held, as the next four: the one that is in use, or (`due`) one that is being
 * returned. */
struct nfs_deleg *deleg_table_find(struct deleg_table *table, const struct nfs_fh *fh, bool due);
bool deleg_table_has_stateid(const struct deleg_table *table, const struct nfs_deleg *other);
/* Takes a granted one on record; `unwanted`: only to return it. */
void deleg_table_add(struct deleg_table *table, struct nfs_deleg *deleg_take, bool unwanted);
/* `urgent`: somebody waits for it. */
void deleg_table_make_due(struct deleg_table *table, struct nfs_deleg *deleg, bool urgent);
/* True, once, if it was recalled before it was known here. */
bool deleg_table_take_early(struct deleg_table *table, const struct nfs_deleg *deleg);
/* How many there are of its kind. */
unsigned *deleg_table_kind(struct deleg_table *table, const struct nfs_deleg *deleg);
/* An OPEN, or whatever else asks for one, was answered. */
void deleg_table_answered(struct deleg_table *table);
/* It was used. */
void deleg_table_touch(struct deleg_table *table, struct nfs_deleg *deleg);
/* delegdir.c, with the mutex held: one is recalled that has never come. False: none was asked for.
 */
bool deleg_table_adopt(
	struct deleg_table *table, const struct nfs_fh *fh, const struct nfs_stateid *stateid);
/* The same: the directory used longest ago becomes due if there are too many. */
void deleg_table_limit_dirs(struct deleg_table *table);
/* Its end: takes it off the record and frees it. */
void deleg_end(struct nfs_state *state, struct nfs_deleg *deleg, bool returned);
/* The next one that is due, now active, or NULL: none, or enough are being returned. */
struct nfs_deleg *deleg_take_due(struct nfs_state *state);
/* One held that this was not called for since nfs_state_rewind; *cred is a reference. */
bool deleg_next(struct nfs_state *state, struct nfs_stateid *stateid, struct rpc_cred **cred);
/* The next local open under it, with a reference, or NULL. */
struct nfs_open *deleg_next_open(struct nfs_state *state, const struct nfs_deleg *deleg);

#endif
