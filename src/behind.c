/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "behind.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "fsop.h"
#include "share.h"
#include "util/log.h"

/* From this size on a mapping is cheaper than moving what is there when more follows, bytes. */
#define BEHIND_MAPPED_MIN (32u << 10)
/* Changes of owner that are known to be allowed. */
#define BEHIND_OWNERS 8

/* Who changed which owner to what. */
struct behind_owner {
	uid_t caller;
	unsigned set;
	uid_t uid;
	gid_t gid;
};

/* What is known of a file that an open has made. */
struct file_made {
	pid_t pid;
	struct nfs_attr attr;
};

struct behind_pool {
	struct share *share;
	pthread_mutex_t mutex; /* all of it, and what waits */
	LIST_HEAD(, behind) list;
	size_t bytes; /* of data that wait */
	bool stopped;
	struct behind_owner owners[BEHIND_OWNERS];
	unsigned nowners;
};

int behind_pool_new(struct share *share, struct behind_pool **pool)
{
	struct behind_pool *p = calloc(1, sizeof(*p));
	if (!p)
		return -ENOMEM;
	p->share = share;
	p->stopped = share->takeover != NULL;
	pthread_mutex_init(&p->mutex, NULL);
	LIST_INIT(&p->list);
	*pool = p;
	return 0;
}

static void behind_free(struct behind *behind)
{
	buf_unref(behind->buf);
	file_unref(behind->file);
	free(behind);
}

void behind_pool_free(struct behind_pool *pool)
{
	struct behind *behind;
	size_t lost = 0;
	if (!pool)
		return;
	while ((behind = LIST_FIRST(&pool->list))) {
		LIST_REMOVE(behind, entry);
		lost += behind->len;
		behind_free(behind);
	}
	if (lost)
		log_warn("%zu bytes were written but never sent", lost);
	pthread_mutex_destroy(&pool->mutex);
	free(pool);
}

void behind_pool_stop(struct behind_pool *pool)
{
	pthread_mutex_lock(&pool->mutex);
	pool->stopped = true;
	pthread_mutex_unlock(&pool->mutex);
}

static void count_copied(size_t len)
{
	nfs_conn_count_copied(worker_self()->conn, len);
}

/*
 * Most files get one small write, which has a buffer of its size. What is longer, or goes on, gets
 * room for the longest WRITE at once, so that it is not moved as it grows.
 */
static struct buf *behind_new_buf(const struct behind_pool *pool, bool first, uint32_t end)
{
	return first && end < BEHIND_MAPPED_MIN ? buf_alloc(end) : buf_map(pool->share->wsize);
}

/* Room for `end` bytes. False: no memory, or more than may wait. */
static bool behind_reserve(struct behind_pool *pool, struct behind *behind, uint32_t end)
{
	struct buf *buf = behind->buf;
	if (end <= behind->held)
		return true;
	if (pool->bytes + end - behind->held > BEHIND_MAX)
		return false;
	if (!buf || buf->size < end) {
		buf = behind_new_buf(pool, !buf, end);
		if (!buf)
			return false;
		if (behind->buf) {
			memcpy(buf->data, behind->buf->data, behind->len);
			count_copied(behind->len);
		}
		buf_unref(behind->buf);
		behind->buf = buf;
	}
	pool->bytes += end - behind->held;
	behind->held = end;
	return true;
}

/* Under the mutex. */
static struct behind *behind_begin(struct behind_pool *pool, struct file *file)
{
	struct behind *behind = calloc(1, sizeof(*behind));
	if (!behind)
		return NULL;
	STAILQ_INIT(&behind->waits);
	behind->file = file_ref(file);
	behind->born_at = loop_clock();
	/* before a program hears of success: whoever takes over knows what was lost */
	LIST_INSERT_HEAD(&pool->list, behind, entry);
	atomic_store(&file->node->file->behind, behind);
	worker_watch_behind(worker_self());
	return behind;
}

/* Under the mutex: takes a beginning back. */
static void behind_cancel(struct behind_pool *pool, struct behind *behind)
{
	LIST_REMOVE(behind, entry);
	atomic_store(&behind->file->node->file->behind, NULL);
	behind_free(behind);
}

