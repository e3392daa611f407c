/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fsop.h"

#include <errno.h>
#include <linux/fuse.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "caller.h"
#include "fresh.h"
#include "listing.h"
#include "moved.h"
#include "takeover.h"
#include "trace.h"
#include "util/log.h"
#include "util/probe.h"
#include "whole.h"

static struct fsop_request *request_alloc(void)
{
	struct worker *worker = worker_self();
	struct fsop_request *req = spare_get(&worker->requests, sizeof(*req));
	if (!req)
		return NULL;
	/* The union is its user's to initialise; clearing a READLINK's place each time would cost.
	 */
	memset(req, 0, offsetof(struct fsop_request, attr));
	req->attr.have = (struct nfs_bitmap){0};
	req->before.have = (struct nfs_bitmap){0};
	req->dir.have = (struct nfs_bitmap){0};
	req->fh.len = 0;
	req->worker = worker;
	req->share = worker->share;
	return req;
}

static struct fsop_request *request_new(fuse_req_t fuse)
{
	struct fsop_request *req = request_alloc();
	if (!req) {
		fuse_reply_err(fuse, ENOMEM);
		return NULL;
	}
	req->fuse = fuse;
	req->unique = req->worker->unique;
	req->opcode = req->worker->opcode;
	req->u.names.name[0] = '\0'; /* where each request that has a name keeps it */
	req->resent = req->unique & FSOP_UNIQUE_RESEND;
	req->pid = fuse_req_ctx(fuse)->pid;
	vigil_add(&req->worker->vigil, req);
	return req;
}

struct fsop_request *fsop_begin(fuse_req_t fuse, fuse_ino_t ino)
{
	const struct fuse_ctx *ctx = fuse_req_ctx(fuse);
	struct fsop_request *req = request_new(fuse);
	if (!req)
		return NULL;
	req->node = node_find(req->share->nodes, ino);
	if (!req->node) {
		fsop_reply_err(req, -ESTALE);
		return NULL;
	}
	req->cred = proccred_get(req->share->creds, ctx->pid, ctx->uid, ctx->gid);
	if (!req->cred) {
		fsop_reply_err(req, -ENOMEM);
		return NULL;
	}
	if (moved_is_standin(req->node) && moved_refuse(req))
		return NULL;
	if (req->opcode == FUSE_SETATTR)
		fsop_hold(req, req->node);
	return req;
}

void fsop_hold(struct fsop_request *req, const struct node *node)
{
	changes_hold(req->share->changes, &req->held, changes_object(node->fh_data, node->fh_len));
}

void fsop_hold_names(struct fsop_request *req)
{
	req->names = true;
	fsop_hold(req, req->node);
	if (req->target)
		fsop_hold(req, req->target);
	changes_hold(req->share->changes, &req->held, CHANGES_LINKS);
}

void fsop_hold_name(struct fsop_request *req, const struct node *dir, const char *name)
{
	changes_hold(req->share->changes, &req->held, node_mark_of(dir->id, name, strlen(name)));
}

struct fsop_request *fsop_begin_file(fuse_req_t fuse, const struct fuse_file_info *fi)
{
	struct fsop_request *req = request_new(fuse);
	if (!req)
		return NULL;
	struct file *file = file_find(req->share, fi->fh);
	if (!file) {
		fsop_reply_err(req, -EBADF);
		return NULL;
	}
	req->file = file_ref(file);
	req->node = node_pin(req->file->node);
	req->cred = rpc_cred_ref(req->file->open->cred);
	if (req->opcode == FUSE_WRITE)
		fsop_hold(req, req->node);
	return req;
}

struct fsop_request *fsop_begin_gathered(struct behind *behind)
{
	struct fsop_request *req = request_alloc();
	if (!req)
		return NULL;
	req->gathered = behind;
	req->opcode = FUSE_WRITE;
	req->file = file_ref(behind->file);
	req->node = node_pin(req->file->node);
	req->cred = rpc_cred_ref(req->file->open->cred);
	fsop_hold(req, req->node);
	vigil_add(&req->worker->vigil, req);
	return req;
}

