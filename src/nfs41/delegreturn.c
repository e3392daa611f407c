/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdlib.h>

#include "nfs41/compound.h"
#include "nfs41/error.h"
#include "nfs41/op.h"
#include "nfs41/state_priv.h"
#include "util/log.h"

/*
 * How a delegation goes back (RFC 8881, 10.4.4): FLUSH -> OPEN for each local open -> DELEGRETURN.
 * Nothing here is given up on failure: an open that cannot be made real now is found out by its
 * next use, and made anew by reclaim.h.
 */

/* Delegations that are returned at the same time. */
#define DELEG_RETURNING_MAX 32

struct nfs_deleg *deleg_take_due(struct nfs_state *state)
{
	struct deleg_table *table = &state->delegs;
	pthread_mutex_lock(&state->mutex);
	struct nfs_deleg *deleg =
		table->returning < DELEG_RETURNING_MAX ? TAILQ_FIRST(&table->due) : NULL;
	if (deleg) {
		TAILQ_REMOVE(&table->due, deleg, entry);
		TAILQ_INSERT_TAIL(&table->active, deleg, entry);
		table->returning++;
		deleg->flush.gone = deleg->gone;
	}
	pthread_mutex_unlock(&state->mutex);
	return deleg;
}

void deleg_end(struct nfs_state *state, struct nfs_deleg *deleg, bool returned)
{
	struct deleg_table *table = &state->delegs;
	pthread_mutex_lock(&state->mutex);
	LIST_REMOVE(deleg, hash_entry);
	TAILQ_REMOVE(&table->active, deleg, entry);
	*deleg_table_kind(table, deleg) -= 1;
	*(returned ? &table->stats.returned : &table->stats.lost) += 1;
	table->returning--;
	if (--table->count == 0)
		pthread_cond_broadcast(&table->none);
	pthread_mutex_unlock(&state->mutex);
	deleg_free(deleg);
}

static struct nfs_open *list_find_local(
	const struct nfs_open_list *list, const struct nfs_stateid *stateid)
{
	struct nfs_open *open;
	LIST_FOREACH (open, list, entry)
		if (open->local && !open->stale && open->err == 0 &&
			memcmp(open->stateid.other, stateid->other, sizeof(stateid->other)) == 0)
			break;
	return open;
}

struct nfs_open *deleg_next_open(struct nfs_state *state, const struct nfs_deleg *deleg)
{
	pthread_mutex_lock(&state->mutex);
	struct nfs_open *open = list_find_local(&state->opens, &deleg->stateid);
	if (!open)
		open = list_find_local(&state->ahead, &deleg->stateid);
	if (open)
		open->refs++;
	pthread_mutex_unlock(&state->mutex);
	return open;
}

/* OPEN that turns a local open into a real one; by CLAIM_FH where the server cannot do better. */
static struct nfs_compound *open_real(struct nfs_state *state, struct nfs_conn *conn,
	const struct nfs_open *open, bool claim_fh, struct nfs_open_res *res)
{
	const struct nfs_open_args args = {
		.access = open->access | OPEN4_SHARE_ACCESS_WANT_NO_DELEG,
		.owner = open->owner,
		.how = NFS_OPEN_NOCREATE,
		.claim = claim_fh ? NFS_CLAIM_FH : NFS_CLAIM_DELEGATION,
		.delegation = nfs_open_stateid(state, open),
	};
	struct nfs_compound *c = nfs_compound_new(conn, open->cred, OP_OPEN);
	if (!c)
		return NULL;
	nfs_op_putfh(c, &open->fh);
	nfs_op_open(c, &args, res);
	return c;
}

static void closed(struct nfs_compound *c)
{
	nfs_compound_free(c);
}

/* It was opened. One that was closed meanwhile is closed on the server, too. */
static void open_regained(struct nfs_state *state, struct nfs_conn *conn, struct nfs_open *open,
	const struct nfs_stateid *stateid)
{
	if (nfs_open_regained(state, open, stateid))
		return;
	struct nfs_compound *c = nfs_compound_new(conn, open->cred, OP_CLOSE);
	if (!c)
		return;
	nfs_op_putfh(c, &open->fh);
	nfs_op_close(c, stateid);
	nfs_compound_send(c, closed, NULL);
}

