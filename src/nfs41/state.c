/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "nfs41/state.h"

#include <errno.h>
#include <stdlib.h>

struct nfs_state {
	pthread_mutex_t mutex;
	unsigned nopens;
	LIST_HEAD(, nfs_open) opens;
	LIST_HEAD(, nfs_lock) locks; /* of open files only */
};

int nfs_state_new(struct nfs_state **state)
{
	struct nfs_state *s = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	pthread_mutex_init(&s->mutex, NULL);
	LIST_INIT(&s->opens);
	LIST_INIT(&s->locks);
	*state = s;
	return 0;
}

/* Takes the lock-owners that hang on `open` off the record. */
static void state_drop_locks(struct nfs_state *state, const struct nfs_open *open)
{
	struct nfs_lock *lock = LIST_FIRST(&state->locks);
	while (lock) {
		struct nfs_lock *next = LIST_NEXT(lock, entry);
		if (lock->open == open) {
			LIST_REMOVE(lock, entry);
			lock->open = NULL;
			lock->established = false;
			if (lock->refs == 0)
				free(lock);
		}
		lock = next;
	}
}

void nfs_state_free(struct nfs_state *state)
{
	if (!state)
		return;
	struct nfs_open *open;
	while ((open = LIST_FIRST(&state->opens)))
		nfs_open_free(state, open);
	pthread_mutex_destroy(&state->mutex);
	free(state);
}

struct nfs_open *nfs_open_new(struct nfs_state *state, const struct nfs_fh *fh, uint32_t access,
	uint64_t owner, struct rpc_cred *cred, const struct nfs_stateid *stateid)
{
	struct nfs_open *open = calloc(1, sizeof(*open));
	if (!open)
		return NULL;
	open->fh = *fh;
	open->access = access;
	open->owner = owner;
	open->cred = rpc_cred_ref(cred);
	open->stateid = *stateid;
	pthread_mutex_lock(&state->mutex);
	LIST_INSERT_HEAD(&state->opens, open, entry);
	state->nopens++;
	pthread_mutex_unlock(&state->mutex);
	return open;
}

void nfs_open_free(struct nfs_state *state, struct nfs_open *open)
{
	pthread_mutex_lock(&state->mutex);
	LIST_REMOVE(open, entry);
	state->nopens--;
	state_drop_locks(state, open);
	pthread_mutex_unlock(&state->mutex);
	rpc_cred_unref(open->cred);
	free(open);
}

struct nfs_stateid nfs_open_stateid(struct nfs_state *state, const struct nfs_open *open)
{
	pthread_mutex_lock(&state->mutex);
	struct nfs_stateid stateid = open->stateid;
	pthread_mutex_unlock(&state->mutex);
	return stateid;
}

static struct nfs_lock *state_find_lock(
	struct nfs_state *state, const struct nfs_fh *fh, uint64_t fuse_owner)
{
	struct nfs_lock *lock;
	LIST_FOREACH (lock, &state->locks, entry)
		if (lock->fuse_owner == fuse_owner && nfs_fh_equal(&lock->open->fh, fh))
			break;
	return lock;
}

struct nfs_lock *nfs_lock_get(
	struct nfs_state *state, struct nfs_open *open, uint64_t fuse_owner, uint64_t new_owner)
{
	pthread_mutex_lock(&state->mutex);
	struct nfs_lock *lock = state_find_lock(state, &open->fh, fuse_owner);
	if (!lock && (lock = calloc(1, sizeof(*lock)))) {
		lock->fuse_owner = fuse_owner;
		lock->owner = new_owner;
		lock->open = open;
		LIST_INSERT_HEAD(&state->locks, lock, entry);
	}
	if (lock)
		lock->refs++;
	pthread_mutex_unlock(&state->mutex);
	return lock;
}

struct nfs_lock *nfs_lock_find(
	struct nfs_state *state, const struct nfs_fh *fh, uint64_t fuse_owner)
{
	pthread_mutex_lock(&state->mutex);
	struct nfs_lock *lock = state_find_lock(state, fh, fuse_owner);
	if (lock && !lock->established)
		lock = NULL;
	if (lock)
		lock->refs++;
	pthread_mutex_unlock(&state->mutex);
	return lock;
}

void nfs_lock_unref(struct nfs_state *state, struct nfs_lock *lock)
{
	if (!lock)
		return;
	pthread_mutex_lock(&state->mutex);
	if (--lock->refs == 0 && !lock->open)
		free(lock);
	pthread_mutex_unlock(&state->mutex);
}

bool nfs_lock_stateid(struct nfs_state *state, const struct nfs_lock *lock, struct nfs_stateid *out)
{
	pthread_mutex_lock(&state->mutex);
	bool established = lock->established;
	*out = lock->stateid;
	pthread_mutex_unlock(&state->mutex);
	return established;
}

void nfs_lock_granted(
	struct nfs_state *state, struct nfs_lock *lock, const struct nfs_stateid *stateid)
{
	pthread_mutex_lock(&state->mutex);
	lock->stateid = *stateid;
	lock->established = lock->open != NULL;
	pthread_mutex_unlock(&state->mutex);
}

unsigned nfs_state_opens(struct nfs_state *state)
{
	pthread_mutex_lock(&state->mutex);
	unsigned count = state->nopens;
	pthread_mutex_unlock(&state->mutex);
	return count;
}
