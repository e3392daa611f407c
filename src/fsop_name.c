/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "fsop.h"
#include "recall.h"

/* Names come and go: LOOKUP, CREATE of everything but regular files, LINK. Removal is in
 * fsop_remove.c. */

static void lookup_done(struct nfs_compound *c)
{
	struct fsop_request *req = c->arg;
	int err = nfs_compound_errno(c);
	if (err == -ENOENT)
		fsop_reply_negative(req);
	else if (err)
		fsop_reply_err(req, err);
	else
		fsop_reply_entry(req, &req->attr, req->u.names.name);
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
	if (!fsop_compound(req, OP_LOOKUP, req->node))
		return;
	fsop_keep_name(req->u.names.name, name);
	nfs_op_lookup(req->compound, name, strlen(name));
	nfs_op_getfh(req->compound, &req->fh);
	nfs_op_getattr(req->compound, &req->share->want, &req->attr);
	fsop_send(req, lookup_done);
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

static void create_done(struct nfs_compound *c)
{
	struct fsop_request *req = c->arg;
	int err = nfs_compound_errno(c);
	if (err)
		fsop_reply_err(req, err);
	else
		fsop_reply_entry(req, &req->attr, req->u.names.name);
}

static void create_object(struct fsop_request *req, struct nfs_create_args *args, const char *name)
{
	if (!fsop_compound(req, OP_CREATE, req->node))
		return;
	args->name = fsop_keep_name(req->u.names.name, name);
	args->name_len = strlen(name);
	nfs_op_create(req->compound, args, &req->cinfo);
	nfs_op_getfh(req->compound, &req->fh);
	nfs_op_getattr(req->compound, &req->share->want, &req->attr);
	fsop_send(req, create_done);
}

void fsop_mkdir(fuse_req_t fuse, fuse_ino_t parent, const char *name, mode_t mode)
{
	struct fsop_request *req = fsop_begin(fuse, parent);
	if (!req)
		return;
	struct nfs_setattr set = {.set = NFS_SET_MODE, .mode = mode & 07777};
	struct nfs_create_args args = {.type = NF4DIR, .set = &set};
	create_object(req, &args, name);
}

void fsop_symlink(fuse_req_t fuse, const char *link, fuse_ino_t parent, const char *name)
{
	struct fsop_request *req = fsop_begin(fuse, parent);
	if (!req)
		return;
	struct nfs_setattr set = {.set = NFS_SET_MODE, .mode = 0777};
	struct nfs_create_args args = {.type = NF4LNK, .link = link, .set = &set};
	create_object(req, &args, name);
}

/* mknod(2) of a regular file: OPEN is the only operation that makes one. */
static void mknod_file_done(struct nfs_compound *c)
{
	struct fsop_request *req = c->arg;
	/* PUTFH, OPEN, GETFH, GETATTR: once OPEN has worked there is a stateid to give back. */
	if (c->ops_ok >= 3)
		file_send_close(req->share, &req->fh, req->cred, &req->made.stateid);
	int err = nfs_compound_errno(c);
	if (err)
		fsop_reply_err(req, err);
	else
		fsop_reply_entry(req, &req->attr, req->u.names.name);
}

static void mknod_file(struct fsop_request *req, const char *name, mode_t mode)
{
	if (!fsop_compound(req, OP_OPEN, req->node))
		return;
	struct nfs_setattr set = {.set = NFS_SET_MODE, .mode = mode & 07777};
	struct nfs_open_args args = {
		.access = OPEN4_SHARE_ACCESS_WRITE | OPEN4_SHARE_ACCESS_WANT_NO_DELEG,
		.owner = nfs_client_owner(req->share->client),
		.how = NFS_OPEN_GUARDED,
		.set = &set,
		.claim = NFS_CLAIM_NAME,
		.name = name,
		.name_len = strlen(name),
	};
	nfs_op_open(req->compound, &args, &req->made);
	nfs_op_getfh(req->compound, &req->fh);
	nfs_op_getattr(req->compound, &req->share->want, &req->attr);
	fsop_send(req, mknod_file_done);
}

void fsop_mknod(fuse_req_t fuse, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev)
{
	struct fsop_request *req = fsop_begin(fuse, parent);
	if (!req)
		return;
	struct nfs_setattr set = {.set = NFS_SET_MODE, .mode = mode & 07777};
	struct nfs_create_args args = {
		.set = &set, .rdev_major = major(rdev), .rdev_minor = minor(rdev)};
	switch (mode & S_IFMT) {
	case 0:
	case S_IFREG:
		fsop_keep_name(req->u.names.name, name);
		mknod_file(req, name, mode);
		return;
	case S_IFBLK: args.type = NF4BLK; break;
	case S_IFCHR: args.type = NF4CHR; break;
	case S_IFSOCK: args.type = NF4SOCK; break;
	case S_IFIFO: args.type = NF4FIFO; break;
	default: fsop_reply_err(req, -EINVAL); return;
	}
	create_object(req, &args, name);
}

void fsop_link(fuse_req_t fuse, fuse_ino_t ino, fuse_ino_t parent, const char *name)
{
	struct fsop_request *req = fsop_begin(fuse, parent);
	if (!req)
		return;
	req->target = node_find(req->share->nodes, ino);
	if (!req->target) {
		fsop_reply_err(req, -ESTALE);
		return;
	}
	if (!fsop_compound(req, OP_LINK, req->target))
		return;
	struct nfs_fh dir;
	node_fh(req->node, &dir);
	node_fh(req->target, &req->fh);
	fsop_keep_name(req->u.names.name, name);
	nfs_op_savefh(req->compound);
	nfs_op_putfh(req->compound, &dir);
	nfs_op_link(req->compound, name, strlen(name), &req->cinfo);
	nfs_op_restorefh(req->compound);
	nfs_op_getattr(req->compound, &req->share->want, &req->attr);
	fsop_send(req, create_done);
}
