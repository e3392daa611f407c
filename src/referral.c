/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "referral.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "fsop.h"
#include "moved.h"
#include "share.h"
#include "takeover.h"
#include "util/log.h"

/* Places that something is known of at the same time. */
#define REFERRAL_PLACES 1024
/* Who was told to walk again does so at once. */
#define REFERRAL_WALK_NS UINT64_C(1000000000)
/* The mounter has a limit of its own. */
#define REFERRAL_HOLD_NS ((MOUNTER_LIMIT_S + 15) * UINT64_C(1000000000))
/* What could not be mounted is tried again after this; what is mounted, and used from where that
 * does not show, is looked after. */
#define REFERRAL_FAILED_NS UINT64_C(30000000000)
#define REFERRAL_THERE_NS  UINT64_C(1000000000)

enum referral_state {
	REFERRAL_WANTED,  /* used, and to be looked up; by `pid`, at `until` at the latest */
	REFERRAL_PENDING, /* the mounter is at it, and LOOKUPs wait */
	REFERRAL_RESTING, /* nothing is done before `until` */
};

struct referral_wait {
	LIST_ENTRY(referral_wait) entry;
	struct loop_task task;
	struct loop_timer timer;
	struct fsop_request *req;
	struct referral_place *place; /* NULL: it waits no more */
};

/* A directory that something is known of; all others may be followed. */
struct referral_place {
	LIST_ENTRY(referral_place) entry;
	uint64_t node;
	enum referral_state state;
	pid_t pid;
	uint64_t until; /* ns */
	LIST_HEAD(, referral_wait) waits;
	char *what; /* for the log, or NULL */
};

struct referrals {
	struct mounter *mounter;
	pthread_mutex_t mutex; /* for all below */
	LIST_HEAD(, referral_place) places;
	unsigned count;
	bool ready;	  /* the mounter knows the mount */
	bool dead;	  /* there are no more answers */
	pthread_t thread; /* hears the mounter */
};

bool referral_is_on(struct share *share)
{
	return atomic_load(&share->referrals);
}

/* Who asks is mounting: anything but an answer would be waited for by itself. */
static bool referral_is_own(const struct referrals *r, const struct fsop_request *req)
{
	return mounter_is_caller(r->mounter, req->pid);
}

static void place_remove(struct referrals *r, struct referral_place *place)
{
	LIST_REMOVE(place, entry);
	r->count--;
	free(place->what);
	free(place);
}

/* What is known of a node, or NULL. On the way what is known for too long goes. */
static struct referral_place *place_find(struct referrals *r, uint64_t node, uint64_t now)
{
	struct referral_place *place = LIST_FIRST(&r->places), *found = NULL;
	while (place) {
		struct referral_place *next = LIST_NEXT(place, entry);
		if (place->state != REFERRAL_PENDING && place->until <= now)
			place_remove(r, place);
		else if (place->node == node)
			found = place;
		place = next;
	}
	return found;
}

static struct referral_place *place_add(struct referrals *r, uint64_t node)
{
	struct referral_place *place =
		r->count < REFERRAL_PLACES ? calloc(1, sizeof(*place)) : NULL;
	if (!place)
		return NULL;
	place->node = node;
	LIST_INIT(&place->waits);
	LIST_INSERT_HEAD(&r->places, place, entry);
	r->count++;
	return place;
}

static void place_rest(struct referral_place *place, uint64_t until)
{
	place->state = REFERRAL_RESTING;
	place->until = until;
}

static bool touch_locked(struct referrals *r, const struct fsop_request *req, uint64_t now)
{
	struct referral_place *place = place_find(r, req->node->id, now);
	if (!r->ready || r->dead)
		return false;
	if (!place) {
		place = place_add(r, req->node->id);
		if (!place)
			return false;
		place->state = REFERRAL_WANTED;
		place->pid = req->pid;
		place->until = now + REFERRAL_WALK_NS;
		return true;
	}
	switch (place->state) {
	/* Who comes again without having walked cannot: it is in the directory, or has it open. */
	case REFERRAL_WANTED: return place->pid != req->pid;
	case REFERRAL_PENDING: return true;
	case REFERRAL_RESTING: break;
	}
	return false;
}

