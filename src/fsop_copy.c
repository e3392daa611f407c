/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>

#include "fsop_copy.h"
#include "nfs41/error.h"

/*
 * copy_file_range(2): the server copies, with CLONE where it can share blocks, else with COPY.
 *
 * What COPY has left unstable cannot be written again from here, so it is committed before the
 * program is answered, and copied again if the write verifier shows that the server has restarted
 * in between. The source's data is committed before, since what the server has lost of it would be
 * copied as it was.
 *
 * Whatever the server refuses is EOPNOTSUPP here: the kernel then reads and writes, and hears the
 * true error if there is one.
 */

/* For one request, bytes: what an answer can tell, in whole blocks. */
#define COPY_MAX (1u << 30)
/* Up to this size the server is to answer when it has copied. */
#define COPY_SYNC_MAX (4u << 20)
/* What is cloned, where the server has not said. */
#define COPY_BLOCK 4096
/* So often the server may lose a piece in a restart. */
#define COPY_TRIES 4

static void copy_next(struct fsop_request *req);

static struct reclaim_use *copy_source_use(struct fsop_request *req)
{
	return &req->u.copy.source_use;
}

/* The kernel drops the pages of what it hears was copied, and no others. */
static void copy_distrust(struct fsop_request *req)
{
	struct share *share = req->share;
	node_note_unknown(share->nodes, req->node);
	notify_inval_inode(share->notify, req->node->id, NULL, NULL);
}

static void copy_end(struct fsop_request *req, int err)
{
	uint32_t done = req->u.copy.done;
	if (done > 0 && req->fuse) {
		fuse_reply_write(req->fuse, done);
		fsop_end(req);
		return;
	}
	/* The program was killed. */
	if (done > 0)
		copy_distrust(req);
	fsop_reply_err(req, err);
}

/* How much of the piece is there nobody knows. */
static void copy_spoil(struct fsop_request *req, int err)
{
	copy_distrust(req);
	copy_end(req, err);
}

/* Would the kernel's own copy fail as well? */
static bool copy_status_is_told(int status)
{
	switch (status) {
	case NFS4ERR_IO:
	case NFS4ERR_NOSPC:
	case NFS4ERR_DQUOT:
	case NFS4ERR_FBIG:
	case NFS4ERR_ROFS:
	case NFS4ERR_STALE: return true;
	default: return status < 0;
	}
}

void copy_fail(struct fsop_request *req, int status)
{
	int err = status < 0 ? status : nfs_error_errno((uint32_t)status);
	if (!copy_status_is_told(status))
		err = -EOPNOTSUPP;
	/* What was refused at once has changed nothing. */
	if (err != -EOPNOTSUPP || req->u.copy.begun)
		copy_spoil(req, err);
	else
		copy_end(req, err);
}

static void copy_source_again(struct reclaim_use *use)
{
	struct fsop_request *req =
		(struct fsop_request *)((char *)use -
					offsetof(struct fsop_request, u.copy.source_use));
	copy_next(req);
}

/* One of two stateids was refused, and the server does not say which. */
static bool copy_refused(struct fsop_request *req)
{
	struct reclaim *reclaim = req->share->reclaim;
	req->u.copy.turn = !req->u.copy.turn;
	return req->u.copy.turn ? reclaim_refused(reclaim, copy_source_use(req), req->worker->conn,
					  req->compound->status, copy_source_again)
				: fsop_refused(req, copy_next);
}

/* PUTFH, SAVEFH, PUTFH, GETATTR. NULL: answered. */
static struct nfs_compound *copy_compound(
	struct fsop_request *req, uint32_t label, struct nfs_copy_args *args)
{
	struct nfs_bitmap change = {0};
	int err = reclaim_use_open(req->share->reclaim, copy_source_use(req), req->source->open);
	if (!err)
		err = fsop_use_open(req);
	if (err) {
		copy_end(req, err);
		return NULL;
	}
	*args = (struct nfs_copy_args){
		.from_stateid = copy_source_use(req)->stateid,
		.to_stateid = req->use.stateid,
		.from = req->u.copy.from + req->u.copy.done,
		.to = req->u.copy.to + req->u.copy.done,
	};
	struct nfs_compound *c = fsop_compound_bare(req, label);
	if (!c)
		return NULL;
	nfs_op_putfh(c, &req->source->open->fh);
	nfs_op_savefh(c);
	nfs_op_putfh(c, &req->file->open->fh);
	nfs_bitmap_set(&change, FATTR4_CHANGE);
	nfs_op_getattr(c, &change, &req->before);
	req->u.copy.at = c->nops;
	return c;
}

