/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "behind.h"
#include "closing.h"
#include "share.h"
#include "util/log.h"

/*
 * Before the mount goes: dirty pages of mapped files come back through their invalidation, then all
 * nodes are committed. The main thread waits, and gives up when the server is silent; whoever comes
 * last frees the flush.
 */

#define FLUSH_SILENCE_S 5

struct share_flush {
	struct loop_task task;	  /* the last invalidation is done */
	struct behind_all behind; /* then what was gathered is sent */
	struct share *share;
	pthread_mutex_t mutex;
	pthread_cond_t cond;
	bool done, given_up;
	int err;
};

static void flush_free(struct share_flush *flush)
{
	pthread_mutex_destroy(&flush->mutex);
	pthread_cond_destroy(&flush->cond);
	free(flush);
}

static void flush_done(void *arg, int err)
{
	struct share_flush *flush = arg;
	pthread_mutex_lock(&flush->mutex);
	flush->done = true;
	flush->err = err;
	bool last = flush->given_up;
	pthread_cond_signal(&flush->cond);
	pthread_mutex_unlock(&flush->mutex);
	if (last)
		flush_free(flush);
}

static void flush_commit(struct behind_all *all)
{
	struct share_flush *flush =
		(struct share_flush *)((char *)all - offsetof(struct share_flush, behind));
	struct share *share = flush->share;
	unstable_flush(share->unstable, share->workers[0], flush_done, flush);
}

static void flush_settle(struct loop_task *task)
{
	struct share_flush *flush = (struct share_flush *)task;
	flush->behind.done = flush_commit;
	behind_settle_all(flush->share, &flush->behind);
}

/* On the first worker. */
static void flush_start(void *arg)
{
	struct share_flush *flush = arg;
	struct share *share = flush->share;
	size_t count = 0;
	uint64_t *ids = share->ended ? NULL : node_open_ids(share->nodes, &count);
	flush->task.run = flush_settle;
	/* They are done in their order. */
	for (size_t i = 0; i < count; i++)
		notify_inval_inode(share->notify, ids[i], share->workers[0]->loop,
			i + 1 == count ? &flush->task : NULL);
	if (count == 0)
		flush_settle(&flush->task);
	free(ids);
}

/* Compounds that the server has answered. */
static uint64_t flush_heard(const struct share *share)
{
	uint64_t heard = 0;
	for (unsigned i = 0; i < share->nworkers; i++)
		for (unsigned op = 1; op < NFS_OP_LIMIT; op++)
			heard += nfs_conn_stats(share->workers[i]->conn)->op[op].replies;
	return heard;
}

/* Under the mutex. */
static void flush_wait(struct share_flush *flush)
{
	uint64_t heard = flush_heard(flush->share), now;
	unsigned silent = 0;
	while (!flush->done && silent < FLUSH_SILENCE_S) {
		struct timespec until;
		clock_gettime(CLOCK_REALTIME, &until);
		until.tv_sec++;
		if (pthread_cond_timedwait(&flush->cond, &flush->mutex, &until) == 0)
			continue;
		now = flush_heard(flush->share);
		silent = now == heard ? silent + 1 : 0;
		heard = now;
	}
}

int share_flush(struct share *share)
{
	struct share_flush *flush = calloc(1, sizeof(*flush));
	if (!flush)
		return -ENOMEM;
	flush->share = share;
	pthread_mutex_init(&flush->mutex, NULL);
	pthread_cond_init(&flush->cond, NULL);
	worker_call(share->workers[0], flush_start, flush);
	pthread_mutex_lock(&flush->mutex);
	flush_wait(flush);
	bool done = flush->done;
	int err = done ? flush->err : -ETIMEDOUT;
	flush->given_up = true;
	pthread_mutex_unlock(&flush->mutex);
	if (done)
		flush_free(flush);
	if (err)
		log_error("%s: not all that was written is on the server: %s",
			share->options->source, strerror(-err));
	return err;
}

static void flush_return(void *arg)
{
	struct share *share = arg;
	closing_send(share->closing);
	file_return_all(share);
}

void share_return_state(struct share *share)
{
	worker_call(share->workers[0], flush_return, share);
}
