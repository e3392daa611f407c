/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fsop.h"

#include <errno.h>
#include <linux/fuse.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "caller.h"
#include "fresh.h"
#include "guard.h"
#include "listing.h"
#include "takeover.h"
#include "trace.h"
#include "util/log.h"
#include "util/probe.h"
#include "whole.h"

#define FSOP_BACKGROUND 256
#define FSOP_CONGESTION 192

/* Those of `flags` that the kernel has. */
static void fsop_enable(struct fuse_conn_info *conn, unsigned flags)
{
#ifdef VSOCKFS_FEATURE_FLAGS
	fuse_set_feature_flag(conn, conn->capable & flags);
#else
	conn->want |= conn->capable & flags;
#endif
}

static void fsop_disable(struct fuse_conn_info *conn, unsigned flags)
{
#ifdef VSOCKFS_FEATURE_FLAGS
	fuse_unset_feature_flag(conn, flags);
#else
	conn->want &= ~flags;
#endif
}

static void fsop_init(void *arg, struct fuse_conn_info *conn)
{
	struct share *share = arg;
	const unsigned want = FUSE_CAP_ASYNC_READ | FUSE_CAP_ASYNC_DIO | FUSE_CAP_PARALLEL_DIROPS |
			      FUSE_CAP_ATOMIC_O_TRUNC | FUSE_CAP_READDIRPLUS |
			      FUSE_CAP_HANDLE_KILLPRIV;
	/* AUTO_INVAL_DATA would drop the page cache after our own writes; the change attribute
	 * tells better. EXPLICIT_INVAL_DATA would keep a page that ends at the old size of a file
	 * which grew on the server, and read zeros behind it. Splicing loses to writev(2) for what
	 * we have in memory anyway. READDIRPLUS_AUTO asks for attributes with the first entries of
	 * a directory only: who lists all before the first stat(2) pays a LOOKUP for each of the
	 * rest. */
	const unsigned refuse = FUSE_CAP_AUTO_INVAL_DATA | FUSE_CAP_EXPLICIT_INVAL_DATA |
				FUSE_CAP_READDIRPLUS_AUTO | FUSE_CAP_SPLICE_READ |
				FUSE_CAP_SPLICE_WRITE | FUSE_CAP_SPLICE_MOVE |
				FUSE_CAP_WRITEBACK_CACHE;
	const unsigned locks = FUSE_CAP_POSIX_LOCKS | FUSE_CAP_FLOCK_LOCKS;
	fsop_enable(conn, want);
	fsop_disable(conn, refuse);
	if (share->options->nolock)
		fsop_disable(conn, locks);
	else
		fsop_enable(conn, locks);
#ifdef FUSE_CAP_DIRECT_IO_ALLOW_MMAP
	/* cache=none need not mean that a file cannot be mapped. */
	fsop_enable(conn, FUSE_CAP_DIRECT_IO_ALLOW_MMAP);
#endif
	conn->max_write = share->wsize;
	conn->max_read = share->rsize;
	/* It takes no more than it has configured itself, which the guard then raises. */
	conn->max_readahead = share->options->max_readahead;
	conn->max_background = FSOP_BACKGROUND;
	conn->congestion_threshold = FSOP_CONGESTION;
	conn->time_gran = 1;
	share->init_done = 1;
	eventfd_write(share->event_fd, 1);
}

