/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "unstable.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "nfs41/op.h"
#include "share.h"
#include "takeover.h"
#include "util/log.h"

/* Up to this size data is copied; beyond it, the megabyte buffer that it came in is kept instead.
 */
#define UNSTABLE_COPY_MAX (64u << 10)
/* Bytes that may wait for a commit before one is started unasked. */
#define UNSTABLE_PRESSING (32u << 20)

STAILQ_HEAD(unstable_list, unstable_write);

/* What one node has waiting. Goes away when nothing is left and no commit is under way. */
struct unstable {
	LIST_ENTRY(unstable) entry;
	struct unstable_list writes;
	struct commit *active;
	STAILQ_HEAD(, commit) waiting;
	/* for another daemon */
	uint32_t record;
	bool mixed; /* not all under `verifier` */
	uint8_t verifier[NFS4_VERIFIER_SIZE];
	/* Another daemon's data, of which there is no copy: lost unless it is committed under
	 * `verifier`. */
	bool inherited;
	struct node *node; /* pinned, until that was asked for */
};

struct unstable_pool {
	struct share *share;
	pthread_mutex_t mutex; /* all nodes' lists */
	LIST_HEAD(, unstable) nodes;
	size_t bytes; /* memory held, whole buffers counted */
	/* Moves when data is about to be written again and when that is done. A write made before
	 * the last move may have been overwritten by older data, and is written again itself. */
	_Atomic uint32_t epoch;
};

/*
 * One commit under way: COMMIT, then, for what the server has lost, WRITE after WRITE, stable.
 * Commits of one node follow each other, so that none reports success while an earlier one still
 * rewrites.
 */
struct commit {
	struct loop_task task; /* starts it on its own worker */
	struct unstable_pool *pool;
	struct worker *worker;
	struct node *node; /* pinned */
	struct rpc_cred *cred;
	void (*done)(void *arg, int err);
	void *arg;
	struct unstable_list writes;
	struct nfs_compound *compound;
	uint8_t verifier[NFS4_VERIFIER_SIZE];
	struct nfs_write_res res;
	struct reclaim_use use;
	int err;
	bool rewriting; /* under the mutex */
	bool inherited, mixed;
	uint8_t inherited_verifier[NFS4_VERIFIER_SIZE];
	STAILQ_ENTRY(commit) entry;
};

int unstable_pool_new(struct share *share, struct unstable_pool **pool)
{
	struct unstable_pool *p = calloc(1, sizeof(*p));
	if (!p)
		return -ENOMEM;
	p->share = share;
	pthread_mutex_init(&p->mutex, NULL);
	LIST_INIT(&p->nodes);
	*pool = p;
	return 0;
}

void unstable_pool_free(struct unstable_pool *pool)
{
	if (!pool)
		return;
	struct unstable *unstable;
	size_t lost = 0;
	while ((unstable = LIST_FIRST(&pool->nodes))) {
		struct unstable_write *write;
		while ((write = STAILQ_FIRST(&unstable->writes))) {
			STAILQ_REMOVE_HEAD(&unstable->writes, entry);
			lost += write->len;
			unstable_write_free(write);
		}
		LIST_REMOVE(unstable, entry);
		free(unstable);
	}
	if (lost)
		log_warn("%zu bytes are with the server but were never committed", lost);
	pthread_mutex_destroy(&pool->mutex);
	free(pool);
}

struct unstable_write *unstable_write_new(struct unstable_pool *pool, struct file *file,
	struct buf *buf, const uint8_t *data, uint32_t len, uint64_t offset)
{
	struct unstable_write *write = malloc(sizeof(*write));
	buf = len <= UNSTABLE_COPY_MAX ? buf_copy(data, len) : buf_ref(buf);
	if (!write || !buf) {
		free(write);
		buf_unref(buf);
		return NULL;
	}
	*write = (struct unstable_write){.file = file_ref(file),
		.buf = buf,
		.data = len <= UNSTABLE_COPY_MAX ? buf->data : data,
		.offset = offset,
		.len = len,
		.epoch = pool->epoch};
	return write;
}

struct unstable_write *unstable_write_of(struct unstable_pool *pool, struct file *file,
	struct buf *buf, uint32_t len, uint64_t offset)
{
	struct unstable_write *write = malloc(sizeof(*write));
	if (write)
		*write = (struct unstable_write){.file = file_ref(file),
			.buf = buf ? buf_ref(buf) : NULL,
			.data = buf ? buf->data : NULL,
			.offset = offset,
			.len = len,
			.epoch = pool->epoch};
	return write;
}

void unstable_write_free(struct unstable_write *write)
{
	if (!write)
		return;
	buf_unref(write->buf);
	file_unref(write->file);
	free(write);
}

static size_t write_memory(const struct unstable_write *write)
{
	return sizeof(*write) + write->buf->size;
}

