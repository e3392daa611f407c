/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "fresh.h"
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

/*
 * What the kernel may keep in its page cache for this open of `node`. True: not before it has
 * dropped what it has, attributes included.
 */
static bool open_note(struct fsop_request *req, struct node *node, enum node_cached cached)
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

/* The WANT_* bits for the OPEN that is about to be sent. */
static uint32_t open_want(struct fsop_request *req, const struct nfs_fh *fh)
{
	/* SETATTR in the same compound needs a stateid of the open itself. */
	bool xor = !(req->u.open.fi.flags & O_TRUNC);
	return deleg_ask(req->share->state, fh, req->u.open.access, xor, &req->u.open.asking);
}

/* Asks what else the opener may do, for opens under a delegation that this one may bring. */
static void open_put_access(struct fsop_request *req)
{
	req->u.open.granted.granted = 0;
	if (req->share->options->delegations != DELEG_NONE)
		nfs_op_access(req->compound, ACCESS4_READ | ACCESS4_MODIFY | ACCESS4_EXTEND,
			&req->u.open.granted);
}

/* The data of a small file comes along. */
static void open_put_read(struct fsop_request *req)
{
	struct nfs_compound *c = req->compound;
	uint32_t len = ahead_wanted(req->share->ahead, req->node, req->u.open.fi.flags);
	req->u.open.needed = c->nops;
	req->u.open.buf = len > 0 ? buf_alloc(len) : NULL;
	if (req->u.open.buf)
		nfs_op_read(c, &nfs_stateid_current, 0, len, req->u.open.buf, req->u.open.buf->data,
			&req->u.open.data);
}