/* What fails, fails at once: an open that is lost, and a file of which nobody has heard yet that
 * data was lost. */
static bool behind_wants(struct behind_pool *pool, const struct file *file)
{
	const struct share *share = pool->share;
	struct nfs_stateid stateid;
	return !pool->stopped && !share->cache.direct && !share->options->noac &&
	       !(file->flags & (O_SYNC | O_DSYNC | O_DIRECT)) &&
	       !node_has_untold_error(share->nodes, file->node) &&
	       nfs_open_use(share->state, file->open, &stateid) == 0;
}

/* Does it continue, or lie within, what is there? An append can only continue it. */
static bool behind_fits(const struct behind_pool *pool, const struct behind *behind,
	const struct file *file, const struct behind_data *data)
{
	if (behind->sending || behind->file != file || behind->owner.set || behind->others.set)
		return false;
	if (behind->len == 0 || data->offset < behind->offset)
		return false;
	uint64_t at = data->offset - behind->offset;
	return at <= behind->len && at + data->len <= pool->share->wsize &&
	       (at == behind->len || !(file->flags & O_APPEND));
}

static bool behind_put(
	struct behind_pool *pool, struct behind *behind, const struct behind_data *data)
{
	uint32_t at = (uint32_t)(data->offset - behind->offset);
	if (!behind_reserve(pool, behind, at + data->len))
		return false;
	memcpy(behind->buf->data + at, data->data, data->len);
	count_copied(data->len);
	if (behind->len < at + data->len)
		behind->len = at + data->len;
	return true;
}

static bool behind_start(
	struct behind_pool *pool, struct file *file, const struct behind_data *data)
{
	struct behind *behind = behind_begin(pool, file);
	if (!behind)
		return false;
	behind->offset = data->offset;
	if (behind_put(pool, behind, data))
		return true;
	behind_cancel(pool, behind);
	return false;
}

enum behind_answer behind_write(
	struct behind_pool *pool, struct file *file, const struct behind_data *data)
{
	enum behind_answer answer = BEHIND_DIRECT;
	bool small = data->len > 0 && data->len <= BEHIND_WRITE_MAX &&
		     data->len <= pool->share->wsize && behind_wants(pool, file);
	pthread_mutex_lock(&pool->mutex);
	struct behind *behind = node_behind(file->node);
	if (behind)
		answer = small && behind_fits(pool, behind, file, data) &&
					 behind_put(pool, behind, data)
				 ? BEHIND_TAKEN
				 : BEHIND_WAIT;
	else if (small && behind_start(pool, file, data))
		answer = BEHIND_TAKEN;
	pthread_mutex_unlock(&pool->mutex);
	return answer;
}

void behind_made(
	struct behind_pool *pool, struct file *file, pid_t pid, const struct nfs_attr *attr)
{
	struct file_made *made = behind_wants(pool, file) ? malloc(sizeof(*made)) : NULL;
	if (!made)
		return;
	*made = (struct file_made){.pid = pid, .attr = *attr};
	pthread_mutex_lock(&pool->mutex);
	bool first = !file->node->file->maker;
	if (first) {
		file->made = made;
		file->node->file->maker = file;
	}
	pthread_mutex_unlock(&pool->mutex);
	if (!first)
		free(made);
}

/* Under the mutex. */
static void made_drop(struct file *file)
{
	if (!file->made)
		return;
	free(file->made);
	file->made = NULL;
	file->node->file->maker = NULL;
}

void behind_forget_made(struct behind_pool *pool, struct file *file)
{
	pthread_mutex_lock(&pool->mutex);
	made_drop(file);
	pthread_mutex_unlock(&pool->mutex);
}

static bool owner_equal(const struct behind_owner *a, const struct behind_owner *b)
{
	return a->caller == b->caller && a->set == b->set && a->uid == b->uid && a->gid == b->gid;
}

static struct behind_owner owner_of(const struct rpc_cred *cred, const struct nfs_setattr *set)
{
	return (struct behind_owner){.caller = rpc_cred_uid(cred),
		.set = set->set & (NFS_SET_UID | NFS_SET_GID),
		.uid = set->set & NFS_SET_UID ? set->uid : 0,
		.gid = set->set & NFS_SET_GID ? set->gid : 0};
}

