/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>

#include "fsop.h"

/*
 * fcntl(2) and flock(2) locks, held on the server. A lock that another is in the way of is asked
 * for again until it is granted or the program is interrupted: when it is freed through this mount,
 * which wakes who has waited longest, when the server calls back, and after pauses; NFSv4 servers
 * have no queue to wait in (RFC 8881, 9.6). With the grant the data is revalidated, since locks are
 * what programs order their accesses by.
 */

/* Pauses grow to four times a second: longer ones would starve behind those who ask oftener. Where
 * somebody tells of the end, they are for the case that this gets lost. */
#define LOCK_PAUSE_MIN_NS  UINT64_C(10000000)
#define LOCK_PAUSE_MAX_NS  UINT64_C(250000000)
#define LOCK_PAUSE_TOLD_NS UINT64_C(1000000000)

/* A request that waits for its lock: what callbacks, from other threads, may see. */
struct fsop_lock_wait {
	struct fsop_request *req;
	struct loop_task task;
	struct loop_timer timer;
	uint64_t pause_ns;
	/* under the share's lock_mutex */
	bool posted;
	TAILQ_ENTRY(fsop_lock_wait) entry;
	/* the worker's */
	bool pausing; /* the timer runs; otherwise a LOCK is under way */
	bool woken;   /* since that was sent: its refusal may be out of date */
};

static void lock_send(struct fsop_request *req);

static void wait_end(struct fsop_request *req)
{
	struct fsop_lock_wait *wait = req->u.lock.wait;
	struct share *share = req->share;
	if (!wait)
		return;
	loop_timer_cancel(req->worker->loop, &wait->timer);
	pthread_mutex_lock(&share->lock_mutex);
	TAILQ_REMOVE(&share->lock_waits, wait, entry);
	bool posted = wait->posted;
	wait->req = NULL;
	pthread_mutex_unlock(&share->lock_mutex);
	/* A task on its way frees it when it arrives. */
	if (!posted)
		free(wait);
	req->u.lock.wait = NULL;
	req->interrupt = NULL;
}

static void lock_undo(struct fsop_request *req);

static void lock_reply(struct fsop_request *req, int err)
{
	wait_end(req);
	/* The program was killed while it waited: what it asked for is nobody's. */
	if (!err && !req->fuse && !req->u.lock.unlock) {
		lock_undo(req);
		return;
	}
	nfs_lock_unref(req->share->state, req->u.lock.lock);
	fsop_reply_err(req, err);
}

static void wait_retry(struct fsop_lock_wait *wait)
{
	wait->woken = !wait->pausing;
	if (wait->woken)
		return;
	wait->pausing = false;
	loop_timer_cancel(wait->req->worker->loop, &wait->timer);
	lock_send(wait->req);
}

static void wait_timer(struct loop_timer *timer)
{
	wait_retry(
		(struct fsop_lock_wait *)((char *)timer - offsetof(struct fsop_lock_wait, timer)));
}

/* On the request's own worker, after a callback. */
static void wait_task(struct loop_task *task)
{
	struct fsop_lock_wait *wait =
		(struct fsop_lock_wait *)((char *)task - offsetof(struct fsop_lock_wait, task));
	struct fsop_request *req = wait->req;
	if (!req) {
		free(wait);
		return;
	}
	pthread_mutex_lock(&req->share->lock_mutex);
	wait->posted = false;
	pthread_mutex_unlock(&req->share->lock_mutex);
	wait_retry(wait);
}

/* Under lock_mutex, any thread. */
static void wait_post(struct fsop_lock_wait *wait)
{
	if (wait->posted)
		return;
	wait->posted = true;
	loop_post(wait->req->worker->loop, &wait->task);
}

/* Any signal ends the waiting. A LOCK under way is not given up: its answer decides, see lock_done.
 */
static bool wait_interrupt(struct fsop_request *req)
{
	bool pausing = req->u.lock.wait->pausing;
	if (pausing)
		lock_reply(req, -EINTR);
	return pausing;
}

void fsop_lock_available(struct share *share, uint64_t owner)
{
	struct fsop_lock_wait *wait;
	pthread_mutex_lock(&share->lock_mutex);
	TAILQ_FOREACH (wait, &share->lock_waits, entry)
		if (wait->req->u.lock.args.owner == owner)
			wait_post(wait);
	pthread_mutex_unlock(&share->lock_mutex);
}

static bool lock_overlaps(const struct nfs_lock_range *a, const struct nfs_lock_range *b)
{
	const struct range first = range_of(a->offset, a->length, RANGE_WRITE);
	const struct range second = range_of(b->offset, b->length, RANGE_WRITE);
	return first.first <= second.last && second.first <= first.last;
}

/* `req` has freed its range: wakes the first who waits for some of it, and all whom that one leaves
 * room for. */
