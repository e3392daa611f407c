/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* FLUSH, FSYNC and RELEASE: what is written is safe, and what is locked is free. */
#include "fsop.h"

static void release_committed(void *arg, int err)
{
	struct fsop_request *req = arg;
	struct file *file = req->file;
	(void)err;
	/* The kernel does not release it again. */
	file_forget_record(file);
	fsop_reply_err(req, 0);
	file_withdraw(file);
}

static void release_commit(struct fsop_request *req)
{
	fsop_commit(req, release_committed);
}

/* flock(2)'s locks, and those that the kernel says nothing of: of open file descriptions. */
static void release_locks(struct fsop_request *req)
{
	req->then = release_locks;
	if (!fsop_release_next_lock(req))
		release_commit(req);
}

/*
 * Nobody waits for the answer, but a shared mapping may have been written after the last flush, and
 * its data needs the open file should it have to be written again.
 */
void fsop_release(fuse_req_t fuse, fuse_ino_t ino, struct fuse_file_info *fi)
{
	(void)ino;
	struct fsop_request *req = fsop_begin_file(fuse, fi);
	if (!req) {
		struct share *share = worker_self()->share;
		struct file *file = file_find(share, fi->fh);
		if (file)
			file_withdraw(file);
		return;
	}
	release_locks(req);
}

static void sync_done(void *arg, int err)
{
	struct fsop_request *req = arg;
	/* A program that was killed hears of nothing: the next one shall. */
	int told = req->fuse ? file_take_error(req->file) : 0;
	fsop_reply_err(req, told ? told : err);
}

static void sync_file(struct fsop_request *req)
{
	fsop_commit(req, sync_done);
}

void fsop_flush(fuse_req_t fuse, fuse_ino_t ino, struct fuse_file_info *fi)
{
	(void)ino;
	struct fsop_request *req = fsop_begin_file(fuse, fi);
	if (!req)
		return;
	req->then = sync_file;
	fsop_release_locks(req, fi->lock_owner);
}

void fsop_fsync(fuse_req_t fuse, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
	(void)ino;
	(void)datasync;
	struct fsop_request *req = fsop_begin_file(fuse, fi);
	if (req)
		sync_file(req);
}
