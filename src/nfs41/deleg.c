/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "nfs41/deleg.h"

#include <errno.h>
#include <stdlib.h>

#include "nfs41/state_priv.h"
#include "util/loop.h"

#define NS_PER_MS UINT64_C(1000000)

void deleg_table_init(struct deleg_table *table)
{
	pthread_condattr_t attr;
	TAILQ_INIT(&table->held);
	TAILQ_INIT(&table->due);
	TAILQ_INIT(&table->active);
	for (unsigned i = 0; i < DELEG_BUCKETS; i++)
		LIST_INIT(&table->buckets[i]);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&table->none, &attr);
	pthread_condattr_destroy(&attr);
}

static void deleg_forget_creds(struct nfs_deleg *deleg)
{
	for (unsigned i = 0; i < DELEG_CREDS; i++) {
		rpc_cred_unref(deleg->known[i].cred);
		deleg->known[i] = (struct deleg_known){0};
	}
}

void deleg_free(struct nfs_deleg *deleg)
{
	deleg_forget_creds(deleg);
	rpc_cred_unref(deleg->cred);
	free(deleg);
}

static void deleg_free_queue(struct nfs_deleg_queue *queue)
{
	struct nfs_deleg *deleg;
	while ((deleg = TAILQ_FIRST(queue))) {
		TAILQ_REMOVE(queue, deleg, entry);
		deleg_free(deleg);
	}
}

void deleg_table_deinit(struct nfs_state *state)
{
	deleg_free_queue(&state->delegs.held);
	deleg_free_queue(&state->delegs.due);
	deleg_free_queue(&state->delegs.active);
	rpc_cred_unref(state->delegs.dir_cred);
	pthread_cond_destroy(&state->delegs.none);
}

void deleg_configure(
	struct nfs_state *state, enum deleg_mode mode, const struct deleg_ops *ops, void *arg)
{
	state->delegs.mode = mode;
	state->delegs.ops = ops;
	state->delegs.arg = arg;
}

void deleg_use_xor(struct nfs_state *state)
{
	pthread_mutex_lock(&state->mutex);
	state->delegs.xor = true;
	pthread_mutex_unlock(&state->mutex);
}

void state_unlock(struct nfs_state *state)
{
	struct deleg_table *table = &state->delegs;
	bool news = table->news, hurry = table->hurry;
	table->news = table->hurry = false;
	pthread_mutex_unlock(&state->mutex);
	if (news && table->ops)
		table->ops->due(table->arg, hurry);
}

/* FNV-1a */
static unsigned deleg_bucket(const struct nfs_fh *fh)
{
	uint32_t hash = 0x811c9dc5;
	for (unsigned i = 0; i < fh->len; i++)
		hash = (hash ^ fh->data[i]) * 0x01000193;
	return hash % DELEG_BUCKETS;
}

static bool same_other(const struct nfs_stateid *a, const struct nfs_stateid *b)
{
	return memcmp(a->other, b->other, sizeof(a->other)) == 0;
}

struct nfs_deleg *deleg_table_find(struct deleg_table *table, const struct nfs_fh *fh, bool due)
{
	struct nfs_deleg *deleg;
	LIST_FOREACH (deleg, &table->buckets[deleg_bucket(fh)], hash_entry)
		if (deleg->due == due && nfs_fh_equal(&deleg->fh, fh))
			break;
	return deleg;
}

void deleg_table_make_due(struct deleg_table *table, struct nfs_deleg *deleg, bool urgent)
{
	if (urgent)
		table->hurry = true;
	if (deleg->due) {
		table->news |= urgent;
		return;
	}
	deleg->due = true;
	deleg->gone |= deleg->lapsed;
	TAILQ_REMOVE(&table->held, deleg, entry);
	if (urgent)
		TAILQ_INSERT_HEAD(&table->due, deleg, entry);
	else
		TAILQ_INSERT_TAIL(&table->due, deleg, entry);
	table->news = true;
}

static bool mode_wants(const struct deleg_table *table, uint32_t access)
{
	if (loop_clock() < table->pause_until)
		return false;
	return access & OPEN4_SHARE_ACCESS_WRITE ? table->mode == DELEG_ALL
						 : table->mode != DELEG_NONE;
}

