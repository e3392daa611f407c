/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_NFS41_SLOT_H
#define VSOCKFS_NFS41_SLOT_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "nfs41/types.h"

/*
 * The fore channel's slot table (RFC 8881, 2.10.6.1), shared by all workers under one mutex that is
 * held for a few dozen instructions. The lowest free slot is given out first, so that the highest
 * one is used exactly when every other is busy: a server that grows its table when it sees that
 * (knfsd) does so. A slot that the server took back keeps its sequence id for the day it returns.
 *
 * Slot 0 is kept for probes (probe.c), which tell whether somebody else uses the session. It is the
 * one slot that no server takes back; while it is the only one, it serves compounds as well.
 *
 * A worker that finds no slot becomes a waiter. A slot that comes free is promised to one waiter
 * (which is woken) and given to nobody else until that one takes or renounces it. A worker that
 * waits itself prefers its own freed slots, but may pass over the others only so many times.
 */

#define SLOT_TABLE_MAX 1024
#define SLOT_WORDS     (SLOT_TABLE_MAX / 64)
/* Slots a worker may keep for itself in a row while another waits. */
#define SLOT_PASS_MAX 8
/* For slot_release: the server said nothing about targets. */
#define SLOT_NO_TARGET UINT32_MAX

/* One worker's place in the queue for slots. Guarded by the table's lock. */
struct slot_waiter {
	/* Called under the lock, from any thread: the worker shall call slot_take. */
	void (*wake)(struct slot_waiter *waiter);
	/* private */
	bool queued;
	uint32_t promised, generation;
	TAILQ_ENTRY(slot_waiter) entry;
};

/* What goes into SEQUENCE. */
struct slot_grant {
	uint32_t slot, sequence, highest;
	uint32_t generation; /* of the session */
	/* its last request was given back unused: the server may think otherwise, and answer
	 * what it keeps of that one */
	bool doubtful;
	uint8_t sessionid[NFS4_SESSIONID_SIZE];
};

struct slot_table {
	pthread_mutex_t lock;
	uint32_t generation; /* counts sessions; 0: none yet */
	uint8_t sessionid[NFS4_SESSIONID_SIZE];
	bool open;	   /* false: only privileged compounds go out */
	bool dead;	   /* the server does not know the session any more: nothing goes out */
	bool probing;	   /* slot 0 is out for a probe */
	bool kept_wanted;  /* a probe waits for slot 0 */
	uint32_t capacity; /* slots that may ever be used */
	uint32_t limit;	   /* slots that may be used now */
	uint32_t reserved; /* promised to waiters */
	unsigned passed;   /* times the first waiter was passed over */
	uint64_t busy[SLOT_WORDS];
	uint64_t doubt[SLOT_WORDS];
	uint32_t sequence[SLOT_TABLE_MAX]; /* last one used on each slot */
	TAILQ_HEAD(, slot_waiter) waiters;
};

/* `wanted`: slots to use for compounds at most, whatever the server offers; one more is kept. */
void slot_table_init(struct slot_table *table, uint32_t wanted);
void slot_table_deinit(struct slot_table *table);

/* A new session with `granted` slots: all are free and begin anew. Returns the new generation. */
uint32_t slot_table_reset(
	struct slot_table *table, const uint8_t sessionid[NFS4_SESSIONID_SIZE], uint32_t granted);
/* Lets compounds out, or keeps those back that are not privileged. Wakes nobody. */
void slot_table_open(struct slot_table *table, bool open);
/* Nothing goes out until there is another session, if `generation` is still the one in force. */
void slot_table_bury(struct slot_table *table, uint32_t generation);
/* The last session; its generation is returned, 0 if there was none. Results may be NULL. */
uint32_t slot_table_session(
	struct slot_table *table, uint8_t sessionid[NFS4_SESSIONID_SIZE], bool *alive);
/* CB_RECALL_SLOT, NFS4ERR_BADSLOT: no slot above `highest` is to be used. */
void slot_table_shrink(struct slot_table *table, uint32_t generation, uint32_t highest);

/*
 * Takes a slot for `waiter`'s worker. When there is none, false, and the worker will be woken; but
 * not for a closed table (see slot_table_open), where the owner of the table wakes everybody.
 */
bool slot_take(struct slot_table *table, struct slot_waiter *waiter, bool privileged,
	struct slot_grant *grant);
enum slot_kept {
	SLOT_KEPT_TAKEN,
	SLOT_KEPT_WAIT, /* another probe is under way: see slot_release */
	SLOT_KEPT_USED, /* a compound has it, which came to it when there was no other slot */
	SLOT_KEPT_DEAD, /* there is no session */
};
/* Takes slot 0 for a probe, also from a closed table. */
enum slot_kept slot_take_kept(struct slot_table *table, struct slot_grant *grant);
/* The worker needs no (more) slots: what it was promised goes to others. */
void slot_renounce(struct slot_table *table, struct slot_waiter *waiter);
/*
 * Gives a slot back. `used`: the server has accepted the sequence id. `target` is the highest slot
 * that the server wants to see used, or SLOT_NO_TARGET. A slot of a session that is gone is
 * ignored. The worker of `waiter`, if it waits, shall try slot_take afterwards without being woken.
 * True: slot 0 has come free, and those who were told to wait for it shall try again. `waiter` may
 * be NULL.
 */
bool slot_release(struct slot_table *table, struct slot_waiter *waiter,
	const struct slot_grant *grant, bool used, uint32_t target);

#endif
