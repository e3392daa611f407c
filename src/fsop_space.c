/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <linux/falloc.h>
#include <unistd.h>

#include "fsop.h"

/* fallocate(2) and lseek(2) to data and holes: ALLOCATE, DEALLOCATE and SEEK of NFSv4.2. */

bool fsop_has_4_2(struct fsop_request *req)
{
	if (nfs_client_limits(req->share->client)->minor >= 2)
		return true;
	/* The kernel does not ask again, and does what it can by itself. */
	fsop_reply_err(req, -ENOSYS);
	return false;
}

static bool fallocate_deallocates(const struct fsop_request *req)
{
	return req->u.space.mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE);
}

static bool fallocate_allocates(const struct fsop_request *req)
{
	return !(req->u.space.mode & FALLOC_FL_PUNCH_HOLE);
}

static void fallocate_fail(struct fsop_request *req, const struct nfs_compound *c, int err)
{
	struct share *share = req->share;
	uint32_t op = c->ops_ok < c->nops ? c->ops[c->ops_ok].op : 0;
	node_note_unknown(share->nodes, req->node);
	/* Zeros are there, and not all else: the kernel drops pages only for a success. */
	if (fallocate_deallocates(req) && c->ops_ok > req->u.space.at)
		notify_inval_inode(share->notify, req->node->id, NULL, NULL);
	lacks_note(&share->lacks, req->node->fsid, op, c->status);
	fsop_reply_err(req, err);
}

static void fallocate_send(struct fsop_request *req);

static void fallocate_done(struct nfs_compound *c)
{
	struct fsop_request *req = c->arg;
	if (fsop_refused(req, fallocate_send))
		return;
	int err = nfs_compound_errno(c);
	if (!err)
		err = fsop_attr_check(req->node, &req->attr);
	if (err) {
		fallocate_fail(req, c, err);
		return;
	}
	node_note_write(req->share->nodes, req->node, req->before.change, &req->attr);
	fsop_reply_err(req, 0);
}

static void fallocate_send(struct fsop_request *req)
{
	struct nfs_bitmap change = {0};
	uint64_t offset = req->u.space.offset, length = req->u.space.length;
	int err = fsop_use_open(req);
	if (err) {
		fsop_reply_err(req, err);
		return;
	}
	uint32_t label = fallocate_allocates(req) ? OP_ALLOCATE : OP_DEALLOCATE;
	struct nfs_compound *c = fsop_compound_bare(req, label);
	if (!c)
		return;
	nfs_op_putfh(c, &req->file->open->fh);
	nfs_bitmap_set(&change, FATTR4_CHANGE);
	nfs_op_getattr(c, &change, &req->before);
	req->u.space.at = c->nops;
	if (fallocate_deallocates(req))
		nfs_op_deallocate(c, &req->use.stateid, offset, length);
	if (fallocate_allocates(req))
		nfs_op_allocate(c, &req->use.stateid, offset, length);
	nfs_op_getattr(c, &req->share->want, &req->attr);
	fsop_send(req, fallocate_done);
}

static void fallocate_committed(void *arg, int err)
{
	struct fsop_request *req = arg;
	if (err)
		fsop_reply_err(req, err);
	else
		fallocate_send(req);
}

/*
 * As the kernel's NFS client has it: zeros are a hole that is allocated again, and what leaves the
 * size alone can only be a hole, since ALLOCATE does not.
 */
static bool fallocate_can(const struct fsop_request *req)
{
	const struct lacks *lacks = &req->share->lacks;
	uint16_t fs = req->node->fsid;
	switch (req->u.space.mode) {
	case 0:
	case FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE:
	case FALLOC_FL_ZERO_RANGE: break;
	default: return false;
	}
	return !(fallocate_allocates(req) && lacks_op(lacks, fs, OP_ALLOCATE)) &&
	       !(fallocate_deallocates(req) && lacks_op(lacks, fs, OP_DEALLOCATE));
}

