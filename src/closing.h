/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_CLOSING_H
#define VSOCKFS_CLOSING_H

#include <stdbool.h>
#include <sys/queue.h>

#include "nfs41/compound.h"
#include "nfs41/types.h"

/*
 * CLOSE for which nobody waits. It goes at the end of a compound that is sent anyway by the same
 * user (in front of one that takes a name away), or on its own when none comes soon: within 2 ms of
 * an open for writing (another program on the server may want to execute the file), or later where
 * the machine is busy, and within 50 ms of any other. What comes of it does not matter: the server
 * ends what is left with the lease. Any worker's thread.
 */

struct closing_pool;
struct share;
struct rpc_cred;
struct nfs_open;

/* As many go with one compound. */
#define CLOSING_CARRIED 4

int closing_pool_new(struct share *share, struct closing_pool **pool);
/* What was not sent is forgotten. NULL is allowed. */
void closing_pool_free(struct closing_pool *pool);

struct closing_what {
	const struct nfs_fh *fh;
	struct rpc_cred *cred;
	const struct nfs_stateid *stateid;
	bool soon; /* it was open for writing */
};
/* `open_take` is forgotten when that has been answered (nfs_open_forget); NULL: it never was on
 * record. */
void closing_add(
	struct closing_pool *pool, const struct closing_what *what, struct nfs_open *open_take);
/* All of them go now. On a worker's thread. */
void closing_send(struct closing_pool *pool);
/* The same if one has waited long enough; of a worker's timer, which was to fire at `deadline`. */
void closing_tick(struct closing_pool *pool, uint64_t deadline);

struct closing;
STAILQ_HEAD(closing_list, closing);
/* What one compound carries. Zero-initialised before its first use. */
struct closing_load {
	void (*done)(struct nfs_compound *c); /* of who sends it */
	unsigned lead;			      /* operations of what goes in front of his, */
	unsigned at;			      /* all up to the end of his, and */
	unsigned extra;			      /* others, which may fail */
	bool led;			      /* something went in front */
	struct closing_list before, list;
};
/* Appends what can go along with `c`, whose operations are complete, the last `extra` of which may
 * fail; false: nothing. */
bool closing_load(struct closing_pool *pool, struct nfs_compound *c, unsigned extra,
	struct closing_load *load);
/*
 * Has it go in front of what `c`, without operations yet, is to do, `ops` operations, because a
 * handle may lead nowhere after that; what finds no room there goes now. closing_load follows. One
 * that fails keeps the others from being executed, and after one that went well no compound is sent
 * again by itself: where `led` is set, what has failed is to be tried once more without.
 */
void closing_load_before(
	struct closing_pool *pool, struct nfs_compound *c, unsigned ops, struct closing_load *load);
/* In `done`: leaves in status and ops_ok what became of the operations of who sent it. */
void closing_unload(struct closing_pool *pool, struct nfs_compound *c, struct closing_load *load);

#endif
