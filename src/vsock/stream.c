/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "vsock/stream.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "vsock/socket.h"
#include "vsock/stream_priv.h"

/* A Unix socket whose listener has a full queue refuses with EAGAIN and tells nobody when not. */
#define STREAM_RETRY_NS 10000000

void stream_post(struct stream *stream)
{
	stream->tasked = true;
	loop_post(stream->loop, &stream->task);
}

void stream_await_writable(struct stream *stream)
{
	stream->blocked = true;
	loop_poll_start(stream->loop, &stream->writable);
}

void stream_check_closed(struct stream *stream)
{
	if (stream->state == STREAM_CLOSED && !stream->receiving && !stream->blocked &&
		!stream->tasked)
		stream_post(stream);
}

static void stream_end(struct stream *stream)
{
	const struct stream_ops *ops = stream->ops;
	void *arg = stream->arg;
	struct stream_msg *msg;

	close(stream->fd);
	if (stream->layer)
		stream->layer->free(stream);
	while ((msg = TAILQ_FIRST(&stream->queue))) {
		TAILQ_REMOVE(&stream->queue, msg, entry);
		msg->sent(msg, -ECANCELED);
	}
	free(stream);
	ops->closed(arg);
}

static size_t stream_msg_len(const struct stream_msg *msg)
{
	size_t len = 0;

	for (unsigned i = 0; i < msg->niov; i++)
		len += msg->iov[i].iov_len;
	return len;
}

size_t stream_gather(const struct stream *stream, struct iovec *iov, size_t *bytes)
{
	struct stream_msg *msg;
	size_t n = 0;

	*bytes = 0;
	TAILQ_FOREACH (msg, &stream->queue, entry) {
		size_t skip = msg->done;
		for (unsigned i = 0; i < msg->niov; i++) {
			struct iovec part = msg->iov[i];
			if (part.iov_len <= skip) {
				skip -= part.iov_len;
				continue;
			}
			if (n == IOV_MAX || *bytes == stream->send_max)
				return n;
			size_t len = part.iov_len - skip, room = stream->send_max - *bytes;
			iov[n].iov_base = (char *)part.iov_base + skip;
			iov[n].iov_len = len < room ? len : room;
			*bytes += iov[n++].iov_len;
			skip = 0;
		}
	}
	return n;
}

bool stream_advance(struct stream *stream, size_t n)
{
	struct stream_queue sent = TAILQ_HEAD_INITIALIZER(sent);
	struct stream_msg *msg;
	bool called = false;

	while ((msg = TAILQ_FIRST(&stream->queue))) {
		size_t left = stream_msg_len(msg) - msg->done;
		if (n < left) {
			msg->done += n;
			break;
		}
		n -= left;
		TAILQ_REMOVE(&stream->queue, msg, entry);
		TAILQ_INSERT_TAIL(&sent, msg, entry);
	}
	while ((msg = TAILQ_FIRST(&sent))) {
		TAILQ_REMOVE(&sent, msg, entry);
		msg->sent(msg, 0);
		called = true;
	}
	return called;
}

/* One sendmsg of all that is queued, or of as much as it may. True if it called back. */
static bool stream_write(struct stream *stream)
{
	struct iovec iov[IOV_MAX];
	size_t bytes;
	struct msghdr header = {.msg_iov = iov};
	ssize_t n;

	header.msg_iovlen = stream_gather(stream, iov, &bytes);
	n = sendmsg(stream->fd, &header, MSG_NOSIGNAL | MSG_DONTWAIT);
	if (n < 0) {
		if (errno == EAGAIN)
			stream_await_writable(stream);
		else if (errno != EINTR)
			stream->send_err = -errno;
		return false;
	}
	if ((size_t)n < bytes)
		stream_await_writable(stream);
	return stream_advance(stream, (size_t)n);
}

