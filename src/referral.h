/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_REFERRAL_H
#define VSOCKFS_REFERRAL_H

#include <stdbool.h>
#include <stddef.h>

#include "mounter.h"
#include "nfs41/locations.h"

/*
 * Referrals inside the mount, followed when they are used, and likewise file systems that want
 * another flavor (wrongsec.h). What stands for one is a directory of our own (moved.h), and another
 * vsockfs is mounted on it:
 *
 *   a request for the directory, or in it    ESTALE: the kernel walks the path once more, and
 *                                            looks each name up, whatever it has cached;
 *   the LOOKUP of its name that follows      asks the mounter, and is answered when that is done:
 *                                            the walk then goes on in the new mount.
 *
 * Only the LOOKUP waits. For others the kernel may hold the lock of the directory, which mount(2)
 * needs; and what the mounter itself asks is answered as if there were none of this. Any thread.
 */

struct share;
struct fsop_request;
struct referrals;

/* Before it is mounted, and while threads may be started; `mounter` stays the caller's. Without it
 * nothing is followed. */
void referral_start(struct share *share, struct mounter *mounter);
/* After mounter_ready. */
void referral_ready(struct share *share);
/* Whoever waits is answered; before the workers stop. */
void referral_stop(struct share *share);
void referral_free(struct share *share);

/* Are referrals followed in this mount? */
bool referral_is_on(struct share *share);

/* `req`, for a directory that stands for a referral: shall it be answered with ESTALE? */
bool referral_touch(const struct fsop_request *req);
/* Where it leads. */
struct referral_way {
	const struct nfs_location *list; /* to another server, or */
	size_t count;
	const char *sec; /* nowhere else: with one of these flavors it can be entered */
};
/*
 * The LOOKUP `req` has found such a directory (its answer is in req->fh and req->attr): somebody
 * wants to go on there, and shall. True: it is answered later. False: at once, since nobody does,
 * or *why_not says what is in the way.
 */
bool referral_hold(struct fsop_request *req, const struct referral_way *way, const char **why_not);

#endif
