/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "fsop_open.h"

/* CREATE: a regular file is made and opened. */

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
	bool stale =
		fsop_open_note(req, node, node_note_open(share->nodes, node, &req->attr, false));
	err = fsop_open_make_file(req, node);
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
	uint32_t access = req->u.open.access | fsop_open_want(req, NULL);
	struct deleg_asking asking = req->u.open.asking;
	if (!fsop_put_open_marked(req, access, req->u.open.owner)) {
		deleg_answered(state, &asking, NULL);
		return;
	}
	fsop_open_put_access(req);
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
	if (fsop_open_narrow(req)) {
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
		.access = req->u.open.access | fsop_open_want(req, NULL),
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
	fsop_open_put_access(req);
	fsop_send_once(req, fsop_carry_dir(req, create_done));
}

void fsop_create(fuse_req_t fuse, fuse_ino_t parent, const char *name, mode_t mode,
	struct fuse_file_info *fi)
{
	struct fsop_request *req = fsop_begin(fuse, parent);
	if (!req)
		return;
	fsop_hold_names(req);
	fsop_open_prepare(req, fi);
	fsop_keep_name(req->u.open.name, name);
	req->u.open.set = (struct nfs_setattr){.set = NFS_SET_MODE, .mode = mode & 07777};
	if (fi->flags & O_TRUNC)
		req->u.open.set.set |= NFS_SET_SIZE;
	fsop_mark(req, &req->u.open.set, &req->u.open.owner);
	whole_add(req->share->whole, req->node, name);
	create_send(req);
}