static bool owner_is_known(const struct behind_pool *pool, const struct behind_owner *owner)
{
	for (unsigned i = 0; i < BEHIND_OWNERS && i < pool->nowners; i++)
		if (owner_equal(&pool->owners[i], owner))
			return true;
	return false;
}

void behind_owner_changed(
	struct behind_pool *pool, const struct rpc_cred *cred, const struct nfs_setattr *set)
{
	const struct behind_owner owner = owner_of(cred, set);
	if (owner.set == 0)
		return;
	pthread_mutex_lock(&pool->mutex);
	if (!owner_is_known(pool, &owner))
		pool->owners[pool->nowners++ % BEHIND_OWNERS] = owner;
	pthread_mutex_unlock(&pool->mutex);
}

/*
 * Under the mutex: may it wait? The times must be given, since the server's clock would be read
 * later. A change of the owner takes away what a change of the mode before it gave (set-user-id),
 * so it does not follow one.
 */
static bool setattr_may_wait(const struct behind_pool *pool, const struct behind *behind,
	const struct file *file, const struct behind_change *change)
{
	const unsigned may =
		NFS_SET_MODE | NFS_SET_UID | NFS_SET_GID | NFS_SET_ATIME | NFS_SET_MTIME;
	const struct nfs_setattr *set = change->set;
	const struct behind_owner owner = owner_of(change->cred, set);
	if (set->set == 0 || (set->set & ~may) || (file->flags & O_APPEND) || change->pid == 0 ||
		file->made->pid != change->pid ||
		rpc_cred_uid(change->cred) != rpc_cred_uid(file->open->cred))
		return false;
	if (behind && (behind->sending || behind->file != file))
		return false;
	if (owner.set == 0)
		return true;
	bool after_mode = (behind && (behind->others.set & NFS_SET_MODE)) ||
			  (set->set & NFS_SET_MODE) || (file->made->attr.mode & 06000);
	return !after_mode && owner_is_known(pool, &owner);
}

static void setattr_put(struct behind *behind, const struct nfs_setattr *set)
{
	struct nfs_setattr *owner = &behind->owner, *others = &behind->others;
	owner->set |= set->set & (NFS_SET_UID | NFS_SET_GID);
	others->set |= set->set & (NFS_SET_MODE | NFS_SET_ATIME | NFS_SET_MTIME);
	if (set->set & NFS_SET_UID)
		owner->uid = set->uid;
	if (set->set & NFS_SET_GID)
		owner->gid = set->gid;
	if (set->set & NFS_SET_MODE)
		others->mode = set->mode;
	if (set->set & NFS_SET_ATIME)
		others->atime = set->atime;
	if (set->set & NFS_SET_MTIME)
		others->mtime = set->mtime;
}

/* What the file's attributes will be. */
static void setattr_foresee(const struct behind *behind, struct nfs_attr *attr)
{
	const struct nfs_setattr *owner = &behind->owner, *others = &behind->others;
	if (behind->offset + behind->len > attr->size)
		attr->size = attr->space_used = behind->offset + behind->len;
	clock_gettime(CLOCK_REALTIME, &attr->ctime);
	if (others->set & NFS_SET_MTIME)
		attr->mtime = others->mtime;
	else if (behind->len > 0)
		attr->mtime = attr->ctime;
	if (others->set & NFS_SET_ATIME)
		attr->atime = others->atime;
	if (others->set & NFS_SET_MODE)
		attr->mode = others->mode;
	if (owner->set & NFS_SET_UID)
		attr->uid = owner->uid;
	if (owner->set & NFS_SET_GID)
		attr->gid = owner->gid;
}

bool behind_setattr(struct behind_pool *pool, struct node *node, const struct behind_change *change,
	struct nfs_attr *attr)
{
	bool taken = false;
	pthread_mutex_lock(&pool->mutex);
	struct behind *behind = node_behind(node);
	struct node_file *node_file = node->file;
	struct file *file = node_file ? node_file->maker : NULL;
	if (file && !pool->stopped && setattr_may_wait(pool, behind, file, change)) {
		if (!behind)
			behind = behind_begin(pool, file);
		if (behind) {
			setattr_put(behind, change->set);
			*attr = file->made->attr;
			setattr_foresee(behind, attr);
			taken = true;
		}
	}
	pthread_mutex_unlock(&pool->mutex);
	return taken;
}