bool stream_push(struct stream *stream)
{
	bool called = false;

	if (stream->pushing)
		return false;
	stream->pushing = true;
	if (stream->layer)
		called = stream->layer->push(stream);
	else
		while (stream_can_write(stream) && !TAILQ_EMPTY(&stream->queue))
			called |= stream_write(stream);
	stream->pushing = false;
	return called;
}

static bool stream_run_hook(struct loop_hook *hook)
{
	struct stream *stream = STREAM_OF(hook, hook);
	bool called = stream_push(stream);

	if (stream->send_err && stream->state == STREAM_OPEN) {
		stream->state = STREAM_FAILED;
		loop_hook_remove(stream->loop, &stream->hook);
		stream->ops->broken(stream->arg, stream->send_err);
		called = true;
	}
	/* The callbacks may have left work to a hook that ran before this one. */
	return called;
}

static void stream_connected(struct stream *stream, int err)
{
	loop_timer_cancel(stream->loop, &stream->timer);
	stream->state = err ? STREAM_FAILED : STREAM_OPEN;
	if (!err)
		loop_hook_add(stream->loop, &stream->hook);
	stream->ops->connected(stream->arg, err);
}

static int stream_try_connect(struct stream *stream)
{
	if (connect(stream->fd, (struct sockaddr *)&stream->peer, stream->peer_len) == 0) {
		stream_post(stream);
		return 0;
	}
	if (errno == EINPROGRESS || errno == EINTR) {
		stream_await_writable(stream);
		if (stream->deadline)
			loop_timer_set(stream->loop, &stream->timer, stream->deadline);
		return 0;
	}
	if (errno == EAGAIN && stream->peer.ss_family == AF_UNIX) {
		loop_timer_set(stream->loop, &stream->timer, loop_clock() + STREAM_RETRY_NS);
		return 0;
	}
	return -errno;
}

static void stream_run_timer(struct loop_timer *timer)
{
	struct stream *stream = STREAM_OF(timer, timer);
	int err;

	if (stream->deadline && loop_now(stream->loop) >= stream->deadline) {
		loop_poll_cancel(stream->loop, &stream->writable);
		err = -ETIMEDOUT;
	} else {
		err = stream_try_connect(stream);
	}
	if (err)
		stream_connected(stream, err);
}

static void stream_run_task(struct loop_task *task)
{
	struct stream *stream = STREAM_OF(task, task);

	stream->tasked = false;
	if (stream->state == STREAM_CONNECTING)
		stream_connected(stream, 0);
	else if (stream->state != STREAM_CLOSED)
		stream->layer->run(stream);
	else if (!stream->receiving && !stream->blocked)
		stream_end(stream);
}

/* How the connect ended, or -EINPROGRESS. */
static int stream_connect_result(const struct stream *stream, int events)
{
	struct sockaddr_storage peer;
	socklen_t len = sizeof(int);
	int err = 0;

	if (events < 0)
		return events;
	if (getsockopt(stream->fd, SOL_SOCKET, SO_ERROR, &err, &len) < 0)
		return -errno;
	if (err)
		return -err;
	/* Writable is not enough: vsock wakes io_uring with POLLOUT when its request was sent. */
	len = sizeof(peer);
	if (getpeername(stream->fd, (struct sockaddr *)&peer, &len) == 0)
		return 0;
	return events & (POLLERR | POLLHUP) ? -ECONNRESET : -EINPROGRESS;
}

static void stream_writable(struct loop_poll *writable, int result)
{
	struct stream *stream = STREAM_OF(writable, writable);

	stream->blocked = false;
	if (stream->state == STREAM_CONNECTING) {
		int err = stream_connect_result(stream, result);
		if (err == -EINPROGRESS)
			stream_await_writable(stream);
		else
			stream_connected(stream, err);
	} else if (stream->state == STREAM_OPEN && result < 0) {
		stream->send_err = result;
	} else {
		stream_check_closed(stream);
	}
}

