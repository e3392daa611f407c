/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_NFS41_DELEG_H
#define VSOCKFS_NFS41_DELEG_H

#include <stdbool.h>
#include <stdint.h>

#include "nfs41/client.h"
#include "nfs41/op.h"
#include "nfs41/state.h"

/*
 * Delegations (RFC 8881, 10.2 and 10.4): while the server has delegated a file to us, it asks for
 * the delegation back before anybody else may do what it excludes (writing, and for a write
 * delegation reading). So attributes and data are as we know them, and open(2) and close(2) need
 * not be told: the open is on record with the delegation's stateid (nfs_open.local).
 *
 * What ends one, in this order: it is due (nothing is opened under it any more); its file is
 * flushed by the owner; local opens are made real, by OPEN with CLAIM_DELEG_CUR_FH under the
 * owner and the credential of each; DELEGRETURN. One that the server has taken away is flushed and
 * forgotten; reclaim.h makes the opens anew.
 *
 * They belong to struct nfs_state and its mutex. Any thread, unless it says otherwise.
 */

/* Delegations held at most; beyond, the one used longest ago is returned. */
#define DELEG_MAX 4096
/* Of directories among them. */
#define DELEG_DIRS_MAX 512

enum deleg_mode { DELEG_NONE, DELEG_READ, DELEG_ALL };

struct deleg_flush {
	struct nfs_fh fh;
	struct rpc_cred *cred; /* of the process whose OPEN brought the delegation */
	struct nfs_conn *conn; /* on whose thread this is, and `done` must be */
	bool gone;	       /* the server has it already: `done` need not wait for anything */
	bool dir;
	void (*done)(struct deleg_flush *flush);
};

struct deleg_ops {
	/* Some are due: deleg_return_due is to be called on a worker's thread, at once if `urgent`,
	 * and else soon. Any thread. */
	void (*due)(void *arg, bool urgent);
	/*
	 * Attributes and data of the file are no longer ours. Writes what is not on the server,
	 * makes the kernel drop what it caches, then calls flush->done, once, perhaps at once.
	 */
	void (*flush)(void *arg, struct deleg_flush *flush);
};

/* Before the client starts. Without it, DELEG_NONE. */
void deleg_configure(
	struct nfs_state *state, enum deleg_mode mode, const struct deleg_ops *ops, void *arg);
/* The server knows OPEN4_SHARE_ACCESS_WANT_OPEN_XOR_DELEGATION (RFC 9754). */
void deleg_use_xor(struct nfs_state *state);

/* One OPEN that is under way. */
struct deleg_asking {
	uint64_t epoch;
};
/*
 * Before each OPEN is sent: the OPEN4_SHARE_ACCESS_WANT_* bits to send with `access`. `fh` is NULL
 * when the file is not known yet. With `xor` the answer may have a delegation instead of an open
 * stateid (OPEN4_RESULT_NO_OPEN_STATEID). deleg_answered follows in any case.
 */
uint32_t deleg_ask(struct nfs_state *state, const struct nfs_fh *fh, uint32_t access, bool xor,
	struct deleg_asking *asking);
/* What an OPEN that succeeded brought. */
struct deleg_grant {
	const struct nfs_fh *fh;
	struct rpc_cred *cred;
	uint32_t access; /* OPEN4_SHARE_ACCESS_*: what the server has said `cred` may open for */
	const struct nfs_open_res *res;
	bool dir;
};
/*
 * After it was answered; `grant` NULL: without success. True if the file is delegated to us now. A
 * delegation that was recalled before this, or is not wanted, becomes due at once.
 */
bool deleg_answered(struct nfs_state *state, const struct deleg_asking *asking,
	const struct deleg_grant *grant);

/* The open that an OPEN has brought, on record: local if it has a delegation and no stateid of its
 * own. To be called before deleg_answered. NULL without memory. */
struct nfs_open *deleg_record(
	struct nfs_state *state, const struct deleg_grant *grant, uint32_t access, uint64_t owner);

/*
 * May I open locally? An open on record under the delegation, as if the server had granted it, if
 * there is one that covers `access` and the server has already granted as much to `cred`. NULL: ask
 * the server. `owner` is the open-owner's number for the time when it is made real.
 */
struct nfs_open *deleg_open(struct nfs_state *state, const struct nfs_fh *fh, uint32_t access,
	uint64_t owner, struct rpc_cred *cred);
/* Are attributes and data mine, until flush is called? Tests look at the record by this. */
bool deleg_holds(struct nfs_state *state, const struct nfs_fh *fh);
/* Mode or owner have been changed from here: who may open is for the server to say again. */
void deleg_forget_access(struct nfs_state *state, const struct nfs_fh *fh);
/*
 * The open has to have a stateid of its own (for LOCK). False: it has. True: it is being opened,
 * and `done` is called on the connection's thread afterwards, whether that went well or not.
 */
