/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>

#include "fsop_lock.h"

/*
 * fcntl(2) and flock(2) locks, held on the server. A lock that another is in the way of is asked
 * for again until it is granted or the program is interrupted: when it is freed through this mount,
 * which wakes who has waited longest, when the server calls back, and after pauses; NFSv4 servers
 * have no queue to wait in (RFC 8881, 9.6). With the grant the data is revalidated, since locks are
 * what programs order their accesses by.
 *
 * RELEASE, which frees the locks of an open file, comes after close(2) has returned: who is refused
 * because of such a lock, or asks what is in the way, waits for its end. It frees fcntl(2)'s, too,
 * where there is no FLUSH (open_needs_no_flush).
 */

static void lock_send(struct fsop_request *req);

static void lock_undo(struct fsop_request *req);

void fsop_lock_reply(struct fsop_request *req, int err)
{
	lock_wait_end(req);
	/* The program was killed while it waited: what it asked for is nobody's. */
	if (!err && !req->fuse && !req->u.lock.unlock) {
		lock_undo(req);
		return;
	}
	nfs_lock_unref(req->share->state, req->u.lock.lock);
	fsop_reply_err(req, err);
}

static void lock_refreshed(struct loop_task *task)
{
	struct fsop_request *req =
		(struct fsop_request *)((char *)task - offsetof(struct fsop_request, u.lock.task));
	node_note_dropped(req->share->nodes, req->node, req->attr.change);
	fsop_lock_reply(req, 0);
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
		lock_wait_wake_next(req);
}

static void lock_granted(struct fsop_request *req)
{
	struct share *share = req->share;
	lock_record(req, &req->u.lock.stateid);
	atomic_store(&req->node->file->locked, true);
	if (nfs_bitmap_has(&req->attr.have, FATTR4_CHANGE) &&
		node_note_open(share->nodes, req->node, &req->attr, false) == NODE_CACHED_STALE) {
		/* What others wrote under their lock must be seen under ours: the old pages go
		 * first. */
		req->u.lock.task.run = lock_refreshed;
		notify_inval_inode(
			share->notify, req->node->id, req->worker->loop, &req->u.lock.task);
		return;
	}
	fsop_lock_reply(req, 0);
}

/* It stands even if the lock is refused. */
static void lock_widened(struct fsop_request *req)
{
	struct nfs_state *state = req->share->state;
	struct nfs_open *open = nfs_lock_open(state, req->u.lock.lock);
	if (open)
		nfs_open_widened(state, open, req->u.lock.widen, &req->u.lock.opened.stateid);
}

static int lock_errno(const struct fsop_request *req)
{
	const struct nfs_compound *c = req->compound;
	int err = nfs_compound_errno(c);
	/* EACCES is what fcntl(2) may say of a lock in the way, too. */
	bool closed = req->u.lock.widen && c->ops_ok == 1 && err == -EACCES;
	return c->status == NFS4ERR_DENIED ? -EAGAIN : closed ? -ENOLCK : err;
}

static void lock_done(struct nfs_compound *c)
{
	struct fsop_request *req = c->arg;
	unsigned before = req->u.lock.widen ? 2 : 1;
	if (req->u.lock.widen && c->ops_ok >= before)
		lock_widened(req);
	/* PUTFH, LOCK, GETATTR: the lock is held even if the attributes did not come. */
	if (c->ops_ok > before)
		lock_granted(req);
	else if (c->status == NFS4ERR_DENIED && req->u.lock.sleep)
		lock_wait_pause(req);
	else if (c->status == NFS4ERR_DENIED && lock_wait_for_end(req, lock_send))
		return;
	else if (!fsop_refused(req, lock_send))
		fsop_lock_reply(req, lock_errno(req));
}

/*
 * The open that the lock stateid hangs on may be for reading or for writing only, and the process
 * lock by another one now: OPEN by the owner of the first gives that what the second has.
 */
static void lock_put_widening(struct fsop_request *req, const struct nfs_open *open)
{
	struct nfs_lock_args *args = &req->u.lock.args;
	bool write = args->range.type == WRITE_LT || args->range.type == WRITEW_LT;
	uint32_t access = write ? OPEN4_SHARE_ACCESS_WRITE : OPEN4_SHARE_ACCESS_READ;
	const struct nfs_open_args opening = {
		.access = access | OPEN4_SHARE_ACCESS_WANT_NO_DELEG,
		.owner = open->owner,
		.how = NFS_OPEN_NOCREATE,
		.claim = NFS_CLAIM_FH,
	};
	req->u.lock.widen = 0;
	if (!(req->file->open->access & access) || !nfs_open_lacks(req->share->state, open, access))
		return;
	req->u.lock.widen = access;
	nfs_op_open(req->compound, &opening, &req->u.lock.opened);
	/* That has a seqid which is not known yet. */
	args->open_stateid.seqid = 0;
}