uint32_t deleg_ask(struct nfs_state *state, const struct nfs_fh *fh, uint32_t access, bool xor,
	struct deleg_asking *asking)
{
	struct deleg_table *table = &state->delegs;
	uint32_t want = OPEN4_SHARE_ACCESS_WANT_NO_DELEG;
	pthread_mutex_lock(&state->mutex);
	/* With one in hand, another is of no use; with one on its way back, it would follow it. */
	bool known =
		fh && (deleg_table_find(table, fh, false) || deleg_table_find(table, fh, true));
	if (!known && mode_wants(table, access)) {
		want = access & OPEN4_SHARE_ACCESS_WRITE ? OPEN4_SHARE_ACCESS_WANT_WRITE_DELEG
							 : OPEN4_SHARE_ACCESS_WANT_READ_DELEG;
		if (xor&&table->xor)
			want |= OPEN4_SHARE_ACCESS_WANT_OPEN_XOR_DELEGATION;
	}
	table->asking++;
	asking->epoch = table->epoch;
	pthread_mutex_unlock(&state->mutex);
	return want;
}

static void table_note_access(
	struct deleg_table *table, const struct nfs_fh *fh, struct rpc_cred *cred, uint32_t access)
{
	struct nfs_deleg *deleg = deleg_table_find(table, fh, false);
	if (!deleg)
		return;
	for (unsigned i = 0; i < DELEG_CREDS; i++)
		if (deleg->known[i].cred == cred) {
			deleg->known[i].access |= access;
			return;
		}
	struct deleg_known *known = &deleg->known[deleg->next_known];
	deleg->next_known = (deleg->next_known + 1) % DELEG_CREDS;
	rpc_cred_unref(known->cred);
	known->cred = rpc_cred_ref(cred);
	known->access = access;
}

bool deleg_table_take_early(struct deleg_table *table, const struct nfs_deleg *deleg)
{
	for (unsigned i = 0; i < table->nearly; i++) {
		struct deleg_early *early = &table->early[i];
		if (same_other(&early->stateid, &deleg->stateid) &&
			nfs_fh_equal(&early->fh, &deleg->fh)) {
			*early = (struct deleg_early){0};
			return true;
		}
	}
	return false;
}

struct nfs_deleg *deleg_new(const struct deleg_grant *grant)
{
	uint32_t type = grant->res->delegation_type;
	if (!deleg_granted(grant->res))
		return NULL;
	struct nfs_deleg *deleg = calloc(1, sizeof(*deleg));
	if (!deleg)
		return NULL;
	deleg->fh = *grant->fh;
	deleg->cred = rpc_cred_ref(grant->cred);
	deleg->stateid = grant->res->delegation;
	deleg->write = type == OPEN_DELEGATE_WRITE || type == OPEN_DELEGATE_WRITE_ATTRS_DELEG;
	deleg->dir = grant->dir;
	deleg->used_at = loop_clock();
	return deleg;
}

bool deleg_table_has_stateid(const struct deleg_table *table, const struct nfs_deleg *other)
{
	const struct nfs_deleg *deleg;
	LIST_FOREACH (deleg, &table->buckets[deleg_bucket(&other->fh)], hash_entry)
		if (!deleg->gone && same_other(&deleg->stateid, &other->stateid))
			return true;
	return false;
}

unsigned *deleg_table_kind(struct deleg_table *table, const struct nfs_deleg *deleg)
{
	struct deleg_stats *stats = &table->stats;
	return deleg->dir ? &stats->dirs : deleg->write ? &stats->write : &stats->read;
}

void deleg_table_add(struct deleg_table *table, struct nfs_deleg *deleg_take, bool unwanted)
{
	bool second = deleg_table_find(table, &deleg_take->fh, false) != NULL;
	TAILQ_INSERT_TAIL(&table->held, deleg_take, entry);
	LIST_INSERT_HEAD(&table->buckets[deleg_bucket(&deleg_take->fh)], deleg_take, hash_entry);
	table->count++;
	deleg_take->serial = ++table->stats.granted;
	*deleg_table_kind(table, deleg_take) += 1;
	if (deleg_table_take_early(table, deleg_take)) {
		table->stats.recalled++;
		deleg_table_make_due(table, deleg_take, true);
	} else if (unwanted || second || loop_clock() < table->pause_until) {
		deleg_table_make_due(table, deleg_take, false);
	} else if (table->count > DELEG_MAX && !TAILQ_EMPTY(&table->held)) {
		deleg_table_make_due(table, TAILQ_FIRST(&table->held), false);
	} else {
		deleg_table_limit_dirs(table);
	}
}

void deleg_table_answered(struct deleg_table *table)
{
	if (--table->asking > 0)
		return;
	for (unsigned i = 0; i < table->nearly; i++)
		if (table->early[i].fh.len > 0)
			deleg_table_adopt(table, &table->early[i].fh, &table->early[i].stateid);
	table->nearly = table->next_early = 0;
}

