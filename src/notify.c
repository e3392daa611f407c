/* SPDX-License-Identifier: LGPL-2.1-or-later */
#define FUSE_USE_VERSION 314

#include "notify.h"

#include <errno.h>
#include <fuse_lowlevel.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "util/log.h"

struct notify_item {
	uint64_t id;
	struct loop *loop;
	struct loop_task *done;
	STAILQ_ENTRY(notify_item) entry;
};

struct notify {
	struct fuse_session *session;
	pthread_mutex_t mutex;
	pthread_cond_t cond;
	pthread_t thread;
	bool running, stop;
	STAILQ_HEAD(, notify_item) queue;
};

int notify_new(struct notify **notify)
{
	struct notify *n = calloc(1, sizeof(*n));
	if (!n)
		return -ENOMEM;
	pthread_mutex_init(&n->mutex, NULL);
	pthread_cond_init(&n->cond, NULL);
	STAILQ_INIT(&n->queue);
	*notify = n;
	return 0;
}

static void item_finish(struct notify_item *item)
{
	if (item->done)
		loop_post(item->loop, item->done);
	free(item);
}

static void item_send(struct notify *notify, const struct notify_item *item)
{
	int err = fuse_lowlevel_notify_inval_inode(notify->session, item->id, 0, 0);
	/* ENOENT: the kernel has no such inode any more; ENODEV, EBADF: unmounted. */
	if (err && err != -ENOENT && err != -ENODEV && err != -EBADF)
		log_warn("the kernel did not drop its cache of node %llu: %s",
			(unsigned long long)item->id, strerror(-err));
}

static void *notify_main(void *arg)
{
	struct notify *notify = arg;
	struct notify_item *item;
	pthread_mutex_lock(&notify->mutex);
	while (!notify->stop) {
		item = STAILQ_FIRST(&notify->queue);
		if (!item) {
			pthread_cond_wait(&notify->cond, &notify->mutex);
			continue;
		}
		STAILQ_REMOVE_HEAD(&notify->queue, entry);
		pthread_mutex_unlock(&notify->mutex);
		item_send(notify, item);
		item_finish(item);
		pthread_mutex_lock(&notify->mutex);
	}
	pthread_mutex_unlock(&notify->mutex);
	return NULL;
}

int notify_start(struct notify *notify, struct fuse_session *session)
{
	sigset_t all, old;
	notify->session = session;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	int err = pthread_create(&notify->thread, NULL, notify_main, notify);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	notify->running = err == 0;
	return -err;
}

static void notify_drop(struct notify *notify)
{
	struct notify_item *item;
	while ((item = STAILQ_FIRST(&notify->queue))) {
		STAILQ_REMOVE_HEAD(&notify->queue, entry);
		item_finish(item);
	}
}

void notify_stop(struct notify *notify)
{
	pthread_mutex_lock(&notify->mutex);
	notify->stop = true;
	pthread_cond_signal(&notify->cond);
	pthread_mutex_unlock(&notify->mutex);
	if (notify->running)
		pthread_join(notify->thread, NULL);
	notify->running = false;
	pthread_mutex_lock(&notify->mutex);
	notify_drop(notify);
	pthread_mutex_unlock(&notify->mutex);
}

void notify_free(struct notify *notify)
{
	if (!notify)
		return;
	notify_drop(notify);
	pthread_cond_destroy(&notify->cond);
	pthread_mutex_destroy(&notify->mutex);
	free(notify);
}

void notify_inval_inode(
	struct notify *notify, uint64_t id, struct loop *loop, struct loop_task *done_take)
{
	struct notify_item *item = malloc(sizeof(*item));
	if (!item) {
		/* The cache goes stale for at most a second longer; the waiter must not hang. */
		if (done_take)
			loop_post(loop, done_take);
		return;
	}
	*item = (struct notify_item){.id = id, .loop = loop, .done = done_take};
	pthread_mutex_lock(&notify->mutex);
	if (notify->stop) {
		pthread_mutex_unlock(&notify->mutex);
		item_finish(item);
		return;
	}
	STAILQ_INSERT_TAIL(&notify->queue, item, entry);
	pthread_cond_signal(&notify->cond);
	pthread_mutex_unlock(&notify->mutex);
}
