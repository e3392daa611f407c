/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "nfs41/status.h"

#include <string.h>

#include "nfs41/client_priv.h"
#include "nfs41/state_priv.h"

static const char *const conn_words[] = {
	[CONN_DOWN] = "down",
	[CONN_BACKOFF] = "waiting",
	[CONN_CONNECTING] = "connecting",
	[CONN_UP] = "connected",
	[CONN_PROBING] = "probing",
	[CONN_BINDING] = "binding",
	[CONN_BOUND] = "up",
};

static const char *const recovery_words[] = {
	[RECOVERY_IDLE] = "idle",
	[RECOVERY_EXCHANGE] = "exchange-id",
	[RECOVERY_CREATE] = "create-session",
	[RECOVERY_RECLAIM] = "reclaiming",
	[RECOVERY_COMPLETE] = "reclaim-complete",
	[RECOVERY_READY] = "ready",
	[RECOVERY_DISCARD] = "discard-session",
	[RECOVERY_DESTROY_SESSION] = "destroy-session",
	[RECOVERY_DESTROY_CLIENTID] = "destroy-clientid",
	[RECOVERY_CLOSING] = "closing",
};

const char *nfs_recovery_name(unsigned state)
{
	return state < sizeof(recovery_words) / sizeof(recovery_words[0]) ? recovery_words[state]
									  : "?";
}

static unsigned count(const struct compound_list *list)
{
	const struct nfs_compound *c;
	unsigned n = 0;

	TAILQ_FOREACH (c, list, p.entry)
		n++;
	return n;
}

void nfs_conn_status(const struct nfs_conn *conn, struct nfs_conn_status *status)
{
	const struct nfs_compound *oldest = TAILQ_FIRST(&conn->all);

	*status = (struct nfs_conn_status){
		.state = conn_words[conn->state],
		.lending = conn->borrowing,
		.serial = conn->serial,
		.sent = count(&conn->sent) + count(&conn->lent),
		.waiting = count(&conn->urgent) + count(&conn->queue) + count(&conn->unready) +
			   count(&conn->held) + count(&conn->paused),
		.oldest_ns = oldest ? loop_now(conn->loop) - oldest->p.queued_at : 0,
		.silence_ns = nfs_conn_silence(conn),
	};
}

static void get_slots(struct nfs_client *client, struct nfs_client_status *status)
{
	struct slot_table *table = &client->slots;

	pthread_mutex_lock(&table->lock);
	status->slots = table->limit;
	for (unsigned i = 0; i < SLOT_WORDS; i++)
		status->slots_busy += (uint32_t)__builtin_popcountll(table->busy[i]);
	pthread_mutex_unlock(&table->lock);
}

void nfs_client_status(struct nfs_client *client, struct nfs_client_status *status)
{
	uint64_t renewed_at = 0, now = loop_now(client->conns[0]->loop);

	memset(status, 0, sizeof(*status));
	status->state = nfs_recovery_name(client->recovery.state);
	memcpy(status->owner, client->owner, sizeof(status->owner));
	memcpy(status->server_owner, client->exchange.server_owner, sizeof(status->server_owner));
	memcpy(status->server_impl, client->exchange.server_impl, sizeof(status->server_impl));
	status->clientid = atomic_load(&client->clientid);
	status->sessions = slot_table_session(&client->slots, status->sessionid, &status->alive);
	for (unsigned i = 0; i < client->nconns; i++) {
		uint64_t at = atomic_load(&client->conns[i]->renewed_at);
		renewed_at = at > renewed_at ? at : renewed_at;
	}
	status->renewed_ns = renewed_at > 0 && now > renewed_at ? now - renewed_at : 0;
	status->limits = client->limits;
	get_slots(client, status);
}

static void count_opens(const struct nfs_open_list *opens, struct nfs_state_status *status)
{
	const struct nfs_open *open;

	LIST_FOREACH (open, opens, entry) {
		status->opens++;
		status->local_opens += open->local;
		status->stale_opens += open->stale;
	}
}

void nfs_state_status(struct nfs_state *state, struct nfs_state_status *status)
{
	const struct nfs_lock *lock;

	*status = (struct nfs_state_status){0};
	pthread_mutex_lock(&state->mutex);
	count_opens(&state->opens, status);
	count_opens(&state->ahead, status);
	LIST_FOREACH (lock, &state->locks, entry) {
		status->lock_owners += lock->ranges.count > 0;
		status->ranges += lock->ranges.count;
		status->stale_locks += lock->stale;
		status->lost_locks += lock->lost;
	}
	pthread_mutex_unlock(&state->mutex);
}
