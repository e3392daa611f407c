/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "messages.h"
#include "rpc/conn.h"

#define MAX_CALL 4096
#define ROOM	 (1 << 20)
#define SECOND	 UINT64_C(1000000000)

struct side;

/* Memory of its own, so that the sanitizer sees whoever uses it after `done`. */
struct test_call {
	struct rpc_call call;
	struct side *side;
	unsigned number;
	uint8_t head[RPC_MSG_HEAD_MAX + 64];
	uint8_t *sink;
	struct bytes tail;
	void (*then)(struct side *side); /* called by `done` */
};

/* One end under test; what happened to it. */
struct side {
	struct rpc_conn *conn;
	struct rpc_cred *cred;
	unsigned ups, downs, called, calls;
	int down_err;
	unsigned done, order[512]; /* numbers of the calls done */
	int errs[512];
	struct bytes results, sunk; /* of the last call done */
	struct rpc_msg_call asked;
	struct bytes arguments;
	bool answer;
	int called_result, done_result;
	uint64_t sent_at, replied_at;
	size_t bytes_out, bytes_in;
	const char *reason;
};

static enum loop_backend backend;
static struct loop *loop;
static unsigned sendmsgs;
static unsigned want_done, want_downs, want_called; /* the loop stops when all are reached */
static struct side *watched;

ssize_t __real_sendmsg(int fd, const struct msghdr *msg, int flags);
ssize_t __wrap_sendmsg(int fd, const struct msghdr *msg, int flags);

ssize_t __wrap_sendmsg(int fd, const struct msghdr *msg, int flags)
{
	sendmsgs++;
	return __real_sendmsg(fd, msg, flags);
}

static void check_wanted(void)
{
	if (watched && watched->done >= want_done && watched->downs >= want_downs &&
		watched->called >= want_called)
		loop_stop(loop);
}

static void on_up(void *arg)
{
	((struct side *)arg)->ups++;
}

static void on_down(void *arg, int err)
{
	struct side *side = arg;

	side->downs++;
	side->down_err = err;
	side->conn = NULL;
	check_wanted();
}

static int on_called(void *arg, const struct rpc_msg_call *msg, const uint8_t *data, size_t len)
{
	struct side *side = arg;

	side->called++;
	side->asked = *msg;
	side->arguments.len = 0;
	bytes_put(&side->arguments, data, len);
	if (side->answer)
		rpc_conn_reply(side->conn, msg->xid, 0, data, len);
	check_wanted();
	return side->called_result;
}

static const struct rpc_conn_ops ops = {on_up, on_down, on_called};

static int on_done(struct rpc_call *call, int err, const uint8_t *data, size_t len, size_t sink_len)
{
	struct test_call *test = (struct test_call *)call;
	struct side *side = test->side;

	assert_int_equal(side->downs, 0);
	assert_false(call->sending);
	side->order[side->done] = test->number;
	side->errs[side->done++] = err;
	side->results.len = side->sunk.len = 0;
	bytes_put(&side->results, data, len);
	bytes_put(&side->sunk, test->sink, sink_len);
	side->sent_at = call->sent_at;
	side->replied_at = call->replied_at;
	side->bytes_out = call->bytes_out;
	side->bytes_in = call->bytes_in;
	side->reason = call->reason;
	if (test->then)
		test->then(side);
	bytes_free(&test->tail);
	free(test->sink);
	free(test);
	check_wanted();
	return side->done_result;
}

static int on_sink(
	struct rpc_call *call, const uint8_t *data, size_t len, size_t body, struct rpc_sink *sink)
{
	return find_payload(data, len, body, ((struct test_call *)call)->sink, ROOM, sink);
}

static struct test_call *new_call(struct side *side, size_t tail_len, bool sink)
{
	struct test_call *test = calloc(1, sizeof(*test));

