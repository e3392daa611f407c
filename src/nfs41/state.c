/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "nfs41/state.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "nfs41/state_priv.h"

void nfs_state_set_journal(
	struct nfs_state *state, const struct nfs_state_journal *journal, void *arg)
{
	state->journal = journal;
	state->journal_arg = arg;
}

void state_note_open(struct nfs_state *state, struct nfs_open *open, bool gone)
{
	if (state->journal)
		state->journal->open(state->journal_arg, open, gone);
}

void state_note_lock(struct nfs_state *state, struct nfs_lock *lock, bool gone)
{
	if (state->journal)
		state->journal->lock(state->journal_arg, lock, gone);
}

int nfs_state_new(struct nfs_state **state)
{
	struct nfs_state *s = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	pthread_mutex_init(&s->mutex, NULL);
	LIST_INIT(&s->opens);
	LIST_INIT(&s->ahead);
	LIST_INIT(&s->locks);
	deleg_table_init(&s->delegs);
	*state = s;
	return 0;
}

static void lock_free(struct nfs_lock *lock)
{
	range_set_deinit(&lock->ranges);
	free(lock);
}

void state_set_lost(struct nfs_state *state, struct nfs_lock *lock, bool lost)
{
	if (lock->open && lock->lost != lost)
		state->lost_locks += lost ? 1 : -1;
	lock->lost = lost;
}

/* Takes the lock-owners that hang on `open` off the record. */
static void state_drop_locks(struct nfs_state *state, const struct nfs_open *open)
{
	struct nfs_lock *lock = LIST_FIRST(&state->locks);
	while (lock) {
		struct nfs_lock *next = LIST_NEXT(lock, entry);
		if (lock->user == open)
			lock->user = NULL;
		if (lock->open == open) {
			LIST_REMOVE(lock, entry);
			state_note_lock(state, lock, true);
			state_set_lost(state, lock, false);
			lock->open = NULL;
			lock->established = lock->stale = false;
			if (lock->refs == 0)
				lock_free(lock);
		}
		lock = next;
	}
}

static void state_drop_open(struct nfs_state *state, struct nfs_open *open)
{
	LIST_REMOVE(open, entry);
	state_drop_locks(state, open);
	open->closed = true;
}

void state_free_open(struct nfs_open *open)
{
	rpc_cred_unref(open->cred);
	free(open);
}

void nfs_state_free(struct nfs_state *state)
{
	if (!state)
		return;
	struct nfs_open *open;
	nfs_state_rewind(state, false);
	while ((open = LIST_FIRST(&state->ahead))) {
		state_drop_open(state, open);
		state_free_open(open);
	}
	deleg_table_deinit(state);
	pthread_mutex_destroy(&state->mutex);
	free(state);
}

struct nfs_open *state_new_open(const struct nfs_fh *fh, uint32_t access, uint64_t owner,
	struct rpc_cred *cred, const struct nfs_stateid *stateid)
{
	struct nfs_open *open = calloc(1, sizeof(*open));
	if (!open)
		return NULL;
	open->fh = *fh;
	open->access = open->granted = access;
	open->owner = owner;
	open->cred = rpc_cred_ref(cred);
	open->stateid = *stateid;
	open->refs = 1;
	return open;
}

void state_add_open(struct nfs_state *state, struct nfs_open *open)
{
	LIST_INSERT_HEAD(&state->opens, open, entry);
	state_note_open(state, open, false);
}

struct nfs_open *nfs_open_new(struct nfs_state *state, const struct nfs_fh *fh, uint32_t access,
	uint64_t owner, struct rpc_cred *cred, const struct nfs_stateid *stateid)
{
	struct nfs_open *open = state_new_open(fh, access, owner, cred, stateid);
	if (!open)
		return NULL;
	pthread_mutex_lock(&state->mutex);
	state_add_open(state, open);
	pthread_mutex_unlock(&state->mutex);
	return open;
}

