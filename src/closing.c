/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "closing.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "nfs41/op.h"
#include "share.h"

#define CLOSING_SOON_NS	 UINT64_C(2000000)
#define CLOSING_LATER_NS UINT64_C(50000000)
/* A timer that comes so late tells of a busy machine, on which the next compound is late as well.
 */
#define CLOSING_LATE_NS UINT64_C(1000000)
/* So many wait, at most, and so many go in one compound of their own. */
#define CLOSING_MAX   64
#define CLOSING_BATCH 32
/* PUTFH and CLOSE. */
#define CLOSING_OPS 2

struct closing {
	STAILQ_ENTRY(closing) entry;
	struct nfs_fh fh;
	struct nfs_stateid stateid;
	struct rpc_cred *cred; /* a reference */
	struct nfs_open *open; /* on record until the answer, or NULL */
	uint64_t due;	       /* ns: waits for company until then, */
	uint64_t last;	       /* ns: on a busy machine until then */
};

struct closing_pool {
	struct share *share;
	pthread_mutex_t mutex;
	struct closing_list list;
	_Atomic unsigned count;
};

int closing_pool_new(struct share *share, struct closing_pool **pool)
{
	struct closing_pool *p = calloc(1, sizeof(*p));
	if (!p)
		return -ENOMEM;
	p->share = share;
	pthread_mutex_init(&p->mutex, NULL);
	STAILQ_INIT(&p->list);
	*pool = p;
	return 0;
}

static void closing_free(struct closing_pool *pool, struct closing *closing)
{
	if (closing->open)
		nfs_open_forget(pool->share->state, closing->open);
	rpc_cred_unref(closing->cred);
	free(closing);
}

static void closing_free_all(struct closing_pool *pool, struct closing_list *list)
{
	struct closing *closing;
	while ((closing = STAILQ_FIRST(list))) {
		STAILQ_REMOVE_HEAD(list, entry);
		closing_free(pool, closing);
	}
}

void closing_pool_free(struct closing_pool *pool)
{
	if (!pool)
		return;
	closing_free_all(pool, &pool->list);
	pthread_mutex_destroy(&pool->mutex);
	free(pool);
}

static bool cred_equal(const struct rpc_cred *a, const struct rpc_cred *b)
{
	size_t alen, blen;
	const uint8_t *awire = rpc_cred_wire(a, &alen), *bwire = rpc_cred_wire(b, &blen);
	return a == b || (alen == blen && memcmp(awire, bwire, alen) == 0);
}

/* Takes up to `max` of one user, if `cred` of that one, off the list. How many. */
static unsigned closing_take(struct closing_pool *pool, const struct rpc_cred *cred, unsigned max,
	struct closing_list *taken)
{
	struct closing *closing, *next;
	unsigned count = 0;
	pthread_mutex_lock(&pool->mutex);
	for (closing = STAILQ_FIRST(&pool->list); closing && count < max; closing = next) {
		next = STAILQ_NEXT(closing, entry);
		cred = cred ? cred : closing->cred;
		if (!cred_equal(cred, closing->cred))
			continue;
		STAILQ_REMOVE(&pool->list, closing, closing, entry);
		STAILQ_INSERT_TAIL(taken, closing, entry);
		count++;
	}
	pool->count -= count;
	pthread_mutex_unlock(&pool->mutex);
	return count;
}

/* They did not get there: another compound has to take them. */
static void closing_put_back(struct closing_pool *pool, struct closing_list *list)
{
	uint64_t due = loop_now(worker_self()->loop) + CLOSING_SOON_NS;
	struct closing *closing;
	unsigned count = 0;
	STAILQ_FOREACH (closing, list, entry) {
		closing->due = due;
		count++;
	}
	if (count == 0)
		return;
	pthread_mutex_lock(&pool->mutex);
	STAILQ_CONCAT(&pool->list, list);
	pool->count += count;
	pthread_mutex_unlock(&pool->mutex);
	worker_watch_closing(worker_self(), due);
}

static void closing_put(struct nfs_compound *c, const struct closing_list *list)
{
	const struct closing *closing;
	STAILQ_FOREACH (closing, list, entry) {
		nfs_op_putfh(c, &closing->fh);
		nfs_op_close(c, &closing->stateid);
	}
}

/* Takes what there is room for behind so many operations. */
static unsigned closing_take_for(struct closing_pool *pool, const struct nfs_compound *c,
	unsigned ops, struct closing_list *taken)
{
	unsigned limit = nfs_client_limits(pool->share->client)->max_ops;
	unsigned room = limit > ops + 1 ? (limit - ops - 1) / CLOSING_OPS : 0;
	STAILQ_INIT(taken);
	if (atomic_load(&pool->count) == 0)
		return 0;
	return closing_take(pool, c->cred, room < CLOSING_CARRIED ? room : CLOSING_CARRIED, taken);
}

bool closing_load(struct closing_pool *pool, struct nfs_compound *c, unsigned extra,
	struct closing_load *load)
{
	load->at = c->nops - extra;
	load->extra = extra;
	if (closing_take_for(pool, c, c->nops, &load->list) == 0)
		return false;
	closing_put(c, &load->list);
	return true;
}

void closing_load_before(
	struct closing_pool *pool, struct nfs_compound *c, unsigned ops, struct closing_load *load)
{
	closing_take_for(pool, c, ops, &load->before);
	closing_put(c, &load->before);
	load->lead = c->nops;
	closing_send(pool);
}