static void return_next(struct nfs_deleg *deleg);

static void return_end(struct nfs_deleg *deleg, bool returned)
{
	struct nfs_state *state = deleg->state;
	struct nfs_conn *conn = deleg->flush.conn;
	deleg_end(state, deleg, returned);
	deleg_return_due(state, conn);
}

static void return_returned(struct nfs_compound *c)
{
	struct nfs_deleg *deleg = c->arg;
	int status = c->status;
	nfs_compound_free(c);
	if (status != 0)
		log_debug("DELEGRETURN: %s",
			status > 0 ? nfs_error_name((uint32_t)status) : strerror(-status));
	return_end(deleg, status == 0);
}

static void return_send(struct nfs_deleg *deleg)
{
	struct nfs_compound *c = nfs_compound_new(deleg->flush.conn, deleg->cred, OP_DELEGRETURN);
	if (!c) {
		/* The server will take it when it has waited long enough. */
		return_end(deleg, false);
		return;
	}
	nfs_op_putfh(c, &deleg->fh);
	nfs_op_delegreturn(c, &deleg->stateid);
	nfs_compound_send(c, return_returned, deleg);
}

static void return_open_given_up(struct nfs_deleg *deleg)
{
	/* its next use finds the stateid dead, and opens it anew */
	nfs_open_gone(deleg->state, deleg->open);
}

static void return_opened(struct nfs_compound *c)
{
	struct nfs_deleg *deleg = c->arg;
	int status = c->status;
	nfs_compound_free(c);
	if (status == 0) {
		open_regained(deleg->state, deleg->flush.conn, deleg->open, &deleg->opened.stateid);
	} else if (!deleg->claim_fh && status > 0) {
		deleg->claim_fh = true;
		return_next(deleg);
		return;
	} else {
		return_open_given_up(deleg);
	}
	nfs_open_unref(deleg->state, deleg->open);
	deleg->open = NULL;
	return_next(deleg);
}

static void return_next(struct nfs_deleg *deleg)
{
	struct nfs_state *state = deleg->state;
	if (!deleg->open) {
		deleg->open = deleg_next_open(state, deleg);
		deleg->claim_fh = false;
	}
	if (!deleg->open) {
		return_send(deleg);
		return;
	}
	struct nfs_compound *c =
		open_real(state, deleg->flush.conn, deleg->open, deleg->claim_fh, &deleg->opened);
	if (c) {
		nfs_compound_send(c, return_opened, deleg);
		return;
	}
	return_open_given_up(deleg);
	nfs_open_unref(state, deleg->open);
	deleg->open = NULL;
	return_next(deleg);
}

static void return_flushed(struct deleg_flush *flush)
{
	struct nfs_deleg *deleg =
		(struct nfs_deleg *)((char *)flush - offsetof(struct nfs_deleg, flush));
	if (flush->gone)
		return_end(deleg, false);
	else
		return_next(deleg);
}

void deleg_return_due(struct nfs_state *state, struct nfs_conn *conn)
{
	const struct deleg_table *table = &state->delegs;
	struct nfs_deleg *deleg;
	while ((deleg = deleg_take_due(state))) {
		deleg->state = state;
		deleg->flush.fh = deleg->fh;
		deleg->flush.cred = deleg->cred;
		deleg->flush.dir = deleg->dir;
		deleg->flush.conn = conn;
		deleg->flush.done = return_flushed;
		if (table->ops)
			table->ops->flush(table->arg, &deleg->flush);
		else
			return_flushed(&deleg->flush);
	}
}

/* One open that needs a stateid of its own. */
struct make_real {
	struct nfs_state *state;
	struct nfs_conn *conn;
	struct nfs_open *open; /* referenced */
	struct nfs_open_res res;
	bool claim_fh;
	void (*done)(void *arg);
	void *arg;
};

static bool make_send(struct make_real *make);

