/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>

#include "fresh.h"
#include "fsop.h"

/* unlink and rmdir. */

/* Operations that ask for the victim's change attribute. */
#define REMOVE_AFTER_VICTIM 2
/* All of them. */
#define REMOVE_OPS (REMOVE_AFTER_VICTIM + 6)

static void remove_plain(struct fsop_request *req);
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
	} else if (fsop_is_held_up(req)) {
		req->u.names.closes = false;
		remove_send(req);
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
	struct node *first = req->victim ? req->victim : req->node;
	struct nfs_fh dir;
	node_fh(req->node, &dir);
	if (!(req->u.names.closes ? fsop_compound_closed(req, OP_REMOVE, REMOVE_OPS, first)
				  : fsop_compound(req, OP_REMOVE, first)))
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
	fsop_hold_names(req);
	fsop_hold_name(req, req->node, name);
	fsop_keep_name(req->u.names.name, name);
	req->u.names.record = 0;
	req->victim = node_find_open(req->share->nodes, parent, name, strlen(name));
	req->then = remove_hidden;
	req->u.names.otherwise = remove_plain;
	/* Before a handle stops to lead anywhere. */
	req->u.names.closes = true;
	if (req->victim)
		fsop_silly_hide(req);
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
	req->u.names.closes = false;
	remove_plain(req);
}
