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
	struct nfs_deleg *deleg = TAILQ_FIRST(&table->due);
	table->more = deleg && table->returning >= DELEG_RETURNING_MAX;
	if (table->more)
		deleg = NULL;
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
static void return_due(struct nfs_state *state, struct nfs_conn *conn);

/* What there was no room for. Others wait for their turn, to go together. */
static void return_more(struct nfs_state *state, struct nfs_conn *conn)
{
	pthread_mutex_lock(&state->mutex);
	bool more = state->delegs.more;
	pthread_mutex_unlock(&state->mutex);
	if (more)
		return_due(state, conn);
}

static void return_end(struct nfs_deleg *deleg, bool returned)
{
	struct nfs_state *state = deleg->state;
	struct nfs_conn *conn = deleg->flush.conn;
	deleg_end(state, deleg, returned);
	return_more(state, conn);
}

/* PUTFH and DELEGRETURN. */
#define RETURN_OPS 2

/* Once it is sent of one user, and no more than `most`. */
struct return_batch {
	struct nfs_conn *conn;
	unsigned most, count;
	struct nfs_deleg *delegs[DELEG_RETURNING_MAX];
};

/* While deleg_return_due is at work on this thread. */
static _Thread_local struct return_batch *return_gathered;

static void batch_send(struct return_batch *batch_take);

static void batch_returned(struct nfs_compound *c)
{
	struct return_batch *batch = c->arg;
	struct nfs_state *state = batch->delegs[0]->state;
	struct nfs_conn *conn = batch->conn;
	int status = c->status;
	unsigned done = status == 0 ? batch->count : c->ops_ok / RETURN_OPS, over = done;
	nfs_compound_free(c);
	if (status != 0)
		log_debug("DELEGRETURN: %s",
			status > 0 ? nfs_error_name((uint32_t)status) : strerror(-status));
	/* One that fails would fail again; those behind it have not been tried. */
	if (status < 0)
		over = batch->count;
	else if (status > 0 && status != NFS4ERR_DELAY)
		over++;
	for (unsigned i = 0; i < over; i++)
		deleg_end(state, batch->delegs[i], i < done);
	batch->count -= over;
	memmove(batch->delegs, batch->delegs + over, batch->count * sizeof(batch->delegs[0]));
	batch_send(batch);
	return_more(state, conn);
}

static void batch_send(struct return_batch *batch_take)
{
	struct nfs_compound *c = NULL;
	if (batch_take->count > 0)
		c = nfs_compound_new(batch_take->conn, batch_take->delegs[0]->cred, OP_DELEGRETURN);
	if (!c) {
		/* The server will take them when it has waited long enough. */
		for (unsigned i = 0; i < batch_take->count; i++)
			return_end(batch_take->delegs[i], false);
		free(batch_take);
		return;
	}
	for (unsigned i = 0; i < batch_take->count; i++) {
		nfs_op_putfh(c, &batch_take->delegs[i]->fh);
		nfs_op_delegreturn(c, &batch_take->delegs[i]->stateid);
	}
	nfs_compound_send(c, batch_returned, batch_take);
}

/* As many compounds as it takes for all of `gathered`. */
static void batch_send_all(const struct return_batch *gathered)
{
	unsigned most = gathered->most, next;
	for (unsigned at = 0; at < gathered->count; at = next) {
		struct nfs_deleg *first = gathered->delegs[at];
		struct return_batch *batch = malloc(sizeof(*batch));
		for (next = at + 1; next < gathered->count && next - at < most; next++)
			if (gathered->delegs[next]->cred != first->cred)
				break;
		if (!batch) {
			for (unsigned i = at; i < next; i++)
				return_end(gathered->delegs[i], false);
			continue;
		}
		batch->conn = gathered->conn;
		batch->count = next - at;
		memcpy(batch->delegs, gathered->delegs + at, batch->count * sizeof(first));
		batch_send(batch);
	}
}

/* Where several are due at the same time they are gathered. */
static void return_send(struct nfs_deleg *deleg)
{
	struct return_batch alone = {
		.conn = deleg->flush.conn, .most = 1, .count = 1, .delegs = {deleg}};
	if (return_gathered)
		return_gathered->delegs[return_gathered->count++] = deleg;
	else
		batch_send_all(&alone);
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

static void return_flush(struct nfs_state *state, struct nfs_conn *conn, struct nfs_deleg *deleg)
{
	const struct deleg_table *table = &state->delegs;
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

/* What is flushed at once goes back together. */
static void return_due(struct nfs_state *state, struct nfs_conn *conn)
{
	struct return_batch gathered = {.conn = conn, .most = atomic_load(&state->delegs.together)};
	struct nfs_deleg *deleg;
	/* within another's, which takes all that there is */
	if (return_gathered)
		return;
	return_gathered = &gathered;
	while ((deleg = deleg_take_due(state)))
		return_flush(state, conn, deleg);
	return_gathered = NULL;
	batch_send_all(&gathered);
}

void deleg_return_due(struct nfs_state *state, struct nfs_conn *conn, unsigned together)
{
	atomic_store(&state->delegs.together, together);
	return_due(state, conn);
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
