/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "nfs41/slot.h"

#include <string.h>

void slot_table_init(struct slot_table *table, uint32_t wanted)
{
	*table = (struct slot_table){
		.capacity = wanted == 0		       ? 2
			    : wanted >= SLOT_TABLE_MAX ? SLOT_TABLE_MAX
						       : wanted + 1,
	};
	pthread_mutex_init(&table->lock, NULL);
	TAILQ_INIT(&table->waiters);
}

void slot_table_deinit(struct slot_table *table)
{
	pthread_mutex_destroy(&table->lock);
}

static bool slot_is_busy(const struct slot_table *table, uint32_t slot)
{
	return (table->busy[slot / 64] >> (slot % 64)) & 1;
}

/* The first one for compounds. */
static uint32_t slot_first(const struct slot_table *table)
{
	return table->limit > 1 ? 1 : 0;
}

/* Those of `word` that compounds may have. */
static uint64_t slot_mask(const struct slot_table *table, uint32_t word)
{
	uint64_t mask = UINT64_MAX;
	if (table->limit / 64 == word)
		mask = (UINT64_C(1) << (table->limit % 64)) - 1;
	return word == 0 ? mask & (UINT64_MAX << slot_first(table)) : mask;
}

static uint32_t slot_count_free(const struct slot_table *table)
{
	uint32_t free = 0;
	for (uint32_t i = 0; i * 64 < table->limit; i++)
		free += (uint32_t)__builtin_popcountll(~table->busy[i] & slot_mask(table, i));
	return free;
}

/* table->limit when there is none */
static uint32_t slot_find_free(const struct slot_table *table)
{
	for (uint32_t i = 0; i * 64 < table->limit; i++) {
		uint64_t idle = ~table->busy[i] & slot_mask(table, i);
		if (idle != 0)
			return i * 64 + (uint32_t)__builtin_ctzll(idle);
	}
	return table->limit;
}

/* At least one is busy. */
static uint32_t slot_find_highest(const struct slot_table *table)
{
	for (uint32_t i = SLOT_WORDS; i-- > 0;)
		if (table->busy[i] != 0)
			return i * 64 + 63 - (uint32_t)__builtin_clzll(table->busy[i]);
	return 0;
}

static uint32_t slot_promised(const struct slot_table *table, const struct slot_waiter *waiter)
{
	return waiter->generation == table->generation ? waiter->promised : 0;
}

static struct slot_waiter *slot_choose(struct slot_table *table, struct slot_waiter *self)
{
	struct slot_waiter *first = TAILQ_FIRST(&table->waiters);
	if (self && self->queued && self != first && table->passed < SLOT_PASS_MAX) {
		table->passed++;
		return self;
	}
	table->passed = 0;
	return first;
}

/* Promises what is free to those who wait; `self` is about to look by itself. */
static void slot_promise(struct slot_table *table, struct slot_waiter *self)
{
	if (TAILQ_EMPTY(&table->waiters))
		return;
	uint32_t spare = slot_count_free(table);
	spare = spare > table->reserved ? spare - table->reserved : 0;
	while (spare > 0 && !TAILQ_EMPTY(&table->waiters)) {
		struct slot_waiter *waiter = slot_choose(table, self);
		TAILQ_REMOVE(&table->waiters, waiter, entry);
		waiter->queued = false;
		waiter->promised = slot_promised(table, waiter) + 1;
		waiter->generation = table->generation;
		table->reserved++;
		spare--;
		if (waiter != self)
			waiter->wake(waiter);
	}
}

static void slot_set_limit(struct slot_table *table, uint32_t highest)
{
	table->limit = highest >= table->capacity ? table->capacity : highest + 1;
}

uint32_t slot_table_reset(
	struct slot_table *table, const uint8_t sessionid[NFS4_SESSIONID_SIZE], uint32_t granted)
{
	pthread_mutex_lock(&table->lock);
	uint32_t generation = ++table->generation;
	memcpy(table->sessionid, sessionid, NFS4_SESSIONID_SIZE);
	memset(table->busy, 0, sizeof(table->busy));
	memset(table->doubt, 0, sizeof(table->doubt));
	memset(table->sequence, 0, sizeof(table->sequence));
	table->dead = table->probing = table->kept_wanted = false;
	table->reserved = 0;
	table->passed = 0;
	slot_set_limit(table, granted > 0 ? granted - 1 : 0);
	slot_promise(table, NULL);
	pthread_mutex_unlock(&table->lock);
	return generation;
}

void slot_table_open(struct slot_table *table, bool open)
{
	pthread_mutex_lock(&table->lock);
	table->open = open;
	pthread_mutex_unlock(&table->lock);
}

void slot_table_bury(struct slot_table *table, uint32_t generation)
{
	pthread_mutex_lock(&table->lock);
	if (generation == table->generation)
		table->dead = true;
	pthread_mutex_unlock(&table->lock);
}

