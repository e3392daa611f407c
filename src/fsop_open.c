/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "fresh.h"
#include "fsop_open.h"
#include "preopen.h"
#include "upcoming.h"

/* OPEN of a file that there is. */

static uint32_t open_access(int flags)
{
	switch (flags & O_ACCMODE) {
	case O_WRONLY: return OPEN4_SHARE_ACCESS_WRITE;
	case O_RDWR: return OPEN4_SHARE_ACCESS_BOTH;
	default: return OPEN4_SHARE_ACCESS_READ;
	}
}

bool fsop_open_note(struct fsop_request *req, struct node *node, enum node_cached cached)
{
	const struct cache_policy *cache = &req->share->cache;
	struct fuse_file_info *fi = &req->u.open.fi;
	bool trust = cache->always || !cache->keep_on_open;
	fi->direct_io = cache->direct || req->u.open.direct;
	fi->keep_cache = trust || cached == NODE_CACHED_FRESH;
	if (cached != NODE_CACHED_STALE || trust)
		return false;
	/* A truncating open makes the kernel forget them by itself, and holds back writes that
	 * dropping pages may wait for. */
	if (fi->flags & O_TRUNC)
		node_note_dropped(req->share->nodes, node, req->attr.change);
	return !(fi->flags & O_TRUNC);
}

uint32_t fsop_open_want(struct fsop_request *req, const struct nfs_fh *fh)
{
	/* SETATTR in the same compound, with which a file that there is gets shorter, needs a
	 * stateid of the open itself. */
	bool xor = !fh || !(req->u.open.fi.flags & O_TRUNC);
	uint32_t want =
		deleg_ask(req->share->state, fh, req->u.open.access, xor, &req->u.open.asking);
	req->u.open.asked = want != OPEN4_SHARE_ACCESS_WANT_NO_DELEG;
	return want;
}

void fsop_open_put_access(struct fsop_request *req)
{
	req->u.open.granted.granted = 0;
	if (req->share->options->delegations != DELEG_NONE)
		nfs_op_access(req->compound, ACCESS4_READ | ACCESS4_MODIFY | ACCESS4_EXTEND,
			&req->u.open.granted);
}

/* The data of a small file comes along. */
static void open_put_read(struct fsop_request *req, uint32_t len)
{
	struct nfs_compound *c = req->compound;
	req->u.open.needed = c->nops;
	req->u.open.buf = len > 0 ? buf_alloc(len) : NULL;
	if (req->u.open.buf)
		nfs_op_read(c, &nfs_stateid_current, 0, len, req->u.open.buf, req->u.open.buf->data,
			&req->u.open.data);
}