/* In the same compound: what is there behind it is stable. */
static void copy_put_commit(struct fsop_request *req, struct nfs_compound *c)
{
	nfs_op_commit(c, req->u.copy.to + req->u.copy.done, 0, req->u.copy.verifier);
	nfs_op_getattr(c, &req->share->want, &req->attr);
}

static bool copy_note(struct fsop_request *req)
{
	if (fsop_attr_check(req->node, &req->attr) < 0)
		return false;
	node_note_write(req->share->nodes, req->node, req->before.change, &req->attr);
	return true;
}

/* Did the server restart between the copy and its COMMIT? */
static bool copy_is_lost(const struct fsop_request *req)
{
	const struct nfs_write_response *write = &req->u.copy.res.write;
	return write->committed == UNSTABLE4 &&
	       memcmp(write->verifier, req->u.copy.verifier, NFS4_VERIFIER_SIZE) != 0;
}

void copy_again(struct fsop_request *req)
{
	if (req->u.copy.tries++ < COPY_TRIES)
		copy_next(req);
	else
		copy_spoil(req, -EIO);
}

static void copy_advance(struct fsop_request *req)
{
	req->u.copy.done += (uint32_t)req->u.copy.res.write.count;
	req->u.copy.tries = 0;
	req->u.copy.begun = false;
	copy_next(req);
}

static void copy_committed(struct nfs_compound *c)
{
	struct fsop_request *req = c->arg;
	if (c->status)
		copy_spoil(req, nfs_compound_errno(c));
	else if (copy_is_lost(req))
		copy_again(req);
	else
		copy_advance(req);
}

void copy_commit(struct fsop_request *req)
{
	/* Others may have changed the file meanwhile. */
	node_note_unknown(req->share->nodes, req->node);
	if (req->u.copy.res.write.count == 0) {
		/* The end of the source, which the kernel does not believe in. */
		copy_end(req, -EOPNOTSUPP);
		return;
	}
	if (req->u.copy.res.write.committed == FILE_SYNC4) {
		copy_advance(req);
		return;
	}
	struct nfs_compound *c = fsop_compound_bare(req, OP_COMMIT);
	if (!c)
		return;
	nfs_op_putfh(c, &req->file->open->fh);
	nfs_op_commit(c, req->u.copy.to + req->u.copy.done, 0, req->u.copy.verifier);
	fsop_send(req, copy_committed);
}

/* The server does it the other way only. False: it does not do it at all. */
static bool copy_change_way(struct fsop_request *req)
{
	bool synchronous = req->u.copy.res.synchronous;
	if (req->u.copy.asked == !synchronous || req->u.copy.tries++ > 0)
		return false;
	if (!synchronous && req->share->keep)
		return false;
	req->u.copy.synchronous = synchronous;
	req->u.copy.forced = !synchronous;
	copy_next(req);
	return true;
}

static void copy_copied(struct fsop_request *req)
{
	const struct nfs_compound *c = req->compound;
	const struct nfs_write_response *write = &req->u.copy.res.write;
	/* COMMIT may have been refused for the moment, or was not there. */
	if (c->status || req->u.copy.asked || write->count == 0)
		copy_commit(req);
	else if (copy_is_lost(req))
		copy_again(req);
	else if (!copy_note(req))
		copy_spoil(req, -EIO);
	else
		copy_advance(req);
}

static void copy_refuse(struct fsop_request *req, int status)
{
	/* Of an asynchronous copy nobody knows under which name it goes on: it may, beside this
	 * one, which brings the same data. */
	if (status == -EALREADY) {
		req->u.copy.synchronous = true;
		copy_next(req);
		return;
	}
	if (status == NFS4ERR_OFFLOAD_NO_REQS && copy_change_way(req))
		return;
	lacks_note(&req->share->lacks, req->node->fsid, OP_COPY, status);
	copy_fail(req, status);
}

