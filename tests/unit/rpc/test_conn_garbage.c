/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <sys/socket.h>
#include <unistd.h>

#include "side.h"

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
		memset(bytes_add(&message, ROOM), 'p', ROOM);
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

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_early_reply),
		cmocka_unit_test(test_cut_in_payload),
		cmocka_unit_test(test_garbage),
		cmocka_unit_test(test_garbage_for_the_owner),
		cmocka_unit_test(test_server_that_reads_no_answers),
	};
	return run_on_backend("conn, garbage", argc, argv, tests, sizeof(tests) / sizeof(*tests));
}