const struct fuse_lowlevel_ops fsop_table = {
	.init = fsop_init,
	.lookup = fsop_lookup,
	.forget = fsop_forget,
	.forget_multi = fsop_forget_multi,
	.getattr = fsop_getattr,
#ifdef VSOCKFS_STATX
	.statx = fsop_statx,
#endif
	.setattr = fsop_setattr,
	.readlink = fsop_readlink,
	.access = fsop_access,
	.statfs = fsop_statfs,
	.mknod = fsop_mknod,
	.mkdir = fsop_mkdir,
	.symlink = fsop_symlink,
	.link = fsop_link,
	.unlink = fsop_unlink,
	.rmdir = fsop_rmdir,
	.rename = fsop_rename,
	.open = fsop_open,
	.create = fsop_create,
	.release = fsop_release,
	.flush = fsop_flush,
	.fsync = fsop_fsync,
	.read = fsop_read,
	.write = fsop_write,
	.opendir = fsop_opendir,
	.readdir = fsop_readdir,
	.readdirplus = fsop_readdirplus,
	.releasedir = fsop_releasedir,
	.fsyncdir = fsop_fsyncdir,
	.getlk = fsop_getlk,
	.setlk = fsop_setlk,
	.flock = fsop_flock,
};

/*
 * Flags to be added to the reply to the INIT request at hand. libfuse before 3.17 knows
 * FUSE_HANDLE_KILLPRIV but does not send it, and then the kernel clears set-user-id bits itself, as
 * a writer who may not.
 */
static _Thread_local uint32_t init_flags;

/* The kernel has had the answer to the INIT request at hand. */
static _Thread_local bool init_replay;

static void fsop_add_init_flags(const struct iovec *iov, int count)
{
	size_t end = offsetof(struct fuse_init_out, flags) + sizeof(uint32_t);
	if (count == 2 && iov[1].iov_len >= end) {
		uint8_t *at = (uint8_t *)iov[1].iov_base + offsetof(struct fuse_init_out, flags);
		uint32_t flags;
		memcpy(&flags, at, sizeof(flags));
		flags |= init_flags;
		memcpy(at, &flags, sizeof(flags));
	}
}

static ssize_t fsop_io_writev(int fd, struct iovec *iov, int count, void *arg)
{
	const struct share *share = arg;
	const struct worker *worker = worker_self();
	(void)fd;
	if (init_replay) {
		ssize_t len = 0;
		for (int i = 0; i < count; i++)
			len += (ssize_t)iov[i].iov_len;
		return len;
	}
	if (init_flags)
		fsop_add_init_flags(iov, count);
	/* The kernel looks a request up on the channel that it was read from. Notifications come
	 * from a thread that has none. */
	return worker ? writev(worker->fuse_fd, iov, count)
		      : guard_notify(share->guard, iov, count);
}

/* Workers read their channels themselves. libfuse requires the function all the same. */
static ssize_t fsop_io_read(int fd, void *data, size_t len, void *arg)
{
	(void)arg;
	return read(fd, data, len);
}

const struct fuse_custom_io fsop_custom_io = {.writev = fsop_io_writev, .read = fsop_io_read};

/* What of the kernel's offer is taken up without libfuse. */
static uint32_t fsop_init_flags(const void *data, size_t len)
{
	const uint32_t killpriv = FUSE_HANDLE_KILLPRIV | FUSE_HANDLE_KILLPRIV_V2;
	struct fuse_in_header header;
	struct fuse_init_in init;
	const size_t init_end = offsetof(struct fuse_init_in, flags) + sizeof(init.flags);
	if (len < sizeof(header) + init_end)
		return 0;
	memcpy(&header, data, sizeof(header));
	memcpy(&init, (const uint8_t *)data + sizeof(header), init_end);
	return header.opcode == FUSE_INIT ? init.flags & killpriv : 0;
}

/* True: it was an interrupt, which is not libfuse's to handle: that would tell of it on this
 * thread, which need not be the request's. */
static bool fsop_take_interrupt(struct worker *worker, const void *data, size_t len)
{
	struct fuse_in_header header;
	struct fuse_interrupt_in interrupt;
	if (len < sizeof(header))
		return false;
	memcpy(&header, data, sizeof(header));
	worker->unique = header.unique;
	worker->opcode = header.opcode;
	PROBE5(request_begin, header.unique, header.opcode, header.nodeid, header.pid, header.uid);
	if (header.opcode != FUSE_INTERRUPT || len < sizeof(header) + sizeof(interrupt))
		return false;
	memcpy(&interrupt, (const uint8_t *)data + sizeof(header), sizeof(interrupt));
	vigil_interrupt(worker, interrupt.unique);
	return true;
}

