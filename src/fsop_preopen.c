/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>

#include "fsop_open.h"
#include "preopen.h"
#include "upcoming.h"

/* OPENs ahead of the program that is expected to ask for them. */

static void preopen_fail(struct fsop_request *req)
{
	preopen_end(req->share->preopen, req->node->id, NULL, 0, 0, 0);
	fsop_end(req);
}

/* Keeps the delegation alone. True: there is one. */
static bool preopen_keep(struct fsop_request *req)
{
	node_fh(req->node, &req->fh);
	struct nfs_open *open = fsop_open_record(req);
	bool held = fsop_open_delegated(req, req->node);
	if (open)
		file_close(req->share, open);
	return held;
}

static void preopen_done(struct nfs_compound *c)
{
	struct fsop_request *req = c->arg;
	struct share *share = req->share;
	struct buf *buf = req->u.open.buf;
	const struct nfs_read_res *data = &req->u.open.data;
	bool read, held = false;
	int err = fsop_open_took(req, &read);
	/* The kernel has not been told: the program's own open has to find out. */
	if (!err && !node_is_as(share->nodes, req->node, &req->attr)) {
		node_note_unknown(share->nodes, req->node);
		err = -ESTALE;
	}
	/* PUTFH and OPEN */
	if (c->ops_ok >= 2)
		held = preopen_keep(req);
	else
		deleg_answered(share->state, &req->u.open.asking, NULL);
	bool whole = !err && held && read && data->eof && data->len == req->attr.size;
	preopen_end(share->preopen, req->node->id, whole ? buf : NULL, data->len, req->attr.change,
		loop_now(req->worker->loop));
	if (whole)
		worker_watch_unread(req->worker);
	buf_unref(buf);
	fsop_end(req);
}

/* `node`, of `len` bytes, is announced by preopen_begin. */
static void preopen_send(struct node *node_take, uint32_t len, struct rpc_cred *cred)
{
	struct share *share = worker_self()->share;
	uint64_t id = node_take->id;
	struct fsop_request *req = fsop_begin_own(node_take, cred, FUSE_OPEN);
	struct nfs_fh fh;
	if (!req) {
		preopen_end(share->preopen, id, NULL, 0, 0, 0);
		return;
	}
	req->u.open.fi = (struct fuse_file_info){.flags = O_RDONLY};
	req->u.open.access = OPEN4_SHARE_ACCESS_READ;
	req->u.open.widened = req->u.open.direct = false;
	req->u.open.owner = nfs_client_owner(share->client);
	if (!fsop_compound_try(req, OP_OPEN)) {
		preopen_fail(req);
		return;
	}
	node_fh(req->node, &fh);
	nfs_op_putfh(req->compound, &fh);
	/* Nobody waits for a file that somebody else has to give back first. */
	req->compound->optional = true;
	fsop_open_put(req, len);
	fsop_send(req, fsop_carry(req, preopen_done));
}

/* The length of a file that is there, whose data the kernel lacks, and that nobody here writes; 0:
 * it is not to be opened. */
static uint32_t preopen_suits(struct share *share, struct node *node)
{
	uint32_t len = ahead_wanted(share->ahead, node, O_RDONLY);
	bool suits = len > 0 && !node_behind(node) && !node_is_delegated(share->nodes, node) &&
		     preopen_begin(share->preopen, node->id, len);
	return suits ? len : 0;
}

void fsop_preopen(struct fsop_request *req)
{
	struct share *share = req->share;
	uint64_t ids[UPCOMING_MAX];
	unsigned count = 0;
	if (req->u.open.access == OPEN4_SHARE_ACCESS_READ && !(req->u.open.fi.flags & O_DIRECT))
		count = upcoming_opened(share->upcoming, node_parent_id(share->nodes, req->node),
			req->node->id, req->begun_at, ids);
	for (unsigned i = 0; i < count; i++) {
		struct node *node = node_find(share->nodes, ids[i]);
		uint32_t len = node ? preopen_suits(share, node) : 0;
		if (len > 0)
			preopen_send(node, len, req->cred);
		else
			node_unpin(share->nodes, node);
	}
}
