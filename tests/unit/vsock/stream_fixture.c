/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "stream_fixture.h"

#include <unistd.h>

static unsigned letters_ended;

static void end_connected(void *arg, int err)
{
	struct end *end = arg;

	end->connected++;
	end->connect_err = err;
	loop_stop(end->f->loop);
	if (end->on_connected)
		end->on_connected(end);
}

static void end_received(void *arg, ssize_t result)
{
	struct end *end = arg;

	end->received++;
	end->result = result;
	loop_stop(end->f->loop);
	if (end->on_received)
		end->on_received(end);
}

static void end_broken(void *arg, int err)
{
	struct end *end = arg;

	end->broken++;
	end->broken_err = err;
	loop_stop(end->f->loop);
	if (end->on_broken)
		end->on_broken(end);
}

static void end_closed(void *arg)
{
	struct end *end = arg;

	end->closed++;
	end->stream = NULL;
	loop_stop(end->f->loop);
}

const struct stream_ops end_ops = {
	.connected = end_connected,
	.received = end_received,
	.broken = end_broken,
	.closed = end_closed,
};

struct end *end_new(struct fixture *f)
{
	struct end *end = calloc(1, sizeof(*end));

	end->f = f;
	return end;
}

void end_adopt(struct end *end, int fd)
{
	assert_int_equal(stream_adopt(end->f->loop, fd, &end_ops, end, &end->stream), 0);
	assert_int_equal(end->connected, 0);
	fixture_run(end->f);
	assert_int_equal(end->connected, 1);
	assert_int_equal(end->connect_err, 0);
}

void end_free(struct end *end)
{
	if (end->stream) {
		unsigned received = end->received;
		stream_close(end->stream);
		assert_int_equal(end->closed, 0);
		while (!end->closed)
			fixture_run(end->f);
		assert_int_equal(end->received, received);
	}
	free(end);
}

static void letter_sent(struct stream_msg *msg, int err)
{
	struct letter *letter = OF(msg, struct letter, msg);

	letter->sent++;
	letter->err = err;
	letter->order = letters_ended++;
	/* the contract: what it points to is the owner's again */
	memset(letter->msg.iov, 0, sizeof(letter->msg.iov));
	if (letter->on_sent)
		letter->on_sent(letter);
}

void letter_init(struct letter *letter, struct end *end, const void *data, size_t len)
{
	letter->end = end;
	letter->msg.iov[0].iov_base = (void *)(uintptr_t)data;
	letter->msg.iov[0].iov_len = len;
	letter->msg.niov = 1;
	letter->msg.sent = letter_sent;
}

struct letter *letter_new(struct end *end, const void *data, size_t len)
{
	struct letter *letter = calloc(1, sizeof(*letter));

	letter_init(letter, end, data, len);
	return letter;
}

void letter_reset_order(void)
{
	letters_ended = 0;
}

void read_all(int fd, void *data, size_t len)
{
	while (len > 0) {
		ssize_t n = read(fd, data, len);
		assert_true(n > 0);
		data = (char *)data + n;
		len -= (size_t)n;
	}
}

void write_all(int fd, const void *data, size_t len)
{
	while (len > 0) {
		ssize_t n = write(fd, data, len);
		assert_true(n > 0);
		data = (const char *)data + n;
		len -= (size_t)n;
	}
}
