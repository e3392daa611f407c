/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "fsop.h"

/* OPEN, CREATE, FLUSH, RELEASE, FSYNC: the life of an open file. */

static uint32_t open_access(int flags)
{
	switch (flags & O_ACCMODE) {
	case O_WRONLY: return OPEN4_SHARE_ACCESS_WRITE;
	case O_RDWR: return OPEN4_SHARE_ACCESS_BOTH;
	default: return OPEN4_SHARE_ACCESS_READ;
	}
}

/* What the kernel may keep in its page cache for this open. True: its attributes are stale too. */
static bool open_cache_flags(
	struct fsop_request *req, const struct nfs_attr *attr, struct fuse_file_info *fi)
{
	const struct cache_policy *cache = &req->share->cache;
	enum node_cached cached = node_note_open(req->share->nodes, req->file->node, attr->change);
	bool trust = cache->always || !cache->keep_on_open;
	fi->direct_io = cache->direct;
	fi->keep_cache = trust || cached == NODE_CACHED_FRESH;
	return !trust && cached == NODE_CACHED_STALE;
}

/* The open file as req->file, for an OPEN that was granted. 0 or -errno, with the state given back.
 */
static int open_make_file(struct fsop_request *req, struct node *node)
{
	req->file = file_new(req->share, node, &req->fh, req->u.open.access, req->u.open.owner,
		req->cred, &req->made.stateid, req->u.open.fi.flags);
	if (req->file)
		return 0;
	file_send_close(req->share, &req->fh, req->cred, &req->made.stateid);
	return -ENOMEM;
}

static void open_reply(struct fsop_request *req)
{
	struct fuse_file_info *fi = &req->u.open.fi;
	int err = file_publish(req->file, &fi->fh);
	if (err) {
		fsop_reply_err(req, err);
		return;
	}
	if (fuse_reply_open(req->fuse, fi) != 0)
		file_withdraw(req->file);
	fsop_end(req);
}

static void open_refreshed(struct loop_task *task)
{
	open_reply(
		(struct fsop_request *)((char *)task - offsetof(struct fsop_request, u.open.task)));
}

static void open_done(struct nfs_compound *c)
{
	struct fsop_request *req = c->arg;
	struct fuse_file_info *fi = &req->u.open.fi;
	int err = nfs_compound_errno(c);
	/* PUTFH, OPEN, then what may fail after the file is open: file_unref closes it again. */
	if (c->ops_ok >= 2) {
		node_fh(req->node, &req->fh);
		int made = open_make_file(req, req->node);
		err = err ? err : made;
	}
	if (!err && !fsop_attr_complete(&req->attr))
		err = -EIO;
	if (err) {
		fsop_reply_err(req, err);
		return;
	}
	bool stale = open_cache_flags(req, &req->attr, fi);
	/* OPEN's answer has no attributes, and a size that is out of date hides data. A truncating
	 * open makes the kernel forget them by itself, and holds back writes that dropping pages
	 * may wait for. */
	if (stale && !(fi->flags & O_TRUNC)) {
		req->u.open.task.run = open_refreshed;
		notify_inval_inode(
			req->share->notify, req->node->id, req->worker->loop, &req->u.open.task);
	} else {
		open_reply(req);
	}
}

static void open_send(struct fsop_request *req)
{
	struct fuse_file_info *fi = &req->u.open.fi;
	if (!fsop_compound(req, OP_OPEN, req->node))
		return;
	struct nfs_open_args args = {
		.access = req->u.open.access | OPEN4_SHARE_ACCESS_WANT_NO_DELEG,
		.owner = req->u.open.owner,
		.how = NFS_OPEN_NOCREATE,
		.claim = NFS_CLAIM_FH,
	};
	nfs_op_open(req->compound, &args, &req->made);
	if (fi->flags & O_TRUNC) {
		struct nfs_setattr set = {.set = NFS_SET_SIZE, .size = 0};
		nfs_op_setattr(req->compound, &nfs_stateid_current, &set, NULL);
	}
	nfs_op_getattr(req->compound, &req->share->want, &req->attr);
	fsop_send(req, open_done);
}

static void open_committed(void *arg, int err)
{
	struct fsop_request *req = arg;
	if (err)
		fsop_reply_err(req, err);
	else
		open_send(req);
}

