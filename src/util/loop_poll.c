/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "util/loop_engine.h"

/* The back end on poll(2), for where io_uring is forbidden or too old. */

struct poll_engine {
	struct loop_engine engine;
	struct loop_op_list active;
	size_t nactive, ncancelled;
	/* what the last wait watched: fds[i] stands for ops[i] */
	struct pollfd *fds;
	struct loop_op **ops;
	size_t nready, cap;
};

static struct poll_engine *poll_engine(struct loop_engine *engine)
{
	return (struct poll_engine *)engine;
}

static void poll_engine_free(struct loop_engine *engine)
{
	struct poll_engine *p = poll_engine(engine);

	free(p->fds);
	free(p->ops);
	free(p);
}

static int poll_engine_run_begin(struct loop_engine *engine)
{
	return 0;
}

static void poll_engine_run_end(struct loop_engine *engine)
{
}

static void poll_engine_start(struct loop_engine *engine, struct loop_op *op)
{
	struct poll_engine *p = poll_engine(engine);

	TAILQ_INSERT_TAIL(&p->active, op, entry);
	p->nactive++;
}

static void poll_engine_cancel(struct loop_engine *engine, struct loop_op *op)
{
	poll_engine(engine)->ncancelled++;
}

static int poll_engine_reserve(struct poll_engine *p, size_t count)
{
	if (count <= p->cap)
		return 0;
	size_t cap = count < 16 ? 16 : count * 2;
	struct pollfd *fds = reallocarray(p->fds, cap, sizeof(*fds));
	if (!fds)
		return -ENOMEM;
	p->fds = fds;
	struct loop_op **ops = reallocarray(p->ops, cap, sizeof(struct loop_op *));
	if (!ops)
		return -ENOMEM;
	p->ops = ops;
	p->cap = cap;
	return 0;
}

static int poll_engine_wait(struct loop_engine *engine, uint64_t timeout)
{
	struct poll_engine *p = poll_engine(engine);
	struct timespec ts;
	struct loop_op *op;
	size_t n = 0;
	int err = poll_engine_reserve(p, p->nactive);

	p->nready = 0;
	if (err)
		return err;
	TAILQ_FOREACH (op, &p->active, entry) {
		bool recv = op->kind == LOOP_OP_RECV;
		p->ops[n] = op;
		p->fds[n++] = (struct pollfd){
			.fd = recv ? loop_op_recv(op)->fd : loop_op_poll(op)->fd,
			.events = recv ? POLLIN : loop_op_poll(op)->events,
		};
	}
	if (p->ncancelled > 0)
		timeout = 0;
	ts.tv_sec = (time_t)(timeout / 1000000000);
	ts.tv_nsec = (long)(timeout % 1000000000);
	if (ppoll(p->fds, n, timeout == LOOP_FOREVER ? NULL : &ts, NULL) < 0) {
		if (errno != EINTR && errno != EAGAIN)
			return -errno;
		for (size_t i = 0; i < n; i++)
			p->fds[i].revents = 0;
	}
	p->nready = n;
	return 0;
}

static void poll_engine_end(struct poll_engine *p, struct loop_op *op, ssize_t result)
{
	TAILQ_REMOVE(&p->active, op, entry);
	p->nactive--;
	if (op->cancelled)
		p->ncancelled--;
	loop_op_end(op, result);
}

static void poll_engine_recv(struct poll_engine *p, struct loop_recv *r)
{
	ssize_t n = recv(r->fd, (char *)r->data + r->got, r->len - r->got, MSG_DONTWAIT);

	if (n < 0) {
		if (errno != EAGAIN && errno != EINTR)
			poll_engine_end(p, &r->op, -errno);
		return;
	}
	r->got += (size_t)n;
	if (n == 0 || !r->wait_all || r->got == r->len)
		poll_engine_end(p, &r->op, 0);
}

/* The callbacks may start and cancel operations, but none that was watched goes before its turn. */
static void poll_engine_reap(struct loop_engine *engine)
{
	struct poll_engine *p = poll_engine(engine);

	for (size_t i = 0; i < p->nready; i++) {
		struct loop_op *op = p->ops[i];
		short revents = p->fds[i].revents;
		if (op->cancelled)
			poll_engine_end(p, op, -ECANCELED);
		else if (revents & POLLNVAL)
			poll_engine_end(p, op, -EBADF);
		else if (revents && op->kind == LOOP_OP_RECV)
			poll_engine_recv(p, loop_op_recv(op));
		else if (revents)
			poll_engine_end(p, op, revents);
	}
	p->nready = 0;
}

static const struct loop_engine_ops poll_engine_ops = {
	.backend = LOOP_POLL,
	.free = poll_engine_free,
	.run_begin = poll_engine_run_begin,
	.run_end = poll_engine_run_end,
	.start = poll_engine_start,
	.cancel = poll_engine_cancel,
	.wait = poll_engine_wait,
	.reap = poll_engine_reap,
};

int loop_poll_new(struct loop_engine **engine)
{
	struct poll_engine *p = calloc(1, sizeof(*p));

	if (!p)
		return -ENOMEM;
	p->engine.ops = &poll_engine_ops;
	TAILQ_INIT(&p->active);
	*engine = &p->engine;
	return 0;
}