/* Drops those that were executed, and the one that failed, which would fail again. */
static void closing_drop_done(
	struct closing_pool *pool, struct closing_list *list, unsigned ops_ok, bool failed)
{
	unsigned count = ops_ok / CLOSING_OPS + failed;
	struct closing *closing;
	while (count-- > 0 && (closing = STAILQ_FIRST(list))) {
		STAILQ_REMOVE_HEAD(list, entry);
		closing_free(pool, closing);
	}
}

/* Of what went in front. */
static void closing_unload_before(
	struct closing_pool *pool, struct nfs_compound *c, struct closing_load *load)
{
	bool all = c->ops_ok >= load->lead;
	unsigned done = all ? load->lead : c->ops_ok;
	load->led = load->lead > 0;
	if (!load->led)
		return;
	if (c->status >= 0)
		closing_drop_done(pool, &load->before, done,
			!all && c->status != 0 && c->status != NFS4ERR_DELAY);
	c->ops_ok -= done;
	load->lead = 0;
	closing_put_back(pool, &load->before);
}

void closing_unload(struct closing_pool *pool, struct nfs_compound *c, struct closing_load *load)
{
	unsigned first = load->at + load->extra;
	if (c->ops_ok >= first && c->status >= 0)
		closing_drop_done(pool, &load->list, c->ops_ok - first,
			c->status != 0 && c->status != NFS4ERR_DELAY);
	if (c->ops_ok >= load->at && c->status >= 0) {
		c->ops_ok = load->at;
		c->status = 0;
	}
	closing_put_back(pool, &load->list);
	closing_unload_before(pool, c, load);
}

/* A compound of their own. */
struct closing_batch {
	struct closing_pool *pool;
	struct closing_list list;
};

static void batch_done(struct nfs_compound *c)
{
	struct closing_batch *batch = c->arg;
	/* Without a server to talk to it is the lease that ends them. */
	if (c->status < 0)
		closing_free_all(batch->pool, &batch->list);
	else
		closing_drop_done(batch->pool, &batch->list, c->ops_ok,
			c->status != 0 && c->status != NFS4ERR_DELAY);
	closing_put_back(batch->pool, &batch->list);
	nfs_compound_free(c);
	free(batch);
}

static bool batch_send(struct closing_pool *pool)
{
	struct closing_batch *batch = malloc(sizeof(*batch));
	unsigned limit = (nfs_client_limits(pool->share->client)->max_ops - 1) / CLOSING_OPS;
	struct nfs_compound *c = NULL;
	if (!batch)
		return false;
	batch->pool = pool;
	STAILQ_INIT(&batch->list);
	if (closing_take(pool, NULL, limit < CLOSING_BATCH ? limit : CLOSING_BATCH, &batch->list))
		c = nfs_compound_new(
			worker_self()->conn, STAILQ_FIRST(&batch->list)->cred, OP_CLOSE);
	if (!c) {
		closing_free_all(batch->pool, &batch->list);
		free(batch);
		return false;
	}
	closing_put(c, &batch->list);
	nfs_compound_send(c, batch_done, batch);
	return true;
}

void closing_send(struct closing_pool *pool)
{
	while (atomic_load(&pool->count) > 0 && batch_send(pool))
		continue;
}

/* When the first of them is due; 0: there is none. On a busy machine they get some more time. */
static uint64_t closing_first(struct closing_pool *pool, uint64_t now, bool late)
{
	struct closing *closing;
	uint64_t first = 0;
	pthread_mutex_lock(&pool->mutex);
	STAILQ_FOREACH (closing, &pool->list, entry) {
		if (late && closing->due <= now && now < closing->last)
			closing->due = now + CLOSING_SOON_NS;
		if (first == 0 || closing->due < first)
			first = closing->due;
	}
	pthread_mutex_unlock(&pool->mutex);
	return first;
}

void closing_tick(struct closing_pool *pool, uint64_t deadline)
{
	uint64_t now = loop_now(worker_self()->loop);
	uint64_t first = closing_first(pool, now, now > deadline + CLOSING_LATE_NS);
	if (first > now)
		worker_watch_closing(worker_self(), first);
	else if (first > 0)
		closing_send(pool);
}

void closing_add(
	struct closing_pool *pool, const struct closing_what *what, struct nfs_open *open_take)
{
	uint64_t now = loop_now(worker_self()->loop);
	uint64_t due = now + (what->soon ? CLOSING_SOON_NS : CLOSING_LATER_NS);
	struct closing *closing = malloc(sizeof(*closing));
	if (!closing) {
		if (open_take)
			nfs_open_forget(pool->share->state, open_take);
		return;
	}
	*closing = (struct closing){.fh = *what->fh,
		.stateid = *what->stateid,
		.cred = rpc_cred_ref(what->cred),
		.open = open_take,
		.due = due,
		.last = now + CLOSING_LATER_NS};
	pthread_mutex_lock(&pool->mutex);
	STAILQ_INSERT_TAIL(&pool->list, closing, entry);
	unsigned count = ++pool->count;
	pthread_mutex_unlock(&pool->mutex);
	worker_watch_closing(worker_self(), due);
	if (count >= CLOSING_MAX)
		closing_send(pool);
}