static void open_prepare(struct fsop_request *req, const struct fuse_file_info *fi)
{
	req->u.open.fi = *fi;
	req->u.open.access = open_access(fi->flags);
	req->u.open.owner = nfs_client_owner(req->share->client);
}

void fsop_open(fuse_req_t fuse, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct fsop_request *req = fsop_begin(fuse, ino);
	if (!req)
		return;
	open_prepare(req, fi);
	/* Data written before a truncation must not come back after it, should it be rewritten. */
	if (fi->flags & O_TRUNC)
		unstable_commit(req->share->unstable, req->worker, req->node, req->cred,
			open_committed, req);
	else
		open_send(req);
}

/* Replies to CREATE with the node and the open file. */
static void create_reply(struct fsop_request *req)
{
	struct share *share = req->share;
	struct fuse_file_info *fi = &req->u.open.fi;
	struct fuse_entry_param entry;
	int err = fsop_fill_entry(
		share, &req->fh, &req->attr, req->node->id, req->u.open.name, &entry);
	if (err) {
		file_send_close(share, &req->fh, req->cred, &req->made.stateid);
		fsop_reply_err(req, err);
		return;
	}
	struct node *node = node_find(share->nodes, entry.ino);
	err = open_make_file(req, node);
	if (!err)
		err = file_publish(req->file, &fi->fh);
	if (err) {
		node_unpin(share->nodes, node);
		node_forget(share->nodes, entry.ino, 1);
		fsop_reply_err(req, err);
		return;
	}
	open_cache_flags(req, &req->attr, fi);
	node_unpin(share->nodes, node);
	if (fuse_reply_create(req->fuse, &entry, fi) != 0) {
		file_withdraw(req->file);
		node_forget(share->nodes, entry.ino, 1);
	}
	fsop_end(req);
}

static void create_done(struct nfs_compound *c)
{
	struct fsop_request *req = c->arg;
	int err = nfs_compound_errno(c);
	if (!err) {
		create_reply(req);
		return;
	}
	/* PUTFH, OPEN, GETFH: open but of no use */
	if (c->ops_ok >= 3)
		file_send_close(req->share, &req->fh, req->cred, &req->made.stateid);
	fsop_reply_err(req, err);
}

void fsop_create(fuse_req_t fuse, fuse_ino_t parent, const char *name, mode_t mode,
	struct fuse_file_info *fi)
{
	struct fsop_request *req = fsop_begin(fuse, parent);
	if (!req)
		return;
	open_prepare(req, fi);
	fsop_keep_name(req->u.open.name, name);
	if (!fsop_compound(req, OP_OPEN, req->node))
		return;
	struct nfs_setattr set = {.set = NFS_SET_MODE, .mode = mode & 07777};
	if (fi->flags & O_TRUNC)
		set.set |= NFS_SET_SIZE;
	struct nfs_open_args args = {
		.access = req->u.open.access | OPEN4_SHARE_ACCESS_WANT_NO_DELEG,
		.owner = req->u.open.owner,
		.how = fi->flags & O_EXCL ? NFS_OPEN_GUARDED : NFS_OPEN_UNCHECKED,
		.set = &set,
		.claim = NFS_CLAIM_NAME,
		.name = name,
		.name_len = strlen(name),
	};
	nfs_op_open(req->compound, &args, &req->made);
	nfs_op_getfh(req->compound, &req->fh);
	nfs_op_getattr(req->compound, &req->share->want, &req->attr);
	fsop_send(req, create_done);
}

static void release_committed(void *arg, int err)
{
	struct fsop_request *req = arg;
	struct file *file = req->file;
	if (err)
		node_set_error(req->share->nodes, req->node, err);
	fsop_reply_err(req, 0);
	file_withdraw(file);
}

static void release_commit(struct fsop_request *req)
{
	unstable_commit(
		req->share->unstable, req->worker, req->node, req->cred, release_committed, req);
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
	req->then = release_commit;
	if (fi->flock_release)
		fsop_release_locks(req, fi->lock_owner);
	else
		release_commit(req);
}

static void sync_done(void *arg, int err)
{
	struct fsop_request *req = arg;
	int earlier = node_take_error(req->share->nodes, req->node);
	fsop_reply_err(req, err ? err : earlier);
}

static void sync_file(struct fsop_request *req)
{
	unstable_commit(req->share->unstable, req->worker, req->node, req->cred, sync_done, req);
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