static void make_opened(struct nfs_compound *c)
{
	struct make_real *make = c->arg;
	int status = c->status;
	nfs_compound_free(c);
	if (status > 0 && !make->claim_fh) {
		make->claim_fh = true;
		if (make_send(make))
			return;
	} else if (status == 0) {
		open_regained(make->state, make->conn, make->open, &make->res.stateid);
	}
	nfs_open_unref(make->state, make->open);
	make->done(make->arg);
	free(make);
}

static bool make_send(struct make_real *make)
{
	struct nfs_compound *c =
		open_real(make->state, make->conn, make->open, make->claim_fh, &make->res);
	if (c)
		nfs_compound_send(c, make_opened, make);
	return c != NULL;
}

bool deleg_make_real(struct nfs_state *state, struct nfs_open *open, struct nfs_conn *conn,
	void (*done)(void *arg), void *arg)
{
	if (!nfs_open_is_local(state, open))
		return false;
	struct make_real *make = calloc(1, sizeof(*make));
	if (!make)
		return false;
	*make = (struct make_real){.state = state,
		.conn = conn,
		.open = nfs_open_ref(state, open),
		.done = done,
		.arg = arg};
	if (make_send(make))
		return true;
	nfs_open_unref(state, open);
	free(make);
	return false;
}

/* One round of tests. */
struct deleg_round {
	struct nfs_state *state;
	struct nfs_conn *conn;
	struct rpc_cred *cred; /* of the one that is being tested */
	struct nfs_stateid stateid;
	uint32_t tested;
	void (*done)(void *arg, int err);
	void *arg;
};

static void round_next(struct deleg_round *round);

static void round_end(struct deleg_round *round, int err)
{
	rpc_cred_unref(round->cred);
	round->done(round->arg, err);
	free(round);
}

static struct nfs_compound *round_compound(struct deleg_round *round, uint32_t op)
{
	struct nfs_compound *c = nfs_compound_new(round->conn, round->cred, op);
	if (!c)
		return NULL;
	c->privileged = true;
	c->one_session = true;
	return c;
}

static void round_freed(struct nfs_compound *c)
{
	struct deleg_round *round = c->arg;
	int status = c->status;
	nfs_compound_free(c);
	if (status == -ESTALE)
		round_end(round, status);
	else
		round_next(round);
}

static void round_tested(struct nfs_compound *c)
{
	struct deleg_round *round = c->arg;
	int status = c->status;
	nfs_compound_free(c);
	if (status == -ESTALE) {
		round_end(round, status);
		return;
	}
	bool known =
		status == 0 && (round->tested == NFS4_OK || round->tested == NFS4ERR_OLD_STATEID);
	bool revoked = status == 0 && (round->tested == NFS4ERR_EXPIRED ||
					      round->tested == NFS4ERR_ADMIN_REVOKED ||
					      round->tested == NFS4ERR_DELEG_REVOKED);
	if (!known)
		deleg_gone(round->state, &round->stateid);
	c = revoked ? round_compound(round, OP_FREE_STATEID) : NULL;
	if (!c) {
		round_next(round);
		return;
	}
	nfs_op_free_stateid(c, &round->stateid);
	nfs_compound_send(c, round_freed, round);
}

static void round_next(struct deleg_round *round)
{
	rpc_cred_unref(round->cred);
	round->cred = NULL;
	if (!deleg_next(round->state, &round->stateid, &round->cred)) {
		round_end(round, 0);
		return;
	}
	struct nfs_compound *c = round_compound(round, OP_TEST_STATEID);
	if (!c) {
		round_end(round, -ESTALE);
		return;
	}
	nfs_op_test_stateid(c, &round->stateid, &round->tested);
	nfs_compound_send(c, round_tested, round);
}

void deleg_test(
	struct nfs_state *state, struct nfs_conn *conn, void (*done)(void *arg, int err), void *arg)
{
	struct deleg_round *round = calloc(1, sizeof(*round));
	if (!round) {
		done(arg, -ESTALE);
		return;
	}
	*round = (struct deleg_round){.state = state, .conn = conn, .done = done, .arg = arg};
	round_next(round);
}