static void stream_received(struct loop_recv *recv, ssize_t result)
{
	struct stream *stream = STREAM_OF(recv, recv);

	stream->receiving = false;
	if (stream->state != STREAM_CLOSED)
		stream->ops->received(stream->arg, result);
	else
		stream_check_closed(stream);
}

static struct stream *stream_new(struct loop *loop, int fd, const struct stream_ops *ops, void *arg)
{
	struct stream *stream = calloc(1, sizeof(*stream));

	if (!stream)
		return NULL;
	stream->loop = loop;
	stream->ops = ops;
	stream->arg = arg;
	stream->fd = fd;
	stream->state = STREAM_CONNECTING;
	stream->timer.fire = stream_run_timer;
	stream->task.run = stream_run_task;
	stream->hook.run = stream_run_hook;
	stream->send_max = SIZE_MAX;
	stream->recv.fd = fd;
	stream->recv.done = stream_received;
	stream->writable.fd = fd;
	stream->writable.events = POLLOUT;
	stream->writable.done = stream_writable;
	TAILQ_INIT(&stream->queue);
	return stream;
}

int stream_connect(struct loop *loop, const struct address *address,
	const struct stream_config *config, const struct stream_ops *ops, void *arg,
	struct stream **out)
{
	struct sockaddr_storage peer;
	socklen_t peer_len;
	struct stream *stream;
	struct utsname machine;
	int fd, err;

	err = address_resolve(address, &peer, &peer_len);
	if (err)
		return err;
	err = socket_new(&peer, config, &fd);
	if (err)
		return err;
	stream = stream_new(loop, fd, ops, arg);
	if (!stream) {
		close(fd);
		return -ENOMEM;
	}
	stream->peer = peer;
	stream->peer_len = peer_len;
	if (uname(&machine) == 0)
		stream->send_max = socket_send_max(&peer, machine.release);
	if (config->connect_timeout_ns > 0)
		stream->deadline = loop_clock() + config->connect_timeout_ns;
	err = stream_try_connect(stream);
	if (err) {
		close(fd);
		free(stream);
		return err;
	}
	*out = stream;
	return 0;
}

int stream_adopt(
	struct loop *loop, int fd, const struct stream_ops *ops, void *arg, struct stream **out)
{
	struct stream *stream = stream_new(loop, fd, ops, arg);

	if (!stream) {
		close(fd);
		return -ENOMEM;
	}
	stream_post(stream);
	*out = stream;
	return 0;
}

void stream_recv(struct stream *stream, void *data, size_t len, bool wait_all)
{
	if (stream->layer) {
		stream->layer->recv(stream, data, len, wait_all);
		return;
	}
	stream->receiving = true;
	stream->recv.data = data;
	stream->recv.len = len;
	stream->recv.wait_all = wait_all;
	loop_recv_start(stream->loop, &stream->recv);
}

void stream_send(struct stream *stream, struct stream_msg *msg)
{
	msg->done = 0;
	TAILQ_INSERT_TAIL(&stream->queue, msg, entry);
}

void stream_flush(struct stream *stream)
{
	stream_push(stream);
}

const char *stream_why(const struct stream *stream)
{
	return stream->layer ? stream->layer->why(stream) : NULL;
}

void stream_close(struct stream *stream)
{
	if (stream->state == STREAM_OPEN)
		loop_hook_remove(stream->loop, &stream->hook);
	if (stream->layer)
		stream->layer->close(stream);
	stream->state = STREAM_CLOSED;
	loop_timer_cancel(stream->loop, &stream->timer);
	/* The peer learns of it now, not when the operations have ended. */
	shutdown(stream->fd, SHUT_RDWR);
	if (stream->receiving)
		loop_recv_cancel(stream->loop, &stream->recv);
	if (stream->blocked)
		loop_poll_cancel(stream->loop, &stream->writable);
	stream_check_closed(stream);
}
