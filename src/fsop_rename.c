/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "fresh.h"
#include "fsop.h"

/* rename, over a file that is open, and without replacing anything. */

/* Operations that look at the object before. */
#define RENAME_LOOKS 2
/* All of them. */
#define RENAME_OPS (RENAME_LOOKS + 9)

static void rename_undo(struct fsop_request *req);

static void rename_undo_looked(struct fsop_request *req)
{
	if (!fsop_found(req, req->victim)) {
		rename_undo(req);
		return;
	}
	file_unset_silly(req->share, req->victim);
	fsop_reply_err(req, req->u.names.err);
}

static void rename_undone(struct nfs_compound *c)
{
	struct fsop_request *req = c->arg;
	if (fsop_unsure(c)) {
		fsop_look(req, req->target, req->u.names.to, rename_undo_looked);
		return;
	}
	if (nfs_compound_errno(c) == 0)
		file_unset_silly(req->share, req->victim);
	fsop_reply_err(req, req->u.names.err);
}

/* The rename over a hidden file failed: the file gets its name back. */
static void rename_undo(struct fsop_request *req)
{
	if (!fsop_compound(req, OP_RENAME, req->target))
		return;
	nfs_op_savefh(req->compound);
	nfs_op_rename(req->compound, req->u.names.silly, strlen(req->u.names.silly),
		req->u.names.to, strlen(req->u.names.to), NULL);
	fsop_send_once(req, rename_undone);
}

/* The kernel asks for them when it has been told. That the name is another one counts as a change
 * up to then, so they date from after that, if nothing else has changed. */
static void rename_keep(struct share *share, const struct node *node, const struct nfs_attr *attr,
	uint64_t asked_at)
{
	struct nfs_fh fh;
	uint64_t since = loop_clock();
	node_fh(node, &fh);
	if (!fsop_attr_outdated(share, &fh, attr, asked_at))
		fresh_put_file(share->fresh, node, attr, since);
}

/* req->fh, if the server has told it, goes by its new name. */
static void rename_end(struct fsop_request *req)
{
	struct share *share = req->share;
	struct node *node = req->fh.len ? node_find_fh(share->nodes, &req->fh) : NULL;
	const struct nfs_attr attr = req->attr;
	uint64_t asked_at = req->u.names.asked_at;
	bool file = node && node->type == NF4REG && req->u.names.looks &&
		    nfs_bitmap_has(&req->before.have, FATTR4_CHANGE) &&
		    fsop_attr_check(node, &attr) == 0;
	/* Its name tells another daemon nothing any more. */
	fsop_mark_done(req);
	if (node) {
		node_set_name(share->nodes, node, req->target->id, req->u.names.to,
			strlen(req->u.names.to));
		fresh_drop(share->fresh, node);
	}
	if (file)
		fsop_note_renamed(req, node);
	fsop_reply_err(req, 0);
	if (file)
		rename_keep(share, node, &attr, asked_at);
	node_unpin(share->nodes, node);
}

/* Is req->fh what the kernel knows by that name? */
static bool rename_knows(struct fsop_request *req, const struct node *dir, const char *name)
{
	struct node_table *nodes = req->share->nodes;
	struct node *node = req->fh.len ? node_find_fh(nodes, &req->fh) : NULL;
	bool known = node && node_is_named(nodes, node, dir->id, name, strlen(name));
	node_unpin(nodes, node);
	return known;
}

static void rename_source_looked(struct fsop_request *req)
{
	if (req->fh.len > 0) {
		req->u.names.otherwise(req);
		return;
	}
	req->fh = req->u.names.object;
	rename_end(req);
}

/* What goes by the new name is in req->fh. */
static void rename_looked(struct fsop_request *req)
{
	if (rename_knows(req, req->node, req->u.names.name)) {
		rename_end(req);
	} else if (req->fh.len == 0 || rename_knows(req, req->target, req->u.names.to)) {
		req->u.names.otherwise(req);
	} else {
		/* The kernel may know a file with several names by another one. */
		req->u.names.object = req->fh;
		fsop_look(req, req->node, req->u.names.name, rename_source_looked);
	}
}

static void rename_send(struct fsop_request *req, bool look);

static void rename_done(struct nfs_compound *c)
{
	struct fsop_request *req = c->arg;
	int err = nfs_compound_errno(c);
	unsigned looks = req->u.names.looks ? RENAME_LOOKS : 0;
	if (fsop_unsure(c)) {
		fsop_look(req, req->target, req->u.names.to, rename_looked);
		return;
	}
	/* PUTFH, SAVEFH, PUTFH, RENAME; what comes after it only tells which object that was */
	if (c->ops_ok >= 4 + looks) {
		if (err)
			req->fh.len = 0;
		rename_end(req);
	} else if (fsop_is_held_up(req)) {
		req->u.names.closes = false;
		rename_send(req, looks > 0);
	} else if (looks && c->status > 0 && c->ops_ok >= 2 && c->ops_ok < 2 + looks) {
		/* what is wrong with it RENAME is to say */
		rename_send(req, false);
	} else if (err && req->u.names.hidden) {
		req->u.names.err = err;
		rename_undo(req);
	} else {
		fsop_reply_err(req, err);
	}
}

