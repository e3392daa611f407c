/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "worker.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "behind.h"
#include "closing.h"
#include "fsop.h"
#include "lead.h"
#include "preopen.h"
#include "ring.h"
#include "share.h"
#include "util/log.h"

/* Requests served in one turn of the loop before replies from the server are looked at again. */
#define WORKER_BATCH	16
#define WORKER_RETRY_NS UINT64_C(1000000)
/* What is gathered waits so much longer, at most, than it should. */
#define WORKER_BEHIND_NS (BEHIND_AGE_NS / 2)
/* Buffers that were not needed for so long are given back. */
#define WORKER_TRIM_NS UINT64_C(1000000000)
/* What is left when the client has stopped fails at once. */
#define WORKER_QUIESCE_NS  5000000
#define WORKER_QUIESCE_MAX 400

static _Thread_local struct worker *self;

struct worker *worker_self(void)
{
	return self;
}

static void worker_called(struct loop_task *task)
{
	struct worker *worker = (struct worker *)((char *)task - offsetof(struct worker, call));
	/* The hook does the rest. */
	atomic_store(&worker->called, false);
}

int worker_new(struct share *share, unsigned index, struct worker **worker)
{
	struct worker *w = calloc(1, sizeof(*w));
	if (!w)
		return -ENOMEM;
	w->share = share;
	w->index = index;
	w->fuse_fd = -1;
	int err = share->ring_queues > 0 ? loop_new_commands(share->options->io, &w->loop)
					 : loop_new(share->options->io, &w->loop);
	if (err) {
		free(w);
		return err;
	}
	w->call.run = worker_called;
	vigil_init(&w->vigil, w);
	*worker = w;
	return 0;
}

void worker_free(struct worker *worker)
{
	if (!worker)
		return;
	loop_free(worker->loop);
	ring_free(worker->ring);
	vigil_deinit(&worker->vigil);
	spare_deinit(&worker->requests);
	buf_unref(worker->in);
	if (worker->fuse_fd >= 0)
		close(worker->fuse_fd);
	free(worker);
}

static void *worker_main(void *arg)
{
	struct worker *worker = arg;
	self = worker;
	int err = loop_run(worker->loop);
	if (err)
		log_error("worker %u: its event loop failed: %s", worker->index, strerror(-err));
	return NULL;
}

int worker_start(struct worker *worker)
{
	/* Signals are the main thread's. */
	sigset_t all, old;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	int err = pthread_create(&worker->thread, NULL, worker_main, worker);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	worker->running = err == 0;
	return -err;
}

/* All idle workers are to watch the device, as this one cannot do it alone. */
static void worker_call_others(struct worker *worker)
{
	struct share *share = worker->share;
	for (unsigned i = 0; i < share->nworkers; i++) {
		struct worker *other = share->workers[i];
		if (other != worker && !atomic_exchange(&other->called, true))
			loop_post(other->loop, &other->call);
	}
}

static void worker_unserve(struct worker *worker)
{
	/* It does not read what its poll may have told it. */
	if (atomic_exchange(&worker->share->rota.single, false))
		worker_call_others(worker);
	loop_hook_remove(worker->loop, &worker->hook);
	loop_timer_cancel(worker->loop, &worker->retry);
	worker->serving = false;
}

struct worker_idle {
	struct worker *worker;
	bool idle;
};

static void worker_unserve_task(void *arg)
{
	struct worker_idle *idle = arg;
	if (idle->worker->serving)
		worker_unserve(idle->worker);
	idle->idle = LIST_EMPTY(&idle->worker->vigil.pending);
}

void worker_quiesce(struct worker *worker)
{
	struct worker_idle idle = {.worker = worker};
	const struct timespec pause = {.tv_nsec = WORKER_QUIESCE_NS};
	for (unsigned i = 0; i < WORKER_QUIESCE_MAX; i++) {
		worker_call(worker, worker_unserve_task, &idle);
		if (idle.idle)
			return;
		nanosleep(&pause, NULL);
	}
	log_error("worker %u: requests do not end", worker->index);
}

/* The poll must have ended before the loop may. */
static void worker_end(struct worker *worker)
{
	if (worker->polling)
		loop_poll_cancel(worker->loop, &worker->poll);
	else
		loop_stop(worker->loop);
}

static void worker_end_task(void *arg)
{
	struct worker *worker = arg;
	worker->ending = true;
	if (worker->serving)
		worker_unserve(worker);
	worker_end(worker);
}

void worker_stop(struct worker *worker)
{
	if (!worker->running)
		return;
	worker_call(worker, worker_end_task, worker);
	pthread_join(worker->thread, NULL);
	worker->running = false;
}

/* The device is gone: unmounted, or aborted. */
static void worker_device_ended(struct worker *worker)
{
	worker_unserve(worker);
	worker->share->ended = 1;
	eventfd_write(worker->share->event_fd, 1);
}

