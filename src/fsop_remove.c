/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "fresh.h"
#include "fsop.h"
#include "takeover.h"
#include "util/log.h"

/*
 * unlink, rmdir and rename. A file that is open in this guest keeps its data when its last
 * name goes: servers do not keep it for us (none sets OPEN4_RESULT_PRESERVE_UNLINKED), so it is
 * renamed to a hidden name first, as the kernel's client does, and that name is removed with the
 * last close.
 *
 * States of such a request:
 *   check   LOOKUP tells whether the name in question is the open file's
 *   hide    RENAME to the silly name
 *   then    what was asked for: nothing more (unlink), or the RENAME over it
 */

static void silly_name(
	const struct share *share, const struct node *node, char name[FSOP_SILLY_MAX])
{
	static _Atomic uint32_t counter;
	uint32_t salt = 0;
	if (getrandom(&salt, sizeof(salt), GRND_NONBLOCK) != sizeof(salt))
		salt = (uint32_t)(uintptr_t)&counter;
	snprintf(name, FSOP_SILLY_MAX, ".nfs%012llx%08x",
		(unsigned long long)(node->ino & 0xffffffffffff),
		salt + (uint32_t)nfs_client_salt(share->client) + atomic_fetch_add(&counter, 1));
}

static struct node *silly_dir(struct fsop_request *req)
{
	return req->target ? req->target : req->node;
}

static void silly_hide(struct fsop_request *req);

static void silly_hidden(struct fsop_request *req)
{
	req->u.names.hidden = true;
	struct node_silly *silly = file_new_silly(
		req->share, silly_dir(req), req->u.names.silly, req->cred, req->u.names.record);
	req->u.names.record = 0;
	if (silly)
		file_set_silly(req->share, req->victim, silly);
	else
		log_warn("no memory to remember %s: it stays on the server", req->u.names.silly);
	req->then(req);
}

static void silly_hide_looked(struct fsop_request *req)
{
	if (fsop_found(req, req->victim))
		silly_hidden(req);
	else
		silly_hide(req);
}

static void silly_hide_done(struct nfs_compound *c)
{
	struct fsop_request *req = c->arg;
	int err = nfs_compound_errno(c);
	if (fsop_unsure(c))
		fsop_look(req, silly_dir(req), req->u.names.silly, silly_hide_looked);
	else if (err) {
		takeover_drop(req->share, req->u.names.record);
		fsop_reply_err(req, err);
	} else
		silly_hidden(req);
}

static void silly_hide(struct fsop_request *req)
{
	struct node *dir = silly_dir(req);
	const char *name = req->target ? req->u.names.to : req->u.names.name;
	takeover_drop(req->share, req->u.names.record);
	if (!fsop_compound(req, OP_RENAME, dir))
		return;
	silly_name(req->share, req->victim, req->u.names.silly);
	/* Another daemon must know of the name before it is there. */
	req->u.names.record = takeover_put_silly(
		req->share, req->victim->id, dir->id, req->u.names.silly, req->cred);
	whole_add(req->share->whole, dir, req->u.names.silly);
	nfs_op_savefh(req->compound);
	nfs_op_rename(req->compound, name, strlen(name), req->u.names.silly,
		strlen(req->u.names.silly), NULL);
	fsop_send_once(req, silly_hide_done);
}

static void remove_plain(struct fsop_request *req);
static void rename_plain(struct fsop_request *req);

static void silly_check_done(struct nfs_compound *c)
{
	struct fsop_request *req = c->arg;
	int err = nfs_compound_errno(c);
	struct nfs_fh fh;
	node_fh(req->victim, &fh);
	if (err == 0 && nfs_fh_equal(&req->fh, &fh) && req->attr.nlink <= 1) {
		silly_hide(req);
		return;
	}
	/* Another object has that name by now, none has, or the file has other names to live under.
	 */
	if (req->target)
		rename_plain(req);
	else
		remove_plain(req);
}

static void silly_check(struct fsop_request *req, const char *name)
{
	if (!fsop_compound(req, OP_LOOKUP, silly_dir(req)))
		return;
	nfs_op_lookup(req->compound, name, strlen(name));
	nfs_op_getfh(req->compound, &req->fh);
	nfs_op_getattr(req->compound, &req->share->want, &req->attr);
	fsop_send(req, silly_check_done);
}

/* Operations that ask for the victim's change attribute. */
#define REMOVE_AFTER_VICTIM 2

static void remove_send(struct fsop_request *req);

static void remove_looked(struct fsop_request *req)
{
	struct node *node = req->fh.len ? node_find_fh(req->share->nodes, &req->fh) : NULL;
	bool known = node != NULL;
	node_unpin(req->share->nodes, node);
	if (known)
		remove_plain(req);
	else
		fsop_reply_err(req, 0);
}