struct fsop_request *fsop_begin_own(struct node *node_take, struct rpc_cred *cred, uint32_t opcode)
{
	struct fsop_request *req = request_alloc();
	if (!req) {
		node_unpin(worker_self()->share->nodes, node_take);
		return NULL;
	}
	req->opcode = opcode;
	req->u.names.name[0] = '\0';
	req->node = node_take;
	req->cred = rpc_cred_ref(cred);
	vigil_add(&req->worker->vigil, req);
	return req;
}

static void fsop_settled(struct behind_wait *wait)
{
	struct fsop_request *req =
		(struct fsop_request *)((char *)wait - offsetof(struct fsop_request, wait));
	req->settled(req);
}

static void fsop_settle_as(struct fsop_request *req, struct node *node, bool stable,
	void (*next)(struct fsop_request *req))
{
	if (!node_behind(node)) {
		next(req);
		return;
	}
	req->settled = next;
	req->wait.done = fsop_settled;
	behind_settle(req->share, node, stable, &req->wait);
}

void fsop_settle(
	struct fsop_request *req, struct node *node, void (*next)(struct fsop_request *req))
{
	fsop_settle_as(req, node, false, next);
}

static void commit_settled(struct fsop_request *req)
{
	unstable_commit(
		req->share->unstable, req->worker, req->committing, req->cred, req->committed, req);
}

void fsop_commit_node(struct fsop_request *req, struct node *node, void (*done)(void *req, int err))
{
	req->committing = node;
	req->committed = done;
	fsop_settle_as(req, node, true, commit_settled);
}

void fsop_commit(struct fsop_request *req, void (*done)(void *req, int err))
{
	fsop_commit_node(req, req->node, done);
}

/* Of a compound that is done. */
static uint64_t compound_ns(const struct nfs_compound *c)
{
	return c && c->call.replied_at > c->call.sent_at ? c->call.replied_at - c->call.sent_at : 0;
}

