/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_UTIL_LOOP_H
#define VSOCKFS_UTIL_LOOP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/types.h>

/*
 * An event loop for one thread, on io_uring or on poll(2).
 *
 * Everything here is called on the loop's own thread (or before loop_run), except
 * loop_post and loop_stop, which any thread may call. Operations are embedded in
 * their owner's structures and are never allocated or freed by the loop. Each
 * operation that was started calls its `done` exactly once, from loop_run and never
 * from the function that started or cancelled it; only then may its memory be reused and
 * its descriptor be closed. Operations, timers and hooks are zero-initialised before first use.
 * Times are nanoseconds of CLOCK_MONOTONIC.
 */

struct loop;

/* Private to the loop: what every operation has. */
struct loop_op {
	TAILQ_ENTRY(loop_op) entry;
	uint8_t kind, state;
	bool cancelled;
};

enum loop_backend {
	LOOP_AUTO,  /* io_uring where the kernel allows it, else poll(2) */
	LOOP_URING, /* io_uring or an error */
	LOOP_POLL,
};

/*
 * Receives into one buffer from a stream socket. With `wait_all` the result is short only at
 * end of stream, error or cancellation. The result is the number of bytes (0: end of
 * stream) or -errno (-ECANCELED after loop_recv_cancel, unless bytes had already arrived).
 */
struct loop_recv {
	int fd;
	void *data;
	size_t len; /* bytes */
	bool wait_all;
	void (*done)(struct loop_recv *op, ssize_t result);
	/* private to the loop; `piecemeal` stays from one receive to the next */
	size_t got;
	bool waiting, piecemeal;
	struct loop_op op;
};

/*
 * Waits once until `fd` has one of `events` (POLLIN, POLLOUT, ...), or seems to: io_uring takes a
 * driver's wake-up at its word, so that trying may still give EAGAIN. `exclusive` asks for
 * the wake-up of a single waiter where several threads wait on one file (EPOLLEXCLUSIVE; the
 * poll(2) back end wakes all). The result is the set of events, also of POLLERR, POLLHUP and
 * (io_uring) POLLRDHUP unasked, or -errno (-ECANCELED after loop_poll_cancel, unless it had fired).
 */
struct loop_poll {
	int fd;
	short events;
	bool exclusive;
	void (*done)(struct loop_poll *op, int result);
	/* private to the loop */
	struct loop_op op;
};

/*
 * A command for the driver behind `fd` (IORING_OP_URING_CMD), only on a loop that takes them. It
 * cannot be cancelled: it ends when the driver says so, with the driver's result, or with the
 * thread that ran the loop.
 */
#define LOOP_COMMAND_DATA 32

struct loop_command {
	int fd;
	uint32_t number;
	const void *address;				     /* of what the driver takes as such, */
	uint32_t len;					     /* and its length */
	uint64_t data[LOOP_COMMAND_DATA / sizeof(uint64_t)]; /* in the submission itself */
	void (*done)(struct loop_command *op, int result);
	/* private to the loop */
	struct loop_op op;
};

/* Fires once at `deadline`, unless it is cancelled or set anew first. */
struct loop_timer {
	uint64_t deadline; /* ns, as loop_now(); moved up to the next turn if it was past */
	void (*fire)(struct loop_timer *timer);
	/* private to the loop: place in the heap; `prev` is the parent for a first child */
	struct loop_timer *child, *next, *prev;
	bool set;
};

/* Runs once on the loop's thread. Belongs to the loop from loop_post until `run` is called. */
struct loop_task {
	void (*run)(struct loop_task *task);
	/* private to the loop */
	struct loop_task *next;
};

/*
 * Called on every turn before the loop would sleep, in the order of addition. Returns
 * true if it did some work: all hooks are then called again, and the loop does not sleep
 * before none of them had any.
 */
struct loop_hook {
	bool (*run)(struct loop_hook *hook);
	/* private to the loop */
	TAILQ_ENTRY(loop_hook) entry;
};

/*
 * Asked before each sleep for how long (ns) to look for events first, which a back end can that
 * sees them in memory; the CPU is given to whoever else wants it meanwhile. Unless that was 0, it
 * is then told whether something came, and the longest time (ns) for which others had the CPU.
 */
struct loop_spin {
	uint64_t (*begin)(struct loop_spin *spin);
	void (*end)(struct loop_spin *spin, bool found, uint64_t away);
};

/* 0 or -errno. LOOP_AUTO falls back to poll(2) when io_uring cannot be set up. */
int loop_new(enum loop_backend want, struct loop **loop);
/* The same, but it takes commands where the kernel can (Linux 6.1): loop_takes_commands. */
int loop_new_commands(enum loop_backend want, struct loop **loop);
bool loop_takes_commands(const struct loop *loop);
/*
 * Nothing may be active any more but timers, hooks and commands, which are forgotten. The thread
 * that ran it must have ended if there are commands. NULL is allowed.
 */
void loop_free(struct loop *loop);
/* LOOP_URING or LOOP_POLL: what is in use. */
enum loop_backend loop_backend(const struct loop *loop);

/*
 * Runs until loop_stop (a stop that came before the run ends it at once); may be called again
 * afterwards, by the same thread. 0 or -errno of the wait itself.
 */
int loop_run(struct loop *loop);
void loop_stop(struct loop *loop);

/* The time when the loop last woke (or took a turn); cheap. */
uint64_t loop_now(const struct loop *loop);
/* The clock itself. */
uint64_t loop_clock(void);

void loop_recv_start(struct loop *loop, struct loop_recv *op);
/* Asks for an early end; `done` still follows. No effect on an idle operation. */
void loop_recv_cancel(struct loop *loop, struct loop_recv *op);

void loop_poll_start(struct loop *loop, struct loop_poll *op);
void loop_poll_cancel(struct loop *loop, struct loop_poll *op);

void loop_command_start(struct loop *loop, struct loop_command *op);

void loop_timer_set(struct loop *loop, struct loop_timer *timer, uint64_t deadline);
void loop_timer_cancel(struct loop *loop, struct loop_timer *timer);

void loop_post(struct loop *loop, struct loop_task *task_take);

void loop_spin_set(struct loop *loop, struct loop_spin *spin);

void loop_hook_add(struct loop *loop, struct loop_hook *hook);
void loop_hook_remove(struct loop *loop, struct loop_hook *hook);

#endif