/* With a look at the object, so that its cache can outlive its new change attribute. */
static void rename_send(struct fsop_request *req, bool look)
{
	if (!(req->u.names.closes ? fsop_compound_closed(req, OP_RENAME, RENAME_OPS, req->node)
				  : fsop_compound(req, OP_RENAME, req->node)))
		return;
	struct nfs_fh to;
	node_fh(req->target, &to);
	req->u.names.looks = look;
	req->u.names.asked_at = loop_clock();
	req->before.have = req->attr.have = (struct nfs_bitmap){0};
	nfs_op_savefh(req->compound);
	if (look) {
		nfs_op_lookup(req->compound, req->u.names.name, strlen(req->u.names.name));
		fsop_put_change(req);
	}
	nfs_op_putfh(req->compound, &to);
	nfs_op_rename(req->compound, req->u.names.name, strlen(req->u.names.name), req->u.names.to,
		strlen(req->u.names.to), NULL);
	/* The kernel moves its directory entry without a new lookup; an open file must be found
	 * under its new name when that is removed. */
	nfs_op_lookup(req->compound, req->u.names.to, strlen(req->u.names.to));
	nfs_op_getfh(req->compound, &req->fh);
	nfs_op_getattr(req->compound, &req->share->want, &req->attr);
	fsop_send_once(req, fsop_carry_dir(req, rename_done));
}

static void rename_plain(struct fsop_request *req)
{
	rename_send(req, true);
}

/*
 * RENAME_NOREPLACE. The protocol has no such rename; LINK refuses an existing name exactly, so what
 * is not a directory is linked to its new name, then loses the old one.
 */
static void noreplace_link(struct fsop_request *req);
static void noreplace_remove(struct fsop_request *req);

static void noreplace_unlinked(struct nfs_compound *c)
{
	fsop_reply_err(c->arg, ((struct fsop_request *)c->arg)->u.names.err);
}

/* The old name stays: then the new one must not. */
static void noreplace_unlink(struct fsop_request *req, int err)
{
	req->u.names.err = err;
	if (!fsop_compound(req, OP_REMOVE, req->target))
		return;
	nfs_op_remove(req->compound, req->u.names.to, strlen(req->u.names.to), NULL);
	fsop_send(req, noreplace_unlinked);
}

static void noreplace_end(struct fsop_request *req)
{
	req->fh = req->u.names.object;
	rename_end(req);
}

static void noreplace_remove_looked(struct fsop_request *req)
{
	if (req->fh.len > 0 && nfs_fh_equal(&req->fh, &req->u.names.object))
		noreplace_remove(req);
	else
		noreplace_end(req);
}

static void noreplace_removed(struct nfs_compound *c)
{
	struct fsop_request *req = c->arg;
	int err = nfs_compound_errno(c);
	if (fsop_unsure(c))
		fsop_look(req, req->node, req->u.names.name, noreplace_remove_looked);
	else if (err && err != -ENOENT)
		noreplace_unlink(req, err);
	else
		noreplace_end(req);
}

/* The object has its new name already. */
static void noreplace_remove(struct fsop_request *req)
{
	if (!fsop_compound(req, OP_REMOVE, req->node))
		return;
	nfs_op_remove(req->compound, req->u.names.name, strlen(req->u.names.name), NULL);
	fsop_send_once(req, noreplace_removed);
}

static void noreplace_looked(struct fsop_request *req)
{
	if (req->fh.len == 0)
		noreplace_link(req);
	else if (nfs_fh_equal(&req->fh, &req->u.names.object))
		noreplace_remove(req);
	else
		fsop_reply_err(req, -EEXIST);
}

static void noreplace_source_looked(struct fsop_request *req)
{
	if (req->fh.len == 0)
		noreplace_end(req);
	else
		fsop_reply_err(req, -EEXIST);
}

static void noreplace_check(struct fsop_request *req);

/* Another daemon had it: what goes by the new name is in req->fh. */
static void noreplace_resent(struct fsop_request *req)
{
	if (req->fh.len == 0) {
		noreplace_check(req);
		return;
	}
	req->u.names.object = req->fh;
	fsop_look(req, req->node, req->u.names.name,
		rename_knows(req, req->node, req->u.names.name) ? noreplace_remove_looked
								: noreplace_source_looked);
}

