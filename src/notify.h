/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_NOTIFY_H
#define VSOCKFS_NOTIFY_H

#include <stdint.h>

#include "util/loop.h"

/*
 * Invalidations of the kernel's caches, sent from a thread that serves no request: the kernel
 * takes locks for them that a request in our hands may hold, so a worker that sent one could wait
 * for itself for ever.
 */

struct notify;
struct fuse_session;

int notify_new(struct notify **notify);
/* Sends what is queued to the mounted `session`; before this, requests only gather. */
int notify_start(struct notify *notify, struct fuse_session *session);
/*
 * Waits for the thread, which may wait for the answer to a WRITE. What is still queued is dropped,
 * with its tasks posted.
 */
void notify_stop(struct notify *notify);
/* After notify_stop, or before notify_start. NULL is allowed. */
void notify_free(struct notify *notify);

/*
 * Drops the page cache and the attributes of node `id`. Dirty pages are written first. `done`, if
 * not NULL, is posted to `loop` afterwards. Any thread.
 */
void notify_inval_inode(
	struct notify *notify, uint64_t id, struct loop *loop, struct loop_task *done_take);

#endif
