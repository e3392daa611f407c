/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* How a connection comes to TLS, and that nothing is sent without. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../vsock/tls_peer.h"
#include "side.h"

#define PROG 100003
#define VERS 4

static struct tls_context *context;
static char words[256];

static void on_insecure(void *arg, const char *why)
{
	snprintf(words, sizeof(words), "%s", why);
}

/* Returns the other end of the socket. */
static int open_secure(struct side *side, uint64_t timeout)
{
	static struct rpc_conn_ops ops;
	int fd[2];

	ops = side_ops;
	ops.insecure = on_insecure;
	words[0] = '\0';
	side_init(side, -1);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fd), 0);
	assert_int_equal(rpc_conn_adopt(loop, fd[0], MAX_CALL, &ops, side, &side->conn), 0);
	assert_int_equal(rpc_conn_secure(side->conn, context, PROG, VERS, timeout), 0);
	return fd[1];
}

/* NULL with AUTH_TLS (RFC 9289, 4.1); returns its xid. */
static uint32_t take_probe(int peer)
{
	static const uint32_t want[] = {0x80000028, 0, 0, 2, PROG, VERS, 0, 7, 0, 0, 0};
	uint8_t data[sizeof(want)];

	run_for(SECOND / 1000);
	assert_int_equal(recv(peer, data, sizeof(data), MSG_WAITALL), sizeof(data));
	for (unsigned i = 0; i < sizeof(want) / 4; i++)
		if (i != 1)
			assert_int_equal(wire_load_u32(data + 4 * i), want[i]);
	return wire_load_u32(data + 4);
}

static void put_answer(struct bytes *answer, uint32_t xid, const char *verifier, unsigned behind)
{
	struct bytes message = {0};
	size_t len = strlen(verifier);

	for (unsigned i = 0; i < 5; i++)
		bytes_put_u32(&message, (const uint32_t[]){xid, 1, 0, 0, (uint32_t)len}[i]);
	bytes_put(&message, verifier, len);
	bytes_put_u32(&message, 0);
	put_record(answer, &message, SIZE_MAX);
	for (; behind > 0; behind--)
		bytes_put(answer, "x", 1);
	bytes_free(&message);
}

/* It has ended, and nothing but the probe was sent. */
static void finish(struct side *side, int peer, int err, const char *say)
{
	char byte;

	run_until(side, 0, 1, 0);
	assert_int_equal(side->ups, 0);
	assert_int_equal(side->down_err, err);
	assert_int_equal(recv(peer, &byte, 1, 0), 0);
	assert_non_null(strstr(words, say));
	side_deinit(side);
	close(peer);
}

static void test_answer_in_pieces(void **state)
{
	struct side side;
	struct bytes answer = {0};
	uint8_t hello[6];
	int peer = open_secure(&side, 0);

	put_answer(&answer, take_probe(peer), "STARTTLS", 0);
	for (size_t i = 0; i < answer.len; i++) {
		assert_int_equal(recv(peer, hello, 1, MSG_DONTWAIT), -1);
		write_all(peer, answer.data + i, 1);
		run_for(SECOND / 5000);
	}
	run_for(SECOND / 1000);
	/* a record of the handshake, with a ClientHello */
	assert_int_equal(recv(peer, hello, sizeof(hello), MSG_WAITALL), sizeof(hello));
	assert_int_equal(hello[0], 0x16);
	assert_int_equal(hello[5], 1);
	shutdown(peer, SHUT_WR);
	run_until(&side, 0, 1, 0);
	assert_int_equal(side.ups, 0);
	assert_int_equal(side.down_err, -ECONNRESET);
	assert_non_null(strstr(words, "during the TLS handshake"));
	bytes_free(&answer);
	side_deinit(&side);
	close(peer);
}

static void answered(const struct bytes *answer, int err, const char *say)
{
	struct side side;
	int peer = open_secure(&side, 0);
	uint32_t xid = take_probe(peer);

	if (answer->len >= 8 && wire_load_u32(answer->data + 4) == 0)
		wire_store_u32(answer->data + 4, xid);
	write_all(peer, answer->data, answer->len);
	shutdown(peer, SHUT_WR);
	finish(&side, peer, err, say);
}

static void test_other_answers(void **state)
{
	static const struct {
		const char *verifier;
		uint32_t xid; /* 0: the right one */
		unsigned behind;
		int err;
		const char *say;
	} answers[] = {
		{"", 0, 0, -EKEYREJECTED, "does not offer TLS"},
		{"STARTTLX", 0, 0, -EKEYREJECTED, "does not offer TLS"},
		{"STARTTLSSTARTTLS", 0, 0, -EKEYREJECTED, "does not offer TLS"},
		{"STARTTLS", 1, 0, -EPROTO, "does not speak RPC"},
		{"STARTTLS", 0, 1, -EPROTO, "plain text follows"},
		{"STARTTLS", 0, 60, -EPROTO, "plain text follows"},
	};
	static const uint8_t garbage[][12] = {
		{0xff, 0xff, 0xff, 0xff},		/* 2 GiB */
		{0, 0, 0, 28, 0, 0, 0, 0},		/* not the last fragment */
		{0x80, 0, 0, 0},			/* an empty record */
		{0x80, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 9} /* neither call nor reply */
	};
	struct bytes answer = {0};

	for (size_t i = 0; i < sizeof(answers) / sizeof(*answers); i++) {
		put_answer(&answer, answers[i].xid, answers[i].verifier, answers[i].behind);
		answered(&answer, answers[i].err, answers[i].say);
		bytes_free(&answer);
	}
	for (size_t i = 0; i < sizeof(garbage) / sizeof(*garbage); i++) {
		bytes_put(&answer, garbage[i], sizeof(garbage[i]));
		answered(&answer, -EPROTO, "does not speak RPC");
		bytes_free(&answer);
	}
	bytes_put(&answer, "half", 4);
	answer.data[0] = 0x80, answer.data[1] = answer.data[2] = 0;
	answered(&answer, -ECONNRESET, "when it was asked for TLS");
	bytes_free(&answer);
}

static void test_too_late(void **state)
{
	struct side side;
	int peer = open_secure(&side, SECOND / 50);

	take_probe(peer);
	finish(&side, peer, -ETIMEDOUT, "takes too long");
}

static void test_no_call_before(void **state)
{
	struct side side;
	int peer = open_secure(&side, 0);
	char byte;

	take_probe(peer);
	send_call(&side, false);
	run_until(&side, 1, 1, 0);
	assert_int_equal(side.errs[0], -ECONNRESET);
	assert_int_equal(side.down_err, -ENOTCONN);
	assert_int_equal(side.ups, 0);
	assert_int_equal(recv(peer, &byte, 1, 0), 0);
	side_deinit(&side);
	close(peer);
}

static int set_up(void **state)
{
	struct tls_config config = {.name = "server.example"};
	char why[256];

	if (tls_files_make(state) < 0)
		return -1;
	config.ca = tls_file("server.pem");
	return tls_context_new(&config, &context, why, sizeof(why));
}

static int tear_down(void **state)
{
	tls_context_free(context);
	return tls_files_remove(state);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_answer_in_pieces),
		cmocka_unit_test(test_other_answers),
		cmocka_unit_test(test_too_late),
		cmocka_unit_test(test_no_call_before),
	};

	if (set_up(NULL) < 0)
		return 1;
	int status =
		run_on_backend("conn_secure", argc, argv, tests, sizeof(tests) / sizeof(*tests));
	return tear_down(NULL) < 0 ? 1 : status;
}
