/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "nfs41/state_priv.h"

/*
 * Delegations that the server has taken away, or forgotten in its restart. Those of a file that is
 * open are reclaimed together with its opens; one that is merely kept for the next open(2) would
 * cost an OPEN and a CLOSE, and is worth less.
 */

static void table_take_away(struct deleg_table *table, struct nfs_deleg *deleg)
{
	deleg->gone = true;
	deleg_table_make_due(table, deleg, true);
}

void deleg_gone(struct nfs_state *state, const struct nfs_stateid *stateid)
{
	struct deleg_table *table = &state->delegs;
	struct nfs_deleg *deleg, *next;
	pthread_mutex_lock(&state->mutex);
	for (deleg = TAILQ_FIRST(&table->held); deleg; deleg = next) {
		next = TAILQ_NEXT(deleg, entry);
		if (memcmp(deleg->stateid.other, stateid->other, sizeof(stateid->other)) == 0)
			table_take_away(table, deleg);
	}
	state_unlock(state);
}

void deleg_lapse_all(struct nfs_state *state)
{
	struct deleg_table *table = &state->delegs;
	struct nfs_deleg *deleg, *next;
	table->epoch++;
	for (deleg = TAILQ_FIRST(&table->held); deleg; deleg = next) {
		next = TAILQ_NEXT(deleg, entry);
		/* Nobody reclaims names: others may change a directory at once. */
		if (deleg->dir)
			table_take_away(table, deleg);
		else
			deleg->lapsed = true;
	}
	TAILQ_FOREACH (deleg, &table->due, entry)
		deleg->gone = true;
	TAILQ_FOREACH (deleg, &table->active, entry)
		deleg->gone = true;
}

uint32_t deleg_reclaim_ask(struct nfs_state *state, const struct nfs_open *open)
{
	struct deleg_table *table = &state->delegs;
	uint32_t type = OPEN_DELEGATE_NONE;
	pthread_mutex_lock(&state->mutex);
	const struct nfs_deleg *deleg = deleg_table_find(table, &open->fh, false);
	/* Servers look at what the file is opened for, whatever they are asked for. */
	if (deleg && deleg->lapsed && !deleg->write)
		type = OPEN_DELEGATE_READ;
	else if (deleg && deleg->lapsed && (open->access & OPEN4_SHARE_ACCESS_WRITE))
		type = OPEN_DELEGATE_WRITE;
	table->asking++;
	pthread_mutex_unlock(&state->mutex);
	return type;
}

/* The server has given `deleg` back, as `fresh`. */
static void table_regain(struct deleg_table *table, struct nfs_deleg *deleg,
	const struct nfs_deleg *fresh, bool recall)
{
	*deleg_table_kind(table, deleg) -= 1;
	*deleg_table_kind(table, fresh) += 1;
	deleg->stateid = fresh->stateid;
	deleg->write = fresh->write;
	deleg->lapsed = false;
	deleg->visited = true;
	if (deleg_table_take_early(table, deleg) || recall) {
		table->stats.recalled++;
		deleg_table_make_due(table, deleg, true);
	}
}

void deleg_reclaim_answered(struct nfs_state *state, const struct deleg_grant *grant)
{
	struct deleg_table *table = &state->delegs;
	struct nfs_deleg *fresh = grant ? deleg_new(grant) : NULL;
	pthread_mutex_lock(&state->mutex);
	struct nfs_deleg *deleg = fresh ? deleg_table_find(table, &fresh->fh, false) : NULL;
	if (deleg && deleg->lapsed)
		table_regain(table, deleg, fresh, grant->res->delegation_recall);
	else if (fresh && !deleg_table_has_stateid(table, fresh)) {
		deleg_table_add(table, fresh, true);
		fresh = NULL;
	}
	deleg_table_answered(table);
	state_unlock(state);
	if (fresh)
		deleg_free(fresh);
}

void deleg_reclaim_over(struct nfs_state *state)
{
	struct deleg_table *table = &state->delegs;
	struct nfs_deleg *deleg, *next;
	pthread_mutex_lock(&state->mutex);
	for (deleg = TAILQ_FIRST(&table->held); deleg; deleg = next) {
		next = TAILQ_NEXT(deleg, entry);
		if (deleg->lapsed)
			table_take_away(table, deleg);
	}
	state_unlock(state);
}

bool deleg_next(struct nfs_state *state, struct nfs_stateid *stateid, struct rpc_cred **cred)
{
	struct nfs_deleg *deleg;
	pthread_mutex_lock(&state->mutex);
	TAILQ_FOREACH (deleg, &state->delegs.held, entry)
		if (!deleg->visited)
			break;
	if (deleg) {
		deleg->visited = true;
		*stateid = deleg->stateid;
		*cred = rpc_cred_ref(deleg->cred);
	}
	pthread_mutex_unlock(&state->mutex);
	return deleg != NULL;
}
