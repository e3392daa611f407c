/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_MOUNTER_H
#define VSOCKFS_MOUNTER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "guard.h"
#include "options.h"

/*
 * A process beside the daemon that keeps the rights to mount, so that a referral inside the mount
 * can be followed, and a file system entered that wants another flavor: it has another vsockfs
 * mounted on the directory that stands for it. The daemon is not trusted. It names a directory, by
 * node id, which can only be one of its own mount, and a server's address, which can only be one of
 * AF_VSOCK, or that of the command line. All else comes from the
 * command line and from the mount as it is by now (read-only, nosuid and so on).
 *
 * What it has mounted it unmounts when nobody has used it for a while.
 *
 *	mounter_start -> (privileges dropped, mounted) -> mounter_ready ->
 *	mounter_adopt ..., mounter_ask, mounter_hear ... -> mounter_stop -> mounter_free
 */

struct mounter;
struct mounttree_entry;

/* Among the options of what it has mounted (ignored there, as all that begins with "x-"). */
#define MOUNTER_WORD "x-vsockfs.referral"

enum mounter_result {
	MOUNTER_MADE,	/* it is mounted now */
	MOUNTER_THERE,	/* something was mounted there already */
	MOUNTER_FAILED, /* with a reason */
};

struct mounter_reply {
	uint64_t node;
	enum mounter_result result;
	char why[256];
};

/* *mounter is NULL where nothing can be mounted, or shall be. 0 or -errno. Main thread, before
 * others run. */
int mounter_start(const struct options *options, struct mounter **mounter);
/* The mount is there; `background` as for guard_ready. */
void mounter_ready(struct mounter *mounter, const struct guard_mount_id *id, bool background);

/* What the mounter of an earlier daemon has mounted on the directory with that node id, if
 * anything, is this one's. */
void mounter_adopt(struct mounter *mounter, uint64_t node);

/* Is the thread, of a FUSE request, one of those that are mounting something? Any thread. */
bool mounter_is_caller(const struct mounter *mounter, pid_t tid);
/* Wants the export `path` of the server on the directory with that node id. A reply follows within
 * MOUNTER_LIMIT_S or so. 0 or -errno. Any thread. */
#define MOUNTER_LIMIT_S 30
int mounter_ask(
	struct mounter *mounter, uint64_t node, const struct address *server, const char *path);
/* The same, and wants there what is in the directory's own place below `path`, which is the mount's
 * root on its server. One that has no vsock address can only be that of the command line. */
int mounter_ask_same(
	struct mounter *mounter, uint64_t node, const struct address *server, const char *path);
/* Waits for the next reply. False: there will be none. One thread. */
bool mounter_hear(struct mounter *mounter, struct mounter_reply *reply);

/* Wakes mounter_hear; the process ends, and what it has mounted stays. */
void mounter_stop(struct mounter *mounter);
/* NULL is allowed. */
void mounter_free(struct mounter *mounter);

/* Was it some mounter that mounted this vsockfs? Its daemon is asked; of one that does not answer
 * nothing is known. */
bool mounter_has_made(const struct mounttree_entry *entry);

#endif