/* A request takes one buffer at most (the data of a READ, or the next request's place when a WRITE
 * keeps this one), so with two to spare for each worker buf_get cannot fail further on. */
bool worker_lacks_buffers(const struct worker *worker)
{
	const struct share *share = worker->share;
	return buf_pool_used(share->bufs) + 2 * share->nworkers > SHARE_BUFS;
}

/* One request from the device. 1: served; 0: none there; -ENOBUFS; -ENODEV. */
static int worker_read_request(struct worker *worker)
{
	if (!worker->in && !(worker->in = buf_get(worker->share->bufs)))
		return -ENOBUFS;
	if (worker_lacks_buffers(worker))
		return -ENOBUFS;
	ssize_t n = read(worker->fuse_fd, worker->in->data, worker->in->size);
	if (n > 0) {
		fsop_process(worker, worker->in->data, (size_t)n);
		return 1;
	}
	if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
		worker->due = false;
		return 0;
	}
	/* ENOENT: the request was interrupted before it was read. */
	if (n < 0 && (errno == ENOENT || errno == EINTR))
		return 1;
	if (n < 0 && errno != ENODEV)
		log_error("reading from /dev/fuse: %s", strerror(errno));
	return -ENODEV;
}

static void worker_polled(struct loop_poll *poll, int result)
{
	struct worker *worker = (struct worker *)((char *)poll - offsetof(struct worker, poll));
	(void)result;
	worker->polling = false;
	worker->due = true;
	rota_leave(&worker->share->rota);
	/* Otherwise the hook reads; it runs before the loop sleeps again. */
	if (worker->ending)
		worker_end(worker);
}

static void worker_retry(struct loop_timer *timer)
{
	(void)timer;
}

/* The device has nothing while the poll does not say so: to ask it in each turn would be a system
 * call for nothing, several times for each request. What the poll has said no other watcher hears.
 */
static bool worker_may_read(struct worker *worker)
{
	return !worker->polling &&
	       (worker->due || !rota_covered(&worker->share->rota, loop_now(worker->loop)));
}

/* One request, as worker_read_request. */
static int worker_next_request(struct worker *worker)
{
	int r = worker->ring ? ring_serve(worker->ring) : 0;
	if (r == 0 && worker_may_read(worker))
		r = worker_read_request(worker);
	return r;
}

static void worker_watch_spare(struct worker *worker);

static void worker_trim(struct loop_timer *timer)
{
	struct worker *worker = (struct worker *)((char *)timer - offsetof(struct worker, trim));
	worker->trim_set = false;
	buf_pool_trim(worker->share->bufs);
	worker_watch_spare(worker);
}

/* Memory of a burst stays for the next one, which would have to wait for every page of it, and
 * goes when there is none. */
static void worker_watch_spare(struct worker *worker)
{
	if (worker->trim_set || !buf_pool_has_spare(worker->share->bufs))
		return;
	worker->trim_set = true;
	worker->trim.fire = worker_trim;
	loop_timer_set(worker->loop, &worker->trim, loop_now(worker->loop) + WORKER_TRIM_NS);
}

/* A request has come on top of another one, here or elsewhere: one watcher would be too slow. */
static void worker_watch_crowd(struct worker *worker)
{
	const struct fsop_request *first = LIST_FIRST(&worker->vigil.pending);
	struct rota *rota = &worker->share->rota;
	if (!first || (!LIST_NEXT(first, pending) && atomic_load(&rota->busy) < 2))
		return;
	if (rota_crowd(rota, loop_now(worker->loop)))
		worker_call_others(worker);
}

static uint64_t worker_spin_begin(struct loop_spin *spin)
{
	struct worker *worker = (struct worker *)((char *)spin - offsetof(struct worker, spin));
	enum spin_wait wait = LIST_EMPTY(&worker->vigil.pending) ? SPIN_REQUEST : SPIN_REPLY;
	uint64_t now = loop_clock();
	uint64_t limit = spin_begin(&worker->odds, wait, worker->vigil.active, now);
	/* One at a time: the others would take the CPUs that the programs are on. */
	if (limit == 0 || atomic_exchange(&worker->share->rota.spinning, true))
		return 0;
	worker->spun_at = now;
	return limit;
}

static void worker_spin_end(struct loop_spin *spin, bool found, uint64_t away)
{
	struct worker *worker = (struct worker *)((char *)spin - offsetof(struct worker, spin));
	struct spin_stats *stats = &worker->spun;
	uint64_t now = loop_clock();
	atomic_store(&worker->share->rota.spinning, false);
	spin_end(&worker->odds, found, away, now);
	atomic_fetch_add_explicit(&stats->spins, 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&stats->found, found, memory_order_relaxed);
	atomic_fetch_add_explicit(&stats->ns, now - worker->spun_at, memory_order_relaxed);
}

