/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdlib.h>

#include "nfs41/state_priv.h"
#include "util/loop.h"

/* Delegations of directories, where they are not as those of files are. */

bool deleg_ask_dir(struct nfs_state *state, const struct nfs_fh *fh, struct rpc_cred *cred,
	struct deleg_asking *asking)
{
	struct deleg_table *table = &state->delegs;
	pthread_mutex_lock(&state->mutex);
	bool known = deleg_table_find(table, fh, false) || deleg_table_find(table, fh, true);
	bool wanted = !known && table->mode != DELEG_NONE && loop_clock() >= table->pause_until;
	if (wanted) {
		rpc_cred_unref(table->dir_cred);
		table->dir_cred = rpc_cred_ref(cred);
		table->asking++;
		asking->epoch = table->epoch;
	}
	pthread_mutex_unlock(&state->mutex);
	return wanted;
}

void deleg_answered_dir(struct nfs_state *state, const struct deleg_asking *asking,
	const struct nfs_fh *fh, struct rpc_cred *cred, const struct nfs_dir_delegation_res *res)
{
	if (!res || !res->granted) {
		deleg_answered(state, asking, NULL);
		return;
	}
	/* Who sends notifications need not recall: without an ear for them it is of no use. */
	const struct nfs_open_res made = {.delegation_type = OPEN_DELEGATE_READ,
		.delegation = res->stateid,
		.delegation_recall = res->notifies};
	const struct deleg_grant grant = {.fh = fh, .cred = cred, .res = &made, .dir = true};
	deleg_answered(state, asking, &grant);
}

uint64_t deleg_use_dir(struct nfs_state *state, const struct nfs_fh *fh)
{
	struct deleg_table *table = &state->delegs;
	uint64_t serial = 0;
	pthread_mutex_lock(&state->mutex);
	struct nfs_deleg *deleg = deleg_table_find(table, fh, false);
	if (deleg && deleg->dir) {
		serial = deleg->serial;
		deleg_table_touch(table, deleg);
	}
	pthread_mutex_unlock(&state->mutex);
	return serial;
}

/*
 * GET_DIR_DELEGATION may have been executed while its answer was lost, and no other request would
 * bring the delegation again. Whoever waits for its return would wait until the server revokes it.
 */
bool deleg_table_adopt(
	struct deleg_table *table, const struct nfs_fh *fh, const struct nfs_stateid *stateid)
{
	if (!table->dir_cred || table->count >= DELEG_MAX)
		return false;
	const struct nfs_open_res made = {
		.delegation_type = OPEN_DELEGATE_READ, .delegation = *stateid};
	const struct deleg_grant grant = {
		.fh = fh, .cred = table->dir_cred, .res = &made, .dir = true};
	struct nfs_deleg *deleg = deleg_new(&grant);
	if (!deleg)
		return false;
	deleg_table_add(table, deleg, true);
	table->stats.recalled++;
	return true;
}

void deleg_table_limit_dirs(struct deleg_table *table)
{
	struct nfs_deleg *deleg;
	if (table->stats.dirs <= DELEG_DIRS_MAX)
		return;
	TAILQ_FOREACH (deleg, &table->held, entry)
		if (deleg->dir)
			break;
	if (deleg)
		deleg_table_make_due(table, deleg, false);
}