uint32_t slot_table_session(
	struct slot_table *table, uint8_t sessionid[NFS4_SESSIONID_SIZE], bool *alive)
{
	pthread_mutex_lock(&table->lock);
	uint32_t generation = table->generation;
	if (sessionid)
		memcpy(sessionid, table->sessionid, NFS4_SESSIONID_SIZE);
	if (alive)
		*alive = generation != 0 && !table->dead;
	pthread_mutex_unlock(&table->lock);
	return generation;
}

void slot_table_shrink(struct slot_table *table, uint32_t generation, uint32_t highest)
{
	pthread_mutex_lock(&table->lock);
	if (generation == table->generation && highest < table->limit)
		slot_set_limit(table, highest);
	pthread_mutex_unlock(&table->lock);
}

static bool slot_allowed(
	const struct slot_table *table, const struct slot_waiter *waiter, bool privileged)
{
	return privileged || slot_promised(table, waiter) > 0 ||
	       table->reserved < slot_count_free(table);
}

static void slot_fill(struct slot_table *table, uint32_t slot, struct slot_grant *grant)
{
	table->busy[slot / 64] |= UINT64_C(1) << (slot % 64);
	grant->slot = slot;
	grant->sequence = table->sequence[slot] + 1;
	grant->highest = slot_find_highest(table);
	grant->generation = table->generation;
	grant->doubtful = table->doubt[slot / 64] >> (slot % 64) & 1;
	memcpy(grant->sessionid, table->sessionid, NFS4_SESSIONID_SIZE);
}

static void slot_forget_promises(struct slot_table *table, struct slot_waiter *waiter)
{
	table->reserved -= slot_promised(table, waiter);
	waiter->promised = 0;
}

bool slot_take(struct slot_table *table, struct slot_waiter *waiter, bool privileged,
	struct slot_grant *grant)
{
	pthread_mutex_lock(&table->lock);
	uint32_t slot = slot_find_free(table);
	bool open = (table->open || privileged) && !table->dead;
	bool taken = open && slot < table->limit && slot_allowed(table, waiter, privileged);
	if (taken) {
		if (slot_promised(table, waiter) > 0) {
			waiter->promised--;
			table->reserved--;
		}
		slot_fill(table, slot, grant);
	} else {
		/* The promise could not be kept: the table shrank or closed meanwhile. */
		slot_forget_promises(table, waiter);
		if (open && !waiter->queued) {
			waiter->queued = true;
			TAILQ_INSERT_TAIL(&table->waiters, waiter, entry);
		}
	}
	pthread_mutex_unlock(&table->lock);
	return taken;
}

enum slot_kept slot_take_kept(struct slot_table *table, struct slot_grant *grant)
{
	enum slot_kept kept;
	pthread_mutex_lock(&table->lock);
	if (table->generation == 0 || table->dead) {
		kept = SLOT_KEPT_DEAD;
	} else if (!slot_is_busy(table, 0)) {
		kept = SLOT_KEPT_TAKEN;
		table->probing = true;
		slot_fill(table, 0, grant);
	} else {
		kept = table->probing ? SLOT_KEPT_WAIT : SLOT_KEPT_USED;
		table->kept_wanted |= table->probing;
	}
	pthread_mutex_unlock(&table->lock);
	return kept;
}

void slot_renounce(struct slot_table *table, struct slot_waiter *waiter)
{
	pthread_mutex_lock(&table->lock);
	if (waiter->queued) {
		TAILQ_REMOVE(&table->waiters, waiter, entry);
		waiter->queued = false;
	}
	slot_forget_promises(table, waiter);
	slot_promise(table, NULL);
	pthread_mutex_unlock(&table->lock);
}

static void slot_give_back(
	struct slot_table *table, const struct slot_grant *grant, bool used, uint32_t target)
{
	uint64_t bit = UINT64_C(1) << (grant->slot % 64);
	table->busy[grant->slot / 64] &= ~bit;
	table->doubt[grant->slot / 64] &= ~bit;
	if (used)
		table->sequence[grant->slot] = grant->sequence;
	else
		table->doubt[grant->slot / 64] |= bit;
	if (target != SLOT_NO_TARGET)
		slot_set_limit(table, target);
}

bool slot_release(struct slot_table *table, struct slot_waiter *waiter,
	const struct slot_grant *grant, bool used, uint32_t target)
{
	bool wanted = false;
	pthread_mutex_lock(&table->lock);
	if (grant->generation == table->generation && slot_is_busy(table, grant->slot)) {
		slot_give_back(table, grant, used, target);
		if (grant->slot == 0) {
			wanted = table->kept_wanted;
			table->probing = table->kept_wanted = false;
		}
		slot_promise(table, waiter);
	}
	pthread_mutex_unlock(&table->lock);
	return wanted;
}
