/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "fsop.h"
#include "recall.h"
#include "util/log.h"

/* WRITE. Data is never copied here but for small writes, see unstable.h. */

/* The kernel's, or a part of it. */
#define WRITE_PAGE 4096

static void write_send(struct fsop_request *req);

/* Nobody waits for a commit that is only to make room. */
static void write_relieved(void *arg, int err)
{
	(void)err;
	file_unref(arg);
}

static void write_end(struct fsop_request *req)
{
	if (req->fuse)
		fuse_reply_write(req->fuse, req->u.write.len);
	fsop_end(req);
}

static void write_dropped(struct loop_task *task)
{
	struct fsop_request *req =
		(struct fsop_request *)((char *)task - offsetof(struct fsop_request, u.write.task));
	atomic_store(&req->node->file->page_reads_dropped, req->u.write.page_reads);
	write_end(req);
}

/*
 * An error is told by the next fsync or close. The kernel drops a page cache that is written around
 * before it writes, and if the program waits for that also afterwards, but not if it does not
 * (io_submit(2), io_uring): what was read in between would stay as it was.
 */
static void write_answer(void *arg, int err)
{
	struct fsop_request *req = arg;
	struct node_file *file = req->node->file;
	(void)err;
	req->u.write.page_reads = atomic_load(&file->page_reads);
	if (req->u.write.around &&
		atomic_load(&file->page_reads_dropped) != req->u.write.page_reads) {
		req->u.write.task.run = write_dropped;
		notify_inval_inode(
			req->share->notify, req->node->id, req->worker->loop, &req->u.write.task);
		return;
	}
	write_end(req);
}

static void write_finish(struct fsop_request *req)
{
	struct share *share = req->share;
	struct unstable_write *write = req->u.write.write;
	struct file *file = file_ref(req->file);
	bool stable = req->u.write.committed != UNSTABLE4, covered = false;
	req->u.write.len = write->len;
	if (write->len > 0)
		covered = unstable_keep(share->unstable, write, stable);
	else
		unstable_write_free(write);
	/* An append that went elsewhere than the kernel thought: its pages are wrong there. */
	if (req->u.write.moved)
		notify_inval_inode(share->notify, req->node->id, NULL, NULL);
	struct rpc_cred *cred = rpc_cred_ref(req->cred);
	struct worker *worker = req->worker;
	/* Its program was killed: the file may be closed already, and nobody else commits it. */
	bool killed = !req->fuse && !req->gathered;
	bool commit = killed || unstable_pressing(share->unstable, file->node);
	if (covered)
		unstable_commit(share->unstable, worker, file->node, cred, write_answer, req);
	else
		write_answer(req, 0);
	if (commit && !covered)
		unstable_commit(
			share->unstable, worker, file->node, cred, write_relieved, file_ref(file));
	rpc_cred_unref(cred);
	file_unref(file);
}

static void write_fail(struct fsop_request *req, int err)
{
	/* What the server did take before it failed cannot be told apart by the page cache. */
	node_note_unknown(req->share->nodes, req->node);
	unstable_write_free(req->u.write.write);
	fsop_reply_err(req, err);
}

/* PUTFH. NULL: answered. */
static struct nfs_compound *write_compound(struct fsop_request *req, uint32_t label)
{
	struct nfs_compound *c = fsop_compound_try(req, label);
	if (c)
		nfs_op_putfh(c, &req->file->open->fh);
	else
		write_fail(req, -ENOMEM);
	return c;
}

/* The file has grown since the kernel chose the place of an append: it goes to the present end. */
static void write_append_at(struct nfs_compound *c)
{
	struct fsop_request *req = c->arg;
	int err = nfs_compound_errno(c);
	if (!err)
		err = fsop_attr_check(req->node, &req->attr);
	if (!err && req->attr.size > INT64_MAX)
		err = -EFBIG;
	if (err) {
		write_fail(req, err);
		return;
	}
	req->u.write.write->offset = req->attr.size;
	req->u.write.moved = true;
	write_send(req);
}

static void write_get_size(struct fsop_request *req, void (*done)(struct nfs_compound *c))
{
	struct nfs_compound *c = write_compound(req, OP_GETATTR);
	if (!c)
		return;
	nfs_op_getattr(c, &req->share->want, &req->attr);
	fsop_send(req, done);
}