	assert_non_null(test);
	test->side = side;
	test->number = side->calls++;
	test->call.msg = (struct rpc_msg_call){.prog = 100003, .vers = 4, .proc = 1};
	test->call.cred = side->cred;
	test->call.head = test->head + RPC_MSG_HEAD_MAX;
	test->call.head_len = 8;
	memcpy(test->call.head, "argument", 8);
	test->call.max_reply = ROOM + 4096;
	test->call.done = on_done;
	if (tail_len > 0) {
		memset(bytes_add(&test->tail, tail_len), 't', tail_len);
		test->call.tail[0] = (struct iovec){test->tail.data, tail_len - 1};
		test->call.tail[1] = (struct iovec){test->tail.data + tail_len - 1, 1};
		test->call.ntail = 2;
	}
	if (sink) {
		test->call.sink = on_sink;
		test->sink = malloc(ROOM);
		assert_non_null(test->sink);
	}
	return test;
}

static uint32_t send_call(struct side *side, bool sink)
{
	struct test_call *test = new_call(side, 0, sink);

	rpc_conn_send(side->conn, &test->call);
	return test->call.msg.xid;
}

static void side_init(struct side *side, int fd)
{
	*side = (struct side){0};
	assert_int_equal(rpc_cred_new_sys("test", 1, 2, NULL, 0, &side->cred), 0);
	if (fd >= 0)
		assert_int_equal(rpc_conn_adopt(loop, fd, MAX_CALL, &ops, side, &side->conn), 0);
}

static void side_deinit(struct side *side)
{
	assert_null(side->conn);
	bytes_free(&side->results);
	bytes_free(&side->sunk);
	bytes_free(&side->arguments);
	rpc_cred_unref(side->cred);
}

static void fire_late(struct loop_timer *timer)
{
	loop_stop(loop);
}

/* Runs until `side` has seen so many ends of calls, of the connection, and calls; 10 s at most. */
static void run_until(struct side *side, unsigned done, unsigned downs, unsigned called)
{
	struct loop_timer late = {.fire = fire_late};

	watched = side;
	want_done = done;
	want_downs = downs;
	want_called = called;
	loop_timer_set(loop, &late, loop_clock() + 10 * SECOND);
	assert_int_equal(loop_run(loop), 0);
	loop_timer_cancel(loop, &late);
	watched = NULL;
	assert_int_equal(side->done, done);
	assert_int_equal(side->downs, downs);
	assert_int_equal(side->called, called);
}

/* Long enough for what is queued to leave and what is here to be read. */
static void run_for(uint64_t ns)
{
	struct loop_timer late = {.fire = fire_late};

	loop_timer_set(loop, &late, loop_clock() + ns);
	assert_int_equal(loop_run(loop), 0);
}

static void close_side(struct side *side)
{
	if (side->conn) {
		rpc_conn_close(side->conn);
		run_until(side, side->done, 1, side->called);
		assert_int_equal(side->down_err, -ECANCELED);
	}
	side_deinit(side);
}

