/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_UNSTABLE_PRIV_H
#define VSOCKFS_UNSTABLE_PRIV_H

#include <pthread.h>
#include <stdatomic.h>

#include "nfs41/compound.h"
#include "nfs41/op.h"
#include "nfs41/reclaim.h"
#include "unstable.h"

/* The data as unstable.c (what is kept) and unstable_commit.c (how it ceases to be) share it. */

/* Bytes that may wait before a commit goes along with the next WRITE, and before one is started of
 * its own: where there is no next one, or many nodes have a little. */
#define UNSTABLE_RIDING	  (24u << 20)
#define UNSTABLE_PRESSING (32u << 20)

STAILQ_HEAD(unstable_list, unstable_write);

/* What one node has waiting. Goes away when nothing is left and no commit is under way. */
struct unstable {
	LIST_ENTRY(unstable) entry;
	struct unstable_list writes;
	struct unstable_commit *active;
	STAILQ_HEAD(, unstable_commit) waiting;
	/* for another daemon */
	uint32_t record;
	bool mixed; /* not all under `verifier` */
	uint8_t verifier[NFS4_VERIFIER_SIZE];
	/* Another daemon's data, of which there is no copy: lost unless it is committed under
	 * `verifier`. */
	bool inherited;
	struct node *node; /* pinned, until that was asked for */
};

struct unstable_pool {
	struct share *share;
	pthread_mutex_t mutex; /* all nodes' lists */
	LIST_HEAD(, unstable) nodes;
	size_t bytes; /* memory held, whole buffers counted */
	/* Moves when data is about to be written again and when that is done. A write made before
	 * the last move may have been overwritten by older data, and is written again itself. */
	_Atomic uint32_t epoch;
};

/*
 * One commit under way: COMMIT, then, for what the server has lost, WRITE after WRITE, stable.
 * Commits of one node follow each other, so that none reports success while an earlier one still
 * rewrites.
 */
struct unstable_commit {
	struct loop_task task; /* starts it on its own worker */
	struct unstable_pool *pool;
	struct worker *worker;
	struct node *node; /* pinned */
	struct rpc_cred *cred;
	void (*done)(void *arg, int err);
	void *arg;
	struct unstable_list writes;
	struct nfs_compound *compound;
	uint8_t verifier[NFS4_VERIFIER_SIZE];
	struct nfs_write_res res;
	struct reclaim_use use;
	int err;
	bool rewriting; /* under the mutex */
	bool inherited, mixed;
	uint8_t inherited_verifier[NFS4_VERIFIER_SIZE];
	STAILQ_ENTRY(unstable_commit) entry;
};

/* Under the mutex. NULL: nothing is waiting. */
static inline struct unstable *unstable_of(const struct node *node)
{
	const struct node_file *file = node->file;
	return file ? file->unstable : NULL;
}

/* Bytes of memory that count for it. */
size_t unstable_write_memory(const struct unstable_write *write);
/* Under the mutex, after a commit: has the record say under which verifiers the rest of the node's
 * data is. */
void unstable_note_left(struct unstable_pool *pool, struct node *node);

#endif