/* What is there, where the append would have put its data? */
static void write_seen(struct nfs_compound *c)
{
	struct fsop_request *req = c->arg;
	const struct unstable_write *write = req->u.write.write;
	const struct nfs_read_res *seen = &req->u.write.seen;
	/* Who may append need not be allowed to read: then the size has to do. */
	if (nfs_compound_errno(c) != 0)
		req->u.write.placed = req->attr.size == write->offset + write->len;
	else
		req->u.write.placed =
			seen->len > 0 && seen->len <= write->len &&
			memcmp(req->u.write.seen_buf->data, write->data, seen->len) == 0;
	buf_unref(req->u.write.seen_buf);
	/* Written again to where it is, or refused by VERIFY and appended behind the others'. */
	write_send(req);
}

/* An append may have been executed. */
static void write_look(struct nfs_compound *c)
{
	struct fsop_request *req = c->arg;
	const struct unstable_write *write = req->u.write.write;
	int err = nfs_compound_errno(c);
	if (err) {
		write_fail(req, err);
		return;
	}
	uint32_t len = write->len < req->share->rsize ? write->len : req->share->rsize;
	if (req->attr.size <= write->offset) {
		write_send(req);
		return;
	}
	c = write_compound(req, OP_READ);
	if (!c)
		return;
	req->u.write.seen_buf = buf_copy(write->data, len);
	if (!req->u.write.seen_buf) {
		write_fail(req, -ENOMEM);
		return;
	}
	nfs_op_read(c, &nfs_stateid_anonymous, write->offset, len, req->u.write.seen_buf,
		req->u.write.seen_buf->data, &req->u.write.seen);
	fsop_send(req, write_seen);
}

/* `err`: of what came after the data. */
static void write_note(struct fsop_request *req, int err)
{
	struct node_table *nodes = req->share->nodes;
	const struct behind *gathered = req->gathered;
	if (err) {
		node_set_error(nodes, req->node, err);
		node_note_unknown(nodes, req->node);
		return;
	}
	if (gathered)
		behind_note(req->share, gathered, req->before.change, &req->attr);
	else
		node_note_write(nodes, req->node, req->before.change, &req->attr);
	if (gathered && (gathered->owner.set || (gathered->others.set & NFS_SET_MODE)))
		recall_forget_access(req->share, req->node);
}

/* What became of the COMMIT behind it. True: that failed, and nothing else. */
static bool write_end_ride(struct fsop_request *req)
{
	const struct nfs_compound *c = req->compound;
	struct unstable_commit *ride = req->u.write.ride;
	if (!ride)
		return false;
	req->u.write.ride = NULL;
	unstable_end_ride(ride, c->status == 0);
	return c->status > 0 && c->ops_ok + 1 == c->nops;
}

/* The server has the data. `err`: of what came after it. */
static void write_take(struct fsop_request *req, int err)
{
	struct unstable_write *write = req->u.write.write;
	const struct nfs_write_res *res = &req->u.write.res;
	write_note(req, err);
	/* Parts under different verifiers: the commit will find the first one lost and rewrite all.
	 */
	if (write->done == 0)
		memcpy(write->verifier, res->verifier, NFS4_VERIFIER_SIZE);
	if (res->committed < req->u.write.committed)
		req->u.write.committed = res->committed;
	write->done += res->count;
	if (write->done < write->len)
		write_send(req);
	else
		write_finish(req);
}

static void write_done(struct nfs_compound *c)
{
	struct fsop_request *req = c->arg;
	const struct unstable_write *write = req->u.write.write;
	const struct nfs_write_res *res = &req->u.write.res;
	bool alone = write_end_ride(req);
	if (c->status == NFS4ERR_NOT_SAME) {
		write_get_size(req, write_append_at);
		return;
	}
	if (fsop_unsure(c)) {
		write_get_size(req, write_look);
		return;
	}
	if (!alone && fsop_refused(req, write_send))
		return;
	int err = alone ? 0 : nfs_compound_errno(c);
	if (!err && write->len > 0 && res->count == 0)
		err = -EIO;
	/* The data is there; what was to be changed besides is not. */
	bool written =
		req->gathered && write->len > 0 && c->ops_ok > req->u.write.at && res->count > 0;
	if (err && !written) {
		write_fail(req, err);
		return;
	}
	write_take(req, err);
}