/* Kept for a daemon that takes over. */
static void fsop_take_init(struct share *share, const void *data, size_t len)
{
	init_flags = fsop_init_flags(data, len);
	share->init_len = len <= sizeof(share->init) ? (uint32_t)len : 0;
	memcpy(share->init, data, share->init_len);
}

int fsop_replay_init(struct share *share)
{
	struct fuse_buf buf = {.mem = share->init, .size = share->init_len};
	struct fuse_in_header header;
	if (share->init_len < sizeof(header))
		return -EPROTO;
	memcpy(&header, share->init, sizeof(header));
	if (header.opcode != FUSE_INIT || header.len != share->init_len)
		return -EPROTO;
	init_replay = true;
	fuse_session_process_buf(share->session, &buf);
	init_replay = false;
	return share->init_done ? 0 : -EPROTO;
}

void fsop_process(struct worker *worker, void *data, size_t len)
{
	struct fuse_buf buf = {.mem = data, .size = len};
	if (fsop_take_interrupt(worker, data, len))
		return;
	if (!worker->share->init_done)
		fsop_take_init(worker->share, data, len);
	fuse_session_process_buf(worker->share->session, &buf);
	init_flags = 0;
}

static struct fsop_request *request_alloc(void)
{
	struct fsop_request *req = malloc(sizeof(*req));
	if (!req)
		return NULL;
	/* The union is its user's to initialise; clearing a READLINK's place each time would cost.
	 */
	memset(req, 0, offsetof(struct fsop_request, attr));
	req->attr.have = (struct nfs_bitmap){0};
	req->before.have = (struct nfs_bitmap){0};
	req->dir.have = (struct nfs_bitmap){0};
	req->fh.len = 0;
	req->worker = worker_self();
	req->share = req->worker->share;
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
	req->node = node_pin(req->share->nodes, req->file->node);
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
	req->node = node_pin(req->share->nodes, req->file->node);
	req->cred = rpc_cred_ref(req->file->open->cred);
	fsop_hold(req, req->node);
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
	if (!atomic_load(&node->behind)) {
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
		req->share->unstable, req->worker, req->node, req->cred, req->committed, req);
}

void fsop_commit(struct fsop_request *req, void (*done)(void *req, int err))
{
	req->committed = done;
	fsop_settle_as(req, req->node, true, commit_settled);
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
	node_unpin(share->nodes, req->node);
	node_unpin(share->nodes, req->target);
	node_unpin(share->nodes, req->victim);
	rpc_cred_unref(req->cred);
	takeover_drop(share, req->mark);
	changes_release(share->changes, &req->held);
	free(req);
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

struct nfs_compound *fsop_compound_bare(struct fsop_request *req, uint32_t label)
{
	if (req->compound) {
		req->rpc_ns += compound_ns(req->compound);
		req->rpcs++;
		nfs_compound_free(req->compound);
	}
	struct nfs_compound *c = nfs_compound_new(req->worker->conn, req->cred, label);
	req->compound = c;
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

void (*fsop_carry_dir(struct fsop_request *req, void (*done)(struct nfs_compound *c)))(
	struct nfs_compound *c)
{
	struct nfs_fh fh;
	node_fh(req->node, &fh);
	req->dir.have = (struct nfs_bitmap){0};
	nfs_op_putfh(req->compound, &fh);
	nfs_op_getattr(req->compound, &req->share->want, &req->dir);
	req->load.done = done;
	closing_load(req->share->closing, req->compound, 2, &req->load);
	return fsop_carried;
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
	if (req->target)
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
	if (!req->fuse || !share->cache.negative || entry.entry_timeout <= 0) {
		fsop_reply_err(req, -ENOENT);
		return;
	}
	fuse_reply_entry(req->fuse, &entry);
	fsop_end(req);
}
