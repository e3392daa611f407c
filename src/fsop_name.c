/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>

#include "fsop.h"
#include "listing.h"
#include "moved.h"
#include "recall.h"
#include "rootfs.h"
#include "siblings.h"

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
	struct nfs_fh dir;
	node_fh(req->node, &dir);
	if (!err)
		listing_missed(req->share->listing, &dir);
	if (err == -ENOENT)
		fsop_reply_negative(req);
	else if (err &&
		 (moved_lookup(req, req->u.names.name) || wrongsec_lookup(req, req->u.names.name)))
		return;
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

/* Answered from a listing? Not with less than is known of the object by now. */
static bool lookup_listed(struct fsop_request *req, const char *name)
{
	struct share *share = req->share;
	struct fuse_entry_param entry;
	struct nfs_dirent found;
	uint64_t since, until, now = loop_clock();
	const struct nfs_attr *attr = &found.attr;
	struct nfs_fh dir;
	node_fh(req->node, &dir);
	if (!listing_find(share->listing, &dir, name, &found, &since, &until) ||
		attr->fh.len == 0 || !fsop_attr_complete(attr) || until <= now ||
		fsop_attr_outdated(share, &attr->fh, attr, since) ||
		fsop_fill_listed(share, attr, req->node->id, name, &entry) != 0)
		return false;
	double left = (double)(until - now) / 1e9;
	entry.attr_timeout = entry.attr_timeout < left ? entry.attr_timeout : left;
	entry.entry_timeout = entry.entry_timeout < left ? entry.entry_timeout : left;
	if (attr->type == NF4DIR)
		listing_found_dir(share->listing, &attr->fh);
	if (!req->fuse || fuse_reply_entry(req->fuse, &entry) != 0)
		node_forget(share->nodes, entry.ino, 1);
	fsop_end(req);
	return true;
}

static void lookup_send(struct fsop_request *req)
{
	const char *name = req->u.names.name;
	if (!fsop_compound(req, OP_LOOKUP, req->node))
		return;
	nfs_op_lookup(req->compound, name, strlen(name));
	nfs_op_getfh(req->compound, &req->fh);
	nfs_op_getattr(req->compound, &req->share->want, &req->attr);
	fsop_send(req, fsop_carry(req, lookup_done));
}

static void lookup_read(struct nfs_compound *c)
{
	struct fsop_request *req = c->arg;
	struct listing_table *table = req->share->listing;
	const char *name = req->u.names.name;
	struct nfs_fh dir;
	node_fh(req->node, &dir);
	siblings_unload(req->share->siblings, req->u.names.along, c);
	if (nfs_compound_errno(c) != 0)
		listing_fail(table, &dir, req->u.names.listing);
	else
		listing_keep(table, &dir, req->u.names.listing);
	if (!lookup_listed(req, name))
		lookup_send(req);
}

/* The directory is read? */
static bool lookup_read_dir(struct fsop_request *req)
{
	struct listing_table *table = req->share->listing;
	struct nfs_fh dir;
	node_fh(req->node, &dir);
	struct listing *listing = listing_begin(table, &dir);
	if (!listing)
		return false;
	req->u.names.listing = listing;
	if (!fsop_compound(req, OP_READDIR, req->node)) {
		listing_fail(table, &dir, listing);
		return true;
	}
	listing_read(table, listing, req->compound);
	req->u.names.along =
		siblings_load(req->share->siblings, req->node, req->compound, LISTING_BLOCK);
	fsop_send(req, fsop_carry(req, lookup_read));
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
	if (lookup_lacks(req, name) || lookup_listed(req, name))
		return;
	fsop_keep_name(req->u.names.name, name);
	if (!lookup_read_dir(req))
		lookup_send(req);
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