static void wait_wake_next(struct fsop_request *req)
{
	struct share *share = req->share;
	const struct nfs_lock_range *first = NULL;
	struct fsop_lock_wait *wait;
	pthread_mutex_lock(&share->lock_mutex);
	TAILQ_FOREACH (wait, &share->lock_waits, entry) {
		const struct nfs_lock_range *range = &wait->req->u.lock.args.range;
		if (wait->req->node != req->node || !lock_overlaps(range, &req->u.lock.args.range))
			continue;
		bool shared = first && first->type == READW_LT && range->type == READW_LT;
		if (!first || shared || !lock_overlaps(range, first))
			wait_post(wait);
		if (!first)
			first = range;
	}
	pthread_mutex_unlock(&share->lock_mutex);
}

static int wait_begin(struct fsop_request *req)
{
	struct fsop_lock_wait *wait = calloc(1, sizeof(*wait));
	if (!wait)
		return -ENOMEM;
	wait->req = req;
	wait->task.run = wait_task;
	wait->timer.fire = wait_timer;
	wait->pause_ns = LOCK_PAUSE_MIN_NS;
	req->u.lock.wait = wait;
	pthread_mutex_lock(&req->share->lock_mutex);
	TAILQ_INSERT_TAIL(&req->share->lock_waits, wait, entry);
	pthread_mutex_unlock(&req->share->lock_mutex);
	req->interrupt = wait_interrupt;
	return 0;
}

/* The lock in the way is one of this mount, or the server calls when it is gone. */
static bool wait_is_told(const struct fsop_request *req)
{
	return req->file->open->notifies ||
	       req->u.lock.denied.owner_clientid == nfs_client_id(req->share->client);
}

static void wait_pause(struct fsop_request *req)
{
	struct fsop_lock_wait *wait = req->u.lock.wait;
	uint64_t max_ns = wait_is_told(req) ? LOCK_PAUSE_TOLD_NS : LOCK_PAUSE_MAX_NS;
	if (req->interrupted) {
		lock_reply(req, -EINTR);
		return;
	}
	if (wait->woken) {
		wait->woken = false;
		lock_send(req);
		return;
	}
	if (wait->pause_ns > max_ns)
		wait->pause_ns = max_ns;
	wait->pausing = true;
	loop_timer_set(
		req->worker->loop, &wait->timer, loop_now(req->worker->loop) + wait->pause_ns);
	wait->pause_ns *= 2;
}

static void lock_refreshed(struct loop_task *task)
{
	struct fsop_request *req =
		(struct fsop_request *)((char *)task - offsetof(struct fsop_request, u.lock.task));
	node_note_dropped(req->share->nodes, req->node, req->attr.change);
	lock_reply(req, 0);
}

/* Notes what was locked or, in an unlock, freed. */
static void lock_record(struct fsop_request *req, const struct nfs_stateid *stateid)
{
	const struct nfs_lock_range *asked = &req->u.lock.args.range;
	enum range_kind kind = req->u.lock.unlock				     ? RANGE_FREE
			       : asked->type == WRITE_LT || asked->type == WRITEW_LT ? RANGE_WRITE
										     : RANGE_READ;
	struct range range = range_of(asked->offset, asked->length, kind);
	nfs_lock_changed(req->share->state, req->u.lock.lock, stateid, &range);
	if (kind == RANGE_FREE)
		wait_wake_next(req);
}

static void lock_granted(struct fsop_request *req)
{
	struct share *share = req->share;
	lock_record(req, &req->u.lock.stateid);
	atomic_store(&req->node->file->locked, true);
	if (nfs_bitmap_has(&req->attr.have, FATTR4_CHANGE) &&
		node_note_open(share->nodes, req->node, &req->attr) == NODE_CACHED_STALE) {
		/* What others wrote under their lock must be seen under ours: the old pages go
		 * first. */
		req->u.lock.task.run = lock_refreshed;
		notify_inval_inode(
			share->notify, req->node->id, req->worker->loop, &req->u.lock.task);
		return;
	}
	lock_reply(req, 0);
}

static void lock_done(struct nfs_compound *c)
{
	struct fsop_request *req = c->arg;
	/* PUTFH, LOCK, GETATTR: the lock is held even if the attributes did not come. */
	if (c->ops_ok >= 2)
		lock_granted(req);
	else if (c->status == NFS4ERR_DENIED && req->u.lock.wait)
		wait_pause(req);
	else if (!fsop_refused(req, lock_send))
		lock_reply(req, c->status == NFS4ERR_DENIED ? -EAGAIN : nfs_compound_errno(c));
}