static void write_put_after(struct fsop_request *req)
{
	struct nfs_compound *c = req->compound;
	const struct behind *gathered = req->gathered;
	struct nfs_bitmap after = {0};
	if (gathered && gathered->owner.set)
		nfs_op_setattr(c, &nfs_stateid_anonymous, &gathered->owner, NULL);
	if (gathered && gathered->others.set)
		nfs_op_setattr(c, &nfs_stateid_anonymous, &gathered->others, NULL);
	nfs_bitmap_set(&after, FATTR4_CHANGE);
	nfs_bitmap_set(&after, FATTR4_SIZE);
	nfs_op_getattr(c, &after, &req->attr);
}

static void write_followed(struct nfs_compound *c)
{
	struct fsop_request *req = c->arg;
	write_take(req, nfs_compound_errno(c));
}

static void write_was_last(struct nfs_compound *c)
{
	struct fsop_request *req = c->arg;
	if (c->status != 0 || req->u.write.res.count == 0) {
		write_done(c);
		return;
	}
	c = fsop_compound_try(req, OP_GETATTR);
	if (!c) {
		write_take(req, -ENOMEM);
		return;
	}
	nfs_op_putfh(c, &req->file->open->fh);
	write_put_after(req);
	fsop_send(req, write_followed);
}

static void write_send(struct fsop_request *req)
{
	struct unstable_write *write = req->u.write.write;
	int err = fsop_use_open(req);
	if (err) {
		write_fail(req, err);
		return;
	}
	struct nfs_bitmap change = {0};
	const struct behind *gathered = req->gathered;
	bool append = (req->file->flags & O_APPEND) && write->done == 0 && !req->u.write.placed;
	bool changes = gathered && (gathered->owner.set || gathered->others.set);
	bool last = write->len > 0 && fsop_data_is_last(req);
	nfs_bitmap_set(&change, FATTR4_CHANGE);
	struct nfs_compound *c = write_compound(req, write->len > 0 ? OP_WRITE : OP_SETATTR);
	if (!c)
		return;
	/* There is no append in the protocol. VERIFY keeps what another client has appended
	 * meanwhile from being overwritten, but for the moment between two operations on the
	 * server. */
	if (append)
		nfs_op_verify_size(c, write->offset);
	nfs_op_getattr(c, &change, &req->before);
	req->u.write.at = c->nops;
	if (write->len > 0)
		nfs_op_write(c, &req->use.stateid, write->offset + write->done, req->u.write.stable,
			write->buf, write->data + write->done, write->len - write->done,
			&req->u.write.res);
	if (!last)
		write_put_after(req);
	if (!append && !changes && write->len > 0 && !last)
		req->u.write.ride =
			unstable_ride(req->share->unstable, req->worker, req->node, req->cred);
	if (req->u.write.ride)
		unstable_put_ride(req->u.write.ride, c);
	if (append)
		fsop_send_once(req, last ? write_was_last : write_done);
	else if (last)
		fsop_send(req, write_was_last);
	else if (req->gathered && !req->u.write.ride)
		fsop_send(req, fsop_carry(req, write_done));
	else
		fsop_send(req, write_done);
}

static void write_gather(struct fsop_request *req, const struct behind_data *data);

/* What was in its way is with the server: it may be gathered now. */
static void write_settled(struct fsop_request *req)
{
	struct unstable_write *write = req->u.write.write;
	const struct behind_data data = {
		.data = write->data, .len = write->len, .offset = write->offset};
	if (req->fuse && !req->u.write.direct)
		write_gather(req, &data);
	else
		fsop_settle(req, req->node, write_send);
}

/* A program that need not wait for the server goes on. */
static void write_fly(struct fsop_request *req, struct behind *behind)
{
	req->gathered = behind;
	if (!behind->late) {
		fuse_reply_write(req->fuse, behind->len);
		req->fuse = NULL;
	}
	write_send(req);
}

static void write_has_room(struct behind_wait *wait)
{
	write_settled((struct fsop_request *)((char *)wait - offsetof(struct fsop_request, wait)));
}

static void write_go_on(struct fsop_request *req, enum behind_answer answer, struct behind *behind)
{
	switch (answer) {
	case BEHIND_TAKEN: break;
	case BEHIND_DIRECT: write_send(req); break;
	case BEHIND_FLIES: write_fly(req, behind); break;
	case BEHIND_WAIT: fsop_settle(req, req->node, write_settled); break;
	case BEHIND_FULL:
		req->wait.done = write_has_room;
		behind_wait_first(req->share, req->node, &req->wait);
		break;
	}
}

