/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What becomes of compounds whose session or connection is gone. */
#include <errno.h>

#include "nfs41/client_priv.h"

/* A compound whose reply was garbage so often, one time after the other, gets no other chance. */
#define CALL_GARBAGE_MAX 2
/* One that was merely outstanding when connections ended in garbage: nobody knows whose it was. */
#define CALL_CUTS_MAX 10
/* After so many connections with nothing but garbage nothing waits for the next one: 20 s. */
#define CALL_GARBAGE_CONNS_MAX 10

/* What becomes of a compound whose session is gone. */
static void call_change_session(struct nfs_compound *c)
{
	call_release(c, false, SLOT_NO_TARGET);
	if (c->one_session) {
		call_end(c, -ESTALE);
		return;
	}
	call_again(c);
}

/* Those of another session than `generation`. */
static void call_take_old(
	struct compound_list *list, uint32_t generation, struct compound_list *old)
{
	struct nfs_compound *c, *next;
	for (c = TAILQ_FIRST(list); c; c = next) {
		next = TAILQ_NEXT(c, p.entry);
		if (c->p.grant.generation == generation)
			continue;
		TAILQ_REMOVE(list, c, p.entry);
		TAILQ_INSERT_TAIL(old, c, p.entry);
	}
}

void call_leave_session(struct nfs_conn *conn, uint32_t generation)
{
	struct compound_list old = TAILQ_HEAD_INITIALIZER(old);
	struct nfs_compound *c;
	call_take_old(&conn->held, generation, &old);
	call_take_old(&conn->moved, generation, &old);
	/* last first, so that the head of the queue has them in their order */
	while ((c = TAILQ_LAST(&old, compound_list)) != NULL) {
		TAILQ_REMOVE(&old, c, p.entry);
		c->p.place = NFS_COMPOUND_IDLE;
		call_change_session(c);
	}
}

static void call_drop(struct nfs_compound *c)
{
	call_unplace(c);
	call_release(c, true, SLOT_NO_TARGET);
	call_end_later(c, -EIO);
}

/* The server may have answered what it kept of another request: now both sides have the sequence
 * id behind that one. */
static void call_leave_slot(struct nfs_compound *c)
{
	call_unplace(c);
	call_release(c, true, SLOT_NO_TARGET);
	c->p.garbage = 0;
	call_repeat(c);
}

/* What talks to us is no NFS server, and may be none for ever. */
static void call_despair(struct nfs_conn *conn)
{
	struct nfs_compound *c;
	TAILQ_FOREACH (c, &conn->all, p.all) {
		bool waits = c->p.place == NFS_COMPOUND_HELD || c->p.place == NFS_COMPOUND_QUEUED;
		if (waits && !c->privileged)
			call_drop(c);
	}
}

void call_suspect_held(struct nfs_conn *conn)
{
	struct nfs_compound *c, *next;
	if (++conn->garbage >= CALL_GARBAGE_CONNS_MAX)
		call_despair(conn);
	for (c = TAILQ_FIRST(&conn->held); c; c = next) {
		next = TAILQ_NEXT(c, p.entry);
		if (c->p.cut_serial != conn->serial)
			continue;
		c->p.cuts++;
		if (c->p.cuts >= CALL_CUTS_MAX)
			call_drop(c);
		else if (c->p.garbage >= CALL_GARBAGE_MAX && c->p.grant.doubtful)
			call_leave_slot(c);
		else if (c->p.garbage >= CALL_GARBAGE_MAX)
			call_drop(c);
	}
}
