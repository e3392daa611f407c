/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>

#include "fsop_copy.h"

/*
 * A copy that goes on after its COPY was answered ends with CB_OFFLOAD. Should that not come, the
 * server is asked, more and more seldom, and told to stop when the program was killed.
 *
 *   WAITING -> (POLLING ->) WAITING -> told, by CB_OFFLOAD
 *   WAITING -> POLLING -> complete -> POLLING with COMMIT -> committed
 *   WAITING -> POLLING -> not known there, twice -> copied again
 *   WAITING -> POLLING -> cannot be asked -> CANCELLING -> copied again
 *   WAITING -> CANCELLING -> cancelled
 */

#define OFFLOAD_TICK_NS	 UINT64_C(250000000)
#define OFFLOAD_FIRST_NS UINT64_C(1000000000)
#define OFFLOAD_MAX_NS	 UINT64_C(8000000000)
/* A server that has called may have forgotten the copy before the call arrives. */
#define OFFLOAD_UNKNOWN 2

static struct fsop_request *request_of(struct offload_wait *wait)
{
	return (struct fsop_request *)((char *)wait - offsetof(struct fsop_request, u.copy.wait));
}

static void offload_finish(struct fsop_request *req, const struct callback_offload *result)
{
	struct nfs_write_response *write = &req->u.copy.res.write;
	uint32_t asked = req->u.copy.len - req->u.copy.done;
	if (result->status != NFS4_OK) {
		copy_fail(req, result->status <= INT32_MAX ? (int)result->status : -EIO);
		return;
	}
	if (result->count > asked) {
		copy_fail(req, -EIO);
		return;
	}
	write->count = result->count;
	write->committed = result->committed;
	memcpy(write->verifier, result->verifier, NFS4_VERIFIER_SIZE);
	copy_commit(req);
}

static void offload_heard(struct offload_wait *wait)
{
	struct fsop_request *req = request_of(wait);
	loop_timer_cancel(req->worker->loop, &req->u.copy.timer);
	req->u.copy.heard = true;
	/* else when the answer is there */
	if (!req->u.copy.polling)
		offload_finish(req, &wait->result);
}

static void offload_poll(struct fsop_request *req, bool commit);

static void offload_complete(struct fsop_request *req);

static void offload_hinted(struct offload_wait *wait)
{
	struct fsop_request *req = request_of(wait);
	req->u.copy.poll_at = loop_now(req->worker->loop);
	if (req->u.copy.over)
		offload_complete(req);
	else if (!req->u.copy.polling)
		offload_poll(req, true);
}

/* True: nobody will call any more. */
static bool offload_leave(struct fsop_request *req)
{
	if (!offload_end(&req->share->offloads, &req->u.copy.wait))
		return false;
	loop_timer_cancel(req->worker->loop, &req->u.copy.timer);
	return true;
}

/* What the server says to that makes no difference: there is nothing else to do. */
static void offload_cancelled(struct nfs_compound *c)
{
	struct fsop_request *req = c->arg;
	req->u.copy.synchronous = true;
	if (req->fuse)
		copy_again(req);
	else
		copy_fail(req, -EINTR);
}

static void offload_cancel(struct fsop_request *req)
{
	if (!offload_leave(req))
		return;
	struct nfs_compound *c = fsop_compound_bare(req, OP_OFFLOAD_CANCEL);
	if (!c)
		return;
	nfs_op_putfh(c, &req->file->open->fh);
	nfs_op_offload_cancel(c, &req->u.copy.wait.stateid);
	fsop_send(req, offload_cancelled);
}

/* It is done, and committed in the same compound: by the same server. */
static void offload_complete(struct fsop_request *req)
{
	struct callback_offload result = {.status = req->u.copy.status.status,
		.count = req->u.copy.status.count,
		.committed = FILE_SYNC4};
	if (result.status == NFS4_OK && !req->u.copy.committing)
		offload_poll(req, true);
	else if (offload_leave(req))
		offload_finish(req, &result);
	else
		req->u.copy.over = true;
}

/* The server does not know it, or cannot be asked. */
static void offload_poll_failed(struct fsop_request *req, int status)
{
	if (lacks_note(&req->share->lacks, req->node->fsid, OP_OFFLOAD_STATUS, status)) {
		/* Nor would a restart of the server be heard of. */
		offload_cancel(req);
		return;
	}
	if (status > 0 && ++req->u.copy.unknown < OFFLOAD_UNKNOWN)
		return;
	if (!offload_leave(req))
		return;
	if (status < 0) {
		copy_fail(req, status);
		return;
	}
	req->u.copy.synchronous = true;
	copy_again(req);
}

static void offload_polled(struct nfs_compound *c)
{
	struct fsop_request *req = c->arg;
	req->u.copy.polling = false;
	if (req->u.copy.heard)
		offload_finish(req, &req->u.copy.wait.result);
	else if (c->status)
		offload_poll_failed(req, c->status);
	else if (req->u.copy.status.complete)
		offload_complete(req);
}

static void offload_poll(struct fsop_request *req, bool commit)
{
	/* Without memory: after the next pause. */
	struct nfs_compound *c = fsop_compound_try(req, OP_OFFLOAD_STATUS);
	if (!c)
		return;
	req->u.copy.polling = true;
	req->u.copy.committing = commit;
	nfs_op_putfh(c, &req->file->open->fh);
	nfs_op_offload_status(c, &req->u.copy.wait.stateid, &req->u.copy.status);
	if (commit)
		nfs_op_commit(c, req->u.copy.to + req->u.copy.done, 0, req->u.copy.verifier);
	fsop_send(req, offload_polled);
}

static void offload_tick(struct loop_timer *timer)
{
	struct fsop_request *req =
		(struct fsop_request *)((char *)timer -
					offsetof(struct fsop_request, u.copy.timer));
	struct loop *loop = req->worker->loop;
	uint64_t now = loop_now(loop);
	loop_timer_set(loop, timer, now + OFFLOAD_TICK_NS);
	if (req->u.copy.polling || req->u.copy.over)
		return;
	if (!req->fuse) {
		offload_cancel(req);
		return;
	}
	/* at the end of the mount this fails at once */
	if (now < req->u.copy.poll_at && !req->share->ended)
		return;
	req->u.copy.poll_at = now + req->u.copy.pause_ns;
	if (req->u.copy.pause_ns < OFFLOAD_MAX_NS)
		req->u.copy.pause_ns *= 2;
	offload_poll(req, false);
}

void copy_wait(struct fsop_request *req)
{
	struct loop *loop = req->worker->loop;
	uint64_t now = loop_now(loop);
	req->u.copy.wait = (struct offload_wait){.done = offload_heard,
		.hint = offload_hinted,
		.loop = loop,
		.stateid = req->u.copy.res.write.stateid,
		.fh = req->file->open->fh};
	req->u.copy.timer = (struct loop_timer){.fire = offload_tick};
	req->u.copy.heard = req->u.copy.polling = req->u.copy.over = false;
	req->u.copy.begun = true;
	req->u.copy.unknown = 0;
	req->u.copy.pause_ns = OFFLOAD_FIRST_NS;
	req->u.copy.poll_at = now + OFFLOAD_FIRST_NS;
	loop_timer_set(loop, &req->u.copy.timer, now + OFFLOAD_TICK_NS);
	offload_begin(&req->share->offloads, &req->u.copy.wait);
}
