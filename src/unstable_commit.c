/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "nfs41/op.h"
#include "share.h"
#include "takeover.h"
#include "unstable_priv.h"
#include "util/log.h"

static void commit_start(struct unstable_commit *commit);

static void commit_task(struct loop_task *task)
{
	commit_start((struct unstable_commit *)task);
}

/* Under the mutex: hands the node's writes to the commit. */
static void commit_activate(struct unstable *unstable, struct unstable_commit *commit)
{
	unstable->active = commit;
	STAILQ_CONCAT(&commit->writes, &unstable->writes);
	commit->inherited = unstable->inherited;
	commit->mixed = unstable->mixed;
	memcpy(commit->inherited_verifier, unstable->verifier, NFS4_VERIFIER_SIZE);
	unstable->inherited = false;
}

static void commit_finish(struct unstable_commit *commit)
{
	struct unstable_pool *pool = commit->pool;
	struct node *node = commit->node;
	if (commit->err)
		node_set_error(pool->share->nodes, node, commit->err);
	pthread_mutex_lock(&pool->mutex);
	if (commit->rewriting)
		pool->epoch++;
	struct unstable *unstable = node->file->unstable;
	struct unstable_commit *next = STAILQ_FIRST(&unstable->waiting);
	unstable->active = NULL;
	if (next) {
		STAILQ_REMOVE_HEAD(&unstable->waiting, entry);
		commit_activate(unstable, next);
	} else if (!STAILQ_EMPTY(&unstable->writes)) {
		unstable_note_left(pool, node);
	} else {
		takeover_drop(pool->share, unstable->record);
		LIST_REMOVE(unstable, entry);
		free(unstable);
		node->file->unstable = NULL;
	}
	pthread_mutex_unlock(&pool->mutex);
	if (next)
		loop_post(next->worker->loop, &next->task);
	nfs_compound_free(commit->compound);
	commit->done(commit->arg, commit->err);
	node_unpin(pool->share->nodes, node);
	rpc_cred_unref(commit->cred);
	free(commit);
}

/* Lets go of the first write. */
static void commit_drop_first(struct unstable_commit *commit)
{
	struct unstable_write *write = STAILQ_FIRST(&commit->writes);
	STAILQ_REMOVE_HEAD(&commit->writes, entry);
	pthread_mutex_lock(&commit->pool->mutex);
	commit->pool->bytes -= unstable_write_memory(write);
	pthread_mutex_unlock(&commit->pool->mutex);
	unstable_write_free(write);
}

static void commit_fail(struct unstable_commit *commit, int err)
{
	if (commit->err == 0)
		commit->err = err;
	while (!STAILQ_EMPTY(&commit->writes))
		commit_drop_first(commit);
	commit_finish(commit);
}

static void commit_rewrite(struct unstable_commit *commit);

static void commit_lose(struct unstable_commit *commit, int err)
{
	const struct unstable_write *write = STAILQ_FIRST(&commit->writes);
	log_error("%u bytes that the server lost in its restart could not be written again: %s",
		write->len, strerror(-err));
	commit_fail(commit, err);
}

static void commit_rewrite_again(struct reclaim_use *use)
{
	commit_rewrite(
		(struct unstable_commit *)((char *)use - offsetof(struct unstable_commit, use)));
}

static void commit_rewritten(struct nfs_compound *c)
{
	struct unstable_commit *commit = c->arg;
	if (reclaim_refused(commit->pool->share->reclaim, &commit->use, commit->worker->conn,
		    c->status, commit_rewrite_again))
		return;
	struct unstable_write *write = STAILQ_FIRST(&commit->writes);
	int err = nfs_compound_errno(c);
	if (!err && commit->res.count == 0)
		err = -EIO;
	if (err) {
		commit_lose(commit, err);
		return;
	}
	commit->use.tries = 0;
	write->done += commit->res.count;
	if (write->done >= write->len)
		commit_drop_first(commit);
	commit_rewrite(commit);
}

/*
 * Moves on to the next bytes of `write` that no later one has, too, and returns how many there are.
 * Who reads the file meanwhile must not see what was overwritten already.
 */
static uint32_t rewrite_next(struct unstable_write *write)
{
	uint64_t at = write->offset + write->done, end = write->offset + write->len, from;
	const struct unstable_write *later;
	do {
		from = at;
		for (later = STAILQ_NEXT(write, entry); later; later = STAILQ_NEXT(later, entry))
			if (later->offset <= at && at < later->offset + later->len)
				at = later->offset + later->len;
	} while (at != from && at < end);
	at = at < end ? at : end;
	for (later = STAILQ_NEXT(write, entry); later; later = STAILQ_NEXT(later, entry))
		if (later->len > 0 && at < later->offset && later->offset < end)
			end = later->offset;
	write->done = (uint32_t)(at - write->offset);
	return (uint32_t)(end - at);
}

