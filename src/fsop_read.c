/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>

#include "fsop.h"
#include "lead.h"

/* READ. Data is never copied here. */

static void read_send(struct fsop_request *req);

static void read_reply(struct fsop_request *req)
{
	if (req->fuse)
		fuse_reply_buf(req->fuse, (const char *)req->u.read.data, req->u.read.got);
	buf_unref(req->u.read.buf);
	fsop_end(req);
}

static void read_fail(struct fsop_request *req, int err)
{
	buf_unref(req->u.read.buf);
	fsop_reply_err(req, err);
}

static void read_done(struct nfs_compound *c)
{
	struct fsop_request *req = c->arg;
	int err = nfs_compound_errno(c);
	if (err) {
		if (!fsop_refused(req, read_send))
			read_fail(req, err);
		return;
	}
	if (req->u.read.got == 0)
		req->u.read.data = req->u.read.buf->data;
	req->u.read.got += req->u.read.res.len;
	/* A server may return less than it was asked for; only its word means the end of the file,
	 * which the kernel takes a short answer for. */
	if (req->u.read.res.eof || req->u.read.got == req->u.read.len)
		read_reply(req);
	else if (req->u.read.res.len > 0)
		read_send(req);
	else
		read_fail(req, -EIO);
}

static void read_send(struct fsop_request *req)
{
	int err = fsop_use_open(req);
	if (err) {
		read_fail(req, err);
		return;
	}
	struct nfs_compound *c = fsop_compound_try(req, OP_READ);
	if (!c) {
		read_fail(req, -ENOMEM);
		return;
	}
	nfs_op_putfh(c, &req->file->open->fh);
	nfs_op_read(c, &req->use.stateid, req->u.read.offset + req->u.read.got,
		req->u.read.len - req->u.read.got, req->u.read.buf,
		req->u.read.got ? req->u.read.data + req->u.read.got : NULL, &req->u.read.res);
	fsop_send(req, read_done);
}

/* Answered with what came with the open? */
static bool read_ahead(struct fsop_request *req)
{
	if (node_behind(req->node))
		return false;
	req->u.read.buf = ahead_read(req->share->ahead, req->file, req->u.read.offset,
		req->u.read.len, &req->u.read.got);
	if (!req->u.read.buf)
		return false;
	atomic_store(&req->share->copies, false);
	req->u.read.data = req->u.read.buf->data + (req->u.read.got ? req->u.read.offset : 0);
	read_reply(req);
	return true;
}

static void read_begin(struct fsop_request *req, bool again);

static void read_led(struct behind_wait *wait)
{
	read_begin(
		(struct fsop_request *)((char *)wait - offsetof(struct fsop_request, wait)), true);
}

/* Answered, or to be, with what was read ahead? */
static bool read_lead(struct fsop_request *req, bool again)
{
	const struct lead_range range = {
		.offset = req->u.read.offset, .len = req->u.read.len, .again = again};
	struct lead_data data;
	if (node_behind(req->node))
		return false;
	req->wait.done = read_led;
	switch (lead_read(req->share->lead, req->file, &range, &req->wait, &data)) {
	case LEAD_NONE: return false;
	case LEAD_WAIT: return true;
	case LEAD_DATA: break;
	}
	if (req->fuse)
		fuse_reply_iov(req->fuse, data.iov, data.count);
	lead_release(&data);
	fsop_end(req);
	return true;
}

static void read_begin(struct fsop_request *req, bool again)
{
	if (read_lead(req, again))
		return;
	/* Who has waited may find none left. */
	req->u.read.buf = buf_reserve(req->share->bufs);
	if (!req->u.read.buf && again)
		req->u.read.buf = buf_map(req->share->rsize);
	if (!req->u.read.buf) {
		fsop_reply_err(req, -ENOMEM);
		return;
	}
	fsop_settle(req, req->node, read_send);
}

void fsop_read(
	fuse_req_t fuse, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi)
{
	(void)ino;
	struct fsop_request *req = fsop_begin_file(fuse, fi);
	if (!req)
		return;
	req->u.read.offset = (uint64_t)offset;
	req->u.read.len = size < req->share->rsize ? (uint32_t)size : req->share->rsize;
	req->u.read.got = 0;
	if (!(fi->flags & O_DIRECT)) {
		atomic_fetch_add(&req->node->file->page_reads, 1);
		atomic_store(&req->node->file->paged, true);
	}
	if (read_ahead(req))
		return;
	read_begin(req, false);
}