bool referral_touch(const struct fsop_request *req)
{
	struct referrals *r = atomic_load(&req->share->referrals);
	if (!r || referral_is_own(r, req))
		return false;
	pthread_mutex_lock(&r->mutex);
	bool again = touch_locked(r, req, loop_clock());
	pthread_mutex_unlock(&r->mutex);
	return again;
}

static void wait_answer(struct referral_wait *wait)
{
	struct fsop_request *req = wait->req;
	free(wait);
	fsop_reply_entry(req, &req->attr, req->u.names.name);
}

static void wait_over(struct loop_task *task)
{
	struct referral_wait *wait =
		(struct referral_wait *)((char *)task - offsetof(struct referral_wait, task));
	loop_timer_cancel(wait->req->worker->loop, &wait->timer);
	wait_answer(wait);
}

static void wait_too_long(struct loop_timer *timer)
{
	struct referral_wait *wait =
		(struct referral_wait *)((char *)timer - offsetof(struct referral_wait, timer));
	struct referrals *r = atomic_load(&wait->req->share->referrals);
	pthread_mutex_lock(&r->mutex);
	bool waits = wait->place;
	if (waits) {
		LIST_REMOVE(wait, entry);
		if (LIST_EMPTY(&wait->place->waits))
			place_rest(wait->place, loop_clock() + REFERRAL_FAILED_NS);
	}
	pthread_mutex_unlock(&r->mutex);
	/* Otherwise its task is on its way. */
	if (waits)
		wait_answer(wait);
}

static void place_release(struct referral_place *place)
{
	struct referral_wait *wait;
	while ((wait = LIST_FIRST(&place->waits))) {
		LIST_REMOVE(wait, entry);
		wait->place = NULL;
		loop_post(wait->req->worker->loop, &wait->task);
	}
}

static void referral_heard(struct referrals *r, const struct mounter_reply *reply)
{
	uint64_t now = loop_clock();
	struct referral_place *place = place_find(r, reply->node, now);
	if (!place || place->state != REFERRAL_PENDING)
		return;
	if (place->what && reply->result == MOUNTER_FAILED)
		log_warn("%s, which is not followed: %s", place->what, reply->why);
	else if (place->what)
		log_debug("%s, which is followed", place->what);
	place_release(place);
	if (reply->result == MOUNTER_MADE)
		place_remove(r, place);
	else
		place_rest(place, now + (reply->result == MOUNTER_THERE ? REFERRAL_THERE_NS
									: REFERRAL_FAILED_NS));
}

static void *referral_main(void *arg)
{
	struct referrals *r = arg;
	struct mounter_reply reply;
	struct referral_place *place;
	while (mounter_hear(r->mounter, &reply)) {
		reply.why[sizeof(reply.why) - 1] = '\0';
		pthread_mutex_lock(&r->mutex);
		referral_heard(r, &reply);
		pthread_mutex_unlock(&r->mutex);
	}
	pthread_mutex_lock(&r->mutex);
	r->dead = true;
	LIST_FOREACH (place, &r->places, entry)
		place_release(place);
	pthread_mutex_unlock(&r->mutex);
	return NULL;
}

/* Signals are the main thread's. */
static int referral_run(struct referrals *r)
{
	sigset_t all, old;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	int err = -pthread_create(&r->thread, NULL, referral_main, r);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return err;
}

static void place_describe(struct referral_place *place, const struct fsop_request *req,
	const char *what, const char *server, const char *path)
{
	free(place->what);
	if (asprintf(&place->what, "\"%s\" in the directory with inode %llu is a %s%s%s%s",
		    req->u.names.name, (unsigned long long)req->node->ino, what, server,
		    *path ? ":" : "", path) < 0)
		place->what = NULL;
}

/* The mounter is asked for another server's. NULL, or why not. */
static const char *place_follow(struct referrals *r, struct referral_place *place,
	const struct fsop_request *req, const struct referral_way *way)
{
	struct address server;
	size_t i = moved_choose(way->list, way->count, &server);
	if (i == way->count)
		return "that is no vsock address";
	int err = mounter_ask(r->mounter, place->node, &server, way->list[i].path);
	place_describe(place, req, "referral to ", way->list[i].server, way->list[i].path);
	return err ? strerror(-err) : NULL;
}

