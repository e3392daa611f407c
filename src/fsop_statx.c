/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "fsop.h"
#include "moved.h"

/* What fsop_fill_stat made, in the other shape: a statx differs by the birth time alone. */
static void statx_fill(const struct stat *st, const struct nfs_attr *attr, struct statx *stx)
{
	*stx = (struct statx){
		.stx_mask = STATX_BASIC_STATS,
		.stx_blksize = (uint32_t)st->st_blksize,
		.stx_nlink = (uint32_t)st->st_nlink,
		.stx_uid = st->st_uid,
		.stx_gid = st->st_gid,
		.stx_mode = (uint16_t)st->st_mode,
		.stx_ino = st->st_ino,
		.stx_size = (uint64_t)st->st_size,
		.stx_blocks = (uint64_t)st->st_blocks,
		.stx_atime = {.tv_sec = st->st_atim.tv_sec,
			.tv_nsec = (uint32_t)st->st_atim.tv_nsec},
		.stx_mtime = {.tv_sec = st->st_mtim.tv_sec,
			.tv_nsec = (uint32_t)st->st_mtim.tv_nsec},
		.stx_ctime = {.tv_sec = st->st_ctim.tv_sec,
			.tv_nsec = (uint32_t)st->st_ctim.tv_nsec},
		.stx_rdev_major = major(st->st_rdev),
		.stx_rdev_minor = minor(st->st_rdev),
	};
	if (nfs_bitmap_has(&attr->have, FATTR4_TIME_CREATE)) {
		stx->stx_mask |= STATX_BTIME;
		stx->stx_btime.tv_sec = attr->btime.tv_sec;
		stx->stx_btime.tv_nsec = (uint32_t)attr->btime.tv_nsec;
	}
}

static void statx_reply(struct fsop_request *req)
{
	struct stat st;
	struct statx stx;
	fsop_fill_stat(req->share, req->node, &req->attr, &st);
	statx_fill(&st, &req->attr, &stx);
	if (req->fuse)
		fuse_reply_statx(req->fuse, 0, &stx, fsop_attr_timeout(req->share, req->node));
	fsop_end(req);
}

static void statx_done(struct nfs_compound *c)
{
	struct fsop_request *req = c->arg;
	int err = nfs_compound_errno(c);
	if (!err)
		err = fsop_attr_check(req->node, &req->attr);
	if (err) {
		fsop_reply_err(req, err);
		return;
	}
	if (!nfs_bitmap_has(&req->attr.have, FATTR4_TIME_CREATE) && req->node->fsid == 0) {
		/* Other file systems of the export may differ from its own. The kernel goes back to
		 * GETATTR for good, and to what it has cached. */
		fsop_reply_err(req, -ENOSYS);
		return;
	}
	fsop_note_attr(req->share, req->node, &req->attr);
	statx_reply(req);
}

static void statx_send(struct fsop_request *req)
{
	if (!fsop_compound(req, OP_GETATTR, req->node))
		return;
	struct nfs_bitmap want = req->share->want;
	nfs_bitmap_set(&want, FATTR4_TIME_CREATE);
	nfs_op_getattr(req->compound, &want, &req->attr);
	fsop_send(req, statx_done);
}

/* The kernel sends it, in the place of GETATTR, when somebody asks for the birth time. */
void fsop_statx(fuse_req_t fuse, fuse_ino_t ino, int flags, int mask, struct fuse_file_info *fi)
{
	(void)flags;
	(void)mask;
	(void)fi;
	struct fsop_request *req = fsop_begin(fuse, ino);
	if (req && moved_is_standin(req->node)) {
		moved_standin_attr(&req->attr);
		statx_reply(req);
	} else if (req) {
		fsop_settle(req, req->node, statx_send);
	}
}