void fsop_fallocate(fuse_req_t fuse, fuse_ino_t ino, int mode, off_t offset, off_t length,
	struct fuse_file_info *fi)
{
	(void)ino;
	struct fsop_request *req = fsop_begin_file(fuse, fi);
	if (!req || !fsop_has_4_2(req))
		return;
	req->u.space.mode = mode;
	req->u.space.offset = (uint64_t)offset;
	req->u.space.length = (uint64_t)length;
	if (!fallocate_can(req)) {
		fsop_reply_err(req, -EOPNOTSUPP);
		return;
	}
	fsop_hold(req, req->node);
	behind_changes(req->share->behind, req->node);
	/* Data written before must not come back in a hole, should it be rewritten. */
	fsop_commit(req, fallocate_committed);
}

static void lseek_reply(struct fsop_request *req, uint64_t offset)
{
	if (req->fuse)
		fuse_reply_lseek(req->fuse, (off_t)offset);
	fsop_end(req);
}

/* Where nobody knows of holes, all is data, and behind it comes one. */
static void lseek_sized(struct nfs_compound *c)
{
	struct fsop_request *req = c->arg;
	int err = nfs_compound_errno(c);
	if (!err)
		err = fsop_attr_check(req->node, &req->attr);
	if (!err && req->attr.size > INT64_MAX)
		err = -EOVERFLOW;
	if (!err && req->u.seek.offset >= req->attr.size)
		err = -ENXIO;
	if (err)
		fsop_reply_err(req, err);
	else
		lseek_reply(req, req->u.seek.what == NFS4_CONTENT_HOLE ? req->attr.size
								       : req->u.seek.offset);
}

static void lseek_by_size(struct fsop_request *req)
{
	if (!fsop_compound(req, OP_GETATTR, req->node))
		return;
	nfs_op_getattr(req->compound, &req->share->want, &req->attr);
	fsop_send(req, lseek_sized);
}

static int lseek_check(const struct fsop_request *req)
{
	const struct nfs_seek_res *res = &req->u.seek.res;
	if (res->eof && req->u.seek.what == NFS4_CONTENT_DATA)
		return -ENXIO;
	/* Asked from behind the end on, some servers name no place. */
	if (res->offset < req->u.seek.offset)
		return res->eof ? -ENXIO : -EIO;
	return res->offset > INT64_MAX ? -EIO : 0;
}

static void lseek_send(struct fsop_request *req);

static void lseek_done(struct nfs_compound *c)
{
	struct fsop_request *req = c->arg;
	if (fsop_refused(req, lseek_send))
		return;
	if (lacks_note(&req->share->lacks, req->node->fsid, OP_SEEK, c->status)) {
		lseek_by_size(req);
		return;
	}
	int err = nfs_compound_errno(c);
	if (!err)
		err = lseek_check(req);
	if (err)
		fsop_reply_err(req, err);
	else
		lseek_reply(req, req->u.seek.res.offset);
}

static void lseek_send(struct fsop_request *req)
{
	if (lacks_op(&req->share->lacks, req->node->fsid, OP_SEEK)) {
		lseek_by_size(req);
		return;
	}
	int err = fsop_use_open(req);
	if (err) {
		fsop_reply_err(req, err);
		return;
	}
	struct nfs_compound *c = fsop_compound_bare(req, OP_SEEK);
	if (!c)
		return;
	nfs_op_putfh(c, &req->file->open->fh);
	nfs_op_seek(c, &req->use.stateid, req->u.seek.offset, req->u.seek.what, &req->u.seek.res);
	fsop_send(req, lseek_done);
}

/* The kernel asks for holes and data alone. */
void fsop_lseek(
	fuse_req_t fuse, fuse_ino_t ino, off_t offset, int whence, struct fuse_file_info *fi)
{
	(void)ino;
	struct fsop_request *req = fsop_begin_file(fuse, fi);
	if (!req || !fsop_has_4_2(req))
		return;
	if (whence != SEEK_DATA && whence != SEEK_HOLE) {
		fsop_reply_err(req, -EINVAL);
		return;
	}
	req->u.seek.what = whence == SEEK_DATA ? NFS4_CONTENT_DATA : NFS4_CONTENT_HOLE;
	req->u.seek.offset = (uint64_t)offset;
	if (offset < 0)
		fsop_reply_err(req, -ENXIO);
	else
		fsop_settle(req, req->node, lseek_send);
}
