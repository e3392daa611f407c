/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <sched.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/uio.h>
#include <unistd.h>

#include "fsop.h"
#include "guard.h"
#include "ring.h"
#include "ring_abi.h"
#include "util/probe.h"

/* Between the kernel and libfuse: requests in, answers out, and what both agree on at first. */

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
				FUSE_CAP_SPLICE_WRITE | FUSE_CAP_SPLICE_MOVE;
	const unsigned locks = FUSE_CAP_POSIX_LOCKS | FUSE_CAP_FLOCK_LOCKS;
	fsop_enable(conn, want);
	fsop_disable(conn, refuse);
	if (share->options->writeback)
		fsop_enable(conn, FUSE_CAP_WRITEBACK_CACHE);
	else
		fsop_disable(conn, FUSE_CAP_WRITEBACK_CACHE);
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
	share->init_seen = true;
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
	.getxattr = fsop_getxattr,
	.listxattr = fsop_listxattr,
	.setxattr = fsop_setxattr,
	.removexattr = fsop_removexattr,
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
	.fallocate = fsop_fallocate,
	.lseek = fsop_lseek,
	.copy_file_range = fsop_copy_file_range,
};

/*
 * Flags to be added to the reply to the INIT request at hand. libfuse before 3.17 knows
 * FUSE_HANDLE_KILLPRIV but does not send it, and then the kernel clears set-user-id bits itself, as
 * a writer who may not. FUSE_OVER_IO_URING is for rings of libfuse's own in those that know it.
 */
static _Thread_local uint64_t init_flags;

/* The kernel has had the answer to the INIT request at hand. */
static _Thread_local bool init_replay;

static void fsop_add_init_flags(const struct iovec *iov, int count)
{
	size_t end = offsetof(struct fuse_init_out, flags2) + sizeof(uint32_t);
	if (count != 2 || iov[1].iov_len < end)
		return;
	struct fuse_init_out out;
	memcpy(&out, iov[1].iov_base, end);
	out.flags |= (uint32_t)init_flags;
	out.flags2 |= (uint32_t)(init_flags >> 32);
	memcpy(iov[1].iov_base, &out, end);
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
	if (worker && ring_has(((struct fuse_out_header *)iov[0].iov_base)->unique))
		return ring_reply(iov, count);
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
static uint64_t fsop_init_flags(const struct share *share, const void *data, size_t len)
{
	uint64_t flags = FUSE_HANDLE_KILLPRIV | FUSE_HANDLE_KILLPRIV_V2;
	struct fuse_in_header header;
	struct fuse_init_in init = {0};
	/* Before Linux 5.17 it ends with the first flags. */
	const size_t least = offsetof(struct fuse_init_in, flags) + sizeof(init.flags);
	if (len < sizeof(header) + least)
		return 0;
	len -= sizeof(header);
	memcpy(&header, data, sizeof(header));
	memcpy(&init, (const uint8_t *)data + sizeof(header),
		len < sizeof(init) ? len : sizeof(init));
	if (header.opcode != FUSE_INIT)
		return 0;
	if (share->ring_queues > 0 && (init.flags & FUSE_INIT_EXT))
		flags |= FUSE_OVER_IO_URING | FUSE_INIT_EXT;
	return ((uint64_t)init.flags2 << 32 | init.flags) & flags;
}

static void fsop_note(struct worker *worker, const void *data, struct fuse_in_header *header)
{
	memcpy(header, data, sizeof(*header));
	worker->unique = header->unique;
	worker->opcode = header->opcode;
	PROBE5(request_begin, header->unique, header->opcode, header->nodeid, header->pid,
		header->uid);
}

/* True: it was an interrupt, which is not libfuse's to handle: that would tell of it on this
 * thread, which need not be the request's. */
static bool fsop_take_interrupt(struct worker *worker, const void *data, size_t len)
{
	struct fuse_in_header header;
	struct fuse_interrupt_in interrupt;
	if (len < sizeof(header))
		return false;
	fsop_note(worker, data, &header);
	if (header.opcode != FUSE_INTERRUPT || len < sizeof(header) + sizeof(interrupt))
		return false;
	memcpy(&interrupt, (const uint8_t *)data + sizeof(header), sizeof(interrupt));
	vigil_interrupt(worker, interrupt.unique);
	return true;
}

/* Kept for a daemon that takes over. */
static void fsop_take_init(struct share *share, const void *data, size_t len)
{
	init_flags = fsop_init_flags(share, data, len);
	share->ring_agreed = init_flags & FUSE_OVER_IO_URING;
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
	share->init_done = share->init_seen;
	return share->init_done ? 0 : -EPROTO;
}

/* The answer to FUSE_INIT has left, and another worker's first request is here before the one that
 * gave it has come back from writing it: that is a matter of microseconds. */
static void fsop_await_init(const struct share *share, const void *data, size_t len)
{
	struct fuse_in_header header;
	if (len < sizeof(header))
		return;
	memcpy(&header, data, sizeof(header));
	while (header.opcode != FUSE_INIT && !share->init_done && !share->ended)
		sched_yield();
}

void fsop_process(struct worker *worker, void *data, size_t len)
{
	struct share *share = worker->share;
	struct fuse_buf buf = {.mem = data, .size = len};
	if (fsop_take_interrupt(worker, data, len))
		return;
	fsop_await_init(share, data, len);
	if (share->init_done) {
		fuse_session_process_buf(share->session, &buf);
		return;
	}
	fsop_take_init(share, data, len);
	fuse_session_process_buf(share->session, &buf);
	init_flags = 0;
	/* Only now, since the kernel has the answer by now. */
	if (share->init_seen) {
		share->init_done = 1;
		eventfd_write(share->event_fd, 1);
	}
}

void fsop_process_ring(struct worker *worker, void *data, size_t len, uint64_t number)
{
	struct fuse_buf buf = {.mem = data, .size = len};
	struct fuse_in_header header;
	fsop_note(worker, data, &header);
	header.unique = number;
	memcpy(data, &header, sizeof(header));
	worker->in_ring = true;
	fuse_session_process_buf(worker->share->session, &buf);
	worker->in_ring = false;
}
