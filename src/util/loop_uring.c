/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <liburing.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "util/loop_engine.h"

/*
 * The back end on io_uring. Operations wait in `todo` and become SQEs only in wait(), on the loop's
 * thread: the ring is made disabled and belongs to the thread that runs the loop, and an
 * operation that ends or is cancelled before its SQE was made costs no system call.
 */

struct uring_engine {
	struct loop_engine engine;
	struct io_uring ring;
	bool enabled;
	struct loop_op_list todo;  /* LOOP_OP_QUEUED and LOOP_OP_ENDING */
	struct loop_op_list ended; /* cancelled before they were begun */
};

/* Few, because kernels before 5.12 charge the rings of a process to its RLIMIT_MEMLOCK. */
#define URING_ENTRIES 64

static struct uring_engine *uring_engine(struct loop_engine *engine)
{
	return (struct uring_engine *)engine;
}

static void uring_engine_free(struct loop_engine *engine)
{
	struct uring_engine *u = uring_engine(engine);

	io_uring_queue_exit(&u->ring);
	free(u);
}

/* io_uring_enable_rings, which the shared library of liburing 2.3 forgot to export. */
static int uring_enable(struct io_uring *ring)
{
	long ret = syscall(
		__NR_io_uring_register, ring->ring_fd, IORING_REGISTER_ENABLE_RINGS, NULL, 0);

	return ret < 0 ? -errno : 0;
}

static int uring_engine_run_begin(struct loop_engine *engine)
{
	struct uring_engine *u = uring_engine(engine);

	if (!u->enabled) {
		int err = uring_enable(&u->ring);
		if (err)
			return err;
		u->enabled = true;
	}
	/* Saves looking up the descriptor in each io_uring_enter; kernels before 5.18 refuse. */
	io_uring_register_ring_fd(&u->ring);
	return 0;
}

static void uring_engine_run_end(struct loop_engine *engine)
{
	struct uring_engine *u = uring_engine(engine);

	/* Registered descriptors are per thread: another may free the loop. */
	if (u->ring.enter_ring_fd != u->ring.ring_fd)
		io_uring_unregister_ring_fd(&u->ring);
}

static void uring_engine_start(struct loop_engine *engine, struct loop_op *op)
{
	TAILQ_INSERT_TAIL(&uring_engine(engine)->todo, op, entry);
}

static void uring_engine_cancel(struct loop_engine *engine, struct loop_op *op)
{
	if (op->state == LOOP_OP_BUSY) {
		op->state = LOOP_OP_ENDING;
		TAILQ_INSERT_TAIL(&uring_engine(engine)->todo, op, entry);
	}
}

static void uring_requeue(struct uring_engine *u, struct loop_op *op)
{
	op->state = LOOP_OP_QUEUED;
	TAILQ_INSERT_TAIL(&u->todo, op, entry);
}

static void uring_prep_recv(struct io_uring_sqe *sqe, struct loop_recv *recv)
{
	if (recv->waiting)
		io_uring_prep_poll_add(sqe, recv->fd, POLLIN);
	else
		io_uring_prep_recv(sqe, recv->fd, (char *)recv->data + recv->got,
			recv->len - recv->got,
			recv->wait_all && !recv->piecemeal ? MSG_WAITALL : 0);
}

static void uring_prep_poll(struct io_uring_sqe *sqe, struct loop_poll *poll)
{
	unsigned mask = (unsigned short)poll->events;

	if (poll->exclusive)
		mask |= EPOLLEXCLUSIVE;
	io_uring_prep_poll_add(sqe, poll->fd, mask);
}

/* Only in the rings whose SQEs have room for it. */
static void uring_prep_command(struct io_uring_sqe *sqe, const struct loop_command *command)
{
	io_uring_prep_rw(IORING_OP_URING_CMD, sqe, command->fd, command->address, command->len, 0);
	sqe->cmd_op = command->number;
	memcpy(sqe->cmd, command->data, sizeof(command->data));
}

static void uring_prep(struct io_uring_sqe *sqe, struct loop_op *op)
{
	switch ((enum loop_op_kind)op->kind) {
	case LOOP_OP_RECV: uring_prep_recv(sqe, loop_op_recv(op)); break;
	case LOOP_OP_POLL: uring_prep_poll(sqe, loop_op_poll(op)); break;
	case LOOP_OP_COMMAND: uring_prep_command(sqe, loop_op_command(op)); break;
	}
}