static void copy_done(struct nfs_compound *c)
{
	struct fsop_request *req = c->arg;
	bool executed = c->ops_ok > req->u.copy.at;
	bool async = executed && req->u.copy.res.write.async;
	/* even where it was not asked to */
	if (async && !req->u.copy.asked)
		offload_ask(&req->share->offloads);
	if (!async && req->u.copy.asked)
		offload_begin(&req->share->offloads, NULL);
	if (async)
		copy_wait(req);
	else if (executed)
		copy_copied(req);
	else if (!copy_refused(req))
		copy_refuse(req, c->status);
}

static void copy_send(struct fsop_request *req)
{
	struct nfs_copy_args args;
	struct nfs_compound *c = copy_compound(req, OP_COPY, &args);
	if (!c)
		return;
	args.count = req->u.copy.len - req->u.copy.done;
	args.synchronous =
		!req->u.copy.forced && (req->u.copy.synchronous || args.count <= COPY_SYNC_MAX);
	req->u.copy.asked = !args.synchronous;
	req->u.copy.res.synchronous = args.synchronous;
	nfs_op_copy(c, &args, &req->u.copy.res);
	if (args.synchronous) {
		copy_put_commit(req, c);
		fsop_send(req, copy_done);
	} else {
		offload_ask(&req->share->offloads);
		fsop_send_once(req, copy_done);
	}
}

static void copy_clone(struct fsop_request *req);

static void copy_cloned(struct nfs_compound *c)
{
	struct fsop_request *req = c->arg;
	if (req->u.copy.fs.clone_blksize > 0)
		atomic_store(&req->share->clone_block, req->u.copy.fs.clone_blksize);
	if (c->ops_ok <= req->u.copy.at) {
		if (copy_refused(req))
			return;
		lacks_note(&req->share->lacks, req->node->fsid, OP_CLONE, c->status);
		req->u.copy.clone = 0;
		if (copy_status_is_told(c->status))
			copy_fail(req, c->status);
		else
			copy_next(req);
		return;
	}
	if (c->status || !copy_note(req)) {
		copy_spoil(req, c->status ? nfs_compound_errno(c) : -EIO);
		return;
	}
	req->u.copy.done = req->u.copy.clone;
	copy_end(req, 0);
}

/* For the next time: this one will tell by itself. */
static void copy_put_block(struct fsop_request *req, struct nfs_compound *c)
{
	struct nfs_bitmap want = {0};
	nfs_bitmap_set(&want, FATTR4_CLONE_BLKSIZE);
	nfs_op_getfsattr(c, &want, &req->u.copy.fs);
	req->u.copy.at = c->nops;
}

static void copy_clone(struct fsop_request *req)
{
	struct nfs_copy_args args;
	struct nfs_compound *c = copy_compound(req, OP_CLONE, &args);
	if (!c)
		return;
	args.count = req->u.copy.clone;
	req->u.copy.fs.clone_blksize = 0;
	if (req->share->tells_clone_block && atomic_load(&req->share->clone_block) == 0)
		copy_put_block(req, c);
	nfs_op_clone(c, &args);
	copy_put_commit(req, c);
	fsop_send(req, copy_cloned);
}

/* How much of it can be cloned: whole blocks, or up to the end of the source. */
static uint32_t copy_clone_len(struct fsop_request *req)
{
	struct share *share = req->share;
	struct node *source = req->source->node;
	uint32_t len = req->u.copy.len, block = atomic_load(&share->clone_block);
	uint64_t from = req->u.copy.from, change, size;
	if (block == 0)
		block = COPY_BLOCK;
	if (source->fsid != req->node->fsid || lacks_op(&share->lacks, req->node->fsid, OP_CLONE) ||
		from % block != 0 || req->u.copy.to % block != 0)
		return 0;
	bool to_end = node_size(share->nodes, source, &change, &size) && from + len == size;
	return to_end ? len : len - len % block;
}

/* As with the kernel's client: within one file servers differ about COPY. */
static bool copy_can(const struct fsop_request *req)
{
	return req->source->node != req->node &&
	       !lacks_op(&req->share->lacks, req->node->fsid, OP_COPY);
}

