/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>

#include "fsop.h"
#include "recall.h"
#include "rootfs.h"

/* Names are looked up, and forgotten by the kernel. They are made in fsop_make.c and fsop_open.c,
 * and removed in fsop_remove.c. */

static void lookup_fail(struct fsop_request *req, int err)
{
	const char *name = req->u.names.name;
	if (req->share->options->rootfs)
		err = rootfs_lookup_error(
			err, node_is_known(req->share->nodes, req->node->id, name, strlen(name)));
	fsop_reply_err(req, err);
}

static void lookup_refreshed(struct nfs_compound *c)
{
	struct fsop_request *req = c->arg;
	int err = nfs_compound_errno(c);
	if (err)
		lookup_fail(req, err);
	else
		fsop_reply_entry(req, &req->attr, req->u.names.name);
}

static void lookup_refresh(struct fsop_request *req)
{
	if (!fsop_compound(req, OP_GETATTR, req->target))
		return;
	nfs_op_getattr(req->compound, &req->share->want, &req->attr);
	fsop_send(req, lookup_refreshed);
}

/* What is gathered of a file is more than the server has told of it. */
static void lookup_found(struct fsop_request *req)
{
	req->target = node_find_fh(req->share->nodes, &req->fh);
	if (req->target && behind_is_unsettled(req->target, req->begun_at))
		fsop_settle(req, req->target, lookup_refresh);
	else
		fsop_reply_entry(req, &req->attr, req->u.names.name);
}

static void lookup_done(struct nfs_compound *c)
{
	struct fsop_request *req = c->arg;
	int err = nfs_compound_errno(c);
	if (err == -ENOENT)
		fsop_reply_negative(req);
	else if (err || !fsop_attr_complete(&req->attr) || req->fh.len == 0)
		lookup_fail(req, err ? err : -EIO);
	else
		lookup_found(req);
}

/* Answered, since there is no such name? */
static bool lookup_lacks(struct fsop_request *req, const char *name)
{
	double left;
	if (!whole_lacks(req->share->whole, req->node, name, &left))
		return false;
	const struct fuse_entry_param none = {.entry_timeout = left};
	fuse_reply_entry(req->fuse, &none);
	fsop_end(req);
	return true;
}

void fsop_lookup(fuse_req_t fuse, fuse_ino_t parent, const char *name)
{
	struct fsop_request *req = fsop_begin(fuse, parent);
	if (!req)
		return;
	if (strlen(name) > NFS4_NAME_MAX) {
		fsop_reply_err(req, -ENAMETOOLONG);
		return;
	}
	if (lookup_lacks(req, name) || !fsop_compound(req, OP_LOOKUP, req->node))
		return;
	fsop_keep_name(req->u.names.name, name);
	nfs_op_lookup(req->compound, name, strlen(name));
	nfs_op_getfh(req->compound, &req->fh);
	nfs_op_getattr(req->compound, &req->share->want, &req->attr);
	fsop_send(req, fsop_carry(req, lookup_done));
}

void fsop_forget(fuse_req_t fuse, fuse_ino_t ino, uint64_t lookups)
{
	recall_forget(worker_self()->share, ino, lookups);
	fuse_reply_none(fuse);
}

void fsop_forget_multi(fuse_req_t fuse, size_t count, struct fuse_forget_data *forgets)
{
	for (size_t i = 0; i < count; i++)
		recall_forget(worker_self()->share, forgets[i].ino, forgets[i].nlookup);
	fuse_reply_none(fuse);
}