static void lock_send(struct fsop_request *req)
{
	struct nfs_lock_args *args = &req->u.lock.args;
	int err = nfs_open_use(req->share->state, req->file->open, &args->open_stateid);
	if (err || nfs_lock_is_lost(req->share->state, req->u.lock.lock)) {
		lock_reply(req, -EIO);
		return;
	}
	args->new_owner = !reclaim_use_lock(
		req->share->reclaim, &req->use, req->file->open, req->u.lock.lock, false);
	args->open_stateid = args->lock_stateid = req->use.stateid;
	args->owner = req->u.lock.lock->owner;
	struct nfs_bitmap change = {0};
	nfs_bitmap_set(&change, FATTR4_CHANGE);
	nfs_compound_free(req->compound);
	req->compound = nfs_compound_new(req->worker->conn, req->cred, OP_LOCK);
	if (!req->compound) {
		lock_reply(req, -ENOMEM);
		return;
	}
	nfs_op_putfh(req->compound, &req->file->open->fh);
	nfs_op_lock(req->compound, args, &req->u.lock.stateid, &req->u.lock.denied);
	nfs_op_getattr(req->compound, &change, &req->attr);
	fsop_send(req, lock_done);
}

static void unlock_end(struct fsop_request *req, int err)
{
	nfs_lock_unref(req->share->state, req->u.lock.lock);
	if (req->then)
		req->then(req);
	else
		fsop_reply_err(req, err);
}

/* The open file ends: what can be done more the server does, when it is closed. */
static void unlock_fail(struct fsop_request *req, int err)
{
	if (req->then)
		lock_record(req, NULL);
	unlock_end(req, err);
}

static void unlock_send(struct fsop_request *req);

static void unlock_done(struct nfs_compound *c)
{
	struct fsop_request *req = c->arg;
	int err = nfs_compound_errno(c);
	if (err && fsop_refused(req, unlock_send))
		return;
	if (err) {
		unlock_fail(req, err);
		return;
	}
	lock_record(req, &req->u.lock.stateid);
	unlock_end(req, 0);
}

static void unlock_send(struct fsop_request *req)
{
	if (!reclaim_use_lock(
		    req->share->reclaim, &req->use, req->file->open, req->u.lock.lock, true)) {
		lock_record(req, NULL);
		unlock_end(req, 0);
		return;
	}
	nfs_compound_free(req->compound);
	req->compound = nfs_compound_new(req->worker->conn, req->cred, OP_LOCKU);
	if (!req->compound) {
		unlock_fail(req, -ENOMEM);
		return;
	}
	nfs_op_putfh(req->compound, &req->file->open->fh);
	nfs_op_locku(
		req->compound, &req->u.lock.args.range, &req->use.stateid, &req->u.lock.stateid);
	fsop_send(req, unlock_done);
}

static void lock_undo(struct fsop_request *req)
{
	req->u.lock.unlock = true;
	req->u.lock.args.range.type = WRITE_LT;
	if (nfs_lock_reserve(req->share->state, req->u.lock.lock) != 0)
		unlock_end(req, -ENOLCK);
	else
		unlock_send(req);
}

/* A commit's error is told by the next fsync or close. */
static void unlock_committed(void *arg, int err)
{
	(void)err;
	unlock_send(arg);
}

/* Releases `range` of the owner; nothing is asked of the server if it never locked. */
static void unlock(struct fsop_request *req, uint64_t fuse_owner, enum nfs_lock_scope scope)
{
	struct nfs_state *state = req->share->state;
	const struct nfs_lock_range *range = &req->u.lock.args.range;
	bool whole = range->offset == 0 && range->length == UINT64_MAX;
	req->u.lock.unlock = true;
	req->u.lock.lock = nfs_lock_find(state, req->file->open, fuse_owner, scope);
	/* What is freed in the middle leaves two where there was one. */
	if (req->u.lock.lock && !whole && nfs_lock_reserve(state, req->u.lock.lock) != 0)
		unlock_end(req, -ENOLCK);
	else if (req->u.lock.lock)
		/* What the server loses in a restart is written again, and must not overwrite then
		 * what the lock's next owner wrote. */
		fsop_commit(req, unlock_committed);
	else if (req->then)
		req->then(req);
	else
		fsop_reply_err(req, 0);
}

void fsop_release_locks(struct fsop_request *req, uint64_t fuse_owner, enum nfs_lock_scope scope)
{
	req->u.lock.args.range =
		(struct nfs_lock_range){.type = WRITE_LT, .offset = 0, .length = UINT64_MAX};
	unlock(req, fuse_owner, scope);
}

/* Length as the protocol has it; l_len 0 is "to the end" for fcntl(2). */
static uint64_t lock_length(const struct flock *lock)
{
	return lock->l_len == 0 || lock->l_len == INT64_MAX ? UINT64_MAX : (uint64_t)lock->l_len;
}

