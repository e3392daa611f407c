/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_BEHIND_PRIV_H
#define VSOCKFS_BEHIND_PRIV_H

#include <pthread.h>
#include <stdatomic.h>

#include "behind.h"
#include "node.h"

/* What waits, as behind.c (data), behind_attr.c (changes of mode, owner and times) and
 * behind_settle.c (how it leaves) share it. */

/* Changes of owner that are known to be allowed. */
#define BEHIND_OWNERS 8
/* Files that share a lock are this far apart. */
#define BEHIND_SHARDS 16

/* Who changed which owner to what. */
struct behind_owner {
	uid_t caller;
	unsigned set;
	uid_t uid;
	gid_t gid;
};

/* What is known of a file that an open has made. */
struct file_made {
	pid_t pid;
	struct nfs_attr attr;
};

/*
 * All that a node has waiting, oldest first: any number under way, no two of the same bytes, and
 * behind them one at most that is being gathered.
 */
struct behind_queue {
	TAILQ_HEAD(behind_order, behind) order;
	unsigned flying;       /* under way */
	struct node_span span; /* of those that were under way together */
};

struct behind_shard {
	pthread_mutex_t mutex; /* what its nodes have waiting, and who has made them */
	LIST_HEAD(, behind) list;
};

struct behind_pool {
	struct share *share;
	struct behind_shard shards[BEHIND_SHARDS];
	atomic_size_t bytes; /* of data that wait, of all files */
	atomic_bool stopped;
	pthread_mutex_t mutex; /* over what follows */
	struct behind_owner owners[BEHIND_OWNERS];
	unsigned nowners;
};

static inline struct behind_shard *behind_shard(struct behind_pool *pool, const struct node *node)
{
	return &pool->shards[node->id % BEHIND_SHARDS];
}

/* What follows is under the shard's mutex. */

/* A new one, of the worker's own time. NULL without memory. */
struct behind *behind_begin(struct behind_pool *pool, struct file *file);
struct behind *behind_last(const struct node *node);
/* The one that is being gathered, or NULL. */
struct behind *behind_open_end(const struct node *node);
/* It is the caller's to be sent. */
void behind_take(struct behind *behind, bool stable);
/* Off the lists, and its memory is not counted any more. */
void behind_unlist(struct behind_pool *pool, struct behind *behind);
/* Is more gathered of this file? What fails, fails at once: an open that is lost, and a file of
 * which nobody has heard yet that data was lost. */
bool behind_wants(struct behind_pool *pool, const struct file *file);
/* From now on the file has more than its maker's attributes tell. */
void behind_unmake(struct node *node);

/* With nothing locked, once it is off the lists. */
void behind_free(struct behind *behind);

#endif
