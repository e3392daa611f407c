/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <pthread.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "side.h"

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
		rpc_conn_open(loop, &address, &config, MAX_CALL, &side_ops, &side, &side.conn), 0);
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
	err = rpc_conn_open(loop, &address, &config, MAX_CALL, &side_ops, &side, &side.conn);
	if (err == 0) {
		run_until(&side, 0, 1, 0);
		err = side.down_err;
	}
	assert_int_equal(err, -ECONNREFUSED);
	assert_int_equal(side.ups, 0);
	side.conn = NULL;
	side_deinit(&side);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_both_ways),
		cmocka_unit_test(test_batch),
		cmocka_unit_test(test_any_order),
		cmocka_unit_test(test_long_call),
		cmocka_unit_test(test_payloads),
		cmocka_unit_test(test_server_calls),
		cmocka_unit_test(test_done_sends_and_closes),
		cmocka_unit_test(test_send_on_an_ending_connection),
		cmocka_unit_test(test_rejected),
		cmocka_unit_test(test_open),
	};
	return run_on_backend("conn", argc, argv, tests, sizeof(tests) / sizeof(*tests));
}