static void commit_rewrite(struct unstable_commit *commit)
{
	struct unstable_write *write;
	uint32_t len = 0;
	while ((write = STAILQ_FIRST(&commit->writes)) && (len = rewrite_next(write)) == 0)
		commit_drop_first(commit);
	if (!write) {
		commit_finish(commit);
		return;
	}
	struct nfs_open *open = write->file->open;
	int err = reclaim_use_open(commit->pool->share->reclaim, &commit->use, open);
	if (err) {
		commit_lose(commit, err);
		return;
	}
	nfs_compound_free(commit->compound);
	struct nfs_compound *c = nfs_compound_new(commit->worker->conn, open->cred, OP_WRITE);
	commit->compound = c;
	if (!c) {
		commit_fail(commit, -ENOMEM);
		return;
	}
	nfs_op_putfh(c, &open->fh);
	nfs_op_write(c, &commit->use.stateid, write->offset + write->done, FILE_SYNC4, write->buf,
		write->data + write->done, len, &commit->res);
	nfs_compound_send(c, commit_rewritten, commit);
}

/*
 * From the first lost write on, all are: rewriting it may undo what came after it. That includes
 * what was written since the commit began.
 */
static void commit_begin_rewriting(struct unstable_commit *commit)
{
	struct unstable_pool *pool = commit->pool;
	struct unstable_write *write;
	size_t lost = 0;
	pthread_mutex_lock(&pool->mutex);
	STAILQ_CONCAT(&commit->writes, &commit->node->file->unstable->writes);
	pool->epoch++;
	commit->rewriting = true;
	pthread_mutex_unlock(&pool->mutex);
	STAILQ_FOREACH (write, &commit->writes, entry) {
		write->done = 0;
		lost += write->len;
	}
	log_warn("the server restarted before %zu bytes were committed: writing them again", lost);
}

/* The server has committed all that it had, under commit->verifier. */
static void commit_check(struct unstable_commit *commit)
{
	struct unstable_write *write;
	uint32_t epoch = commit->pool->epoch;
	if (commit->inherited &&
		(commit->mixed || memcmp(commit->inherited_verifier, commit->verifier,
					  NFS4_VERIFIER_SIZE) != 0)) {
		log_error("inode %llu: the server restarted before data of the last daemon was "
			  "committed: it is lost",
			(unsigned long long)commit->node->ino);
		commit->err = -EIO;
	}
	while ((write = STAILQ_FIRST(&commit->writes)) && write->epoch == epoch &&
		memcmp(write->verifier, commit->verifier, NFS4_VERIFIER_SIZE) == 0)
		commit_drop_first(commit);
	if (!write) {
		commit_finish(commit);
		return;
	}
	commit_begin_rewriting(commit);
	commit_rewrite(commit);
}

static void commit_committed(struct nfs_compound *c)
{
	struct unstable_commit *commit = c->arg;
	int err = nfs_compound_errno(c);
	if (err)
		commit_fail(commit, err);
	else
		commit_check(commit);
}

/* Servers want the right to write for COMMIT, which who asks for it need not have: a reader's close
 * commits as well. */
static struct rpc_cred *commit_cred(const struct unstable_commit *commit)
{
	const struct unstable_write *write = STAILQ_FIRST(&commit->writes);
	return write ? write->file->open->cred : commit->cred;
}

static void commit_start(struct unstable_commit *commit)
{
	struct nfs_compound *c =
		nfs_compound_new(commit->worker->conn, commit_cred(commit), OP_COMMIT);
	commit->compound = c;
	if (!c) {
		commit_fail(commit, -ENOMEM);
		return;
	}
	struct nfs_fh fh;
	node_fh(commit->node, &fh);
	nfs_op_putfh(c, &fh);
	nfs_op_commit(c, 0, 0, commit->verifier);
	nfs_compound_send(c, commit_committed, commit);
}

static void commit_init(struct unstable_commit *commit, struct unstable_pool *pool,
	struct node *node, struct rpc_cred *cred)
{
	commit->task.run = commit_task;
	commit->pool = pool;
	commit->node = node_pin(node);
	commit->cred = rpc_cred_ref(cred);
	STAILQ_INIT(&commit->writes);
}

void unstable_commit(struct unstable_pool *pool, struct worker *worker, struct node *node,
	struct rpc_cred *cred, void (*done)(void *arg, int err), void *arg)
{
	struct unstable_commit *commit = calloc(1, sizeof(*commit));
	pthread_mutex_lock(&pool->mutex);
	struct unstable *unstable = unstable_of(node);
	if (!unstable || !commit) {
		pthread_mutex_unlock(&pool->mutex);
		free(commit);
		done(arg, unstable ? -ENOMEM : 0);
		return;
	}
	commit_init(commit, pool, node, cred);
	commit->worker = worker;
	commit->done = done;
	commit->arg = arg;
	bool wait = unstable->active != NULL;
	if (wait)
		STAILQ_INSERT_TAIL(&unstable->waiting, commit, entry);
	else
		commit_activate(unstable, commit);
	pthread_mutex_unlock(&pool->mutex);
	if (!wait)
		commit_start(commit);
}

