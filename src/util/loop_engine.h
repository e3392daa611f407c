/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_UTIL_LOOP_ENGINE_H
#define VSOCKFS_UTIL_LOOP_ENGINE_H

#include "util/loop.h"

/*
 * What a back end of the loop does: carry operations to the kernel and bring them back. Only
 * loop.c and the back ends include this.
 */

enum loop_op_kind { LOOP_OP_RECV, LOOP_OP_POLL, LOOP_OP_COMMAND };

enum loop_op_state {
	LOOP_OP_IDLE,	/* the owner's */
	LOOP_OP_QUEUED, /* started, and not handed to the kernel yet */
	LOOP_OP_BUSY,	/* in the kernel */
	LOOP_OP_ENDING, /* in the kernel, its cancellation not handed over yet */
};

TAILQ_HEAD(loop_op_list, loop_op);

struct loop_engine {
	const struct loop_engine_ops *ops;
	bool commands; /* it takes them */
};

#define LOOP_FOREVER UINT64_MAX

struct loop_engine_ops {
	enum loop_backend backend;
	void (*free)(struct loop_engine *engine);
	/* On the loop's thread, around all that follows. */
	int (*run_begin)(struct loop_engine *engine);
	void (*run_end)(struct loop_engine *engine);
	/* Neither calls back; start may come from another thread before the first run_begin. */
	void (*start)(struct loop_engine *engine, struct loop_op *op);
	void (*cancel)(struct loop_engine *engine, struct loop_op *op);
	/* Hands over what was started, and sleeps up to `timeout` ns for something to end. */
	int (*wait)(struct loop_engine *engine, uint64_t timeout);
	/* Has something ended? Looks at memory only. NULL: that takes a system call. */
	bool (*ready)(struct loop_engine *engine);
	/* Ends all operations that are ready, calling `done` of each. */
	void (*reap)(struct loop_engine *engine);
};

/* `commands`: to take them, if it can. */
int loop_uring_new(bool commands, struct loop_engine **engine);
int loop_poll_new(struct loop_engine **engine);

static inline struct loop_recv *loop_op_recv(struct loop_op *op)
{
	return (struct loop_recv *)((char *)op - offsetof(struct loop_recv, op));
}

static inline struct loop_poll *loop_op_poll(struct loop_op *op)
{
	return (struct loop_poll *)((char *)op - offsetof(struct loop_poll, op));
}

static inline struct loop_command *loop_op_command(struct loop_op *op)
{
	return (struct loop_command *)((char *)op - offsetof(struct loop_command, op));
}

/* Gives `op` back to its owner. Bytes that a receive already has count for more than `result`. */
static inline void loop_op_end(struct loop_op *op, ssize_t result)
{
	op->state = LOOP_OP_IDLE;
	if (op->kind == LOOP_OP_RECV) {
		struct loop_recv *recv = loop_op_recv(op);
		recv->done(recv, recv->got > 0 ? (ssize_t)recv->got : result);
	} else if (op->kind == LOOP_OP_COMMAND) {
		struct loop_command *command = loop_op_command(op);
		command->done(command, (int)result);
	} else {
		struct loop_poll *poll = loop_op_poll(op);
		poll->done(poll, (int)result);
	}
}

#endif