bool nfs_open_close(struct nfs_state *state, struct nfs_open *open, struct nfs_stateid *stateid)
{
	pthread_mutex_lock(&state->mutex);
	state_drop_open(state, open);
	*stateid = open->stateid;
	bool real = !open->local;
	pthread_mutex_unlock(&state->mutex);
	return real;
}

bool nfs_open_is_local(struct nfs_state *state, const struct nfs_open *open)
{
	pthread_mutex_lock(&state->mutex);
	bool local = open->local;
	pthread_mutex_unlock(&state->mutex);
	return local;
}

void nfs_open_forget(struct nfs_state *state, struct nfs_open *open)
{
	pthread_mutex_lock(&state->mutex);
	state_note_open(state, open, true);
	pthread_mutex_unlock(&state->mutex);
	nfs_open_unref(state, open);
}

struct nfs_open *nfs_open_ref(struct nfs_state *state, struct nfs_open *open)
{
	pthread_mutex_lock(&state->mutex);
	open->refs++;
	pthread_mutex_unlock(&state->mutex);
	return open;
}

void nfs_open_unref(struct nfs_state *state, struct nfs_open *open)
{
	pthread_mutex_lock(&state->mutex);
	bool last = --open->refs == 0;
	pthread_mutex_unlock(&state->mutex);
	if (last)
		state_free_open(open);
}

struct nfs_stateid nfs_open_stateid(struct nfs_state *state, const struct nfs_open *open)
{
	pthread_mutex_lock(&state->mutex);
	struct nfs_stateid stateid = open->stateid;
	pthread_mutex_unlock(&state->mutex);
	return stateid;
}

static bool open_has_lost(const struct nfs_state *state, const struct nfs_open *open)
{
	const struct nfs_lock *lock = NULL;
	if (state->lost_locks > 0)
		LIST_FOREACH (lock, &state->locks, entry)
			if (lock->lost && (lock->open == open || lock->user == open))
				break;
	return lock != NULL;
}

int nfs_open_use(struct nfs_state *state, const struct nfs_open *open, struct nfs_stateid *out)
{
	pthread_mutex_lock(&state->mutex);
	int err = open->err;
	if (!err && open_has_lost(state, open))
		err = -EIO;
	*out = open->stateid;
	pthread_mutex_unlock(&state->mutex);
	return err;
}

bool nfs_open_lacks(struct nfs_state *state, const struct nfs_open *open, uint32_t access)
{
	pthread_mutex_lock(&state->mutex);
	bool lacks = (access & ~open->granted) != 0;
	pthread_mutex_unlock(&state->mutex);
	return lacks;
}

void nfs_open_widened(struct nfs_state *state, struct nfs_open *open, uint32_t access,
	const struct nfs_stateid *stateid)
{
	pthread_mutex_lock(&state->mutex);
	/* Another one: the server had lost it, which the use of what is on record will tell. */
	if (memcmp(open->stateid.other, stateid->other, sizeof(stateid->other)) == 0) {
		if (!state_stateid_is_older(stateid, &open->stateid))
			open->stateid = *stateid;
		open->granted |= access;
		if (!open->closed)
			state_note_open(state, open, false);
	}
	pthread_mutex_unlock(&state->mutex);
}

/* It has locks, or is about to. */
static bool lock_in_use(const struct nfs_lock *lock)
{
	return lock->refs > 0 || lock->ranges.count > 0;
}

/* The kernel gives the address of an open file away as soon as it has asked for its release. */
static bool lock_is_ending(const struct nfs_lock *lock)
{
	return lock->user && lock->user->ending;
}

static struct nfs_lock *state_find_lock(struct nfs_state *state, const struct nfs_open *open,
	uint64_t fuse_owner, enum nfs_lock_scope scope)
{
	struct nfs_lock *lock, *own = NULL;
	LIST_FOREACH (lock, &state->locks, entry) {
		if (lock->fuse_owner != fuse_owner || lock_is_ending(lock))
			continue;
		if (scope == NFS_LOCK_OF_PROCESS && lock_in_use(lock) &&
			nfs_fh_equal(&lock->open->fh, &open->fh))
			return lock;
		if (lock->open == open)
			own = lock;
	}
	return own;
}

