/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "nfs41/state_priv.h"

/* The server does not know it any more. What was lost before stays lost. */
static void lock_set_gone(struct nfs_lock *lock)
{
	lock->established = false;
	lock->stale = lock->ranges.count > 0 && !lock->lost;
}

void nfs_state_rewind(struct nfs_state *state, bool stale)
{
	struct nfs_open *open;
	struct nfs_lock *lock;
	struct nfs_deleg *deleg;
	pthread_mutex_lock(&state->mutex);
	while ((open = LIST_FIRST(&state->opens))) {
		LIST_REMOVE(open, entry);
		LIST_INSERT_HEAD(&state->ahead, open, entry);
	}
	if (stale) {
		LIST_FOREACH (open, &state->ahead, entry)
			open->stale = open->err == 0;
		LIST_FOREACH (lock, &state->locks, entry)
			lock_set_gone(lock);
		deleg_lapse_all(state);
	}
	TAILQ_FOREACH (deleg, &state->delegs.held, entry)
		deleg->visited = false;
	state_unlock(state);
}

struct nfs_open *nfs_state_next(struct nfs_state *state)
{
	pthread_mutex_lock(&state->mutex);
	struct nfs_open *open;
	while ((open = LIST_FIRST(&state->ahead))) {
		LIST_REMOVE(open, entry);
		LIST_INSERT_HEAD(&state->opens, open, entry);
		if (open->err == 0) {
			open->refs++;
			break;
		}
	}
	pthread_mutex_unlock(&state->mutex);
	return open;
}

static bool state_list_has_stale(const struct nfs_open_list *list)
{
	const struct nfs_open *open;
	LIST_FOREACH (open, list, entry)
		if (open->stale)
			return true;
	return false;
}

bool nfs_state_has_stale(struct nfs_state *state)
{
	const struct nfs_lock *lock;
	pthread_mutex_lock(&state->mutex);
	bool stale = state_list_has_stale(&state->opens) || state_list_has_stale(&state->ahead);
	LIST_FOREACH (lock, &state->locks, entry)
		stale |= lock->stale;
	pthread_mutex_unlock(&state->mutex);
	return stale;
}

void nfs_open_gone(struct nfs_state *state, struct nfs_open *open)
{
	struct nfs_lock *lock;
	pthread_mutex_lock(&state->mutex);
	open->stale = true;
	LIST_FOREACH (lock, &state->locks, entry)
		if (lock->open == open)
			lock_set_gone(lock);
	const struct nfs_stateid stateid = open->stateid;
	bool local = open->local;
	pthread_mutex_unlock(&state->mutex);
	if (local)
		deleg_gone(state, &stateid);
}

bool nfs_open_regained(
	struct nfs_state *state, struct nfs_open *open, const struct nfs_stateid *stateid)
{
	pthread_mutex_lock(&state->mutex);
	if (!state_stateid_is_older(stateid, &open->stateid))
		open->stateid = *stateid;
	open->stale = open->local = false;
	bool closed = open->closed;
	if (!closed)
		state_note_open(state, open, false);
	pthread_mutex_unlock(&state->mutex);
	return !closed;
}

void nfs_open_lost(struct nfs_state *state, struct nfs_open *open, int err)
{
	struct nfs_lock *lock;
	pthread_mutex_lock(&state->mutex);
	open->err = err;
	open->stale = false;
	if (!open->closed)
		state_note_open(state, open, false);
	LIST_FOREACH (lock, &state->locks, entry)
		if (lock->open == open) {
			lock->stale = false;
			state_set_lost(state, lock, lock->ranges.count > 0);
			state_note_lock(state, lock, false);
		}
	pthread_mutex_unlock(&state->mutex);
}

void nfs_open_rewind_locks(struct nfs_state *state, struct nfs_open *open)
{
	struct nfs_lock *lock;
	pthread_mutex_lock(&state->mutex);
	LIST_FOREACH (lock, &state->locks, entry)
		if (lock->open == open)
			lock->visited = false;
	pthread_mutex_unlock(&state->mutex);
}

struct nfs_lock *nfs_open_next_lock(struct nfs_state *state, struct nfs_open *open)
{
	struct nfs_lock *lock;
	pthread_mutex_lock(&state->mutex);
	LIST_FOREACH (lock, &state->locks, entry)
		if (lock->open == open && !lock->visited && !lock->lost && lock->ranges.count > 0)
			break;
	if (lock) {
		lock->visited = true;
		lock->refs++;
	}
	pthread_mutex_unlock(&state->mutex);
	return lock;
}

void nfs_lock_gone(struct nfs_state *state, struct nfs_lock *lock)
{
	pthread_mutex_lock(&state->mutex);
	lock_set_gone(lock);
	pthread_mutex_unlock(&state->mutex);
}

bool nfs_lock_is_stale(struct nfs_state *state, const struct nfs_lock *lock)
{
	pthread_mutex_lock(&state->mutex);
	bool stale = lock->stale;
	pthread_mutex_unlock(&state->mutex);
	return stale;
}

bool nfs_open_is_stale(struct nfs_state *state, const struct nfs_open *open)
{
	pthread_mutex_lock(&state->mutex);
	bool stale = open->stale;
	pthread_mutex_unlock(&state->mutex);
	return stale;
}

uint32_t nfs_open_wanted(struct nfs_state *state, struct nfs_open *open, bool reclaim)
{
	pthread_mutex_lock(&state->mutex);
	if (!reclaim)
		open->granted = open->access;
	uint32_t access = open->granted;
	pthread_mutex_unlock(&state->mutex);
	return access;
}

bool nfs_lock_next_range(
	struct nfs_state *state, struct nfs_lock *lock, uint64_t offset, struct range *range)
{
	pthread_mutex_lock(&state->mutex);
	bool found = lock->stale && range_set_find(&lock->ranges, offset, range);
	pthread_mutex_unlock(&state->mutex);
	return found;
}

void nfs_lock_settled(struct nfs_state *state, struct nfs_lock *lock,
	const struct nfs_stateid *stateid, bool lost)
{
	pthread_mutex_lock(&state->mutex);
	lock->stale = false;
	if (stateid)
		state_set_lock_stateid(lock, stateid);
	if (lost && lock->open && lock->ranges.count > 0)
		state_set_lost(state, lock, true);
	if (lock->open)
		state_note_lock(state, lock, false);
	pthread_mutex_unlock(&state->mutex);
}