static void noreplace_link_done(struct nfs_compound *c)
{
	struct fsop_request *req = c->arg;
	int err = nfs_compound_errno(c);
	/* PUTFH, LOOKUP, SAVEFH, PUTFH, LINK, PUTFH, REMOVE */
	if (fsop_unsure(c))
		fsop_look(req, req->target, req->u.names.to, noreplace_looked);
	else if (err && c->ops_ok >= 5)
		noreplace_remove(req);
	else if (err && c->ops_ok == 4 && (err == -EOPNOTSUPP || err == -EPERM || err == -EMLINK))
		/* No links here: the look that was taken before has to do. */
		rename_plain(req);
	else if (err)
		fsop_reply_err(req, err);
	else
		noreplace_end(req);
}

static void noreplace_link(struct fsop_request *req)
{
	struct nfs_fh from, to;
	node_fh(req->node, &from);
	node_fh(req->target, &to);
	if (!fsop_compound(req, OP_LINK, req->node))
		return;
	const char *name = req->u.names.name;
	nfs_op_lookup(req->compound, name, strlen(name));
	nfs_op_savefh(req->compound);
	nfs_op_putfh(req->compound, &to);
	nfs_op_link(req->compound, req->u.names.to, strlen(req->u.names.to), NULL);
	nfs_op_putfh(req->compound, &from);
	nfs_op_remove(req->compound, name, strlen(name), NULL);
	fsop_send_once(req, noreplace_link_done);
}

static void noreplace_check_done(struct nfs_compound *c)
{
	struct fsop_request *req = c->arg;
	int err = nfs_compound_errno(c);
	/* PUTFH, LOOKUP, GETFH, GETATTR of the source; PUTFH and the LOOKUP that should fail */
	if (err == 0)
		fsop_reply_err(req, -EEXIST);
	else if (err != -ENOENT || c->ops_ok < 5)
		fsop_reply_err(req, err);
	else if (req->attr.type == NF4DIR)
		rename_plain(req);
	else
		noreplace_link(req);
}

static void noreplace_check(struct fsop_request *req)
{
	struct nfs_fh to;
	node_fh(req->target, &to);
	if (!fsop_compound(req, OP_LOOKUP, req->node))
		return;
	nfs_op_lookup(req->compound, req->u.names.name, strlen(req->u.names.name));
	nfs_op_getfh(req->compound, &req->u.names.object);
	nfs_op_getattr(req->compound, &req->share->want, &req->attr);
	nfs_op_putfh(req->compound, &to);
	nfs_op_lookup(req->compound, req->u.names.to, strlen(req->u.names.to));
	fsop_send(req, noreplace_check_done);
}

static void rename_begin(struct fsop_request *req)
{
	const char *to = req->u.names.to;
	req->then = req->u.names.otherwise = rename_plain;
	req->victim = node_find_open(req->share->nodes, req->target->id, to, strlen(to));
	if (req->victim)
		fsop_silly_hide(req);
	else
		rename_plain(req);
}

void fsop_rename(fuse_req_t fuse, fuse_ino_t parent, const char *name, fuse_ino_t to_parent,
	const char *to, unsigned flags)
{
	struct fsop_request *req = fsop_begin(fuse, parent);
	if (!req)
		return;
	req->target = node_find(req->share->nodes, to_parent);
	if (!req->target) {
		fsop_reply_err(req, -ESTALE);
		return;
	}
	/* RENAME_EXCHANGE and RENAME_WHITEOUT have nothing in the protocol to be made of. */
	if (flags & ~(unsigned)RENAME_NOREPLACE) {
		fsop_reply_err(req, -EINVAL);
		return;
	}
	fsop_hold_names(req);
	fsop_hold_name(req, req->node, name);
	fsop_hold_name(req, req->target, to);
	fsop_keep_name(req->u.names.name, name);
	fsop_keep_name(req->u.names.to, to);
	whole_add(req->share->whole, req->target, to);
	/* Before a handle stops to lead anywhere. */
	req->u.names.closes = true;
	if (flags & RENAME_NOREPLACE)
		closing_send(req->share->closing);
	req->u.names.hidden = req->u.names.looks = false;
	req->u.names.record = 0;
	req->u.names.otherwise = flags & RENAME_NOREPLACE ? rename_plain : rename_begin;
	bool resent = req->resent;
	req->resent = false;
	if (resent && fsop_marked_done(req))
		fsop_reply_err(req, 0);
	else if (resent)
		fsop_look(req, req->target, req->u.names.to,
			flags & RENAME_NOREPLACE ? noreplace_resent : rename_looked);
	else if (flags & RENAME_NOREPLACE)
		noreplace_check(req);
	else
		rename_begin(req);
}
