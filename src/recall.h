/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_RECALL_H
#define VSOCKFS_RECALL_H

#include <stdbool.h>
#include <stdint.h>

#include "nfs41/callback.h"
#include "nfs41/deleg.h"
#include "node.h"

/*
 * Delegations as the mount has them (deleg.h knows the protocol's side): when they are taken and
 * returned, and what the kernel's caches have to do with them.
 */

/* How long the kernel trusts attributes of a delegated file without asking, ms. A recall makes it
 * forget them; this bounds what a lost race could keep. */
#define RECALL_TRUST_MS 60000

struct share;
struct worker;

/* Before the client starts: from share->options. */
void recall_configure(struct share *share);
/* The timer for idle delegations; on the first worker's thread. */
void recall_start(struct share *share);
/*
 * Returns all delegations, and waits for it, at most `timeout_ns`. For `pause_ns` from now on none
 * is taken. Not from a worker. How many are left.
 */
unsigned recall_return_all(struct share *share, uint64_t timeout_ns, uint64_t pause_ns);

/* The kernel drops references to a node; what it forgets need not be delegated. */
void recall_forget(struct share *share, uint64_t id, uint64_t lookups);
/* Mode or owner of the file were changed from here. */
void recall_forget_access(struct share *share, struct node *node);

/* callback_ops, with the share as argument */
uint32_t recall_called(void *arg, const struct nfs_fh *fh, const struct nfs_stateid *stateid);
void recall_called_any(void *arg, uint32_t keep, struct deleg_kinds kinds);
uint32_t recall_called_getattr(
	void *arg, const struct nfs_fh *fh, uint64_t *change, uint64_t *size);

#endif
