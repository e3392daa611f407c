/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_FSOP_LOCK_H
#define VSOCKFS_FSOP_LOCK_H

#include "fsop.h"

/*
 * Waiting for a lock that another is in the way of: pauses, after which it is asked for again, and
 * what cuts them short. All on the request's worker; what it waits for is in req->u.lock.args, and
 * who is in the way in req->u.lock.denied.
 */

/* fsop_lock.c: ends the request, waiting or not: 0 or -errno. */
void fsop_lock_reply(struct fsop_request *req, int err);

/* The request waits from now on, in the order of their coming; `send` asks again. 0 or -ENOMEM. */
int lock_wait_begin(struct fsop_request *req, void (*send)(struct fsop_request *req));
/* It does not any more, if it did. */
void lock_wait_end(struct fsop_request *req);
/* It was refused: `send` follows, or -EINTR to the program. */
void lock_wait_pause(struct fsop_request *req);
/*
 * It was refused, or told, because of a lock whose open file has ended, or may have, for all that
 * this worker knows: `send` follows when that is gone, or clear. False: that is not so, or it has
 * not gone in time.
 */
bool lock_wait_for_end(struct fsop_request *req, void (*send)(struct fsop_request *req));
/* `send` follows when whatever was read before this request has been looked at, or -EINTR to the
 * program. False: it has been, for all that can be known. */
bool lock_wait_round(struct fsop_request *req, void (*send)(struct fsop_request *req));
/* `req` has freed its range: wakes the first who waits for some of it, and all whom that one leaves
 * room for. */
void lock_wait_wake_next(struct fsop_request *req);

#endif