static void lock_send(struct fsop_request *req)
{
	struct nfs_lock_args *args = &req->u.lock.args;
	struct nfs_open *open = nfs_lock_open(req->share->state, req->u.lock.lock);
	int err = nfs_open_use(req->share->state, req->file->open, &args->open_stateid);
	if (err || !open || nfs_lock_is_lost(req->share->state, req->u.lock.lock)) {
		fsop_lock_reply(req, -EIO);
		return;
	}
	args->new_owner =
		!reclaim_use_lock(req->share->reclaim, &req->use, open, req->u.lock.lock, false);
	args->open_stateid = args->lock_stateid = req->use.stateid;
	args->owner = req->u.lock.lock->owner;
	struct nfs_bitmap change = {0};
	nfs_bitmap_set(&change, FATTR4_CHANGE);
	nfs_compound_free(req->compound);
	req->compound = nfs_compound_new(req->worker->conn, req->cred, OP_LOCK);
	if (!req->compound) {
		fsop_lock_reply(req, -ENOMEM);
		return;
	}
	nfs_op_putfh(req->compound, &open->fh);
	lock_put_widening(req, open);
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
	struct nfs_open *open = nfs_lock_open(req->share->state, req->u.lock.lock);
	if (!reclaim_use_lock(req->share->reclaim, &req->use, open, req->u.lock.lock, true)) {
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

/* Releases the range of `lock`, whose reference it takes; nothing is asked of the server if that is
 * NULL: it never locked. */
static void unlock(struct fsop_request *req, struct nfs_lock *lock)
{
	struct nfs_state *state = req->share->state;
	const struct nfs_lock_range *range = &req->u.lock.args.range;
	bool whole = range->offset == 0 && range->length == UINT64_MAX;
	req->u.lock.unlock = true;
	req->u.lock.lock = lock;
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

static const struct nfs_lock_range lock_whole = {
	.type = WRITE_LT, .offset = 0, .length = UINT64_MAX};

void fsop_release_locks(struct fsop_request *req, uint64_t fuse_owner)
{
	req->u.lock.args.range = lock_whole;
	unlock(req,
		nfs_lock_find(req->share->state, req->file->open, fuse_owner, NFS_LOCK_OF_PROCESS));
}

bool fsop_release_next_lock(struct fsop_request *req)
{
	struct nfs_lock *lock = nfs_open_end(req->share->state, req->file->open);
	if (!lock)
		return false;
	req->u.lock.args.range = lock_whole;
	unlock(req, lock);
	return true;
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

static void lock_ask(struct fsop_request *req, uint64_t fuse_owner, enum nfs_lock_scope scope)
{
	struct nfs_state *state = req->share->state;
	req->u.lock.lock = nfs_lock_get(
		state, req->file->open, fuse_owner, scope, nfs_client_owner(req->share->client));
	if (!req->u.lock.lock || nfs_lock_reserve(state, req->u.lock.lock) != 0 ||
		(req->u.lock.sleep && lock_wait_begin(req, lock_send) != 0)) {
		fsop_lock_reply(req, -ENOLCK);
		return;
	}
	/* Locks hang on an open that the server knows of. */
	struct nfs_open *open = nfs_lock_open(state, req->u.lock.lock);
	if (!open || !deleg_make_real(state, open, req->worker->conn, lock_opened, req))
		lock_send(req);
}

static void lock_rounded(struct fsop_request *req)
{
	lock_wait_end(req);
	lock_ask(req, req->u.lock.fuse_owner, NFS_LOCK_OF_PROCESS);
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
		unlock(req,
			nfs_lock_find(req->share->state, req->file->open, fi->lock_owner, scope));
		return;
	}
	bool write = type == F_WRLCK;
	/* The kernel tells of the closes of such files that are opened from now on. */
	if (scope == NFS_LOCK_OF_PROCESS && (req->file->flags & O_ACCMODE) == O_RDONLY)
		atomic_store(&req->share->readers_lock, true);
	req->u.lock.sleep = sleep;
	req->u.lock.args.range.type =
		sleep ? (write ? WRITEW_LT : READW_LT) : (write ? WRITE_LT : READ_LT);
	req->u.lock.fuse_owner = fi->lock_owner;
	/* What went with a close that only RELEASE tells of is not this owner's any more. */
	if (scope == NFS_LOCK_OF_PROCESS &&
		nfs_lock_may_end(req->share->state, req->file->open, fi->lock_owner) &&
		lock_wait_round(req, lock_rounded))
		return;
	lock_ask(req, fi->lock_owner, scope);
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

static void getlk_send(struct fsop_request *req);

static void getlk_done(struct nfs_compound *c)
{
	struct fsop_request *req = c->arg;
	const struct nfs_lock_range *range = &req->u.lock.denied.range;
	struct flock lock = {.l_whence = SEEK_SET, .l_type = F_UNLCK};
	int err = nfs_compound_errno(c);
	if (err && c->status != NFS4ERR_DENIED) {
		fsop_lock_reply(req, err);
		return;
	}
	if (c->status == NFS4ERR_DENIED && lock_wait_for_end(req, getlk_send))
		return;
	lock_wait_end(req);
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

static void getlk_send(struct fsop_request *req)
{
	nfs_compound_free(req->compound);
	req->compound = nfs_compound_new(req->worker->conn, req->cred, OP_LOCKT);
	if (!req->compound) {
		fsop_lock_reply(req, -ENOMEM);
		return;
	}
	nfs_op_putfh(req->compound, &req->file->open->fh);
	nfs_op_lockt(req->compound, &req->u.lock.args.range, req->u.lock.args.owner,
		&req->u.lock.denied);
	fsop_send(req, getlk_done);
}

void fsop_getlk(fuse_req_t fuse, fuse_ino_t ino, struct fuse_file_info *fi, struct flock *lock)
{
	(void)ino;
	struct fsop_request *req = fsop_begin_file(fuse, fi);
	if (!req)
		return;
	memset(&req->u.lock, 0, sizeof(req->u.lock));
	req->u.lock.args.range =
		(struct nfs_lock_range){.type = lock->l_type == F_WRLCK ? WRITE_LT : READ_LT,
			.offset = (uint64_t)lock->l_start,
			.length = lock_length(lock)};
	/* An owner that has never locked gets a number that nobody has. */
	req->u.lock.lock = nfs_lock_find(
		req->share->state, req->file->open, fi->lock_owner, NFS_LOCK_OF_PROCESS);
	req->u.lock.args.owner =
		req->u.lock.lock ? req->u.lock.lock->owner : nfs_client_owner(req->share->client);
	getlk_send(req);
}