static void write_gather(struct fsop_request *req, const struct behind_data *data)
{
	struct behind *behind = NULL;
	enum behind_answer answer = behind_write(req->share->behind, req->file, data, &behind);
	if (answer == BEHIND_TAKEN) {
		unstable_write_free(req->u.write.write);
		fuse_reply_write(req->fuse, data->len);
		fsop_end(req);
		return;
	}
	write_go_on(req, answer, behind);
}

/* The data as it is kept until it is committed. False: answered with ENOMEM. */
static bool write_keep(struct fsop_request *req, const struct behind_data *data)
{
	struct worker *worker = req->worker;
	/* What came over io_uring goes with the answer. */
	struct buf *in = worker->in_ring ? NULL : worker->in;
	struct unstable_write *write = unstable_write_new(
		req->share->unstable, req->file, in, data->data, data->len, data->offset);
	if (!write) {
		fsop_reply_err(req, -ENOMEM);
		return false;
	}
	/* The data stays where it was read to: the next request is read elsewhere. */
	if (in && write->buf == in) {
		buf_unref(worker->in);
		worker->in = NULL;
	}
	req->u.write.write = write;
	return true;
}

static void write_begin(struct fsop_request *req, uint32_t stable)
{
	req->u.write.stable = stable;
	req->u.write.committed = FILE_SYNC4;
	req->u.write.moved = req->u.write.placed = false;
	req->u.write.ride = NULL;
}

/* Of a page that is not in its cache the kernel keeps what is written only where that is all of it.
 */
static bool write_fills_page(const struct behind_data *range)
{
	uint64_t first = (range->offset + WRITE_PAGE - 1) / WRITE_PAGE * WRITE_PAGE;
	return first + WRITE_PAGE <= range->offset + range->len;
}

void fsop_write(fuse_req_t fuse, fuse_ino_t ino, const char *data, size_t size, off_t offset,
	struct fuse_file_info *fi)
{
	(void)ino;
	struct fsop_request *req = fsop_begin_file(fuse, fi);
	if (!req)
		return;
	const struct behind_data range = {
		.data = (const uint8_t *)data, .len = (uint32_t)size, .offset = (uint64_t)offset};
	enum behind_answer answer = BEHIND_WAIT;
	struct behind *behind = NULL;
	if (fi->writepage || write_fills_page(&range))
		atomic_store(&req->node->file->paged, true);
	/* What a program wrote to a mapping the kernel has gathered already. */
	req->u.write.direct = fi->writepage || (fi->flags & (O_SYNC | O_DSYNC | O_DIRECT));
	if (!req->u.write.direct)
		answer = behind_write(req->share->behind, req->file, &range, &behind);
	else
		behind_changes(req->share->behind, req->node);
	if (answer == BEHIND_TAKEN) {
		fuse_reply_write(fuse, size);
		fsop_end(req);
		return;
	}
	req->u.write.around = (fi->flags & O_DIRECT) && !fi->writepage;
	write_begin(req, fi->flags & O_SYNC    ? FILE_SYNC4
			 : fi->flags & O_DSYNC ? DATA_SYNC4
					       : UNSTABLE4);
	/* The kernel gives the pages of a mapping, or those that it gathered, their place. */
	req->u.write.placed = fi->writepage;
	req->gathered = behind;
	if (write_keep(req, &range))
		write_go_on(req, answer, behind);
}

void fsop_write_gathered(struct behind *behind)
{
	struct share *share = worker_self()->share;
	struct fsop_request *req = fsop_begin_gathered(behind);
	if (!req) {
		node_set_error(share->nodes, behind->file->node, -ENOMEM);
		behind_sent(share, behind);
		return;
	}
	bool stable = behind->stable && !unstable_waits(share->unstable, req->node);
	req->u.write.around = false;
	write_begin(req, stable ? FILE_SYNC4 : UNSTABLE4);
	req->u.write.write = unstable_write_of(
		share->unstable, req->file, behind->buf, behind->len, behind->offset);
	if (req->u.write.write)
		write_send(req);
	else
		fsop_reply_err(req, -ENOMEM);
}
