/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fsop_dir.h"

#include <errno.h>
#include <stdlib.h>

#include "handle.h"
#include "listing.h"

/* Open directories: fsop_readdir.c reads them. */

static struct fsop_dir *dir_new(void)
{
	struct fsop_dir *dir = calloc(1, sizeof(*dir));
	if (dir) {
		atomic_init(&dir->refs, 1);
		dir->block = DIR_BLOCK_FIRST;
	}
	return dir;
}

void fsop_dir_unref(struct fsop_dir *dir)
{
	if (atomic_fetch_sub_explicit(&dir->refs, 1, memory_order_acq_rel) != 1)
		return;
	whole_reading_free(dir->names);
	free(dir->res.data);
	free(dir);
}

/*
 * Opened through an earlier daemon, which has left no trace of it: all that is needed comes with
 * the requests.
 */
static struct fsop_dir *dir_of_past(struct share *share, uint64_t handle)
{
	struct fsop_dir *dir;
	pthread_mutex_lock(&share->lock_mutex);
	LIST_FOREACH (dir, &share->past_dirs, entry)
		if (dir->handle == handle)
			break;
	if (!dir && (dir = dir_new())) {
		dir->handle = handle;
		LIST_INSERT_HEAD(&share->past_dirs, dir, entry);
	}
	pthread_mutex_unlock(&share->lock_mutex);
	return dir;
}

struct fsop_dir *fsop_dir_find(struct share *share, uint64_t handle)
{
	struct fsop_dir *dir = handle_find(share->dirs, handle);
	return dir || !handle_is_past(share->dirs, handle) ? dir : dir_of_past(share, handle);
}

/* The kernel does not name it again. */
static void dir_withdraw(struct share *share, uint64_t handle)
{
	struct fsop_dir *dir = fsop_dir_find(share, handle);
	if (!dir)
		return;
	if (dir->handle) {
		pthread_mutex_lock(&share->lock_mutex);
		LIST_REMOVE(dir, entry);
		pthread_mutex_unlock(&share->lock_mutex);
	} else {
		handle_drop(share->dirs, handle);
	}
	fsop_dir_unref(dir);
}

static void dir_dropped(void *object)
{
	fsop_dir_unref(object);
}

void fsop_drop_dirs(struct share *share)
{
	struct fsop_dir *dir;
	handle_drop_all(share->dirs, dir_dropped);
	while ((dir = LIST_FIRST(&share->past_dirs))) {
		LIST_REMOVE(dir, entry);
		fsop_dir_unref(dir);
	}
}

/*
 * The kernel answers from the names that it has read before while they are as young as what it was
 * told with them will be believed for another while: a program that looks at each of them would
 * otherwise have the server asked for each.
 */
static void opendir_cache(const struct fsop_request *req, struct fuse_file_info *fi)
{
	const struct share *share = req->share;
	uint64_t trust = listing_time(share->listing) / 2, now = loop_clock();
	fi->cache_readdir = trust > 0;
	fi->keep_cache =
		trust > 0 && node_is_listed(share->nodes, req->node, now > trust ? now - trust : 0);
}

static void opendir_reply(struct fsop_request *req)
{
	struct handle_table *dirs = req->share->dirs;
	struct fuse_file_info *fi = &req->u.open.fi;
	struct fsop_dir *dir = dir_new();
	opendir_cache(req, fi);
	fi->fh = dir ? handle_new(dirs, dir) : 0;
	if (!fi->fh) {
		free(dir);
		fsop_reply_err(req, -ENOMEM);
		return;
	}
	if (!req->fuse || fuse_reply_open(req->fuse, fi) != 0) {
		handle_drop(dirs, fi->fh);
		fsop_dir_unref(dir);
	}
	fsop_end(req);
}

static void opendir_done(struct nfs_compound *c)
{
	struct fsop_request *req = c->arg;
	int err = nfs_compound_errno(c);
	if (!err && !(req->u.access.res.granted & ACCESS4_READ))
		err = -EACCES;
	if (err) {
		fsop_reply_err(req, err);
		return;
	}
	struct fuse_file_info fi = {.flags = req->u.access.mask};
	req->u.open.fi = fi;
	opendir_reply(req);
}

void fsop_opendir(fuse_req_t fuse, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct fsop_request *req = fsop_begin(fuse, ino);
	if (!req)
		return;
	/* Where the kernel checks permissions this one is done. */
	if (req->share->kernel_checks) {
		req->u.open.fi = *fi;
		opendir_reply(req);
		return;
	}
	if (!fsop_compound(req, OP_ACCESS, req->node))
		return;
	req->u.access.mask = fi->flags;
	nfs_op_access(req->compound, ACCESS4_READ, &req->u.access.res);
	fsop_send(req, opendir_done);
}

void fsop_releasedir(fuse_req_t fuse, fuse_ino_t ino, struct fuse_file_info *fi)
{
	(void)ino;
	dir_withdraw(worker_self()->share, fi->fh);
	fuse_reply_err(fuse, 0);
}

/* Changes of names are on the server before they are reported: there is nothing to wait for. */
void fsop_fsyncdir(fuse_req_t fuse, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
	(void)ino;
	(void)datasync;
	(void)fi;
	fuse_reply_err(fuse, 0);
}