/* A side and the other end of its socket, for bytes of any kind. */
static int open_raw(struct side *side)
{
	int fds[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	side_init(side, fds[0]);
	return fds[1];
}

static void write_all(int fd, const void *data, size_t len)
{
	for (size_t done = 0; done < len;) {
		ssize_t n = write(fd, (const uint8_t *)data + done, len - done);
		assert_true(n > 0);
		done += (size_t)n;
	}
}

static void write_reply(int fd, uint32_t xid, size_t len)
{
	struct bytes message = {0}, stream = {0};

	put_reply_header(&message, xid);
	memset(bytes_add(&message, len), 'r', len);
	put_record(&stream, &message, SIZE_MAX);
	write_all(fd, stream.data, stream.len);
	bytes_free(&message);
	bytes_free(&stream);
}

/* stderr into a file, for what the log says. */
static int saved_stderr, captured;

static void capture_log(void)
{
	captured = memfd_create("log", MFD_CLOEXEC);
	saved_stderr = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
	assert_true(captured >= 0 && saved_stderr >= 0);
	dup2(captured, STDERR_FILENO);
}

static void assert_log(const char *peer, const char *what)
{
	char text[4096] = "";

	dup2(saved_stderr, STDERR_FILENO);
	close(saved_stderr);
	assert_true(pread(captured, text, sizeof(text) - 1, 0) >= 0);
	close(captured);
	char *newline = strchr(text, '\n');
	if (!what) {
		assert_string_equal(text, "");
		return;
	}
	if (!newline || newline[1] != '\0' || !strstr(text, peer) || !strstr(text, what))
		fail_msg("log is \"%s\", not one line about %s: %s", text, peer, what);
}

static void test_both_ways(void **state)
{
	struct side a, b;
	int fds[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	side_init(&a, fds[0]);
	side_init(&b, fds[1]);
	a.answer = b.answer = true;
	for (unsigned i = 0; i < 20; i++) {
		send_call(&a, false);
		send_call(&b, false);
	}
	assert_int_equal(rpc_conn_pending(a.conn), 20);
	assert_int_equal(a.done, 0);
	run_until(&a, 20, 0, 20);
	if (b.done < 20)
		run_until(&b, 20, 0, 20);
	assert_int_equal(a.ups, 1);
	assert_int_equal(rpc_conn_pending(a.conn), 0);
	for (unsigned i = 0; i < 20; i++) {
		assert_int_equal(a.order[i], i);
		assert_int_equal(a.errs[i], 0);
	}
	assert_int_equal(a.results.len, 8);
	assert_memory_equal(a.results.data, "argument", 8);
	assert_int_equal(a.bytes_out, 4 + 24 + 40 + 8);
	assert_int_equal(a.bytes_in, 4 + 24 + 8);
	assert_true(a.replied_at >= a.sent_at && a.sent_at > 0);
	assert_int_equal(b.asked.prog, 100003);

	rpc_conn_close(a.conn);
	run_until(&a, 20, 1, 20);
	if (!b.downs)
		run_until(&b, 20, 1, 20);
	assert_int_equal(a.down_err, -ECANCELED);
	assert_int_equal(b.down_err, -ECONNRESET);
	side_deinit(&a);
	side_deinit(&b);
}

static void test_batch(void **state)
{
	struct side side;
	int peer = open_raw(&side);

	run_for(SECOND / 1000);
	sendmsgs = 0;
	for (unsigned i = 0; i < 10; i++)
		send_call(&side, false);
	run_for(SECOND / 1000);
	assert_int_equal(sendmsgs, 1);
	close(peer);
	run_until(&side, 10, 1, 0);
	assert_int_equal(side.down_err, -ECONNRESET);
	for (unsigned i = 0; i < 10; i++) {
		assert_int_equal(side.order[i], i);
		assert_int_equal(side.errs[i], -ECONNRESET);
	}
	side_deinit(&side);
}

/* Replies in another order than the calls; more calls than the table has buckets. */
static void test_any_order(void **state)
{
	struct side side;
	int peer = open_raw(&side);
	uint32_t xids[200];

	for (unsigned i = 0; i < 200; i++)
		xids[i] = send_call(&side, false);
	run_for(SECOND / 1000);
	for (unsigned i = 0; i < 200; i++)
		write_reply(peer, xids[i * 77 % 200], 4);
	run_until(&side, 200, 0, 0);
	for (unsigned i = 0; i < 200; i++)
		assert_int_equal(side.order[i], i * 77 % 200);
	close_side(&side);
	close(peer);
}

static void test_long_call(void **state)
{
	struct side side;
	int peer = open_raw(&side);
	struct test_call *test = new_call(&side, 3000000, false);
	size_t got = 0, len;
	uint8_t buffer[65536];

	rpc_conn_send(side.conn, &test->call);
	len = test->call.bytes_out;
	assert_int_equal(len, 4 + 24 + 40 + 8 + 3000000);
	while (got < len) {
		run_for(SECOND / 2000);
		for (ssize_t n; (n = recv(peer, buffer, sizeof(buffer), MSG_DONTWAIT)) > 0;) {
			if (got == 0)
				assert_int_equal(
					wire_load_u32(buffer), RECORD_LAST | (uint32_t)(len - 4));
			got += (size_t)n;
		}
	}
	run_for(SECOND / 2000);
	assert_int_equal(got, len);
	write_reply(peer, test->call.msg.xid, 0);
	run_until(&side, 1, 0, 0);
	assert_int_equal(side.errs[0], 0);
	close_side(&side);
	close(peer);
}

/* A server that answers before it has the whole call, whose memory is still in use. */
static void test_early_reply(void **state)
{
	struct side side;
	int peer = open_raw(&side);
	struct test_call *test = new_call(&side, 3000000, false);

	capture_log();
	rpc_conn_send(side.conn, &test->call);
	run_for(SECOND / 1000);
	assert_true(test->call.sending);
	write_reply(peer, test->call.msg.xid, 0);
	run_until(&side, 1, 1, 0);
	assert_int_equal(side.errs[0], -ECONNRESET);
	assert_int_equal(side.down_err, -EPROTO);
	assert_log("socket", "not sent yet");
	side_deinit(&side);
	close(peer);
}

struct writer {
	pthread_t thread;
	int fd;
	struct bytes stream;
	unsigned seed;
};

static void *write_in_pieces(void *arg)
{
	struct writer *w = arg;

	for (size_t done = 0; done < w->stream.len;) {
		size_t left = w->stream.len - done;
		size_t n = 1 + (size_t)rand_r(&w->seed) % (1 << (1 + rand_r(&w->seed) % 18));
		ssize_t wrote = write(w->fd, w->stream.data + done, n < left ? n : left);
		if (wrote < 0)
			return NULL;
		done += (size_t)wrote;
		if (rand_r(&w->seed) % 8 == 0)
			sched_yield();
	}
	return w;
}

/* Payloads land byte for byte, however the stream is cut; other replies are among them. */
static void test_payloads(void **state)
{
	struct side side;
	struct writer w = {.fd = open_raw(&side), .seed = 7};
	struct bytes payload = {0}, message = {0};
	void *finished;

	srand(5);
	for (unsigned i = 0; i < 40; i++) {
		bool sink = rand() % 3 != 0;
		uint32_t xid = send_call(&side, sink);
		size_t len = (size_t)rand() % (ROOM >> rand() % 12);

		payload.len = message.len = w.stream.len = 0;
		bytes_add(&payload, len);
		for (size_t j = 0; j < len; j++)
			payload.data[j] = (uint8_t)rand();
		put_reply_header(&message, xid);
		if (sink)
			bytes_put_opaque(&message, "head", 4);
		bytes_put_opaque(&message, payload.data, len);
		put_record(
			&w.stream, &message, rand() % 2 ? SIZE_MAX : 1 + (size_t)rand() % 100000);
		run_for(SECOND / 10000);
		assert_int_equal(pthread_create(&w.thread, NULL, write_in_pieces, &w), 0);
		run_until(&side, i + 1, 0, 0);
		pthread_join(w.thread, &finished);
		assert_ptr_equal(finished, &w);
		assert_int_equal(side.bytes_in, w.stream.len);
		if (sink) {
			assert_int_equal(side.sunk.len, len);
			if (len > 0)
				assert_memory_equal(side.sunk.data, payload.data, len);
		} else {
			assert_int_equal(side.results.len, message.len - 24);
			assert_memory_equal(side.results.data, message.data + 24, message.len - 24);
		}
	}
	bytes_free(&payload);
	bytes_free(&message);
	bytes_free(&w.stream);
	close_side(&side);
	close(w.fd);
}

/* The connection ends while the kernel writes into a sink: it is not freed before. */
static void test_cut_in_payload(void **state)
{
	for (unsigned by_us = 0; by_us < 2; by_us++) {
		struct side side;
		int peer = open_raw(&side);
		struct bytes message = {0}, stream = {0};
		uint32_t xid = send_call(&side, true);

		send_call(&side, false);
		run_for(SECOND / 1000);
		put_reply_header(&message, xid);
		bytes_put_opaque(&message, "head", 4);
		bytes_put_u32(&message, ROOM);
		bytes_add(&message, ROOM);
		put_record(&stream, &message, SIZE_MAX);
		capture_log();
		write_all(peer, stream.data, 60000);
		run_for(SECOND / 1000);
		assert_int_equal(side.done, 0);
		if (by_us)
			rpc_conn_close(side.conn);
		else
			close(peer);
		run_until(&side, 2, 1, 0);
		assert_int_equal(side.errs[0], -ECONNRESET);
		assert_int_equal(side.order[1], 1);
		assert_int_equal(side.down_err, by_us ? -ECANCELED : -EPROTO);
		assert_log("socket", by_us ? NULL : "ends within a record");
		if (by_us)
			close(peer);
		side_deinit(&side);
		bytes_free(&message);
		bytes_free(&stream);
	}
}

static void test_garbage(void **state)
{
	static const uint32_t huge[] = {0xffffffff}, empty[20], call[] = {0x80000004, 1};
	static const struct {
		const void *data;
		size_t len;
		const char *what;
	} garbage[] = {
		{"HTTP/1.1 400 Bad Request\r\n\r\n", 28, "record of more than"},
		{huge, sizeof(huge), "record of more than"},
		{empty, sizeof(empty), "empty fragments"},
		{call, 2, "ends within a record"},
		{"\x80\0\0\4abcd", 8, "ends within its RPC header"},
		{"\x80\0\0\xcgarbage12345", 16, "no RPC message"},
	};

	for (unsigned i = 0; i < sizeof(garbage) / sizeof(*garbage); i++) {
		struct side side;
		int peer = open_raw(&side);

		capture_log();
		send_call(&side, false);
		send_call(&side, false);
		run_for(SECOND / 1000);
		write_all(peer, garbage[i].data, garbage[i].len);
		shutdown(peer, SHUT_WR);
		run_until(&side, 2, 1, 0);
		assert_log("socket", garbage[i].what);
		assert_int_equal(side.down_err, -EPROTO);
		assert_int_equal(side.order[0], 0);
		assert_int_equal(side.errs[1], -ECONNRESET);
		side_deinit(&side);
		close(peer);
	}
}

static void test_garbage_for_the_owner(void **state)
{
	struct side side;
	int peer = open_raw(&side);
	uint32_t xid = send_call(&side, false);

	send_call(&side, false);
	side.done_result = -EPROTO;
	capture_log();
	run_for(SECOND / 1000);
	write_reply(peer, xid, 8);
	run_until(&side, 2, 1, 0);
	assert_log("socket", "results of a reply");
	assert_int_equal(side.errs[0], 0);
	assert_int_equal(side.errs[1], -ECONNRESET);
	assert_int_equal(side.down_err, -EPROTO);
	side_deinit(&side);
	close(peer);
}

static void write_server_calls(int fd, unsigned n)
{
	struct bytes stream = {0}, message = {0};

	put_call_header(&message, 42, 1);
	bytes_put(&message, "arguments...", 12);
	for (unsigned i = 0; i < n; i++)
		put_record(&stream, &message, 50);
	write_all(fd, stream.data, stream.len);
	bytes_free(&stream);
	bytes_free(&message);
}

static void test_server_calls(void **state)
{
	static const uint8_t want[] = {0x80, 0, 0, 36, 0, 0, 0, 42, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0,
		0, 0, 0, 0, 0, 0, 0, 0, 4, 'a', 'r', 'g', 'u', 'm', 'e', 'n', 't', 's', '.', '.',
		'.'};
	struct side side;
	int peer = open_raw(&side);
	uint8_t got[sizeof(want) + 1];

	write_server_calls(peer, 1);
	run_until(&side, 0, 0, 1);
	assert_int_equal(side.arguments.len, 12);
	assert_int_equal(side.asked.proc, 1);
	rpc_conn_reply(side.conn, side.asked.xid, 4, side.arguments.data, 12);
	run_for(SECOND / 1000);
	assert_int_equal(recv(peer, got, sizeof(got), MSG_DONTWAIT), sizeof(want));
	assert_memory_equal(got, want, sizeof(want));

	side.answer = true;
	write_server_calls(peer, RPC_CONN_REPLIES_MAX);
	run_until(&side, 0, 0, 1 + RPC_CONN_REPLIES_MAX);
	run_for(SECOND / 1000);
	side.called_result = -EPROTO;
	capture_log();
	write_server_calls(peer, 1);
	run_until(&side, 0, 1, 2 + RPC_CONN_REPLIES_MAX);
	assert_log("socket", "arguments of a call");
	side_deinit(&side);
	close(peer);
}

static void test_server_that_reads_no_answers(void **state)
{
	struct side side;
	int peer = open_raw(&side);

	side.answer = true;
	capture_log();
	write_server_calls(peer, RPC_CONN_REPLIES_MAX + 20);
	run_until(&side, 0, 1, RPC_CONN_REPLIES_MAX + 1);
	assert_int_equal(side.down_err, -EPROTO);
	assert_log("socket", "not read");
	side_deinit(&side);
	close(peer);
}

static void then_send(struct side *side)
{
	send_call(side, false);
}

static void then_close(struct side *side)
{
	rpc_conn_close(side->conn);
}

static void test_done_sends_and_closes(void **state)
{
	struct side side;
	int peer = open_raw(&side);
	struct test_call *first = new_call(&side, 0, false);
	uint32_t xid;

	first->then = then_send;
	rpc_conn_send(side.conn, &first->call);
	xid = first->call.msg.xid;
	run_for(SECOND / 1000);
	write_reply(peer, xid, 4);
	run_until(&side, 1, 0, 0);
	assert_int_equal(rpc_conn_pending(side.conn), 1);

	struct test_call *last = new_call(&side, 0, false);
	last->then = then_close;
	rpc_conn_send(side.conn, &last->call);
	run_for(SECOND / 1000);
	/* the second reply is in the same receive: it comes too late */
	struct bytes both = {0}, message = {0};
	put_reply_header(&message, last->call.msg.xid);
	put_record(&both, &message, SIZE_MAX);
	wire_store_u32(message.data, xid + 1);
	put_record(&both, &message, SIZE_MAX);
	write_all(peer, both.data, both.len);
	run_until(&side, 3, 1, 0);
	assert_int_equal(side.order[1], 2);
	assert_int_equal(side.errs[1], 0);
	assert_int_equal(side.order[2], 1);
	assert_int_equal(side.errs[2], -ECONNRESET);
	assert_int_equal(side.down_err, -ECANCELED);
	bytes_free(&both);
	bytes_free(&message);
	side_deinit(&side);
	close(peer);
}

static void test_send_on_an_ending_connection(void **state)
{
	struct side side;
	int peer = open_raw(&side);
	struct test_call *first = new_call(&side, 0, false);

	first->then = then_send;
	rpc_conn_send(side.conn, &first->call);
	run_for(SECOND / 1000);
	rpc_conn_close(side.conn);
	rpc_conn_close(side.conn);
	send_call(&side, false);
	assert_int_equal(side.done, 0);
	run_until(&side, 3, 1, 0);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(side.order[i], i);
		assert_int_equal(side.errs[i], -ECONNRESET);
	}
	assert_int_equal(side.down_err, -ECANCELED);
	side_deinit(&side);
	close(peer);
}

static void test_rejected(void **state)
{
	struct side side;
	int peer = open_raw(&side);
	uint32_t words[] = {send_call(&side, true), 1, 1, 1, 5};
	struct bytes stream = {0}, message = {0};

	run_for(SECOND / 1000);
	for (unsigned i = 0; i < 5; i++)
		bytes_put_u32(&message, words[i]);
	put_record(&stream, &message, SIZE_MAX);
	write_all(peer, stream.data, stream.len);
	run_until(&side, 1, 0, 0);
	assert_int_equal(side.errs[0], -EACCES);
	assert_string_equal(side.reason, "AUTH_TOOWEAK");
	bytes_free(&stream);
	bytes_free(&message);
	close_side(&side);
	close(peer);
}

static void test_open(void **state)
{
	const struct stream_config config = {0};
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	struct address address = {.proto = ADDRESS_UNIX};
	struct side side;
	int len = snprintf(address.host, sizeof(address.host), "@vsockfs-test-%d", getpid());
	int listener = socket(AF_UNIX, SOCK_STREAM, 0), peer, err;

	memcpy(sa.sun_path + 1, address.host + 1, (size_t)len - 1);
	assert_int_equal(bind(listener, (struct sockaddr *)&sa,
				 (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len)),
		0);
	assert_int_equal(listen(listener, 1), 0);

	side_init(&side, -1);
	assert_int_equal(
		rpc_conn_open(loop, &address, &config, MAX_CALL, &ops, &side, &side.conn), 0);
	uint32_t xid = send_call(&side, false);
	peer = accept(listener, NULL, NULL);
	assert_true(peer >= 0);
	run_for(SECOND / 1000);
	write_reply(peer, xid, 4);
	run_until(&side, 1, 0, 0);
	assert_int_equal(side.ups, 1);
	capture_log();
	write_reply(peer, xid, 4);
	run_until(&side, 1, 1, 0);
	assert_log(address.host, "unknown call");
	side_deinit(&side);
	close(peer);

	/* nobody there: at once or as an end that never was up */
	close(listener);
	side_init(&side, -1);
	err = rpc_conn_open(loop, &address, &config, MAX_CALL, &ops, &side, &side.conn);
	if (err == 0) {
		run_until(&side, 0, 1, 0);
		err = side.down_err;
	}
	assert_int_equal(err, -ECONNREFUSED);
	assert_int_equal(side.ups, 0);
	side.conn = NULL;
	side_deinit(&side);
}

static int set_up(void **state)
{
	int err = loop_new(backend, &loop);

	if (err)
		print_message("no such loop here: %s\n", strerror(-err));
	return err;
}

static int tear_down(void **state)
{
	loop_free(loop);
	return 0;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_both_ways),
		cmocka_unit_test(test_batch),
		cmocka_unit_test(test_any_order),
		cmocka_unit_test(test_long_call),
		cmocka_unit_test(test_early_reply),
		cmocka_unit_test(test_payloads),
		cmocka_unit_test(test_cut_in_payload),
		cmocka_unit_test(test_garbage),
		cmocka_unit_test(test_garbage_for_the_owner),
		cmocka_unit_test(test_server_calls),
		cmocka_unit_test(test_server_that_reads_no_answers),
		cmocka_unit_test(test_done_sends_and_closes),
		cmocka_unit_test(test_send_on_an_ending_connection),
		cmocka_unit_test(test_rejected),
		cmocka_unit_test(test_open),
	};
	bool poll_loop = argc > 1 && strcmp(argv[1], "poll") == 0;

	backend = poll_loop ? LOOP_POLL : LOOP_URING;
	if (!poll_loop && loop_new(LOOP_URING, &loop) != 0) {
		printf("1..0 # SKIP this kernel allows no io_uring\n");
		return 0;
	}
	if (!poll_loop)
		loop_free(loop);
	return cmocka_run_group_tests_name(
		poll_loop ? "conn, poll" : "conn, io_uring", tests, set_up, tear_down);
}
