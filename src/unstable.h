/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_UNSTABLE_H
#define VSOCKFS_UNSTABLE_H

#include <stdbool.h>
#include <stdint.h>

#include "file.h"
#include "nfs41/types.h"
#include "util/buf.h"

/*
 * Data that the server has acknowledged as UNSTABLE4 and may still lose (RFC 8881, 18.32.3): a copy
 * is kept until a COMMIT with the same write verifier has returned. If the verifier changed, the
 * server has restarted in between and the data is written again, stable. Any worker's thread.
 */

struct nfs_compound;
struct share;
struct worker;
struct unstable_pool;

/* One written range. Small data is copied, large data stays in the buffer that it came in. */
struct unstable_write {
	STAILQ_ENTRY(unstable_write) entry;
	struct file *file; /* referenced */
	struct buf *buf;   /* referenced; `data` lies in it */
	const uint8_t *data;
	uint64_t offset;
	uint32_t len, done; /* bytes; `done` is for whoever is writing it */
	uint32_t epoch;	    /* when it was made, counted in rewrites */
	uint8_t verifier[NFS4_VERIFIER_SIZE];
};

int unstable_pool_new(struct share *share, struct unstable_pool **pool);
/* After the workers have ended. What is left (the mount was cut off) is dropped, with a log line.
 */
void unstable_pool_free(struct unstable_pool *pool);

/* A range to be written; `buf` holds `data`, or is NULL: `data` is copied. NULL without memory. */
struct unstable_write *unstable_write_new(struct unstable_pool *pool, struct file *file,
	struct buf *buf, const uint8_t *data, uint32_t len, uint64_t offset);
/* The same for the first `len` bytes of a buffer that nobody else changes, never copied. */
struct unstable_write *unstable_write_of(struct unstable_pool *pool, struct file *file,
	struct buf *buf, uint32_t len, uint64_t offset);
void unstable_write_free(struct unstable_write *write);

/*
 * `write` was acknowledged, with write->verifier. It is kept until it is committed, unless it is
 * `stable` and no older data of the node may be written again on top of it. True: such data has
 * been, or is being, written again since `write` began, and may have come after it; the node is to
 * be committed then before the program goes on, so that nobody reads the older data after that.
 */
bool unstable_keep(struct unstable_pool *pool, struct unstable_write *write_take, bool stable);

/* Something is kept of the node that may still be written again. */
bool unstable_waits(struct unstable_pool *pool, const struct node *node);

/*
 * Commits all that is kept of the node by then. `done` gets 0 or -errno (the first failure, which
 * every open file of the node will be told as well, see node_set_error); it
 * may be called before this returns, and on `worker`'s thread in any case, which is the caller's.
 */
void unstable_commit(struct unstable_pool *pool, struct worker *worker, struct node *node,
	struct rpc_cred *cred, void (*done)(void *arg, int err), void *arg);

/* The same for all nodes: what is under way already is waited for, too. */
void unstable_flush(struct unstable_pool *pool, struct worker *worker,
	void (*done)(void *arg, int err), void *arg);

/* The data is with another server now, which may not have what the last one had: all that is kept
 * is written again before it is taken for committed. Any thread. */
void unstable_distrust(struct unstable_pool *pool);

/*
 * What a daemon that died had written and not committed under `verifier` (NULL: under several), of
 * which there is no copy: unless it is committed under that one, it is lost, which the next commit
 * reports as -EIO. Before workers serve. 0 or -ENOMEM.
 */
int unstable_inherit(struct unstable_pool *pool, struct node *node,
	const uint8_t verifier[NFS4_VERIFIER_SIZE], uint32_t record);
/* Commits all of that; errors are for the next fsync or close. On the worker's thread. */
void unstable_commit_inherited(
	struct unstable_pool *pool, struct worker *worker, struct rpc_cred *cred);

/*
 * A commit of the node that goes along with a WRITE of it, since much is waiting; NULL: there is no
 * need, or one is under way. The caller has it put behind the WRITE, last in the compound, and ends
 * it with what became of that: a COMMIT that was not executed, or failed, is sent on its own then.
 * On `worker`'s thread.
 */
struct unstable_commit;
struct unstable_commit *unstable_ride(struct unstable_pool *pool, struct worker *worker,
	struct node *node, struct rpc_cred *cred);
void unstable_put_ride(struct unstable_commit *commit, struct nfs_compound *c);
void unstable_end_ride(struct unstable_commit *commit_take, bool committed);

/* Bytes of memory that wait for a commit. */
size_t unstable_bytes(struct unstable_pool *pool);
/* So much is waiting that a commit of the node should be started now, whatever else happens. */
bool unstable_pressing(struct unstable_pool *pool, const struct node *node);

#endif
