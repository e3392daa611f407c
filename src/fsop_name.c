/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>

#include "fsop.h"
#include "listing.h"
#include "moved.h"
#include "recall.h"
#include "rootfs.h"
#include "siblings.h"
#include "wrongsec.h"

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
	struct fuse_entry_param none = {0};
	if (!whole_lacks(req->share->whole, req->node, name, &none.entry_timeout))
		return false;
	dirhold_limit(req->share, req->node, &none.entry_timeout);
	fuse_reply_entry(req->fuse, &none);
	fsop_end(req);
	return true;
}

/* Is what was told of an object so long ago true for certain? */
static bool lookup_is_known(struct share *share, const struct nfs_attr *attr)
{
	struct node *node = node_find_fh(share->nodes, &attr->fh);
	bool known = node && node_is_delegated(share->nodes, node) &&
		     node_is_as(share->nodes, node, attr);
	node_unpin(share->nodes, node);
	return known;
}

/* How long it is to be believed, seconds; 0: not any more. */
static double lookup_left(struct fsop_request *req, const struct listing_found *found)
{
	struct share *share = req->share;
	uint64_t now = loop_clock();
	if (found->until > now)
		return (double)(found->until - now) / 1e9;
	if (!found->held || !lookup_is_known(share, &found->dirent.attr) ||
		!dirhold_stands(share, req->node))
		return 0;
	return share->cache.dir_min_ms / 1000.0;
}

/* Answered from a listing? Not with less than is known of the object by now. */
static bool lookup_listed(struct fsop_request *req, const char *name)
{
	struct share *share = req->share;
	struct fuse_entry_param entry;
	struct listing_found found;
	const struct nfs_attr *attr = &found.dirent.attr;
	struct nfs_fh dir;
	double left;
	node_fh(req->node, &dir);
	if (!listing_find(share->listing, &dir, name, &found) || attr->fh.len == 0 ||
		!fsop_attr_complete(attr) || (left = lookup_left(req, &found)) <= 0 ||
		fsop_attr_outdated(share, &attr->fh, attr, found.since) ||
		fsop_fill_listed(share, attr, req->node->id, name, &entry) != 0)
		return false;
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

/* Whether all names were read: then they are in req->u.names.reading. */
static bool lookup_read_names(struct fsop_request *req, const struct nfs_readdir_res *res)
{
	struct nfs_dirent dirent;
	size_t pos = 0;
	while (req->u.names.reading && nfs_dir_next(res, &pos, &dirent))
		if (!whole_read_name(req->u.names.reading, dirent.name, dirent.name_len))
			req->u.names.reading = NULL;
	return req->u.names.reading && res->eof;
}

/* The directory was read. True: the name is not in it. */
static bool lookup_keep_names(struct fsop_request *req, const struct nfs_fh *fh)
{
	struct share *share = req->share;
	struct listing *listing = req->u.names.listing;
	bool covers = dirhold_covers(&req->u.names.hold), lacks = false;
	if (lookup_read_names(req, listing_names(listing))) {
		lacks = whole_read_lacks(
			share->whole, req->node, req->u.names.reading, req->u.names.name);
		if (covers) {
			whole_read_end(share->whole, req->node, req->u.names.reading, true);
			req->u.names.reading = NULL;
		}
	}
	listing_keep(share->listing, fh, listing, covers);
	return lacks;
}

static void lookup_read(struct nfs_compound *c)
{
	struct fsop_request *req = c->arg;
	struct share *share = req->share;
	bool lacks = false;
	struct nfs_fh dir;
	node_fh(req->node, &dir);
	bool again = dirhold_unload(share, req->node, &req->u.names.hold, c);
	siblings_unload(share->siblings, req->u.names.along, c);
	if (again || nfs_compound_errno(c) != 0)
		listing_fail(share->listing, &dir, req->u.names.listing);
	else
		lacks = lookup_keep_names(req, &dir);
	whole_reading_free(req->u.names.reading);
	dirhold_end(share, req->node, req->cred, &req->u.names.hold);
	if (lacks)
		fsop_reply_negative(req);
	else if (!lookup_listed(req, req->u.names.name))
		lookup_send(req);
}

/* The directory is read? */
static bool lookup_read_dir(struct fsop_request *req)
{
	struct share *share = req->share;
	struct nfs_fh dir;
	node_fh(req->node, &dir);
	struct listing *listing =
		listing_begin(share->listing, &dir, dirhold_possible(share, req->node));
	if (!listing)
		return false;
	req->u.names.listing = listing;
	if (!fsop_compound(req, OP_READDIR, req->node)) {
		listing_fail(share->listing, &dir, listing);
		return true;
	}
	/* An entry that the server has to wait for would keep those who look for others waiting. */
	req->compound->optional = true;
	req->u.names.reading = whole_read_begin(share->whole, req->node, loop_clock());
	dirhold_begin(share, req->node, req->cred, req->compound, &req->u.names.hold);
	listing_read(share->listing, listing, req->compound);
	req->u.names.along =
		siblings_load(share->siblings, req->node, req->compound, LISTING_BLOCK);
	dirhold_finish(share, req->node, req->cred, req->compound, &req->u.names.hold);
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