static bool worker_hook(struct loop_hook *hook)
{
	struct worker *worker = (struct worker *)((char *)hook - offsetof(struct worker, hook));
	for (int i = 0; i < WORKER_BATCH; i++) {
		int r = worker_next_request(worker);
		if (r == 1) {
			worker_watch_crowd(worker);
			continue;
		}
		if (r == -ENODEV) {
			worker_device_ended(worker);
		} else if (r == -ENOBUFS) {
			loop_timer_set(worker->loop, &worker->retry,
				loop_now(worker->loop) + WORKER_RETRY_NS);
		} else if (!worker->polling &&
			   rota_join(&worker->share->rota, loop_now(worker->loop))) {
			/* Exclusive and armed only now: with every worker polling all the time each
			 * request would wake them all. */
			worker->polling = true;
			loop_poll_start(worker->loop, &worker->poll);
		}
		worker_watch_spare(worker);
		return i > 0;
	}
	return true;
}

void worker_serve(struct worker *worker, int fd_take)
{
	worker->fuse_fd = fd_take;
	worker->serving = true;
	/* The ring of a daemon that was killed goes a while after it: an exclusive poll in it would
	 * still take the one wake-up that a request gives. */
	worker->poll = (struct loop_poll){.fd = fd_take,
		.events = POLLIN,
		.exclusive = !worker->share->takeover,
		.done = worker_polled};
	worker->retry.fire = worker_retry;
	worker->hook.run = worker_hook;
	loop_hook_add(worker->loop, &worker->hook);
	if (!worker->share->busy_poll)
		return;
	worker->spin = (struct loop_spin){.begin = worker_spin_begin, .end = worker_spin_end};
	spin_init(&worker->odds, (uint64_t)worker->share->options->busy_poll_us * 1000);
	loop_spin_set(worker->loop, &worker->spin);
}

static void worker_behind(struct loop_timer *timer)
{
	struct worker *worker = (struct worker *)((char *)timer - offsetof(struct worker, behind));
	worker->behind_set = false;
	if (behind_tick(worker->share))
		worker_watch_behind(worker);
}

void worker_watch_behind(struct worker *worker)
{
	if (worker->behind_set)
		return;
	worker->behind_set = true;
	worker->behind.fire = worker_behind;
	loop_timer_set(worker->loop, &worker->behind, loop_now(worker->loop) + WORKER_BEHIND_NS);
}

static void worker_close(struct loop_timer *timer)
{
	struct worker *worker = (struct worker *)((char *)timer - offsetof(struct worker, closing));
	worker->closing_set = false;
	closing_tick(worker->share->closing, timer->deadline);
}

void worker_watch_closing(struct worker *worker, uint64_t deadline)
{
	if (worker->closing_set && worker->closing.deadline <= deadline)
		return;
	worker->closing_set = true;
	worker->closing.fire = worker_close;
	loop_timer_set(worker->loop, &worker->closing, deadline);
}

static void worker_unread(struct loop_timer *timer)
{
	struct worker *worker = (struct worker *)((char *)timer - offsetof(struct worker, unread));
	worker->unread_set = false;
	bool more = lead_tick(worker->share->lead);
	if (preopen_tick(worker->share->preopen, loop_now(worker->loop)) || more)
		worker_watch_unread(worker);
}

void worker_watch_unread(struct worker *worker)
{
	if (worker->unread_set)
		return;
	worker->unread_set = true;
	worker->unread.fire = worker_unread;
	loop_timer_set(worker->loop, &worker->unread, loop_now(worker->loop) + WORKER_TRIM_NS);
}

struct worker_call {
	struct loop_task task;
	void (*run)(void *arg);
	void *arg;
	pthread_mutex_t mutex;
	pthread_cond_t cond;
	bool done;
};

static void worker_call_run(struct loop_task *task)
{
	struct worker_call *call = (struct worker_call *)task;
	call->run(call->arg);
	pthread_mutex_lock(&call->mutex);
	call->done = true;
	pthread_cond_signal(&call->cond);
	pthread_mutex_unlock(&call->mutex);
}

void worker_call(struct worker *worker, void (*run)(void *arg), void *arg)
{
	struct worker_call call = {.task.run = worker_call_run,
		.run = run,
		.arg = arg,
		.mutex = PTHREAD_MUTEX_INITIALIZER,
		.cond = PTHREAD_COND_INITIALIZER};
	loop_post(worker->loop, &call.task);
	pthread_mutex_lock(&call.mutex);
	while (!call.done)
		pthread_cond_wait(&call.cond, &call.mutex);
	pthread_mutex_unlock(&call.mutex);
	pthread_mutex_destroy(&call.mutex);
	pthread_cond_destroy(&call.cond);
}