/* Makes the SQEs of all that is to do. False if the ring has room for a part of them only. */
static bool uring_fill(struct uring_engine *u)
{
	struct loop_op *op;

	while ((op = TAILQ_FIRST(&u->todo))) {
		if (op->state == LOOP_OP_QUEUED && op->cancelled) {
			TAILQ_REMOVE(&u->todo, op, entry);
			TAILQ_INSERT_TAIL(&u->ended, op, entry);
			continue;
		}
		struct io_uring_sqe *sqe = io_uring_get_sqe(&u->ring);
		if (!sqe)
			return false;
		TAILQ_REMOVE(&u->todo, op, entry);
		if (op->state == LOOP_OP_ENDING) {
			io_uring_prep_cancel64(sqe, (uintptr_t)op, 0);
			io_uring_sqe_set_data64(sqe, 0);
		} else {
			uring_prep(sqe, op);
			io_uring_sqe_set_data64(sqe, (uintptr_t)op);
		}
		op->state = LOOP_OP_BUSY;
	}
	return true;
}

/* Submits without sleeping; no system call at all when there is nothing in it. */
static int uring_submit(struct uring_engine *u)
{
	unsigned flags = IO_URING_READ_ONCE(*u->ring.sq.kflags);

	if (io_uring_sq_ready(&u->ring) == 0 &&
		!(flags & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW)))
		return 0;
	return io_uring_submit_and_get_events(&u->ring);
}

static int uring_engine_wait(struct loop_engine *engine, uint64_t timeout)
{
	struct uring_engine *u = uring_engine(engine);
	struct io_uring_cqe *cqe;
	int err;

	if (!uring_fill(u) || !TAILQ_EMPTY(&u->ended) || io_uring_cq_ready(&u->ring) > 0)
		timeout = 0;
	if (timeout == 0) {
		err = uring_submit(u);
	} else if (timeout == LOOP_FOREVER) {
		err = io_uring_submit_and_wait(&u->ring, 1);
	} else {
		struct __kernel_timespec ts = {
			.tv_sec = (long long)(timeout / 1000000000),
			.tv_nsec = (long long)(timeout % 1000000000),
		};
		err = io_uring_submit_and_wait_timeout(&u->ring, &cqe, 1, &ts, NULL);
	}
	if (err == -ETIME || err == -EINTR || err == -EAGAIN || err == -EBUSY)
		err = 0;
	return err < 0 ? err : 0;
}

/* What has ended without having been seen is flagged: see IORING_SETUP_TASKRUN_FLAG. */
static bool uring_engine_ready(struct loop_engine *engine)
{
	struct uring_engine *u = uring_engine(engine);
	unsigned flags = IO_URING_READ_ONCE(*u->ring.sq.kflags);

	return io_uring_cq_ready(&u->ring) > 0 ||
	       (flags & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW));
}

static void uring_end_recv(struct uring_engine *u, struct loop_recv *recv, int result)
{
	/*
	 * Older kernels return what is there in spite of MSG_WAITALL, and may return -EAGAIN from a
	 * non-blocking socket instead of waiting for it.
	 */
	if (recv->waiting && result > 0) {
		recv->waiting = false;
		uring_requeue(u, &recv->op);
		return;
	}
	if (result > 0)
		recv->got += (size_t)result;
	if (result == -EAGAIN)
		recv->waiting = true;
	/* AF_VSOCK's word for being told to wait for more than the socket's buffer holds. */
	bool refused = result == -ENOMEM && recv->wait_all && !recv->piecemeal;
	recv->piecemeal |= refused;
	if (result == -EAGAIN || result == -EINTR || refused ||
		(result > 0 && recv->wait_all && recv->got < recv->len))
		uring_requeue(u, &recv->op);
	else
		loop_op_end(&recv->op, result);
}

static void uring_end(struct uring_engine *u, struct loop_op *op, int result)
{
	if (op->state == LOOP_OP_ENDING)
		TAILQ_REMOVE(&u->todo, op, entry);
	if (op->kind == LOOP_OP_RECV)
		uring_end_recv(u, loop_op_recv(op), result);
	else
		loop_op_end(op, result);
}