static void request_trace(struct fsop_request *req, uint64_t took)
{
	const struct nfs_compound *c = req->compound;
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	struct trace_entry entry = {
		.ended = (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec,
		.took = took,
		.rpc_ns = req->rpc_ns + compound_ns(c),
		.ino = req->node ? req->node->ino : 0,
		.opcode = req->opcode,
		.pid = req->pid,
		.err = req->err,
		.rpc = c ? c->label : 0,
		.rpc_count = req->rpcs + (c != NULL),
		.rpc_status = c ? c->status : 0,
	};
	if (trace_opcode_named(req->opcode))
		memcpy(entry.name, req->u.names.name,
			strnlen(req->u.names.name, sizeof(entry.name) - 1));
	caller_comm(proccred_proc_fd(req->share->creds), req->pid, entry.comm);
	trace_add(req->share->trace, &entry, loop_clock());
}

void fsop_end(struct fsop_request *req)
{
	struct share *share = req->share;
	struct behind *gathered = req->gathered;
	uint64_t took = loop_now(req->worker->loop) - req->begun_at;
	if (took >= atomic_load_explicit(share->trace_threshold, memory_order_relaxed))
		request_trace(req, took);
	PROBE4(request_end, req->unique, req->opcode, req->err, took);
	vigil_remove(req);
	nfs_compound_free(req->compound);
	file_unref(req->file);
	buf_unref(req->value);
	file_unref(req->source);
	node_unpin(share->nodes, req->node);
	node_unpin(share->nodes, req->target);
	node_unpin(share->nodes, req->victim);
	rpc_cred_unref(req->cred);
	takeover_drop(share, req->mark);
	changes_release(share->changes, &req->held);
	spare_put(&req->worker->requests, req);
	if (gathered)
		behind_sent(share, gathered);
}

const char *fsop_keep_name(char to[FSOP_NAME_MAX], const char *name)
{
	/* The kernel passes at most 1024 bytes, the server takes 255: fsop_lookup refuses the rest
	 * before anything else is done with such a name. */
	size_t len = strnlen(name, FSOP_NAME_MAX - 1);
	memcpy(to, name, len);
	to[len] = '\0';
	return to;
}

struct nfs_compound *fsop_compound_try(struct fsop_request *req, uint32_t label)
{
	if (req->compound) {
		req->rpc_ns += compound_ns(req->compound);
		req->rpcs++;
		nfs_compound_free(req->compound);
	}
	req->compound = nfs_compound_new(req->worker->conn, req->cred, label);
	return req->compound;
}

struct nfs_compound *fsop_compound_bare(struct fsop_request *req, uint32_t label)
{
	struct nfs_compound *c = fsop_compound_try(req, label);
	if (!c)
		fsop_reply_err(req, -ENOMEM);
	return c;
}

struct nfs_compound *fsop_compound(struct fsop_request *req, uint32_t label, struct node *node)
{
	struct nfs_compound *c = fsop_compound_bare(req, label);
	if (c) {
		struct nfs_fh fh;
		node_fh(node, &fh);
		nfs_op_putfh(c, &fh);
	}
	return c;
}

struct nfs_compound *fsop_compound_closed(
	struct fsop_request *req, uint32_t label, unsigned ops, struct node *node)
{
	struct nfs_compound *c = fsop_compound_bare(req, label);
	if (c) {
		struct nfs_fh fh;
		node_fh(node, &fh);
		closing_load_before(req->share->closing, c, ops, &req->load);
		nfs_op_putfh(c, &fh);
	}
	return c;
}

bool fsop_is_held_up(const struct fsop_request *req)
{
	return req->load.led && req->compound->status > 0;
}

bool fsop_data_is_last(const struct fsop_request *req)
{
	return rpc_cred_gss(req->cred) == RPC_SEC_KRB5P;
}

void fsop_send(struct fsop_request *req, void (*done)(struct nfs_compound *c))
{
	nfs_compound_send(req->compound, done, req);
}

static void fsop_carried(struct nfs_compound *c)
{
	struct fsop_request *req = c->arg;
	closing_unload(req->share->closing, c, &req->load);
	req->load.done(c);
}

void (*fsop_carry(struct fsop_request *req, void (*done)(struct nfs_compound *c)))(
	struct nfs_compound *c)
{
	req->load.done = done;
	return closing_load(req->share->closing, req->compound, 0, &req->load) ? fsop_carried
									       : done;
}

/* PUTFH and GETATTR. */
#define FSOP_ATTR_OPS 2

static void fsop_put_dir(struct fsop_request *req)
{
	struct nfs_fh fh;
	node_fh(req->node, &fh);
	req->dir.have = (struct nfs_bitmap){0};
	nfs_op_putfh(req->compound, &fh);
	nfs_op_getattr(req->compound, &req->share->want, &req->dir);
}

void (*fsop_carry_dir(struct fsop_request *req, void (*done)(struct nfs_compound *c)))(
	struct nfs_compound *c)
{
	fsop_put_dir(req);
	req->load.done = done;
	closing_load(req->share->closing, req->compound, FSOP_ATTR_OPS, &req->load);
	return fsop_carried;
}

void (*fsop_carry_victim(struct fsop_request *req, void (*done)(struct nfs_compound *c)))(
	struct nfs_compound *c)
{
	struct nfs_fh fh;
	if (!req->victim)
		return fsop_carry_dir(req, done);
	fsop_put_dir(req);
	node_fh(req->victim, &fh);
	req->attr.have = (struct nfs_bitmap){0};
	nfs_op_putfh(req->compound, &fh);
	nfs_op_getattr(req->compound, &req->share->want, &req->attr);
	req->load.done = done;
	closing_load(req->share->closing, req->compound, 2 * FSOP_ATTR_OPS, &req->load);
	return fsop_carried;
}

void fsop_put_change(struct fsop_request *req)
{
	struct nfs_bitmap change = {0};
	nfs_bitmap_set(&change, FATTR4_CHANGE);
	req->before.have = (struct nfs_bitmap){0};
	nfs_op_getattr(req->compound, &change, &req->before);
}

void fsop_note_renamed(struct fsop_request *req, struct node *node)
{
	if (nfs_bitmap_has(&req->before.have, FATTR4_CHANGE) &&
		fsop_attr_check(node, &req->attr) == 0)
		node_note_write(req->share->nodes, node, req->before.change, &req->attr);
}

void fsop_close_made(struct fsop_request *req)
{
	const struct closing_what what = {
		.fh = &req->fh, .cred = req->cred, .stateid = &req->made.stateid, .soon = true};
	closing_add(req->share->closing, &what, NULL);
}

void fsop_note_names(struct fsop_request *req)
{
	struct share *share = req->share;
	if (!req->names)
		return;
	req->names = false;
	if (fsop_attr_check(req->node, &req->dir) == 0) {
		fsop_note_attr(share, req->node, &req->dir);
		fresh_put(share->fresh, req->node, &req->dir, req->begun_at);
	} else {
		fresh_drop(share->fresh, req->node);
	}
	if (req->target && req->target != req->node)
		fresh_drop(share->fresh, req->target);
}

int fsop_use_open(struct fsop_request *req)
{
	return reclaim_use_open(req->share->reclaim, &req->use, req->file->open);
}

static void request_again(struct reclaim_use *use)
{
	struct fsop_request *req =
		(struct fsop_request *)((char *)use - offsetof(struct fsop_request, use));
	req->again(req);
}

bool fsop_refused(struct fsop_request *req, void (*again)(struct fsop_request *req))
{
	req->again = again;
	return req->use.open && reclaim_refused(req->share->reclaim, &req->use, req->worker->conn,
					req->compound->status, request_again);
}

/* The kernel now walks the path again and asks for each name, to hear it from the server. */
static void fsop_distrust_names(struct share *share)
{
	listing_drop_all(share->listing);
	whole_drop_all(share->whole);
}

void fsop_reply_err(struct fsop_request *req, int err)
{
	if (moved_ask(req, err))
		return;
	req->err = err;
	fsop_note_names(req);
	if (err == -ESTALE && req->fuse)
		fsop_distrust_names(req->share);
	if (req->fuse)
		fuse_reply_err(req->fuse, -err);
	else if (req->gathered && err)
		node_set_error(req->share->nodes, req->node, err);
	fsop_end(req);
}

void fsop_reply_attr(struct fsop_request *req, const struct nfs_attr *attr)
{
	struct stat st;
	fsop_note_attr(req->share, req->node, attr);
	fsop_fill_stat(req->share, req->node, attr, &st);
	if (req->fuse)
		fuse_reply_attr(req->fuse, &st, fsop_attr_timeout(req->share, req->node));
	fsop_end(req);
}

void fsop_reply_entry(struct fsop_request *req, const struct nfs_attr *attr, const char *name)
{
	struct fuse_entry_param entry;
	fsop_note_names(req);
	int err = fsop_fill_entry(req->share, &req->fh, attr, req->node->id, name, &entry);
	if (err) {
		fsop_reply_err(req, err);
		return;
	}
	/* An answer that does not arrive (the request was interrupted) gave no reference. */
	if (!req->fuse || fuse_reply_entry(req->fuse, &entry) != 0)
		node_forget(req->share->nodes, entry.ino, 1);
	fsop_end(req);
}

void fsop_reply_negative(struct fsop_request *req)
{
	struct share *share = req->share;
	struct fuse_entry_param entry = {0};
	entry.entry_timeout = share->cache.dir_min_ms / 1000.0;
	dirhold_limit(share, req->node, &entry.entry_timeout);
	if (!req->fuse || !share->cache.negative || entry.entry_timeout <= 0) {
		fsop_reply_err(req, -ENOENT);
		return;
	}
	fuse_reply_entry(req->fuse, &entry);
	fsop_end(req);
}