struct nfs_lock *nfs_lock_get(struct nfs_state *state, struct nfs_open *open, uint64_t fuse_owner,
	enum nfs_lock_scope scope, uint64_t new_owner)
{
	pthread_mutex_lock(&state->mutex);
	struct nfs_lock *lock = state_find_lock(state, open, fuse_owner, scope);
	if (!lock && (lock = calloc(1, sizeof(*lock)))) {
		lock->fuse_owner = fuse_owner;
		lock->owner = new_owner;
		lock->open = open;
		LIST_INSERT_HEAD(&state->locks, lock, entry);
		state_note_lock(state, lock, false);
	}
	if (lock) {
		lock->shared |= lock->open != open;
		/* Nothing is taken before what is lost is unlocked. */
		if (!lock->lost)
			lock->user = open;
		lock->refs++;
	}
	pthread_mutex_unlock(&state->mutex);
	return lock;
}

struct nfs_lock *nfs_lock_restore(struct nfs_state *state, struct nfs_open *open,
	uint64_t fuse_owner, uint64_t owner, const struct range *ranges, unsigned count)
{
	struct nfs_lock *lock = calloc(1, sizeof(*lock));
	if (!lock || range_set_reserve(&lock->ranges, count + 1) != 0) {
		free(lock);
		return NULL;
	}
	for (unsigned i = 0; i < count; i++)
		range_set_change(&lock->ranges, &ranges[i]);
	lock->fuse_owner = fuse_owner;
	lock->owner = owner;
	lock->open = open;
	lock->user = open;
	lock->shared = true; /* for all that is on record */
	pthread_mutex_lock(&state->mutex);
	LIST_INSERT_HEAD(&state->locks, lock, entry);
	pthread_mutex_unlock(&state->mutex);
	return lock;
}

struct nfs_lock *nfs_lock_find(struct nfs_state *state, const struct nfs_open *open,
	uint64_t fuse_owner, enum nfs_lock_scope scope)
{
	pthread_mutex_lock(&state->mutex);
	struct nfs_lock *lock = state_find_lock(state, open, fuse_owner, scope);
	if (lock && !lock->established && lock->ranges.count == 0)
		lock = NULL;
	if (lock) {
		lock->shared |= lock->open != open;
		lock->refs++;
	}
	pthread_mutex_unlock(&state->mutex);
	return lock;
}

struct nfs_open *nfs_lock_open(struct nfs_state *state, const struct nfs_lock *lock)
{
	pthread_mutex_lock(&state->mutex);
	struct nfs_open *open = lock->open;
	pthread_mutex_unlock(&state->mutex);
	return open;
}

/* Under the mutex. */
static bool open_is_shared(const struct nfs_state *state, const struct nfs_open *open)
{
	const struct nfs_lock *lock;
	LIST_FOREACH (lock, &state->locks, entry)
		if (lock->open == open && lock->shared && lock_in_use(lock))
			return true;
	return false;
}

void nfs_lock_unref(struct nfs_state *state, struct nfs_lock *lock)
{
	if (!lock)
		return;
	pthread_mutex_lock(&state->mutex);
	struct nfs_open *open = lock->open;
	bool last = --lock->refs == 0;
	bool close = last && open && open->closing && !open_is_shared(state, open);
	if (close)
		open->closing = false;
	if (last && !open)
		lock_free(lock);
	pthread_mutex_unlock(&state->mutex);
	if (close)
		state->closer(state->closer_arg, open);
}

struct nfs_lock *nfs_open_end(struct nfs_state *state, struct nfs_open *open)
{
	struct nfs_lock *lock;
	pthread_mutex_lock(&state->mutex);
	open->ending = true;
	LIST_FOREACH (lock, &state->locks, entry)
		if (lock->user == open && lock->ranges.count > 0)
			break;
	if (lock)
		lock->refs++;
	pthread_mutex_unlock(&state->mutex);
	return lock;
}

