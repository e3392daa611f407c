/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "side.h"

/* Whoever taps a connection sees both directions as they are on the wire. */

struct seen {
	struct rpc_tap tap;    /* first */
	struct bytes bytes[2]; /* sent, received */
	unsigned ups, downs, records;
	size_t open; /* of the last record */
	struct rpc_tap_flow *flow;
};

static void on_record(
	struct rpc_tap *tap, struct rpc_tap_flow *flow, const struct rpc_tap_record *record)
{
	struct seen *seen = (struct seen *)tap;

	seen->flow = flow;
	seen->ups += record->event == RPC_TAP_UP;
	seen->downs += record->event == RPC_TAP_DOWN;
	if (record->event == RPC_TAP_UP || record->event == RPC_TAP_DOWN)
		return;
	seen->records++;
	seen->open = record->open;
	for (unsigned i = 0; i < record->niov; i++)
		bytes_put(&seen->bytes[record->event == RPC_TAP_RECEIVED], record->iov[i].iov_base,
			record->iov[i].iov_len);
}

static int open_tapped(struct side *side, struct seen *seen)
{
	int peer = open_raw(side);

	*seen = (struct seen){.tap = {.record = on_record}};
	atomic_store(&seen->tap.on, true);
	rpc_conn_set_tap(side->conn, &seen->tap, 5);
	return peer;
}

static void end_tapped(struct side *side, struct seen *seen, int peer)
{
	close_side(side);
	assert_int_equal(seen->downs, 1);
	bytes_free(&seen->bytes[0]);
	bytes_free(&seen->bytes[1]);
	close(peer);
}

static void expect_sent(const struct seen *seen, int peer)
{
	uint8_t *got = malloc(ROOM);
	size_t len = seen->bytes[0].len;

	assert_int_equal(recv(peer, got, len, MSG_WAITALL), (ssize_t)len);
	assert_memory_equal(got, seen->bytes[0].data, len);
	assert_int_equal(recv(peer, got, 1, MSG_DONTWAIT), -1);
	free(got);
}

/* Without its data: the first part. */
static size_t on_without_data(
	const struct rpc_call *call, const uint8_t *data, size_t len, size_t body)
{
	assert_true(body == 24 && len >= body);
	return body + 2;
}

static void test_both_ways(void **state)
{
	struct seen seen;
	struct side side;
	int peer = open_tapped(&side, &seen);
	struct test_call *test = new_call(&side, 1000, false);

	test->call.tail_data = true;
	rpc_conn_send(side.conn, &test->call);
	uint32_t xid = test->call.msg.xid;
	assert_int_equal(seen.open, seen.bytes[0].len - 1000);
	run_for(SECOND / 1000);
	assert_int_equal(seen.ups, 1);
	expect_sent(&seen, peer);
	assert_int_equal(seen.flow->index, 5);
	assert_true(seen.flow->number > 0);

	write_reply(peer, xid, 12);
	run_until(&side, 1, 0, 0);
	assert_int_equal(seen.bytes[1].len, 4 + 24 + 12);
	assert_int_equal(seen.open, 4 + 24 + 12);
	assert_memory_equal(seen.bytes[1].data, "\x80\0\0\x24", 4);
	assert_memory_equal(seen.bytes[1].data + 28, "rrrrrrrrrrrr", 12);

	/* a call that says itself where its data begin, and one from the server */
	seen.bytes[0].len = seen.bytes[1].len = 0;
	test = new_call(&side, 0, false);
	test->call.without_data = on_without_data;
	rpc_conn_send(side.conn, &test->call);
	assert_int_equal(seen.open, seen.bytes[0].len);
	run_for(SECOND / 1000);
	write_reply(peer, test->call.msg.xid, 12);
	run_until(&side, 2, 0, 0);
	assert_int_equal(seen.open, 4 + 24 + 2);
	side.answer = true;
	write_server_calls(peer, 1);
	run_until(&side, 2, 0, 1);
	run_for(SECOND / 1000);
	assert_int_equal(seen.bytes[1].len, 4 + 24 + 12 + 4 + 40 + 12);
	expect_sent(&seen, peer);
	assert_int_equal(seen.records, 6);
	end_tapped(&side, &seen, peer);
}

/* However it was received: whole, in parts, in fragments, with its payload elsewhere. */
static void test_payload(void **state)
{
	static const size_t lengths[] = {0, 3, 400, 5000, 300001};

	for (size_t i = 0; i < 2 * sizeof(lengths) / sizeof(lengths[0]); i++) {
		size_t len = lengths[i / 2];
		struct bytes message = {0}, stream = {0}, whole = {0};
		struct seen seen;
		struct side side;
		int peer = open_tapped(&side, &seen);
		uint8_t *payload = malloc(len + 1);

		memset(payload, 'p', len + 1);
		put_reply_header(&message, send_call(&side, true));
		run_for(SECOND / 1000);
		bytes_put_opaque(&message, "head", 4);
		bytes_put_opaque(&message, payload, len);
		put_record(&stream, &message, i % 2 ? 1000 : SIZE_MAX);
		put_record(&whole, &message, SIZE_MAX);
		pid_t pid = fork();
		if (pid == 0) {
			write_all(peer, stream.data, stream.len);
			_exit(0);
		}
		run_until(&side, 1, 0, 0);
		assert_int_equal(waitpid(pid, NULL, 0), pid);
		assert_int_equal(seen.bytes[1].len, whole.len);
		assert_memory_equal(seen.bytes[1].data, whole.data, whole.len);
		assert_int_equal(seen.open, 4 + 24 + 8 + 4);
		free(payload);
		bytes_free(&message);
		bytes_free(&stream);
		bytes_free(&whole);
		end_tapped(&side, &seen, peer);
	}
}

/* The bytes that ended the connection are there to be looked at. */
static void test_garbage(void **state)
{
	struct seen seen;
	struct side side;
	int peer = open_tapped(&side, &seen);

	run_for(SECOND / 1000);
	capture_log();
	write_all(peer, "HTTP/1.1 400 Bad Request\r\n", 26);
	run_until(&side, 0, 1, 0);
	assert_log("socket", "a record of more than");
	assert_int_equal(seen.bytes[1].len, 26);
	assert_memory_equal(seen.bytes[1].data, "HTTP/1.1 400", 12);
	end_tapped(&side, &seen, peer);
}

static void test_off(void **state)
{
	struct seen seen;
	struct side side;
	int peer = open_tapped(&side, &seen);

	atomic_store(&seen.tap.on, false);
	uint32_t xid = send_call(&side, false);
	run_for(SECOND / 1000);
	write_reply(peer, xid, 12);
	run_until(&side, 1, 0, 0);
	assert_int_equal(seen.ups + seen.records, 0);
	atomic_store(&seen.tap.on, true);
	end_tapped(&side, &seen, peer);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_both_ways),
		cmocka_unit_test(test_payload),
		cmocka_unit_test(test_garbage),
		cmocka_unit_test(test_off),
	};

	return run_on_backend("conn_tap", argc, argv, tests, sizeof(tests) / sizeof(tests[0]));
}
