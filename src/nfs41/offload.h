/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_NFS41_OFFLOAD_H
#define VSOCKFS_NFS41_OFFLOAD_H

#include <pthread.h>
#include <stdbool.h>
#include <sys/queue.h>

#include "nfs41/callback.h"
#include "util/loop.h"

/*
 * Copies that the server makes on its own time (RFC 7862, 4.2 and 16.1): who waits for which, and
 * what CB_OFFLOAD has said of those that nobody waits for yet, since it may overtake the reply
 * to COPY. Any thread.
 */

/* Results that came early; more are lost, and asked for (OFFLOAD_STATUS). */
#define OFFLOAD_EARLY_MAX 32

struct offload_table {
	pthread_mutex_t mutex;
	LIST_HEAD(, offload_wait) waits;
	unsigned asked; /* COPY under way */
	unsigned nearly;
	struct offload_call {
		struct nfs_stateid stateid;
		struct nfs_fh fh;
		struct callback_offload result;
	} early[OFFLOAD_EARLY_MAX];
};

void offload_init(struct offload_table *table);
/* Nobody waits any more. */
void offload_deinit(struct offload_table *table);

/*
 * One who waits. Lives until `done`, or until offload_end has returned true. `hint`: the server has
 * called about some copy to that file, without its stateid, as knfsd of Linux 7.2 does. It is worth
 * asking, and no more: an earlier one may be meant.
 */
struct offload_wait {
	void (*done)(struct offload_wait *wait); /* both on its loop */
	void (*hint)(struct offload_wait *wait);
	struct loop *loop;
	struct nfs_stateid stateid;
	struct nfs_fh fh; /* the destination */
	struct callback_offload result;
	/* private */
	bool told;   /* it is for `done` */
	bool posted; /* one of them will be called */
	struct offload_table *table;
	struct loop_task task;
	LIST_ENTRY(offload_wait) entry;
};

/* Before a COPY is sent that may go on after its reply. */
void offload_ask(struct offload_table *table);
/*
 * After that reply. `wait` (NULL: there is nothing to wait for) is zero but for what is not marked
 * otherwise; `done` follows when the server has called, or soon if it has.
 */
void offload_begin(struct offload_table *table, struct offload_wait *wait);
/* Does not wait any more: true; or false: `done` was called, or one of the two will be. */
bool offload_end(struct offload_table *table, struct offload_wait *wait);

/* CB_OFFLOAD: an nfsstat4. */
uint32_t offload_told(struct offload_table *table, const struct nfs_fh *fh,
	const struct nfs_stateid *stateid, const struct callback_offload *result);

#endif