/* What it was a name of has another one, and fewer of them. */
static void remove_note_victim(struct fsop_request *req)
{
	if (fsop_attr_check(req->victim, &req->attr) != 0 || req->attr.nlink == 0)
		return;
	fsop_note_renamed(req, req->victim);
	fresh_put_file(req->share->fresh, req->victim, &req->attr, req->u.names.asked_at);
}

static void remove_end(struct fsop_request *req, int err)
{
	if (!err && req->victim)
		remove_note_victim(req);
	if (!err)
		whole_changed(req->share->whole, req->node, req->begun_at, &req->cinfo);
	fsop_reply_err(req, err);
}

static void remove_done(struct nfs_compound *c)
{
	struct fsop_request *req = c->arg;
	if (fsop_unsure(c)) {
		fsop_look(req, req->node, req->u.names.name, remove_looked);
	} else if (req->victim && c->status > 0 && c->ops_ok < REMOVE_AFTER_VICTIM) {
		/* The host has removed it, and the name is another's. */
		node_unpin(req->share->nodes, req->victim);
		req->victim = NULL;
		remove_send(req);
	} else {
		remove_end(req, nfs_compound_errno(c));
	}
}

static void remove_send(struct fsop_request *req)
{
	struct nfs_fh dir;
	node_fh(req->node, &dir);
	if (!fsop_compound(req, OP_REMOVE, req->victim ? req->victim : req->node))
		return;
	if (req->victim) {
		req->u.names.asked_at = loop_clock();
		fsop_put_change(req);
		nfs_op_putfh(req->compound, &dir);
	}
	nfs_op_remove(req->compound, req->u.names.name, strlen(req->u.names.name), &req->cinfo);
	fsop_send_once(req, fsop_carry_victim(req, remove_done));
}

static void remove_plain(struct fsop_request *req)
{
	const char *name = req->u.names.name;
	if (!req->victim)
		req->victim =
			node_find_linked(req->share->nodes, req->node->id, name, strlen(name));
	remove_send(req);
}

static void remove_hidden(struct fsop_request *req)
{
	fsop_reply_err(req, 0);
}

void fsop_unlink(fuse_req_t fuse, fuse_ino_t parent, const char *name)
{
	struct fsop_request *req = fsop_begin(fuse, parent);
	if (!req)
		return;
	/* Before a handle stops to lead anywhere. */
	closing_send(req->share->closing);
	fsop_hold_names(req);
	fsop_hold_name(req, req->node, name);
	fsop_keep_name(req->u.names.name, name);
	req->u.names.record = 0;
	req->victim = node_find_open(req->share->nodes, parent, name, strlen(name));
	req->then = remove_hidden;
	if (req->victim)
		silly_check(req, name);
	else
		remove_plain(req);
}

void fsop_rmdir(fuse_req_t fuse, fuse_ino_t parent, const char *name)
{
	struct fsop_request *req = fsop_begin(fuse, parent);
	if (!req)
		return;
	fsop_hold_names(req);
	fsop_keep_name(req->u.names.name, name);
	remove_plain(req);
}

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

/* req->fh, if the server has told it, goes by its new name. */
static void rename_end(struct fsop_request *req)
{
	struct node *node = req->fh.len ? node_find_fh(req->share->nodes, &req->fh) : NULL;
	/* Its name tells another daemon nothing any more. */
	fsop_mark_done(req);
	if (node) {
		node_set_name(req->share->nodes, node, req->target->id, req->u.names.to,
			strlen(req->u.names.to));
		fresh_drop(req->share->fresh, node);
	}
	node_unpin(req->share->nodes, node);
	fsop_reply_err(req, 0);
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

static void rename_done(struct nfs_compound *c)
{
	struct fsop_request *req = c->arg;
	int err = nfs_compound_errno(c);
	if (fsop_unsure(c)) {
		fsop_look(req, req->target, req->u.names.to, rename_looked);
		return;
	}
	/* PUTFH, SAVEFH, PUTFH, RENAME; what comes after it only tells which object that was */
	if (c->ops_ok >= 4) {
		if (err)
			req->fh.len = 0;
		rename_end(req);
	} else if (err && req->u.names.hidden) {
		req->u.names.err = err;
		rename_undo(req);
	} else {
		fsop_reply_err(req, err);
	}
}

static void rename_plain(struct fsop_request *req)
{
	if (!fsop_compound(req, OP_RENAME, req->node))
		return;
	struct nfs_fh to;
	node_fh(req->target, &to);
	nfs_op_savefh(req->compound);
	nfs_op_putfh(req->compound, &to);
	nfs_op_rename(req->compound, req->u.names.name, strlen(req->u.names.name), req->u.names.to,
		strlen(req->u.names.to), NULL);
	/* The kernel moves its directory entry without a new lookup; an open file must be found
	 * under its new name when that is removed. */
	nfs_op_lookup(req->compound, req->u.names.to, strlen(req->u.names.to));
	nfs_op_getfh(req->compound, &req->fh);
	fsop_send_once(req, rename_done);
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
		silly_check(req, to);
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
	closing_send(req->share->closing);
	req->u.names.hidden = false;
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