void fsop_open_put(struct fsop_request *req, uint32_t read)
{
	struct fuse_file_info *fi = &req->u.open.fi;
	struct nfs_fh fh;
	node_fh(req->node, &fh);
	struct nfs_open_args args = {
		.access = req->u.open.access | fsop_open_want(req, &fh),
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
	fsop_open_put_access(req);
	open_put_read(req, read);
}

int fsop_open_took(struct fsop_request *req, bool *read)
{
	struct nfs_compound *c = req->compound;
	*read = req->u.open.buf && c->ops_ok > req->u.open.needed;
	int err = c->status > 0 && c->ops_ok >= req->u.open.needed ? 0 : nfs_compound_errno(c);
	if (!err)
		err = fsop_attr_check(req->node, &req->attr);
	/* Removed elsewhere, and only somebody's open file keeps it: the name has to be looked up
	 * again. */
	if (!err && nfs_bitmap_has(&req->attr.have, FATTR4_NUMLINKS) && req->attr.nlink == 0)
		err = -ESTALE;
	return err;
}

static uint32_t open_granted(const struct fsop_request *req)
{
	const uint32_t write = ACCESS4_MODIFY | ACCESS4_EXTEND;
	uint32_t granted = req->u.open.granted.granted, access = req->u.open.access;
	if (granted & ACCESS4_READ)
		access |= OPEN4_SHARE_ACCESS_READ;
	if ((granted & write) == write)
		access |= OPEN4_SHARE_ACCESS_WRITE;
	return access;
}

static struct deleg_grant open_grant(const struct fsop_request *req)
{
	return (struct deleg_grant){
		.fh = &req->fh, .cred = req->cred, .access = open_granted(req), .res = &req->made};
}

struct nfs_open *fsop_open_record(struct fsop_request *req)
{
	const struct deleg_grant grant = open_grant(req);
	struct nfs_open *open =
		deleg_record(req->share->state, &grant, req->u.open.access, req->u.open.owner);
	if (!open && !(req->made.rflags & OPEN4_RESULT_NO_OPEN_STATEID))
		fsop_close_made(req);
	return open;
}

bool fsop_open_delegated(struct fsop_request *req, struct node *node)
{
	struct share *share = req->share;
	const struct deleg_grant grant = open_grant(req);
	bool delegated = deleg_granted(&req->made);
	/* before the delegation can be recalled, so that this cannot outlive it */
	if (delegated)
		node_set_delegated(share->nodes, node, true);
	bool held = deleg_answered(share->state, &req->u.open.asking, &grant);
	if (delegated && !held)
		node_set_delegated(share->nodes, node, false);
	if (req->u.open.asked && req->u.open.access == OPEN4_SHARE_ACCESS_READ)
		upcoming_told(share->upcoming, delegated);
	return held;
}

int fsop_open_make_file(struct fsop_request *req, struct node *node)
{
	struct nfs_open *open = fsop_open_record(req);
	if (open)
		req->file = file_new(req->share, node, open, req->u.open.fi.flags);
	fsop_open_delegated(req, node);
	return req->file ? 0 : -ENOMEM;
}

/* Nothing is written by it, so that FLUSH could tell only that a process's locks end: see
 * fsop_lock.c. */
static bool open_needs_no_flush(const struct fsop_request *req)
{
	return (req->u.open.fi.flags & O_ACCMODE) == O_RDONLY &&
	       !atomic_load(&req->share->readers_lock) && !atomic_load(&req->node->file->locked);
}

static void open_reply(struct fsop_request *req)
{
	struct fuse_file_info *fi = &req->u.open.fi;
	fi->noflush = open_needs_no_flush(req);
	int err = file_publish(req->file, &fi->fh);
	if (err) {
		fsop_reply_err(req, err);
		return;
	}
	if (!req->fuse || fuse_reply_open(req->fuse, fi) != 0)
		file_withdraw(req->file);
	fsop_end(req);
}

static void open_refreshed(struct loop_task *task)
{
	struct fsop_request *req =
		(struct fsop_request *)((char *)task - offsetof(struct fsop_request, u.open.task));
	node_note_dropped(req->share->nodes, req->node, req->attr.change);
	open_reply(req);
}

/* OPEN's answer has no attributes, and a size that is out of date hides data: so it comes after the
 * invalidation. */
static void open_finish(struct fsop_request *req, bool stale)
{
	if (!stale) {
		open_reply(req);
		return;
	}
	req->u.open.task.run = open_refreshed;
	notify_inval_inode(req->share->notify, req->node->id, req->worker->loop, &req->u.open.task);
}

bool fsop_open_narrow(struct fsop_request *req)
{
	struct fuse_file_info *fi = &req->u.open.fi;
	const struct nfs_compound *c = req->compound;
	if (!req->u.open.widened || c->status != NFS4ERR_ACCESS || c->ops_ok >= 2)
		return false;
	deleg_answered(req->share->state, &req->u.open.asking, NULL);
	req->u.open.widened = false;
	req->u.open.direct = true;
	fi->flags = (fi->flags & ~O_ACCMODE) | O_WRONLY;
	req->u.open.access = open_access(fi->flags);
	return true;
}

/* All of the file goes into the page cache, if the kernel has nothing of it there. `buf` may be
 * NULL after all. */
static bool open_store(
	struct fsop_request *req, enum node_cached cached, const struct buf *buf, uint32_t len)
{
	struct fuse_file_info *fi = &req->u.open.fi;
	if (cached != NODE_CACHED_ATTR)
		return false;
	/* of no use to who has the daemon copy it */
	bool copied = atomic_load(&req->share->copies);
	bool stored = buf && !fi->direct_io && !copied && fsop_store(req, buf, len);
	node_note_stored(req->share->nodes, req->node);
	fi->keep_cache |= stored;
	return stored;
}

/* Data that came with the open: in the page cache, or where a READ looks for it first. */
static void open_keep(
	struct fsop_request *req, bool stored, struct buf *buf, uint32_t len, bool eof)
{
	if (!stored) {
		ahead_keep(req->share->ahead, req->file, buf, len, eof, req->attr.change);
		return;
	}
	atomic_fetch_add(&req->node->file->page_reads, 1);
	atomic_store(&req->node->file->paged, true);
}

static void open_send(struct fsop_request *req);

static void open_done(struct nfs_compound *c)
{
	struct fsop_request *req = c->arg;
	if (fsop_open_narrow(req)) {
		open_send(req);
		return;
	}
	struct node_table *nodes = req->share->nodes;
	struct buf *buf = req->u.open.buf;
	const struct nfs_read_res *data = &req->u.open.data;
	enum node_cached cached = NODE_CACHED_STALE;
	bool stale = false, stored = false, read;
	int err = fsop_open_took(req, &read);
	/* The file was changing while it was looked at: neither is to be kept. */
	if (!err && read && data->eof && data->len != req->attr.size) {
		node_note_unknown(nodes, req->node);
		read = false;
	}
	/* before a delegation lets others open without asking */
	/* without a delegation nobody would say that it is out of date */
	bool store = !err && read && data->eof && deleg_granted(&req->made);
	if (err)
		node_note_unknown(nodes, req->node);
	else
		cached = node_note_open(nodes, req->node, &req->attr, store);
	if (!err)
		stale = fsop_open_note(req, req->node, cached);
	if (store)
		stored = open_store(req, cached, buf, data->len);
	/* PUTFH, OPEN, then what may fail after the file is open: file_unref closes it again. */
	if (c->ops_ok >= 2) {
		node_fh(req->node, &req->fh);
		int made = fsop_open_make_file(req, req->node);
		err = err ? err : made;
	} else {
		deleg_answered(req->share->state, &req->u.open.asking, NULL);
	}
	if (!err && read)
		open_keep(req, stored, buf, data->len, data->eof);
	buf_unref(buf);
	if (!err)
		fresh_put_file(req->share->fresh, req->node, &req->attr, req->begun_at);
	if (err)
		fsop_reply_err(req, err);
	else
		open_finish(req, stale);
}

static void open_send(struct fsop_request *req)
{
	if (!fsop_compound(req, OP_OPEN, req->node))
		return;
	fsop_open_put(req, ahead_wanted(req->share->ahead, req->node, req->u.open.fi.flags));
	fsop_send(req, fsop_carry(req, open_done));
}

static void open_committed(void *arg, int err)
{
	struct fsop_request *req = arg;
	if (err)
		fsop_reply_err(req, err);
	else
		open_send(req);
}

/* A kernel that writes pages back reads what is missing of them by whatever file is open. */
static void open_widen(struct fsop_request *req)
{
	struct fuse_file_info *fi = &req->u.open.fi;
	req->u.open.widened = (fi->flags & O_ACCMODE) == O_WRONLY;
	if (req->u.open.widened)
		fi->flags = (fi->flags & ~O_ACCMODE) | O_RDWR;
}

void fsop_open_prepare(struct fsop_request *req, const struct fuse_file_info *fi)
{
	req->u.open.fi = *fi;
	req->u.open.widened = req->u.open.direct = false;
	if (req->share->options->writeback)
		open_widen(req);
	req->u.open.access = open_access(req->u.open.fi.flags);
}

/* As the delegation lets it be opened, with what was read when it was opened ahead. */
static bool open_delegated(struct fsop_request *req, struct nfs_open *open_take)
{
	struct share *share = req->share;
	enum node_cached cached;
	uint64_t change = 0;
	uint32_t len = 0;
	struct buf *buf = preopen_take(share->preopen, req->node->id, &len, &change);
	if (!node_note_local_open(
		    share->nodes, req->node, buf != NULL, &req->attr.change, &cached)) {
		buf_unref(buf);
		file_close(share, open_take);
		return false;
	}
	bool stale = fsop_open_note(req, req->node, cached),
	     good = buf && change == req->attr.change;
	bool stored = buf && open_store(req, cached, good ? buf : NULL, len);
	req->file = file_new(share, req->node, open_take, req->u.open.fi.flags);
	if (good && req->file)
		open_keep(req, stored, buf, len, true);
	buf_unref(buf);
	if (req->file)
		open_finish(req, stale);
	else
		fsop_reply_err(req, -ENOMEM);
	return true;
}

/* Opens it under a delegation. False: the server has to be asked. */
static bool open_locally(struct fsop_request *req)
{
	struct share *share = req->share;
	if ((req->u.open.fi.flags & O_TRUNC) || !node_is_delegated(share->nodes, req->node))
		return false;
	node_fh(req->node, &req->fh);
	struct nfs_open *open = deleg_open(
		share->state, &req->fh, req->u.open.access, req->u.open.owner, req->cred);
	return open && open_delegated(req, open);
}

static void open_ask(struct fsop_request *req)
{
	fsop_settle(req, req->node, open_send);
}

static void open_came(struct behind_wait *wait)
{
	struct fsop_request *req =
		(struct fsop_request *)((char *)wait - offsetof(struct fsop_request, wait));
	if (!open_locally(req))
		open_ask(req);
}

/* Opens it as an open that is under way will let it. False: none is. */
static bool open_await(struct fsop_request *req)
{
	req->wait.done = open_came;
	return preopen_await(req->share->preopen, req->node->id, &req->wait);
}

void fsop_open(fuse_req_t fuse, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct fsop_request *req = fsop_begin(fuse, ino);
	if (!req)
		return;
	fsop_open_prepare(req, fi);
	fsop_mark(req, NULL, &req->u.open.owner);
	if (fi->flags & O_TRUNC)
		fsop_hold(req, req->node);
	/* Data written before a truncation must not come back after it, should it be rewritten. */
	if (fi->flags & O_TRUNC) {
		fsop_commit(req, open_committed);
		return;
	}
	fsop_preopen(req);
	if (!open_locally(req) && !open_await(req))
		open_ask(req);
}
