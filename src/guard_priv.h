/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_GUARD_PRIV_H
#define VSOCKFS_GUARD_PRIV_H

#include <stdatomic.h>

#include "guard.h"

/* Between the daemon's side (guard.c) and the guard itself (keeper.c). */

enum guard_order {
	GUARD_MOUNT,
	GUARD_ADOPT,
	GUARD_CLEAR,
	GUARD_READY,
	GUARD_UNLINK,
	GUARD_DETACH,
	GUARD_END
};

/* One datagram each way. */
struct guard_request {
	enum guard_order order;
	uint32_t max_read;
	bool background, rings;
	ino_t inode;
	struct guard_mount_id id;
};

struct guard_reply {
	int err;
	struct guard_mount_id id;
};

/* One datagram, with a descriptor or (-1) without. As sendmsg(2) and recvmsg(2). */
ssize_t guard_send(int sock, const void *data, size_t len, int fd);
ssize_t guard_receive(int sock, void *data, size_t len, int *fd);

/* The mount of what `fd` is open on. `unique`: rather by the kind of id that is not used again.
 * Neither a mount whose server is away nor a dead one is asked anything. */
int guard_identify(int fd, bool unique, struct guard_mount_id *id);

/* The process itself. */
struct keeper {
	const struct options *options;
	enum guard_orphan orphan;
	int fd, notify_fd;
	pid_t notifier;		  /* 0: none */
	const atomic_bool *kept;  /* notifier.h */
	struct guard_mount_id id; /* id 0: not mounted */
	bool rings;		  /* guard_ready */
	int abort_fd;		  /* what ends the connection when written to, or -1 */
	bool abort;		  /* nobody serves it: what waits for it is not waited for */
};

/* In the forked process. */
void keeper_main(struct keeper *keeper) __attribute__((noreturn));

#endif