/* No callback touches the ring, so that the CQEs may be walked in place and returned at once. */
static void uring_engine_reap(struct loop_engine *engine)
{
	struct uring_engine *u = uring_engine(engine);
	struct io_uring_cqe *cqe;
	struct loop_op *op;
	unsigned head, count = 0;

	while ((op = TAILQ_FIRST(&u->ended))) {
		TAILQ_REMOVE(&u->ended, op, entry);
		loop_op_end(op, -ECANCELED);
	}
	io_uring_for_each_cqe(&u->ring, head, cqe)
	{
		count++;
		/* 0 is a cancellation's own; liburing's timeout before 5.11 has all bits set. */
		if (cqe->user_data != 0 && cqe->user_data != LIBURING_UDATA_TIMEOUT)
			uring_end(u, (struct loop_op *)(uintptr_t)cqe->user_data, cqe->res);
	}
	io_uring_cq_advance(&u->ring, count);
}

static const struct loop_engine_ops uring_engine_ops = {
	.backend = LOOP_URING,
	.free = uring_engine_free,
	.run_begin = uring_engine_run_begin,
	.run_end = uring_engine_run_end,
	.start = uring_engine_start,
	.cancel = uring_engine_cancel,
	.ready = uring_engine_ready,
	.wait = uring_engine_wait,
	.reap = uring_engine_reap,
};

/*
 * What a ring does is not seen by seccomp(2), so it is told by itself to do no more than this file
 * asks of it. Kernels that make disabled rings know restrictions; a ring without them works too.
 */
static void uring_restrict(struct io_uring *ring, bool commands)
{
	static const uint8_t submits[] = {IORING_OP_RECV, IORING_OP_POLL_ADD,
		IORING_OP_ASYNC_CANCEL, IORING_OP_TIMEOUT, IORING_OP_URING_CMD};
	static const uint8_t registers[] = {
		IORING_REGISTER_ENABLE_RINGS, IORING_REGISTER_RING_FDS, IORING_UNREGISTER_RING_FDS};
	struct io_uring_restriction all[sizeof(submits) + sizeof(registers)] = {0};
	unsigned count = 0;

	for (size_t i = 0; i < sizeof(submits) - !commands; i++)
		all[count++] = (struct io_uring_restriction){
			.opcode = IORING_RESTRICTION_SQE_OP, .sqe_op = submits[i]};
	for (size_t i = 0; i < sizeof(registers); i++)
		all[count++] = (struct io_uring_restriction){
			.opcode = IORING_RESTRICTION_REGISTER_OP, .register_op = registers[i]};
	/* liburing 2.3 forgot to export io_uring_register_restrictions. */
	syscall(__NR_io_uring_register, ring->ring_fd, IORING_REGISTER_RESTRICTIONS, all, count);
}

/* The best ring that this kernel makes: 6.1 (with room for commands), 6.1, 6.0, 5.19, 5.10. */
static int uring_setup(struct io_uring *ring, bool *commands)
{
	static const unsigned tries[] = {
		IORING_SETUP_SQE128 | IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
			IORING_SETUP_TASKRUN_FLAG,
		IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG,
		IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG,
		IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG,
		0,
	};
	int err = -EINVAL;

	for (size_t i = !*commands; i < sizeof(tries) / sizeof(tries[0]) && err == -EINVAL; i++) {
		struct io_uring_params params = {.flags = tries[i] | IORING_SETUP_R_DISABLED};
		err = io_uring_queue_init_params(URING_ENTRIES, ring, &params);
	}
	*commands = err >= 0 && (ring->flags & IORING_SETUP_SQE128);
	return err;
}

int loop_uring_new(bool commands, struct loop_engine **engine)
{
	struct uring_engine *u = calloc(1, sizeof(*u));
	int err;

	if (!u)
		return -ENOMEM;
	err = uring_setup(&u->ring, &commands);
	if (err < 0) {
		free(u);
		return err;
	}
	uring_restrict(&u->ring, commands);
	u->engine.ops = &uring_engine_ops;
	u->engine.commands = commands;
	TAILQ_INIT(&u->todo);
	TAILQ_INIT(&u->ended);
	*engine = &u->engine;
	return 0;
}
