/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_GUARD_H
#define VSOCKFS_GUARD_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "options.h"

/*
 * A small process beside the daemon that does what takes privileges, so that the daemon can drop
 * its own before it hears from the server: it mounts (through libfuse, thus fusermount3 for users
 * other than root) and unmounts exactly that mount, which it knows by its id, not only by its path.
 * It outlives the daemon: with -o auto_unmount a mount whose daemon was killed goes away at once.
 *
 *	guard_start -> (privileges dropped, connected) -> guard_mount -> (FUSE_INIT answered) ->
 *	guard_ready -> ... -> guard_unmount -> guard_free
 *
 * Main thread only.
 */

struct guard;

/* What tells a mount from all others. */
struct guard_mount_id {
	uint64_t id; /* statx(2)'s, unique since Linux 6.8 */
	uint32_t major, minor;
	bool unique;
};

/* What the guard does when the daemon has gone without saying anything. */
enum guard_orphan {
	GUARD_LEAVE,   /* nothing: the mount is dead, or taken over */
	GUARD_UNMOUNT, /* -o auto_unmount */
};

/* Forks; no thread may run yet. `options` must stay. 0 or -errno. */
int guard_start(const struct options *options, enum guard_orphan orphan, struct guard **guard);

/* Mounts with this max_read: the FUSE device in *fd_out, or -errno (libfuse says why on stderr). */
int guard_mount(struct guard *guard, uint32_t max_read, int *fd_out);
/* Instead of guard_mount: what another daemon mounted, on this FUSE device, is to be looked after.
 */
int guard_adopt(struct guard *guard, const struct guard_mount_id *id, int device);
/* The same, then guard_unmount, for a vsockfs on the mount point of which nothing is known, but
 * that nobody serves it: who waits for it gets an error. */
int guard_clear(struct guard *guard);
const struct guard_mount_id *guard_id(const struct guard *guard);

/*
 * Lets the kernel read ahead as options->max_readahead says; FUSE_INIT can only lower the 128 KiB
 * that it starts with. `background`: the guard lets go of the terminal. `rings`: requests come over
 * io_uring, where those in a dead daemon's hands end only with the connection, so the guard ends
 * that.
 */
void guard_ready(struct guard *guard, bool background, bool rings);

/*
 * Takes the mount away (lazily, dirty pages are written first) if it is still there. 0, -ETIMEDOUT
 * when that is not done after `timeout_ms`, or -errno.
 */
int guard_unmount(struct guard *guard, int timeout_ms);

/*
 * Writes a notification to the device, from a process of its own (notifier.h), and waits for it:
 * the number of bytes, or -1 with errno. Not from a thread that serves requests.
 */
ssize_t guard_notify(struct guard *guard, const struct iovec *iov, int count);

/* Another daemon will go on with the mount (or not): nothing is refused when this one dies. In
 * force at once. */
void guard_keep(struct guard *guard, bool keep);

/* Removes the control socket's file, by control_inode's number. */
void guard_remove_control(struct guard *guard, ino_t inode);

/* Ends the guard, which does not unmount then. NULL is allowed. */
void guard_free(struct guard *guard);

#endif
