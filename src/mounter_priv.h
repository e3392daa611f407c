/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_MOUNTER_PRIV_H
#define VSOCKFS_MOUNTER_PRIV_H

#include <limits.h>

#include "mounter.h"
#include "nfs41/locations.h"

/* Between the daemon's side (mounter.c) and the mounter itself (submount*.c). */

enum mounter_order { MOUNTER_READY, MOUNTER_ADOPT, MOUNTER_FOLLOW, MOUNTER_ENTER };

/* One datagram; those of MOUNTER_FOLLOW and MOUNTER_ENTER are answered by one mounter_reply. */
struct mounter_request {
	enum mounter_order order;
	struct guard_mount_id id; /* MOUNTER_READY */
	bool background;
	uint64_t node;
	uint32_t cid, port;		  /* MOUNTER_ENTER: 0 for the command line's server */
	char path[NFS_LOCATION_PATH_MAX]; /* MOUNTER_ENTER: of the mount's root */
};

/* The process itself; never returns. */
void submount_main(const struct options *options, int fd) __attribute__((noreturn));

/*
 * submount_place.c: a directory of the mount on which others are mounted. While it is entered it is
 * the working directory, which cannot be taken for another by whoever tells its name.
 */
struct submount_place {
	uint32_t mount;	     /* STATX_MNT_ID of the daemon's mount */
	unsigned long flags; /* MS_* that are in force for it */
	char path[PATH_MAX];
};
/* Goes there. 0, or -errno with a sentence in `why`. submount_leave in both cases. */
int submount_enter(const struct options *options, const struct guard_mount_id *id, uint64_t node,
	struct submount_place *place, char *why, size_t why_size);
void submount_leave(void);

/* submount_words.c: what the command line's -o says to a mount on this place, to be freed; or
 * NULL. `port` 0: that of the command line, whose server it is. */
char *submount_words(const struct options *options, uint32_t port, unsigned long flags);
/* The source that is asked for on this place; likewise. */
char *submount_source(const struct options *options, const struct mounter_request *request,
	const struct submount_place *place);

#endif
