/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "side.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

struct loop *loop;
unsigned sendmsgs;

static enum loop_backend backend;
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

const struct rpc_conn_ops side_ops = {on_up, on_down, on_called};

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

struct test_call *new_call(struct side *side, size_t tail_len, bool sink)
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

uint32_t send_call(struct side *side, bool sink)
{
	struct test_call *test = new_call(side, 0, sink);

	rpc_conn_send(side->conn, &test->call);
	return test->call.msg.xid;
}

void side_init(struct side *side, int fd)
{
	*side = (struct side){0};
	assert_int_equal(rpc_cred_new_sys("test", 1, 2, NULL, 0, &side->cred), 0);
	if (fd >= 0)
		assert_int_equal(
			rpc_conn_adopt(loop, fd, MAX_CALL, &side_ops, side, &side->conn), 0);
}

void side_deinit(struct side *side)
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
void run_until(struct side *side, unsigned done, unsigned downs, unsigned called)
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
void run_for(uint64_t ns)
{
	struct loop_timer late = {.fire = fire_late};

	loop_timer_set(loop, &late, loop_clock() + ns);
	assert_int_equal(loop_run(loop), 0);
}

void close_side(struct side *side)
{
	if (side->conn) {
		rpc_conn_close(side->conn);
		run_until(side, side->done, 1, side->called);
		assert_int_equal(side->down_err, -ECANCELED);
	}
	side_deinit(side);
}

/* A side and the other end of its socket, for bytes of any kind. */
int open_raw(struct side *side)
{
	int fds[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	side_init(side, fds[0]);
	return fds[1];
}

void write_all(int fd, const void *data, size_t len)
{
	for (size_t done = 0; done < len;) {
		ssize_t n = write(fd, (const uint8_t *)data + done, len - done);
		assert_true(n > 0);
		done += (size_t)n;
	}
}

void write_reply(int fd, uint32_t xid, size_t len)
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

void capture_log(void)
{
	captured = memfd_create("log", MFD_CLOEXEC);
	saved_stderr = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
	assert_true(captured >= 0 && saved_stderr >= 0);
	dup2(captured, STDERR_FILENO);
}

void assert_log(const char *peer, const char *what)
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

void write_server_calls(int fd, unsigned n)
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

int run_on_backend(
	const char *name, int argc, char **argv, const struct CMUnitTest *tests, size_t count)
{
	bool poll_loop = argc > 1 && strcmp(argv[1], "poll") == 0;
	char group[64];

	backend = poll_loop ? LOOP_POLL : LOOP_URING;
	if (!poll_loop && loop_new(LOOP_URING, &loop) != 0) {
		printf("1..0 # SKIP this kernel allows no io_uring\n");
		return 0;
	}
	if (!poll_loop)
		loop_free(loop);
	snprintf(group, sizeof(group), "%s, %s", name, poll_loop ? "poll" : "io_uring");
	return _cmocka_run_group_tests(group, tests, count, set_up, tear_down);
}