bool deleg_answered(
	struct nfs_state *state, const struct deleg_asking *asking, const struct deleg_grant *grant)
{
	struct deleg_table *table = &state->delegs;
	struct nfs_deleg *deleg = grant ? deleg_new(grant) : NULL;
	bool held = false;
	pthread_mutex_lock(&state->mutex);
	if (deleg && deleg_table_has_stateid(table, deleg)) {
		/* the server's reminder of what we have */
		deleg_free(deleg);
	} else if (deleg) {
		/* What was asked of the server's previous life may be an answer from it: not to be
		 * relied on. */
		bool unwanted = table->mode == DELEG_NONE || asking->epoch != table->epoch ||
				grant->res->delegation_recall;
		deleg_table_add(table, deleg, unwanted);
	}
	if (grant) {
		table_note_access(table, grant->fh, grant->cred, grant->access);
		held = deleg_table_find(table, grant->fh, false) != NULL;
	}
	deleg_table_answered(table);
	state_unlock(state);
	return held;
}

struct nfs_open *deleg_record(
	struct nfs_state *state, const struct deleg_grant *grant, uint32_t access, uint64_t owner)
{
	const struct nfs_open_res *res = grant->res;
	bool local = deleg_granted(res) && (res->rflags & OPEN4_RESULT_NO_OPEN_STATEID);
	struct nfs_open *open = state_new_open(
		grant->fh, access, owner, grant->cred, local ? &res->delegation : &res->stateid);
	if (!open)
		return NULL;
	open->local = local;
	open->notifies = res->rflags & OPEN4_RESULT_MAY_NOTIFY_LOCK;
	pthread_mutex_lock(&state->mutex);
	state_add_open(state, open);
	pthread_mutex_unlock(&state->mutex);
	return open;
}

void deleg_table_touch(struct deleg_table *table, struct nfs_deleg *deleg)
{
	deleg->used_at = loop_clock();
	TAILQ_REMOVE(&table->held, deleg, entry);
	TAILQ_INSERT_TAIL(&table->held, deleg, entry);
}

static bool deleg_allows(
	const struct nfs_deleg *deleg, const struct rpc_cred *cred, uint32_t access)
{
	if ((access & OPEN4_SHARE_ACCESS_WRITE) && !deleg->write)
		return false;
	for (unsigned i = 0; i < DELEG_CREDS; i++)
		if (deleg->known[i].cred == cred)
			return (access & ~deleg->known[i].access) == 0;
	return false;
}

struct nfs_open *deleg_open(struct nfs_state *state, const struct nfs_fh *fh, uint32_t access,
	uint64_t owner, struct rpc_cred *cred)
{
	struct deleg_table *table = &state->delegs;
	if (table->mode == DELEG_NONE)
		return NULL;
	const struct nfs_stateid none = {0};
	struct nfs_open *open = state_new_open(fh, access, owner, cred, &none);
	if (!open)
		return NULL;
	pthread_mutex_lock(&state->mutex);
	struct nfs_deleg *deleg = deleg_table_find(table, fh, false);
	bool may = deleg && !deleg->lapsed && deleg_allows(deleg, cred, access);
	if (may) {
		open->stateid = deleg->stateid;
		open->local = true;
		state_add_open(state, open);
		table->stats.opens++;
		deleg_table_touch(table, deleg);
	}
	pthread_mutex_unlock(&state->mutex);
	if (may)
		return open;
	state_free_open(open);
	return NULL;
}

bool deleg_holds(struct nfs_state *state, const struct nfs_fh *fh)
{
	pthread_mutex_lock(&state->mutex);
	bool held = deleg_table_find(&state->delegs, fh, false) != NULL;
	pthread_mutex_unlock(&state->mutex);
	return held;
}

bool deleg_holds_write(struct nfs_state *state, const struct nfs_fh *fh)
{
	pthread_mutex_lock(&state->mutex);
	const struct nfs_deleg *deleg = deleg_table_find(&state->delegs, fh, false);
	if (!deleg)
		deleg = deleg_table_find(&state->delegs, fh, true);
	bool write = deleg && deleg->write && !deleg->gone;
	pthread_mutex_unlock(&state->mutex);
	return write;
}

void deleg_forget_access(struct nfs_state *state, const struct nfs_fh *fh)
{
	pthread_mutex_lock(&state->mutex);
	struct nfs_deleg *deleg = deleg_table_find(&state->delegs, fh, false);
	if (deleg)
		deleg_forget_creds(deleg);
	pthread_mutex_unlock(&state->mutex);
}