/* What became of that does not matter to the open. */
static int open_take_read(struct fsop_request *req, bool *read)
{
	struct nfs_compound *c = req->compound;
	*read = req->u.open.buf && c->ops_ok > req->u.open.needed;
	return c->status > 0 && c->ops_ok >= req->u.open.needed ? 0 : nfs_compound_errno(c);
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

/* The open file as req->file, for an OPEN of req->fh that was granted, with the delegation that
 * came with it. 0 or -errno, with the state given back. */
static int open_make_file(struct fsop_request *req, struct node *node)
{
	struct share *share = req->share;
	const struct deleg_grant grant = {
		.fh = &req->fh, .cred = req->cred, .access = open_granted(req), .res = &req->made};
	struct nfs_open *open =
		deleg_record(share->state, &grant, req->u.open.access, req->u.open.owner);
	if (open)
		req->file = file_new(share, node, open, req->u.open.fi.flags);
	else if (!(req->made.rflags & OPEN4_RESULT_NO_OPEN_STATEID))
		fsop_close_made(req);
	bool delegated = deleg_granted(&req->made);
	/* before the delegation can be recalled, so that this cannot outlive it */
	if (delegated)
		node_set_delegated(share->nodes, node, true);
	bool held = deleg_answered(share->state, &req->u.open.asking, &grant);
	if (delegated && !held)
		node_set_delegated(share->nodes, node, false);
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

/* A file that this user may write and not read: the kernel gets no pages of it. True: to be opened
 * once more. What is refused behind OPEN is another matter, and the file is open then. */
static bool open_narrow(struct fsop_request *req)
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

static void open_send(struct fsop_request *req);

static void open_done(struct nfs_compound *c)
{
	struct fsop_request *req = c->arg;
	if (open_narrow(req)) {
		open_send(req);
		return;
	}
	struct node_table *nodes = req->share->nodes;
	bool stale = false, read;
	int err = open_take_read(req, &read);
	if (!err)
		err = fsop_attr_check(req->node, &req->attr);
	/* Removed elsewhere, and only somebody's open file keeps it: the name has to be looked up
	 * again. */
	if (!err && nfs_bitmap_has(&req->attr.have, FATTR4_NUMLINKS) && req->attr.nlink == 0)
		err = -ESTALE;
	/* The file was changing while it was looked at: neither is to be kept. */
	if (!err && read && req->u.open.data.eof && req->u.open.data.len != req->attr.size) {
		node_note_unknown(nodes, req->node);
		read = false;
	}
	/* before a delegation lets others open without asking */
	if (err)
		node_note_unknown(nodes, req->node);
	else
		stale = open_note(req, req->node, node_note_open(nodes, req->node, &req->attr));
	/* PUTFH, OPEN, then what may fail after the file is open: file_unref closes it again. */
	if (c->ops_ok >= 2) {
		node_fh(req->node, &req->fh);
		int made = open_make_file(req, req->node);
		err = err ? err : made;
	} else {
		deleg_answered(req->share->state, &req->u.open.asking, NULL);
	}
	if (!err && read)
		ahead_keep(req->share->ahead, req->file, req->u.open.buf, req->u.open.data.len,
			req->u.open.data.eof, req->attr.change);
	buf_unref(req->u.open.buf);
	if (!err)
		fresh_put_file(req->share->fresh, req->node, &req->attr, req->begun_at);
	if (err)
		fsop_reply_err(req, err);
	else
		open_finish(req, stale);
}

static void open_send(struct fsop_request *req)
{
	struct fuse_file_info *fi = &req->u.open.fi;
	struct nfs_fh fh;
	if (!fsop_compound(req, OP_OPEN, req->node))
		return;
	node_fh(req->node, &fh);
	struct nfs_open_args args = {
		.access = req->u.open.access | open_want(req, &fh),
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
	open_put_access(req);
	open_put_read(req);
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

static void open_prepare(struct fsop_request *req, const struct fuse_file_info *fi)
{
	req->u.open.fi = *fi;
	req->u.open.widened = req->u.open.direct = false;
	if (req->share->options->writeback)
		open_widen(req);
	req->u.open.access = open_access(req->u.open.fi.flags);
}

/* Opens it under a delegation. False: the server has to be asked. */
static bool open_locally(struct fsop_request *req)
{
	struct share *share = req->share;
	struct fuse_file_info *fi = &req->u.open.fi;
	enum node_cached cached;
	if ((fi->flags & O_TRUNC) || !node_is_delegated(share->nodes, req->node))
		return false;
	node_fh(req->node, &req->fh);
	struct nfs_open *open = deleg_open(
		share->state, &req->fh, req->u.open.access, req->u.open.owner, req->cred);
	if (!open)
		return false;
	if (!node_note_local_open(share->nodes, req->node, &req->attr.change, &cached)) {
		file_close(share, open);
		return false;
	}
	req->file = file_new(share, req->node, open, fi->flags);
	if (!req->file) {
		fsop_reply_err(req, -ENOMEM);
		return true;
	}
	open_finish(req, open_note(req, req->node, cached));
	return true;
}

void fsop_open(fuse_req_t fuse, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct fsop_request *req = fsop_begin(fuse, ino);
	if (!req)
		return;
	open_prepare(req, fi);
	fsop_mark(req, NULL, &req->u.open.owner);
	if (fi->flags & O_TRUNC)
		fsop_hold(req, req->node);
	/* Data written before a truncation must not come back after it, should it be rewritten. */
	if (fi->flags & O_TRUNC)
		fsop_commit(req, open_committed);
	else if (!open_locally(req))
		fsop_settle(req, req->node, open_send);
}

/* The file is open and delegated to no purpose. */
static void create_undo(struct fsop_request *req)
{
	struct nfs_state *state = req->share->state;
	const struct deleg_grant grant = {.fh = &req->fh, .cred = req->cred, .res = &req->made};
	deleg_answered(state, &req->u.open.asking, &grant);
	if (deleg_granted(&req->made))
		deleg_return(state, &req->fh);
	if (!(req->made.rflags & OPEN4_RESULT_NO_OPEN_STATEID))
		fsop_close_made(req);
}

/* Replies to CREATE with the node and the open file. */
static void create_reply(struct fsop_request *req)
{
	struct share *share = req->share;
	struct fuse_file_info *fi = &req->u.open.fi;
	struct fuse_entry_param entry;
	fsop_note_names(req);
	int err = fsop_fill_entry(
		share, &req->fh, &req->attr, req->node->id, req->u.open.name, &entry);
	if (err) {
		create_undo(req);
		fsop_reply_err(req, err);
		return;
	}
	struct node *node = node_find(share->nodes, entry.ino);
	bool stale = open_note(req, node, node_note_open(share->nodes, node, &req->attr));
	err = open_make_file(req, node);
	if (!err)
		err = file_publish(req->file, &fi->fh);
	if (err) {
		node_unpin(share->nodes, node);
		node_forget(share->nodes, entry.ino, 1);
		fsop_reply_err(req, err);
		return;
	}
	if ((fi->flags & O_EXCL) || fsop_marked(req, NF4REG, &req->u.open.set))
		behind_made(share->behind, req->file, req->pid, &req->attr);
	/* What came of the name's past is dropped with the kernel's own opening. */
	if (stale)
		notify_inval_inode(share->notify, node->id, NULL, NULL);
	node_unpin(share->nodes, node);
	if (!req->fuse || fuse_reply_create(req->fuse, &entry, fi) != 0) {
		file_withdraw(req->file);
		node_forget(share->nodes, entry.ino, 1);
	}
	fsop_end(req);
}

static void create_send(struct fsop_request *req);
static void create_done(struct nfs_compound *c);

/* Opens what an earlier copy of the request has made. */
static void create_open(struct fsop_request *req)
{
	struct nfs_state *state = req->share->state;
	uint32_t access = req->u.open.access | open_want(req, NULL);
	struct deleg_asking asking = req->u.open.asking;
	if (!fsop_put_open_marked(req, access, req->u.open.owner)) {
		deleg_answered(state, &asking, NULL);
		return;
	}
	open_put_access(req);
	fsop_send(req, create_done);
}

static void create_looked(struct fsop_request *req)
{
	if (req->fh.len == 0)
		create_send(req);
	else if (fsop_marked(req, NF4REG, &req->u.open.set))
		create_open(req);
	else if (req->u.open.fi.flags & O_EXCL)
		fsop_reply_err(req, -EEXIST);
	else
		create_send(req);
}

static void create_done(struct nfs_compound *c)
{
	struct fsop_request *req = c->arg;
	int err = nfs_compound_errno(c);
	if (!err) {
		whole_changed(req->share->whole, req->node, req->begun_at, &req->made.cinfo);
		changes_hold(
			req->share->changes, &req->held, changes_object(req->fh.data, req->fh.len));
		create_reply(req);
		return;
	}
	if (fsop_unsure(c)) {
		deleg_answered(req->share->state, &req->u.open.asking, NULL);
		fsop_look(req, req->node, req->u.open.name, create_looked);
		return;
	}
	if (open_narrow(req)) {
		create_send(req);
		return;
	}
	/* PUTFH, OPEN, GETFH (or fsop_put_open_marked): open but of no use */
	if (c->ops_ok >= 3)
		create_undo(req);
	else
		deleg_answered(req->share->state, &req->u.open.asking, NULL);
	fsop_reply_err(req, err);
}

static void create_send(struct fsop_request *req)
{
	if (!fsop_compound(req, OP_OPEN, req->node))
		return;
	struct nfs_open_args args = {
		.access = req->u.open.access | open_want(req, NULL),
		.owner = req->u.open.owner,
		.how = req->u.open.fi.flags & O_EXCL ? NFS_OPEN_GUARDED : NFS_OPEN_UNCHECKED,
		.set = &req->u.open.set,
		.claim = NFS_CLAIM_NAME,
		.name = req->u.open.name,
		.name_len = strlen(req->u.open.name),
	};
	nfs_op_open(req->compound, &args, &req->made);
	nfs_op_getfh(req->compound, &req->fh);
	nfs_op_getattr(req->compound, &req->share->want, &req->attr);
	open_put_access(req);
	fsop_send_once(req, fsop_carry_dir(req, create_done));
}

void fsop_create(fuse_req_t fuse, fuse_ino_t parent, const char *name, mode_t mode,
	struct fuse_file_info *fi)
{
	struct fsop_request *req = fsop_begin(fuse, parent);
	if (!req)
		return;
	fsop_hold_names(req);
	open_prepare(req, fi);
	fsop_keep_name(req->u.open.name, name);
	req->u.open.set = (struct nfs_setattr){.set = NFS_SET_MODE, .mode = mode & 07777};
	if (fi->flags & O_TRUNC)
		req->u.open.set.set |= NFS_SET_SIZE;
	fsop_mark(req, &req->u.open.set, &req->u.open.owner);
	whole_add(req->share->whole, req->node, name);
	create_send(req);
}