bool nfs_lock_may_end(struct nfs_state *state, const struct nfs_open *open, uint64_t fuse_owner)
{
	pthread_mutex_lock(&state->mutex);
	const struct nfs_lock *lock = state_find_lock(state, open, fuse_owner, NFS_LOCK_OF_PROCESS);
	bool may = lock && lock->user && lock->user != open &&
		   lock->user->access == OPEN4_SHARE_ACCESS_READ;
	pthread_mutex_unlock(&state->mutex);
	return may;
}

enum nfs_lock_end nfs_lock_end(struct nfs_state *state, uint64_t owner)
{
	const struct nfs_lock *lock;
	enum nfs_lock_end end = NFS_LOCK_STANDS;
	pthread_mutex_lock(&state->mutex);
	LIST_FOREACH (lock, &state->locks, entry)
		if (lock->owner == owner)
			break;
	if (!lock || !lock_in_use(lock))
		end = NFS_LOCK_ENDED;
	else if (lock_is_ending(lock))
		end = NFS_LOCK_ENDING;
	pthread_mutex_unlock(&state->mutex);
	return end;
}

bool nfs_open_close_later(struct nfs_state *state, struct nfs_open *open)
{
	pthread_mutex_lock(&state->mutex);
	bool later = open->closing = open_is_shared(state, open);
	pthread_mutex_unlock(&state->mutex);
	return later;
}

void nfs_state_set_closer(
	struct nfs_state *state, void (*closer)(void *arg, struct nfs_open *open_take), void *arg)
{
	state->closer = closer;
	state->closer_arg = arg;
}

int nfs_lock_reserve(struct nfs_state *state, struct nfs_lock *lock)
{
	pthread_mutex_lock(&state->mutex);
	int err = range_set_reserve(&lock->ranges, lock->refs);
	pthread_mutex_unlock(&state->mutex);
	return err;
}

bool nfs_lock_stateid(struct nfs_state *state, const struct nfs_lock *lock, struct nfs_stateid *out)
{
	pthread_mutex_lock(&state->mutex);
	bool established = lock->established;
	*out = lock->stateid;
	pthread_mutex_unlock(&state->mutex);
	return established;
}

bool nfs_lock_held(struct nfs_state *state, const struct nfs_lock *lock, struct nfs_stateid *out)
{
	pthread_mutex_lock(&state->mutex);
	/* While it is being reclaimed the old stateid is named, and refused. */
	bool held = lock->established || lock->stale;
	*out = lock->stateid;
	pthread_mutex_unlock(&state->mutex);
	return held;
}

bool nfs_lock_is_lost(struct nfs_state *state, const struct nfs_lock *lock)
{
	pthread_mutex_lock(&state->mutex);
	bool lost = lock->lost;
	pthread_mutex_unlock(&state->mutex);
	return lost;
}

bool state_stateid_is_older(const struct nfs_stateid *a, const struct nfs_stateid *b)
{
	return memcmp(a->other, b->other, sizeof(a->other)) == 0 &&
	       (int32_t)(a->seqid - b->seqid) < 0;
}

void state_set_lock_stateid(struct nfs_lock *lock, const struct nfs_stateid *stateid)
{
	if (!lock->established || !state_stateid_is_older(stateid, &lock->stateid))
		lock->stateid = *stateid;
	lock->established = lock->open != NULL;
}

void nfs_lock_changed(struct nfs_state *state, struct nfs_lock *lock,
	const struct nfs_stateid *stateid, const struct range *range)
{
	pthread_mutex_lock(&state->mutex);
	if (stateid)
		state_set_lock_stateid(lock, stateid);
	range_set_change(&lock->ranges, range);
	if (lock->ranges.count == 0)
		state_set_lost(state, lock, false);
	if (lock->open)
		state_note_lock(state, lock, false);
	pthread_mutex_unlock(&state->mutex);
}