/* Under the mutex: the node's lists, made if need be. */
static struct unstable *node_unstable(struct unstable_pool *pool, struct node *node)
{
	if (!node->unstable && (node->unstable = calloc(1, sizeof(*node->unstable)))) {
		STAILQ_INIT(&node->unstable->writes);
		STAILQ_INIT(&node->unstable->waiting);
		LIST_INSERT_HEAD(&pool->nodes, node->unstable, entry);
	}
	return node->unstable;
}

/* Under the mutex: the record says under which verifier the node's data is. */
static void unstable_note(
	struct unstable_pool *pool, struct node *node, const uint8_t verifier[NFS4_VERIFIER_SIZE])
{
	struct unstable *unstable = node->unstable;
	bool same = memcmp(unstable->verifier, verifier, NFS4_VERIFIER_SIZE) == 0;
	if (!pool->share->keep || (unstable->record && (same || unstable->mixed)))
		return;
	unstable->mixed = unstable->record != 0;
	memcpy(unstable->verifier, verifier, NFS4_VERIFIER_SIZE);
	unstable->record = takeover_put_unstable(
		pool->share, unstable->record, node->id, unstable->mixed ? NULL : verifier);
}

/* The same after a commit, for what is left. */
static void unstable_note_left(struct unstable_pool *pool, struct node *node)
{
	const struct unstable_write *write;
	struct unstable *unstable = node->unstable;
	if (!unstable->record)
		return;
	takeover_drop(pool->share, unstable->record);
	unstable->record = 0;
	STAILQ_FOREACH (write, &unstable->writes, entry)
		unstable_note(pool, node, write->verifier);
}

void unstable_add(struct unstable_pool *pool, struct unstable_write *write_take)
{
	struct node *node = write_take->file->node;
	pthread_mutex_lock(&pool->mutex);
	struct unstable *unstable = node_unstable(pool, node);
	if (unstable) {
		STAILQ_INSERT_TAIL(&unstable->writes, write_take, entry);
		pool->bytes += write_memory(write_take);
		unstable_note(pool, node, write_take->verifier);
	}
	pthread_mutex_unlock(&pool->mutex);
	if (!unstable) {
		/* Without the copy its loss could not be mended, so it counts as lost. */
		node_set_error(pool->share->nodes, node, -ENOMEM);
		unstable_write_free(write_take);
	}
}

bool unstable_covered(
	struct unstable_pool *pool, const struct node *node, const struct unstable_write *write)
{
	pthread_mutex_lock(&pool->mutex);
	const struct unstable *unstable = node->unstable;
	bool rewriting = unstable && unstable->active && unstable->active->rewriting;
	pthread_mutex_unlock(&pool->mutex);
	return rewriting || write->epoch != pool->epoch;
}

bool unstable_waits(struct unstable_pool *pool, const struct node *node)
{
	pthread_mutex_lock(&pool->mutex);
	bool waits = node->unstable != NULL;
	pthread_mutex_unlock(&pool->mutex);
	return waits;
}

