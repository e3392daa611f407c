/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "util/loop.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "util/loop_engine.h"
#include "util/loop_timer.h"

struct loop {
	struct loop_engine *engine;
	struct loop_timer_heap timers;
	TAILQ_HEAD(, loop_hook) hooks;
	struct loop_hook *next_hook; /* of the pass over the hooks that is under way */
	uint64_t now;
	struct loop_spin *spin;
	struct loop_poll wake;		   /* watches the eventfd */
	_Atomic(struct loop_task *) tasks; /* newest first */
	atomic_bool stop;
};

/* The loop that this thread runs: it looks at its tasks before it sleeps and needs no wake-up. */
static _Thread_local struct loop *loop_running;

uint64_t loop_clock(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

uint64_t loop_now(const struct loop *loop)
{
	return loop->now;
}

enum loop_backend loop_backend(const struct loop *loop)
{
	return loop->engine->ops->backend;
}

static void loop_wake(struct loop *loop)
{
	uint64_t one = 1;

	/* Fails only when the counter is full, and then the loop is awake anyway. */
	while (write(loop->wake.fd, &one, sizeof(one)) < 0 && errno == EINTR)
		;
}

static void loop_woken(struct loop_poll *wake, int result)
{
	struct loop *loop = (struct loop *)((char *)wake - offsetof(struct loop, wake));
	uint64_t count;

	while (read(wake->fd, &count, sizeof(count)) < 0 && errno == EINTR)
		;
	loop_poll_start(loop, wake);
}

bool loop_takes_commands(const struct loop *loop)
{
	return loop->engine->commands;
}

static int loop_new_engine(enum loop_backend want, bool commands, struct loop_engine **engine)
{
	if (want != LOOP_POLL) {
		int err = loop_uring_new(commands, engine);
		if (!err || want == LOOP_URING)
			return err;
	}
	return loop_poll_new(engine);
}

static int loop_new_with(enum loop_backend want, bool commands, struct loop **out)
{
	struct loop *loop = calloc(1, sizeof(*loop));
	int err;

	if (!loop)
		return -ENOMEM;
	err = loop_new_engine(want, commands, &loop->engine);
	if (err)
		goto err_loop;
	loop->wake.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (loop->wake.fd < 0) {
		err = -errno;
		goto err_engine;
	}
	loop->wake.events = POLLIN;
	loop->wake.done = loop_woken;
	TAILQ_INIT(&loop->hooks);
	atomic_init(&loop->tasks, NULL);
	atomic_init(&loop->stop, false);
	loop->now = loop_clock();
	loop_poll_start(loop, &loop->wake);
	*out = loop;
	return 0;

err_engine:
	loop->engine->ops->free(loop->engine);
err_loop:
	free(loop);
	return err;
}

int loop_new(enum loop_backend want, struct loop **loop)
{
	return loop_new_with(want, false, loop);
}

int loop_new_commands(enum loop_backend want, struct loop **loop)
{
	return loop_new_with(want, true, loop);
}

void loop_free(struct loop *loop)
{
	if (!loop)
		return;
	loop->engine->ops->free(loop->engine);
	close(loop->wake.fd);
	free(loop);
}

static void loop_start(struct loop *loop, struct loop_op *op, enum loop_op_kind kind)
{
	op->kind = kind;
	op->state = LOOP_OP_QUEUED;
	op->cancelled = false;
	loop->engine->ops->start(loop->engine, op);
}

static void loop_cancel(struct loop *loop, struct loop_op *op)
{
	if (op->state == LOOP_OP_IDLE || op->cancelled)
		return;
	op->cancelled = true;
	loop->engine->ops->cancel(loop->engine, op);
}

void loop_recv_start(struct loop *loop, struct loop_recv *op)
{
	op->got = 0;
	op->waiting = false;
	loop_start(loop, &op->op, LOOP_OP_RECV);
}

void loop_recv_cancel(struct loop *loop, struct loop_recv *op)
{
	loop_cancel(loop, &op->op);
}

void loop_poll_start(struct loop *loop, struct loop_poll *op)
{
	loop_start(loop, &op->op, LOOP_OP_POLL);
}

void loop_poll_cancel(struct loop *loop, struct loop_poll *op)
{
	loop_cancel(loop, &op->op);
}

void loop_command_start(struct loop *loop, struct loop_command *op)
{
	loop_start(loop, &op->op, LOOP_OP_COMMAND);
}

void loop_timer_set(struct loop *loop, struct loop_timer *timer, uint64_t deadline)
{
	loop_timer_cancel(loop, timer);
	/* Not in this pass over the timers: one that sets itself to the past would never end it. */
	timer->deadline = deadline > loop->now ? deadline : loop->now + 1;
	loop_timer_insert(&loop->timers, timer);
}

void loop_timer_cancel(struct loop *loop, struct loop_timer *timer)
{
	if (timer->set)
		loop_timer_remove(&loop->timers, timer);
}

void loop_post(struct loop *loop, struct loop_task *task)
{
	struct loop_task *newest = atomic_load_explicit(&loop->tasks, memory_order_relaxed);

	do
		task->next = newest;
	while (!atomic_compare_exchange_weak_explicit(
		&loop->tasks, &newest, task, memory_order_release, memory_order_relaxed));
	/* Who posted the first of a batch wakes the loop for all of it. */
	if (!newest && loop_running != loop)
		loop_wake(loop);
}

void loop_stop(struct loop *loop)
{
	atomic_store(&loop->stop, true);
	if (loop_running != loop)
		loop_wake(loop);
}

void loop_spin_set(struct loop *loop, struct loop_spin *spin)
{
	loop->spin = spin;
}

void loop_hook_add(struct loop *loop, struct loop_hook *hook)
{
	TAILQ_INSERT_TAIL(&loop->hooks, hook, entry);
}

void loop_hook_remove(struct loop *loop, struct loop_hook *hook)
{
	if (loop->next_hook == hook)
		loop->next_hook = TAILQ_NEXT(hook, entry);
	TAILQ_REMOVE(&loop->hooks, hook, entry);
}

static void loop_run_tasks(struct loop *loop)
{
	struct loop_task *newest, *oldest = NULL;

	if (!atomic_load_explicit(&loop->tasks, memory_order_relaxed))
		return;
	newest = atomic_exchange_explicit(&loop->tasks, NULL, memory_order_acquire);
	while (newest) {
		struct loop_task *next = newest->next;
		newest->next = oldest;
		oldest = newest;
		newest = next;
	}
	while (oldest) {
		struct loop_task *task = oldest;
		oldest = task->next;
		task->run(task);
	}
}

static void loop_run_timers(struct loop *loop)
{
	struct loop_timer *timer;

	while ((timer = loop->timers.root) && timer->deadline <= loop->now) {
		loop_timer_remove(&loop->timers, timer);
		timer->fire(timer);
	}
}

static bool loop_run_hooks(struct loop *loop)
{
	struct loop_hook *hook = TAILQ_FIRST(&loop->hooks);
	bool busy = false;

	while (hook) {
		loop->next_hook = TAILQ_NEXT(hook, entry);
		busy |= hook->run(hook);
		hook = loop->next_hook;
	}
	return busy;
}

static uint64_t loop_sleep_time(struct loop *loop, bool busy)
{
	if (busy || atomic_load_explicit(&loop->tasks, memory_order_relaxed) ||
		atomic_load_explicit(&loop->stop, memory_order_relaxed))
		return 0;
	if (!loop->timers.root)
		return LOOP_FOREVER;
	uint64_t deadline = loop->timers.root->deadline, now = loop_clock();
	return deadline > now ? deadline - now : 0;
}

static bool loop_ready(struct loop *loop)
{
	return loop->engine->ops->ready(loop->engine) ||
	       atomic_load_explicit(&loop->tasks, memory_order_relaxed) ||
	       atomic_load_explicit(&loop->stop, memory_order_relaxed);
}

/* Looks for events up to `limit` ns. True: there is one. */
static bool loop_look(struct loop *loop, uint64_t limit)
{
	uint64_t now = loop_clock(), end = now + limit, away = 0;
	bool found;

	while (!(found = loop_ready(loop)) && now < end) {
		/* Who has the event for us may be waiting for this CPU. */
		sched_yield();
		uint64_t last = now;
		now = loop_clock();
		if (now - last > away)
			away = now - last;
	}
	loop->spin->end(loop->spin, found, away);
	return found;
}

static int loop_wait(struct loop *loop, uint64_t timeout)
{
	const struct loop_engine_ops *engine = loop->engine->ops;
	uint64_t limit =
		timeout > 0 && loop->spin && engine->ready ? loop->spin->begin(loop->spin) : 0;

	if (limit > 0) {
		int err = engine->wait(loop->engine, 0);
		if (err)
			return err;
		if (loop_look(loop, limit < timeout ? limit : timeout))
			timeout = 0;
		else
			timeout = loop_sleep_time(loop, false);
	}
	return engine->wait(loop->engine, timeout);
}

int loop_run(struct loop *loop)
{
	const struct loop_engine_ops *engine = loop->engine->ops;
	struct loop *outer = loop_running;
	int err = engine->run_begin(loop->engine);

	if (err)
		return err;
	loop_running = loop;
	loop->now = loop_clock();
	while (!err && !atomic_exchange(&loop->stop, false)) {
		loop_run_tasks(loop);
		loop_run_timers(loop);
		bool busy = loop_run_hooks(loop);
		/* Most work is done after one more pass, and one system call is saved. */
		if (busy)
			busy = loop_run_hooks(loop);
		err = loop_wait(loop, loop_sleep_time(loop, busy));
		loop->now = loop_clock();
		engine->reap(loop->engine);
	}
	loop_running = outer;
	engine->run_end(loop->engine);
	return err;
}
