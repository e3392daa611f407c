/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "drop.h"

#include <errno.h>
#include <inttypes.h>
#include <linux/fuse.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/uio.h>
#include <time.h>

#include "ahead.h"
#include "fresh.h"
#include "guard.h"
#include "lead.h"
#include "listing.h"
#include "preopen.h"
#include "share.h"
#include "whole.h"

/* Inodes at a time: the kernel is asked for one after the other, and other users of the
 * notification thread wait behind them. */
#define DROP_BATCH 64
/* Below the time that vsockfsctl waits. */
#define DROP_WAIT_S 6
/* enum fuse_notify_code, since Linux 6.16 */
#define DROP_NOTIFY_INC_EPOCH 8

struct drop {
	struct loop_task task; /* the last one of a batch is done */
	pthread_mutex_t mutex;
	pthread_cond_t cond;
	bool done, given_up;
};

static void drop_free(struct drop *drop)
{
	pthread_cond_destroy(&drop->cond);
	pthread_mutex_destroy(&drop->mutex);
	free(drop);
}

static void drop_done(struct loop_task *task)
{
	struct drop *drop = (struct drop *)task;
	pthread_mutex_lock(&drop->mutex);
	drop->done = true;
	bool last = drop->given_up;
	pthread_cond_signal(&drop->cond);
	pthread_mutex_unlock(&drop->mutex);
	if (last)
		drop_free(drop);
}

static struct drop *drop_new(void)
{
	struct drop *drop = calloc(1, sizeof(*drop));
	if (!drop)
		return NULL;
	drop->task.run = drop_done;
	pthread_mutex_init(&drop->mutex, NULL);
	pthread_cond_init(&drop->cond, NULL);
	return drop;
}

/* Those inodes: 0, -ETIMEDOUT (they still may be) or -ENOMEM. */
static int drop_batch(
	struct share *share, const uint64_t *ids, size_t count, const struct timespec *until)
{
	struct drop *drop = drop_new();
	int err = 0;
	if (!drop)
		return -ENOMEM;
	for (size_t i = 0; i < count; i++)
		notify_inval_inode(share->notify, ids[i], share->workers[0]->loop,
			i + 1 == count ? &drop->task : NULL);
	pthread_mutex_lock(&drop->mutex);
	while (!drop->done && err != ETIMEDOUT)
		err = pthread_cond_timedwait(&drop->cond, &drop->mutex, until);
	bool done = drop->done;
	drop->given_up = true;
	pthread_mutex_unlock(&drop->mutex);
	if (done)
		drop_free(drop);
	return done ? 0 : -ETIMEDOUT;
}

static void drop_names(struct share *share, FILE *out)
{
	struct fuse_out_header header = {.len = sizeof(header), .error = DROP_NOTIFY_INC_EPOCH};
	struct iovec iov = {.iov_base = &header, .iov_len = sizeof(header)};
	if (guard_notify(share->guard, &iov, 1) < 0)
		fprintf(out, "names are forgotten with their time (%g s)\n",
			share->options->acdirmax);
}

int drop_caches(struct share *share, FILE *out)
{
	struct timespec until;
	size_t count = 0, at = 0;
	ahead_drop_all(share->ahead);
	lead_drop_all(share->lead);
	preopen_drop_all(share->preopen);
	fresh_drop_all(share->fresh);
	whole_drop_all(share->whole);
	listing_drop_all(share->listing);
	uint64_t *ids = node_ids(share->nodes, &count);
	int err = ids ? 0 : -ENOMEM;
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += DROP_WAIT_S;
	while (!err && at < count) {
		size_t n = count - at < DROP_BATCH ? count - at : DROP_BATCH;
		err = drop_batch(share, ids + at, n, &until);
		at += n;
	}
	free(ids);
	if (!err)
		drop_names(share, out);
	return err;
}