static void copy_next(struct fsop_request *req)
{
	if (req->u.copy.done == req->u.copy.len || !req->fuse)
		copy_end(req, 0);
	else if (req->u.copy.clone > 0)
		copy_clone(req);
	else if (copy_can(req))
		copy_send(req);
	else
		copy_end(req, -EOPNOTSUPP);
}

static void copy_to_committed(void *arg, int err)
{
	struct fsop_request *req = arg;
	if (err) {
		copy_end(req, err);
		return;
	}
	req->u.copy.clone = copy_clone_len(req);
	copy_next(req);
}

static void copy_from_committed(void *arg, int err)
{
	struct fsop_request *req = arg;
	if (err)
		copy_end(req, err);
	else
		fsop_commit(req, copy_to_committed);
}

static bool copy_begin(struct fsop_request *req, const struct fuse_file_info *from)
{
	struct share *share = req->share;
	struct file *source = file_find(share, from->fh);
	if (!source) {
		fsop_reply_err(req, -EBADF);
		return false;
	}
	req->source = file_ref(source);
	memset(&req->u.copy, 0, sizeof(req->u.copy));
	/* What has become of one that goes on another daemon could not find out, or not even this.
	 */
	req->u.copy.synchronous =
		share->keep != NULL || lacks_op(&share->lacks, req->node->fsid, OP_OFFLOAD_STATUS);
	return true;
}

/*
 * A whole small file: its data has come along with its open, and what is written goes along with
 * whatever else its copy is given, owner, times, and CLOSE. To have it copied is a round trip more.
 */
static bool copy_is_small(const struct fsop_request *req)
{
	struct share *share = req->share;
	uint64_t change, size;
	return req->u.copy.from == 0 && !share->keep &&
	       node_size(share->nodes, req->source->node, &change, &size) &&
	       size <= AHEAD_FILE_MAX && req->u.copy.len >= size;
}

/* It is a write of what came with the open. True: answered; false: the kernel copies, by READ and
 * WRITE. */
static bool copy_here(struct fsop_request *req)
{
	struct share *share = req->share;
	struct behind_data data = {.offset = req->u.copy.to};
	struct behind *behind = NULL;
	if (req->source->node == req->node || node_behind(req->source->node))
		return false;
	struct buf *buf = ahead_whole(share->ahead, req->source, &data.len);
	if (!buf)
		return false;
	data.data = buf->data;
	bool taken = data.len <= req->u.copy.len &&
		     behind_write(share->behind, req->file, &data, &behind) == BEHIND_TAKEN;
	buf_unref(buf);
	if (taken) {
		fuse_reply_write(req->fuse, data.len);
		fsop_end(req);
	}
	return taken;
}

/* Is it worth asking? */
static bool copy_may(const struct fsop_request *req)
{
	return (!lacks_op(&req->share->lacks, req->node->fsid, OP_CLONE) || copy_can(req)) &&
	       !copy_is_small(req);
}

void fsop_copy_file_range(fuse_req_t fuse, fuse_ino_t ino_from, off_t from,
	struct fuse_file_info *fi_from, fuse_ino_t ino_to, off_t to, struct fuse_file_info *fi_to,
	size_t len, int flags)
{
	(void)ino_from;
	(void)ino_to;
	struct fsop_request *req = fsop_begin_file(fuse, fi_to);
	if (!req || !fsop_has_4_2(req) || !copy_begin(req, fi_from))
		return;
	req->u.copy.from = (uint64_t)from;
	req->u.copy.to = (uint64_t)to;
	req->u.copy.len = len < COPY_MAX ? (uint32_t)len : COPY_MAX;
	bool small = flags == 0 && copy_is_small(req);
	if (small)
		atomic_store(&req->share->copies, true);
	if (small && copy_here(req))
		return;
	if (flags != 0 || len == 0 || !copy_may(req)) {
		fsop_reply_err(req, -EOPNOTSUPP);
		return;
	}
	fsop_hold(req, req->node);
	behind_changes(req->share->behind, req->node);
	fsop_commit_node(req, req->source->node, copy_from_committed);
}