static void wait_end(struct loop_task *task)
{
	struct behind_wait *wait =
		(struct behind_wait *)((char *)task - offsetof(struct behind_wait, task));
	wait->done(wait);
}

/* Under the mutex: true, with the mutex released, if it is the caller's to be sent. */
static bool behind_take(struct behind_pool *pool, struct behind *behind, bool stable)
{
	if (behind->sending)
		return false;
	behind->sending = true;
	behind->stable = stable;
	if (behind->buf)
		buf_trim(behind->buf, behind->len);
	made_drop(behind->file);
	return true;
}

void behind_settle(struct share *share, struct node *node, bool stable, struct behind_wait *wait)
{
	struct behind_pool *pool = share->behind;
	bool send = false;
	wait->worker = worker_self();
	wait->task.run = wait_end;
	pthread_mutex_lock(&pool->mutex);
	struct behind *behind = node_behind(node);
	if (behind) {
		STAILQ_INSERT_TAIL(&behind->waits, wait, entry);
		send = behind_take(pool, behind, stable);
	}
	pthread_mutex_unlock(&pool->mutex);
	if (!behind)
		wait->done(wait);
	else if (send)
		fsop_write_gathered(behind);
}

bool behind_is_unsettled(const struct node *node, uint64_t since)
{
	const struct node_file *file = atomic_load(&node->file);
	return file && (atomic_load(&file->behind) || atomic_load(&file->settled_at) >= since);
}

void behind_sent(struct share *share, struct behind *behind)
{
	struct behind_pool *pool = share->behind;
	struct node_file *file = behind->file->node->file;
	STAILQ_HEAD(, behind_wait) waits = STAILQ_HEAD_INITIALIZER(waits);
	struct behind_wait *wait;
	pthread_mutex_lock(&pool->mutex);
	atomic_store(&file->settled_at, loop_clock());
	atomic_store(&file->behind, NULL);
	LIST_REMOVE(behind, entry);
	pool->bytes -= behind->held;
	STAILQ_CONCAT(&waits, &behind->waits);
	pthread_mutex_unlock(&pool->mutex);
	behind_free(behind);
	while ((wait = STAILQ_FIRST(&waits))) {
		STAILQ_REMOVE_HEAD(&waits, entry);
		if (wait->worker == worker_self())
			wait->done(wait);
		else
			loop_post(wait->worker->loop, &wait->task);
	}
}

/* Sends what was born until then, and says whether anything younger is left. */
static bool behind_send_old(struct behind_pool *pool, uint64_t until)
{
	struct behind *behind;
	bool left;
	do {
		left = false;
		pthread_mutex_lock(&pool->mutex);
		LIST_FOREACH (behind, &pool->list, entry) {
			left |= !behind->sending;
			if (behind->born_at <= until && behind_take(pool, behind, false))
				break;
		}
		pthread_mutex_unlock(&pool->mutex);
		if (behind)
			fsop_write_gathered(behind);
	} while (behind);
	return left;
}

bool behind_tick(struct share *share)
{
	return behind_send_old(share->behind, loop_clock() - BEHIND_AGE_NS);
}

static void all_next(struct behind_all *all)
{
	struct behind_pool *pool = all->share->behind;
	struct behind *behind;
	all->node = NULL;
	pthread_mutex_lock(&pool->mutex);
	LIST_FOREACH (behind, &pool->list, entry)
		if (behind->born_at <= all->until) {
			all->node = node_pin(all->share->nodes, behind->file->node);
			break;
		}
	pthread_mutex_unlock(&pool->mutex);
	if (all->node)
		behind_settle(all->share, all->node, false, &all->wait);
	else
		all->done(all);
}

static void all_settled(struct behind_wait *wait)
{
	struct behind_all *all =
		(struct behind_all *)((char *)wait - offsetof(struct behind_all, wait));
	node_unpin(all->share->nodes, all->node);
	all_next(all);
}

void behind_settle_all(struct share *share, struct behind_all *all)
{
	all->share = share;
	all->wait.done = all_settled;
	all->until = loop_clock();
	behind_send_old(share->behind, all->until);
	all_next(all);
}