/* For the same server's. */
static const char *place_enter(struct referrals *r, struct referral_place *place,
	const struct fsop_request *req, const struct referral_way *way)
{
	const struct options *options = req->share->options;
	struct address server;
	nfs_client_address(req->share->client, &server);
	/* It may have another path there. */
	if (!address_same(&server, &options->server))
		return "this mount has moved to another server";
	int err = mounter_ask_same(r->mounter, place->node, &server, options->export_path);
	place_describe(place, req, "file system for sec=", way->sec, "");
	return err ? strerror(-err) : NULL;
}

static bool place_hold(struct referral_place *place, struct fsop_request *req)
{
	struct referral_wait *wait = calloc(1, sizeof(*wait));
	if (!wait)
		return false;
	wait->req = req;
	wait->place = place;
	wait->task.run = wait_over;
	wait->timer.fire = wait_too_long;
	LIST_INSERT_HEAD(&place->waits, wait, entry);
	loop_timer_set(
		req->worker->loop, &wait->timer, loop_now(req->worker->loop) + REFERRAL_HOLD_NS);
	return true;
}

static bool hold_locked(struct referrals *r, uint64_t node, struct fsop_request *req,
	const struct referral_way *way, const char **why_not)
{
	uint64_t now = loop_clock();
	struct referral_place *place = place_find(r, node, now);
	if (r->dead || !place || place->state == REFERRAL_RESTING)
		return false;
	if (place->state == REFERRAL_WANTED) {
		*why_not = way->sec ? place_enter(r, place, req, way)
				    : place_follow(r, place, req, way);
		place->state = REFERRAL_PENDING;
		if (*why_not)
			place_rest(place, now + REFERRAL_FAILED_NS);
	}
	return place->state == REFERRAL_PENDING && place_hold(place, req);
}

bool referral_hold(struct fsop_request *req, const struct referral_way *way, const char **why_not)
{
	struct referrals *r = atomic_load(&req->share->referrals);
	struct node *node = node_find_fh(req->share->nodes, &req->fh);
	bool held = false;
	*why_not = NULL;
	if (!r)
		*why_not = "this mount follows none";
	if (r && node && !referral_is_own(r, req)) {
		pthread_mutex_lock(&r->mutex);
		held = hold_locked(r, node->id, req, way, why_not);
		pthread_mutex_unlock(&r->mutex);
	}
	node_unpin(req->share->nodes, node);
	return held;
}

void referral_start(struct share *share, struct mounter *mounter)
{
	struct referrals *r = mounter ? calloc(1, sizeof(*r)) : NULL;
	if (!r)
		return;
	r->mounter = mounter;
	pthread_mutex_init(&r->mutex, NULL);
	LIST_INIT(&r->places);
	int err = referral_run(r);
	if (err) {
		log_warn("referrals are not followed: %s", strerror(-err));
		pthread_mutex_destroy(&r->mutex);
		free(r);
		return;
	}
	atomic_store(&share->referrals, r);
}

/* What was mounted for the last daemon. */
static void referral_adopt(struct share *share, struct mounter *mounter)
{
	size_t count;
	uint64_t *ids = node_ids(share->nodes, &count);
	for (size_t i = 0; i < count; i++) {
		struct node *node = node_find(share->nodes, ids[i]);
		if (node && moved_is_standin(node))
			mounter_adopt(mounter, ids[i]);
		node_unpin(share->nodes, node);
	}
	free(ids);
}

void referral_ready(struct share *share)
{
	struct referrals *r = atomic_load(&share->referrals);
	if (!r)
		return;
	pthread_mutex_lock(&r->mutex);
	r->ready = true;
	pthread_mutex_unlock(&r->mutex);
	if (share->takeover && share->takeover->resumed)
		referral_adopt(share, r->mounter);
}

void referral_stop(struct share *share)
{
	struct referrals *r = atomic_load(&share->referrals);
	if (!r)
		return;
	mounter_stop(r->mounter);
	pthread_join(r->thread, NULL);
}

void referral_free(struct share *share)
{
	struct referrals *r = atomic_load(&share->referrals);
	struct referral_place *place;
	if (!r)
		return;
	while ((place = LIST_FIRST(&r->places)))
		place_remove(r, place);
	pthread_mutex_destroy(&r->mutex);
	free(r);
}
