/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "dirhold.h"

#include "closing.h"
#include "listing.h"
#include "nfs41/client.h"
#include "nfs41/error.h"
#include "share.h"
#include "util/log.h"
#include "whole.h"

/* PUTFH and GET_DIR_DELEGATION; SEQUENCE and what closing.c sends with it */
#define DIRHOLD_OTHER_OPS (2 + 1 + 2 * CLOSING_CARRIED)

#define DIRHOLD_NAME_TIME 1.0

bool dirhold_possible(struct share *share, const struct node *dir)
{
	return atomic_load(&share->delegates_dirs) &&
	       !lacks_op(&share->lacks, dir->fsid, OP_GET_DIR_DELEGATION);
}

static bool dirhold_ask(
	struct share *share, const struct node *dir, struct rpc_cred *cred, struct dirhold *hold)
{
	struct nfs_fh fh;
	node_fh(dir, &fh);
	if (lacks_op(&share->lacks, dir->fsid, OP_GET_DIR_DELEGATION) ||
		!listing_may_ask(share->listing, &fh) ||
		!deleg_ask_dir(share->state, &fh, cred, &hold->asking))
		return false;
	hold->asked = true;
	return true;
}

void dirhold_begin(struct share *share, const struct node *dir, struct rpc_cred *cred,
	struct nfs_compound *c, struct dirhold *hold)
{
	struct nfs_fh fh;
	node_fh(dir, &fh);
	*hold = (struct dirhold){.before = deleg_use_dir(share->state, &fh), .at = c->nops};
	if (hold->before || !atomic_load(&share->delegates_dirs))
		return;
	hold->first = dirhold_ask(share, dir, cred, hold);
	if (hold->first)
		nfs_op_get_dir_delegation(c, &hold->res);
}

void dirhold_finish(struct share *share, const struct node *dir, struct rpc_cred *cred,
	struct nfs_compound *c, struct dirhold *hold)
{
	struct nfs_fh fh;
	if (hold->before || hold->asked || atomic_load(&share->delegates_dirs))
		return;
	hold->at = c->nops + 1;
	if (c->nops + DIRHOLD_OTHER_OPS > nfs_client_limits(share->client)->max_ops ||
		!dirhold_ask(share, dir, cred, hold))
		return;
	node_fh(dir, &fh);
	nfs_op_putfh(c, &fh);
	nfs_op_get_dir_delegation(c, &hold->res);
}

/* The operation failed. A knfsd whose leases are turned off says INVAL. */
static void dirhold_note_refusal(struct share *share, const struct node *dir, int status)
{
	log_debug("GET_DIR_DELEGATION: %s", nfs_error_name((uint32_t)status));
	if (status == NFS4ERR_INVAL)
		status = NFS4ERR_NOTSUPP;
	lacks_note(&share->lacks, dir->fsid, OP_GET_DIR_DELEGATION, status);
}

bool dirhold_unload(
	struct share *share, const struct node *dir, struct dirhold *hold, struct nfs_compound *c)
{
	struct nfs_fh fh;
	if (!hold->asked)
		return false;
	node_fh(dir, &fh);
	hold->granted = hold->res.granted;
	if (c->ops_ok > hold->at)
		atomic_store(&share->delegates_dirs, true);
	else if (c->ops_ok == hold->at && c->status > 0)
		dirhold_note_refusal(share, dir, c->status);
	if (!hold->granted)
		listing_not_delegated(share->listing, &fh);
	if (hold->first)
		return c->status > 0 && c->ops_ok == hold->at;
	if (c->status > 0 && c->ops_ok + 1 >= hold->at) {
		c->ops_ok = hold->at - 1;
		c->status = 0;
	}
	return false;
}

bool dirhold_covers(const struct dirhold *hold)
{
	return hold->before || (hold->granted && hold->first);
}

void dirhold_end(struct share *share, struct node *dir, struct rpc_cred *cred, struct dirhold *hold)
{
	struct nfs_fh fh;
	node_fh(dir, &fh);
	/* before it can be recalled, so that this cannot outlive it */
	if (hold->granted)
		node_set_delegated(share->nodes, dir, true);
	if (hold->asked)
		deleg_answered_dir(share->state, &hold->asking, &fh, cred, &hold->res);
	uint64_t now = deleg_use_dir(share->state, &fh);
	if (hold->granted && !now)
		node_set_delegated(share->nodes, dir, false);
	if (dirhold_covers(hold) && (!now || (hold->before && now != hold->before)))
		dirhold_forget(share, &fh, dir);
}

void dirhold_limit(struct share *share, struct node *dir, double *left)
{
	if (*left > DIRHOLD_NAME_TIME && node_is_delegated(share->nodes, dir))
		*left = DIRHOLD_NAME_TIME;
}

bool dirhold_stands(struct share *share, const struct node *dir)
{
	struct nfs_fh fh;
	node_fh(dir, &fh);
	return deleg_use_dir(share->state, &fh) != 0 && nfs_client_lease_stands(share->client);
}

void dirhold_forget(struct share *share, const struct nfs_fh *fh, const struct node *dir)
{
	listing_drop(share->listing, fh);
	if (dir)
		whole_drop(share->whole, dir);
}