int unstable_inherit(struct unstable_pool *pool, struct node *node,
	const uint8_t verifier[NFS4_VERIFIER_SIZE], uint32_t record)
{
	pthread_mutex_lock(&pool->mutex);
	struct unstable *unstable = node->unstable ? NULL : node_unstable(pool, node);
	if (unstable) {
		unstable->inherited = true;
		unstable->record = record;
		unstable->mixed = verifier == NULL;
		if (verifier)
			memcpy(unstable->verifier, verifier, NFS4_VERIFIER_SIZE);
		unstable->node = node_pin(pool->share->nodes, node);
	}
	pthread_mutex_unlock(&pool->mutex);
	return unstable ? 0 : -ENOMEM;
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

size_t unstable_bytes(struct unstable_pool *pool)
{
	pthread_mutex_lock(&pool->mutex);
	size_t bytes = pool->bytes;
	pthread_mutex_unlock(&pool->mutex);
	return bytes;
}

bool unstable_pressing(struct unstable_pool *pool, const struct node *node)
{
	pthread_mutex_lock(&pool->mutex);
	const struct unstable *unstable = node->unstable;
	bool pressing = pool->bytes > UNSTABLE_PRESSING && unstable && !unstable->active;
	pthread_mutex_unlock(&pool->mutex);
	return pressing;
}

static void commit_start(struct commit *commit);

static void commit_task(struct loop_task *task)
{
	commit_start((struct commit *)task);
}

/* Under the mutex: hands the node's writes to the commit. */
static void commit_activate(struct unstable *unstable, struct commit *commit)
{
	unstable->active = commit;
	STAILQ_CONCAT(&commit->writes, &unstable->writes);
	commit->inherited = unstable->inherited;
	commit->mixed = unstable->mixed;
	memcpy(commit->inherited_verifier, unstable->verifier, NFS4_VERIFIER_SIZE);
	unstable->inherited = false;
}

static void commit_finish(struct commit *commit)
{
	struct unstable_pool *pool = commit->pool;
	struct node *node = commit->node;
	if (commit->err)
		node_set_error(pool->share->nodes, node, commit->err);
	pthread_mutex_lock(&pool->mutex);
	if (commit->rewriting)
		pool->epoch++;
	struct unstable *unstable = node->unstable;
	struct commit *next = STAILQ_FIRST(&unstable->waiting);
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
		node->unstable = NULL;
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
static void commit_drop_first(struct commit *commit)
{
	struct unstable_write *write = STAILQ_FIRST(&commit->writes);
	STAILQ_REMOVE_HEAD(&commit->writes, entry);
	pthread_mutex_lock(&commit->pool->mutex);
	commit->pool->bytes -= write_memory(write);
	pthread_mutex_unlock(&commit->pool->mutex);
	unstable_write_free(write);
}

static void commit_fail(struct commit *commit, int err)
{
	if (commit->err == 0)
		commit->err = err;
	while (!STAILQ_EMPTY(&commit->writes))
		commit_drop_first(commit);
	commit_finish(commit);
}

static void commit_rewrite(struct commit *commit);

static void commit_lose(struct commit *commit, int err)
{
	const struct unstable_write *write = STAILQ_FIRST(&commit->writes);
	log_error("%u bytes that the server lost in its restart could not be written again: %s",
		write->len, strerror(-err));
	commit_fail(commit, err);
}

static void commit_rewrite_again(struct reclaim_use *use)
{
	commit_rewrite((struct commit *)((char *)use - offsetof(struct commit, use)));
}

static void commit_rewritten(struct nfs_compound *c)
{
	struct commit *commit = c->arg;
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

static void commit_rewrite(struct commit *commit)
{
	struct unstable_write *write = STAILQ_FIRST(&commit->writes);
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
		write->data + write->done, write->len - write->done, &commit->res);
	nfs_compound_send(c, commit_rewritten, commit);
}

static void commit_committed(struct nfs_compound *c)
{
	struct commit *commit = c->arg;
	int err = nfs_compound_errno(c);
	if (err) {
		commit_fail(commit, err);
		return;
	}
	if (commit->inherited &&
		(commit->mixed || memcmp(commit->inherited_verifier, commit->verifier,
					  NFS4_VERIFIER_SIZE) != 0)) {
		log_error("inode %llu: the server restarted before data of the last daemon was "
			  "committed: it is lost",
			(unsigned long long)commit->node->ino);
		commit->err = -EIO;
	}
	/* From the first lost write on, all are: rewriting it may undo what came after it. */
	size_t lost = 0;
	uint32_t epoch = commit->pool->epoch;
	struct unstable_write *write = STAILQ_FIRST(&commit->writes), *next;
	for (; write; write = next) {
		next = STAILQ_NEXT(write, entry);
		if (lost == 0 && write->epoch == epoch &&
			memcmp(write->verifier, commit->verifier, NFS4_VERIFIER_SIZE) == 0) {
			commit_drop_first(commit);
		} else {
			write->done = 0;
			lost += write->len;
		}
	}
	if (lost == 0) {
		commit_finish(commit);
		return;
	}
	log_warn("the server restarted before %zu bytes were committed: writing them again", lost);
	pthread_mutex_lock(&commit->pool->mutex);
	commit->pool->epoch++;
	commit->rewriting = true;
	pthread_mutex_unlock(&commit->pool->mutex);
	commit_rewrite(commit);
}

static void commit_start(struct commit *commit)
{
	struct nfs_compound *c = nfs_compound_new(commit->worker->conn, commit->cred, OP_COMMIT);
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

void unstable_commit(struct unstable_pool *pool, struct worker *worker, struct node *node,
	struct rpc_cred *cred, void (*done)(void *arg, int err), void *arg)
{
	struct commit *commit = calloc(1, sizeof(*commit));
	pthread_mutex_lock(&pool->mutex);
	struct unstable *unstable = node->unstable;
	if (!unstable || !commit) {
		pthread_mutex_unlock(&pool->mutex);
		free(commit);
		done(arg, unstable ? -ENOMEM : 0);
		return;
	}
	*commit = (struct commit){.task.run = commit_task,
		.pool = pool,
		.worker = worker,
		.node = node_pin(pool->share->nodes, node),
		.cred = rpc_cred_ref(cred),
		.done = done,
		.arg = arg};
	STAILQ_INIT(&commit->writes);
	bool wait = unstable->active != NULL;
	if (wait)
		STAILQ_INSERT_TAIL(&unstable->waiting, commit, entry);
	else
		commit_activate(unstable, commit);
	pthread_mutex_unlock(&pool->mutex);
	if (!wait)
		commit_start(commit);
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
		const struct commit *active = unstable->active;
		items[n].node =
			node_pin(pool->share->nodes, write ? write->file->node : active->node);
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