/* Nobody waits for it: fsync or close will tell of a failure. */
static void commit_rode(void *arg, int err)
{
	(void)arg;
	(void)err;
}

struct unstable_commit *unstable_ride(
	struct unstable_pool *pool, struct worker *worker, struct node *node, struct rpc_cred *cred)
{
	struct unstable_commit *commit = NULL;
	pthread_mutex_lock(&pool->mutex);
	struct unstable *unstable = unstable_of(node);
	if (pool->bytes > UNSTABLE_RIDING && unstable && !unstable->active &&
		!STAILQ_EMPTY(&unstable->writes))
		commit = calloc(1, sizeof(*commit));
	if (commit) {
		commit_init(commit, pool, node, cred);
		commit->worker = worker;
		commit->done = commit_rode;
		commit_activate(unstable, commit);
	}
	pthread_mutex_unlock(&pool->mutex);
	return commit;
}

void unstable_put_ride(struct unstable_commit *commit, struct nfs_compound *c)
{
	nfs_op_commit(c, 0, 0, commit->verifier);
}

void unstable_end_ride(struct unstable_commit *commit_take, bool committed)
{
	if (committed)
		commit_check(commit_take);
	else
		commit_start(commit_take);
}

struct unstable_relief {
	struct share *share;
	struct node *node;
};

/* Nobody waits for it: fsync or close will tell of a failure. */
static void inherited_committed(void *arg, int err)
{
	struct unstable_relief *relief = arg;
	(void)err;
	node_unpin(relief->share->nodes, relief->node);
	free(relief);
}

static struct node *next_inherited(struct unstable_pool *pool)
{
	struct unstable *unstable;
	struct node *node = NULL;
	pthread_mutex_lock(&pool->mutex);
	LIST_FOREACH (unstable, &pool->nodes, entry)
		if (unstable->node) {
			node = unstable->node;
			unstable->node = NULL;
			break;
		}
	pthread_mutex_unlock(&pool->mutex);
	return node;
}

void unstable_commit_inherited(
	struct unstable_pool *pool, struct worker *worker, struct rpc_cred *cred)
{
	struct node *node;
	while ((node = next_inherited(pool))) {
		struct unstable_relief *relief = malloc(sizeof(*relief));
		if (!relief) {
			node_unpin(pool->share->nodes, node);
			continue;
		}
		*relief = (struct unstable_relief){.share = pool->share, .node = node};
		unstable_commit(pool, worker, node, cred, inherited_committed, relief);
	}
}

/* All nodes' commits, counted down. */
struct flush {
	unsigned left;
	int err;
	void (*done)(void *arg, int err);
	void *arg;
};

static void flush_one(void *arg, int err)
{
	struct flush *flush = arg;
	flush->err = flush->err ? flush->err : err;
	if (--flush->left > 0)
		return;
	flush->done(flush->arg, flush->err);
	free(flush);
}

struct flush_item {
	struct node *node;     /* pinned */
	struct rpc_cred *cred; /* a reference */
};

/* Under the mutex. */
static struct flush_item *flush_list(struct unstable_pool *pool, unsigned *count)
{
	const struct unstable *unstable;
	unsigned n = 0;
	LIST_FOREACH (unstable, &pool->nodes, entry)
		n++;
	struct flush_item *items = calloc(n + 1, sizeof(*items));
	n = 0;
	LIST_FOREACH (unstable, &pool->nodes, entry) {
		/* What was inherited, and could not be committed, has no program that waits. */
		if (!items || (STAILQ_EMPTY(&unstable->writes) && !unstable->active))
			continue;
		const struct unstable_write *write = STAILQ_FIRST(&unstable->writes);
		const struct unstable_commit *active = unstable->active;
		items[n].node = node_pin(write ? write->file->node : active->node);
		items[n++].cred = rpc_cred_ref(write ? write->file->open->cred : active->cred);
	}
	*count = n;
	return items;
}

void unstable_flush(struct unstable_pool *pool, struct worker *worker,
	void (*done)(void *arg, int err), void *arg)
{
	struct flush *flush = malloc(sizeof(*flush));
	unsigned count = 0;
	pthread_mutex_lock(&pool->mutex);
	struct flush_item *items = flush ? flush_list(pool, &count) : NULL;
	pthread_mutex_unlock(&pool->mutex);
	if (!items) {
		free(flush);
		done(arg, -ENOMEM);
		return;
	}
	*flush = (struct flush){.left = count + 1, .done = done, .arg = arg};
	for (unsigned i = 0; i < count; i++) {
		unstable_commit(pool, worker, items[i].node, items[i].cred, flush_one, flush);
		node_unpin(pool->share->nodes, items[i].node);
		rpc_cred_unref(items[i].cred);
	}
	free(items);
	flush_one(flush, 0);
}
