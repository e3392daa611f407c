/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <linux/fuse.h>
#include <sys/uio.h>
#include <unistd.h>

#include "fsop_open.h"

/* What the kernel need not ask for. */

bool fsop_store(const struct fsop_request *req, const struct buf *buf, uint32_t len)
{
	struct fuse_notify_store_out store = {.nodeid = req->node->id, .size = len};
	struct fuse_out_header header = {.error = FUSE_NOTIFY_STORE,
		.len = (uint32_t)(sizeof(header) + sizeof(store) + len)};
	const struct iovec iov[] = {
		{.iov_base = &header, .iov_len = sizeof(header)},
		{.iov_base = &store, .iov_len = sizeof(store)},
		{.iov_base = buf->data, .iov_len = len},
	};
	return writev(req->worker->fuse_fd, iov, 3) == (ssize_t)header.len;
}