static void table_note_early(
	struct deleg_table *table, const struct nfs_fh *fh, const struct nfs_stateid *stateid)
{
	table->early[table->next_early] = (struct deleg_early){.fh = *fh, .stateid = *stateid};
	table->next_early = (table->next_early + 1) % DELEG_EARLY;
	if (table->nearly < DELEG_EARLY)
		table->nearly++;
}

uint32_t deleg_recalled(
	struct nfs_state *state, const struct nfs_fh *fh, const struct nfs_stateid *stateid)
{
	struct deleg_table *table = &state->delegs;
	struct nfs_deleg *deleg;
	bool other = false;
	uint32_t status = NFS4_OK;
	pthread_mutex_lock(&state->mutex);
	LIST_FOREACH (deleg, &table->buckets[deleg_bucket(fh)], hash_entry) {
		if (deleg->gone || !nfs_fh_equal(&deleg->fh, fh))
			continue;
		if (same_other(&deleg->stateid, stateid))
			break;
		other = true;
	}
	if (deleg) {
		table->stats.recalled += !deleg->due;
		deleg_table_make_due(table, deleg, true);
	} else if (table->asking > 0) {
		/* The OPEN that it came with may be one of those under way: RFC 8881, 2.10.6.3. */
		table_note_early(table, fh, stateid);
	} else if (!deleg_table_adopt(table, fh, stateid)) {
		status = other ? NFS4ERR_BAD_STATEID : NFS4ERR_BADHANDLE;
	}
	state_unlock(state);
	return status;
}

static bool deleg_is_among(const struct nfs_deleg *deleg, struct deleg_kinds kinds)
{
	return deleg->dir ? kinds.dirs : deleg->write ? kinds.write : kinds.read;
}

void deleg_keep(struct nfs_state *state, unsigned keep, struct deleg_kinds kinds)
{
	struct deleg_table *table = &state->delegs;
	struct nfs_deleg *deleg, *next;
	pthread_mutex_lock(&state->mutex);
	unsigned held = 0;
	TAILQ_FOREACH (deleg, &table->held, entry)
		held += deleg_is_among(deleg, kinds);
	for (deleg = TAILQ_FIRST(&table->held); deleg && held > keep; deleg = next) {
		next = TAILQ_NEXT(deleg, entry);
		if (deleg_is_among(deleg, kinds)) {
			deleg_table_make_due(table, deleg, false);
			table->stats.recalled++;
			held--;
		}
	}
	state_unlock(state);
}

void deleg_return(struct nfs_state *state, const struct nfs_fh *fh)
{
	pthread_mutex_lock(&state->mutex);
	struct nfs_deleg *deleg = deleg_table_find(&state->delegs, fh, false);
	if (deleg)
		deleg_table_make_due(&state->delegs, deleg, false);
	state_unlock(state);
}

void deleg_return_idle(struct nfs_state *state, uint64_t before)
{
	struct deleg_table *table = &state->delegs;
	struct nfs_deleg *deleg;
	pthread_mutex_lock(&state->mutex);
	while ((deleg = TAILQ_FIRST(&table->held)) && deleg->used_at < before)
		deleg_table_make_due(table, deleg, false);
	state_unlock(state);
}

void deleg_return_all(struct nfs_state *state, uint64_t until)
{
	struct deleg_table *table = &state->delegs;
	struct nfs_deleg *deleg;
	pthread_mutex_lock(&state->mutex);
	if (until > table->pause_until)
		table->pause_until = until;
	table->hurry = true;
	while ((deleg = TAILQ_FIRST(&table->held)))
		deleg_table_make_due(table, deleg, false);
	state_unlock(state);
}

unsigned deleg_wait_returned(struct nfs_state *state, uint64_t deadline)
{
	struct deleg_table *table = &state->delegs;
	const struct timespec at = {.tv_sec = (time_t)(deadline / (1000 * NS_PER_MS)),
		.tv_nsec = (long)(deadline % (1000 * NS_PER_MS))};
	int err = 0;
	pthread_mutex_lock(&state->mutex);
	while (table->count > 0 && err == 0)
		err = pthread_cond_timedwait(&table->none, &state->mutex, &at);
	unsigned left = table->count;
	pthread_mutex_unlock(&state->mutex);
	return left;
}

void deleg_get_stats(struct nfs_state *state, struct deleg_stats *stats)
{
	pthread_mutex_lock(&state->mutex);
	*stats = state->delegs.stats;
	pthread_mutex_unlock(&state->mutex);
}