static void lock_opened(void *arg)
{
	lock_send(arg);
}

static void lock_begin(fuse_req_t fuse, const struct fuse_file_info *fi, int type,
	enum nfs_lock_scope scope, struct nfs_lock_range range, bool sleep)
{
	struct fsop_request *req = fsop_begin_file(fuse, fi);
	if (!req)
		return;
	memset(&req->u.lock, 0, sizeof(req->u.lock));
	req->u.lock.args.range = range;
	if (type == F_UNLCK) {
		req->u.lock.args.range.type = WRITE_LT;
		unlock(req, fi->lock_owner, scope);
		return;
	}
	bool write = type == F_WRLCK;
	req->u.lock.args.range.type =
		sleep ? (write ? WRITEW_LT : READW_LT) : (write ? WRITE_LT : READ_LT);
	req->u.lock.lock = nfs_lock_get(req->share->state, req->file->open, fi->lock_owner, scope,
		nfs_client_owner(req->share->client));
	if (!req->u.lock.lock || nfs_lock_reserve(req->share->state, req->u.lock.lock) != 0 ||
		(sleep && wait_begin(req) != 0)) {
		lock_reply(req, -ENOLCK);
		return;
	}
	/* Locks hang on an open that the server knows of. */
	if (!deleg_make_real(
		    req->share->state, req->file->open, req->worker->conn, lock_opened, req))
		lock_send(req);
}

void fsop_setlk(
	fuse_req_t fuse, fuse_ino_t ino, struct fuse_file_info *fi, struct flock *lock, int sleep)
{
	(void)ino;
	struct nfs_lock_range range = {
		.offset = (uint64_t)lock->l_start, .length = lock_length(lock)};
	lock_begin(fuse, fi, lock->l_type, NFS_LOCK_OF_PROCESS, range, sleep != 0);
}

void fsop_flock(fuse_req_t fuse, fuse_ino_t ino, struct fuse_file_info *fi, int op)
{
	(void)ino;
	struct nfs_lock_range range = {.offset = 0, .length = UINT64_MAX};
	int type = (op & LOCK_UN) ? F_UNLCK : (op & LOCK_EX) ? F_WRLCK : F_RDLCK;
	lock_begin(fuse, fi, type, NFS_LOCK_OF_OPEN, range, !(op & LOCK_NB));
}

static void getlk_done(struct nfs_compound *c)
{
	struct fsop_request *req = c->arg;
	const struct nfs_lock_range *range = &req->u.lock.denied.range;
	struct flock lock = {.l_whence = SEEK_SET, .l_type = F_UNLCK};
	int err = nfs_compound_errno(c);
	if (err && c->status != NFS4ERR_DENIED) {
		lock_reply(req, err);
		return;
	}
	if (c->status == NFS4ERR_DENIED) {
		bool write = range->type == WRITE_LT || range->type == WRITEW_LT;
		lock.l_type = write ? F_WRLCK : F_RDLCK;
		/* a range that programs cannot express goes as far as they can see */
		uint64_t start = range->offset < INT64_MAX ? range->offset : INT64_MAX;
		lock.l_start = (off_t)start;
		lock.l_len = range->length <= INT64_MAX - start ? (off_t)range->length : 0;
		/* The holder is some process of some client: fcntl(2) has -1 for what has no pid
		 * here. */
		lock.l_pid = -1;
	}
	nfs_lock_unref(req->share->state, req->u.lock.lock);
	if (req->fuse)
		fuse_reply_lock(req->fuse, &lock);
	fsop_end(req);
}

void fsop_getlk(fuse_req_t fuse, fuse_ino_t ino, struct fuse_file_info *fi, struct flock *lock)
{
	(void)ino;
	struct fsop_request *req = fsop_begin_file(fuse, fi);
	if (!req)
		return;
	memset(&req->u.lock, 0, sizeof(req->u.lock));
	struct nfs_lock_range range = {.type = lock->l_type == F_WRLCK ? WRITE_LT : READ_LT,
		.offset = (uint64_t)lock->l_start,
		.length = lock_length(lock)};
	/* An owner that has never locked gets a number that nobody has. */
	req->u.lock.lock = nfs_lock_find(
		req->share->state, req->file->open, fi->lock_owner, NFS_LOCK_OF_PROCESS);
	uint64_t owner =
		req->u.lock.lock ? req->u.lock.lock->owner : nfs_client_owner(req->share->client);
	req->compound = nfs_compound_new(req->worker->conn, req->cred, OP_LOCKT);
	if (!req->compound) {
		lock_reply(req, -ENOMEM);
		return;
	}
	nfs_op_putfh(req->compound, &req->file->open->fh);
	nfs_op_lockt(req->compound, &range, owner, &req->u.lock.denied);
	fsop_send(req, getlk_done);
}