bool deleg_make_real(struct nfs_state *state, struct nfs_open *open, struct nfs_conn *conn,
	void (*done)(void *arg), void *arg);

/* CB_RECALL: an nfsstat4. */
uint32_t deleg_recalled(
	struct nfs_state *state, const struct nfs_fh *fh, const struct nfs_stateid *stateid);
/* Whether a write delegation is held: what CB_GETATTR may ask about. */
bool deleg_holds_write(struct nfs_state *state, const struct nfs_fh *fh);
/* CB_RECALL_ANY: all of these kinds but the `keep` used last become due. */
void deleg_keep(struct nfs_state *state, unsigned keep, struct deleg_kinds kinds);
/* That of the file becomes due, if there is one. */
void deleg_return(struct nfs_state *state, const struct nfs_fh *fh);
/* Those not used since `before` (loop_clock()) become due. */
void deleg_return_idle(struct nfs_state *state, uint64_t before);
/* All become due, and none is asked for before `until` (loop_clock()). */
void deleg_return_all(struct nfs_state *state, uint64_t until);
/* Waits until none is left, at most until `deadline` (loop_clock()). How many there are. */
unsigned deleg_wait_returned(struct nfs_state *state, uint64_t deadline);

/*
 * Directories (delegdir.c; RFC 8881, 10.9): the server asks for such a delegation back before
 * anybody else makes, removes or renames a name in the directory, or changes its attributes. It
 * says nothing of what the names stand for. One that the server has forgotten is not reclaimed.
 *
 * Is GET_DIR_DELEGATION to be sent for this directory? If so deleg_answered_dir follows in any
 * case.
 */
bool deleg_ask_dir(struct nfs_state *state, const struct nfs_fh *fh, struct rpc_cred *cred,
	struct deleg_asking *asking);
/* Without success, or refused: `res` not granted, or NULL. */
void deleg_answered_dir(struct nfs_state *state, const struct deleg_asking *asking,
	const struct nfs_fh *fh, struct rpc_cred *cred, const struct nfs_dir_delegation_res *res);
/* It is of use. The number of the delegation, which no other has had, while nobody has asked for it
 * back; 0: there is none. */
uint64_t deleg_use_dir(struct nfs_state *state, const struct nfs_fh *fh);

/* Returns what is due, several at a time, with compounds on `conn`, whose thread this is; up to
 * `together` in one. */
void deleg_return_due(struct nfs_state *state, struct nfs_conn *conn, unsigned together);

/* Whether the answer to an OPEN has a delegation in it. */
static inline bool deleg_granted(const struct nfs_open_res *res)
{
	return res->delegation_type != OPEN_DELEGATE_NONE &&
	       res->delegation_type != OPEN_DELEGATE_NONE_EXT;
}

struct deleg_stats {
	unsigned read, write, dirs; /* held, those being returned included */
	uint64_t granted, recalled, returned, lost;
	uint64_t opens; /* local ones */
};
void deleg_get_stats(struct nfs_state *state, struct deleg_stats *stats);

/* For state.c and reclaim.h. The server has taken the delegation with this stateid away. */
void deleg_gone(struct nfs_state *state, const struct nfs_stateid *stateid);
/*
 * The server has forgotten all of them, and may give them back with the OPENs that reclaim their
 * files' opens (RFC 8881, 10.2.1). Nothing is opened under them until then; what is known of the
 * files stays so, since nobody else may change them in the grace period. With the mutex held.
 */
void deleg_lapse_all(struct nfs_state *state);
/* Before each OPEN that makes one on record anew: the type of delegation that it is to bring back,
 * OPEN_DELEGATE_*. deleg_reclaim_answered follows in any case. */
uint32_t deleg_reclaim_ask(struct nfs_state *state, const struct nfs_open *open);
/* `grant` NULL: without success. A delegation that did not lapse here becomes due at once. */
void deleg_reclaim_answered(struct nfs_state *state, const struct deleg_grant *grant);
/* Those that have lapsed and were not given back are gone. */
void deleg_reclaim_over(struct nfs_state *state);
/*
 * Asks the server which of those held since nfs_state_rewind it still knows, with privileged
 * compounds on `conn`, and drops the others. `done` gets 0, or -ESTALE when the session went away.
 */
void deleg_test(struct nfs_state *state, struct nfs_conn *conn, void (*done)(void *arg, int err),
	void *arg);

#endif
