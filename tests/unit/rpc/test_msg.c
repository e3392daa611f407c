/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <rpc/rpc.h>

#include "rpc/msg.h"
#include "rpc/record.h"
#include "util/wire.h"

#define NFS_PROGRAM 100003

static const gid_t groups[] = {10, 20, 30, 40, 50, 60, 70, 80, 90, 11, 12, 13, 14, 15, 16, 17};

/* What a header encodes to is read back by libtirpc's whole-message decoder. */
static void check_call(const struct rpc_cred *cred, int flavor)
{
	const struct rpc_msg_call call = {0xfeedface, NFS_PROGRAM, 4, 1};
	uint8_t buffer[RPC_MSG_HEAD_MAX + 8];
	uint8_t *body = buffer + RPC_MSG_HEAD_MAX;
	char cred_body[MAX_AUTH_BYTES], verf_body[MAX_AUTH_BYTES];
	struct rpc_msg msg = {
		.rm_call = {.cb_cred = {.oa_base = cred_body}, .cb_verf = {.oa_base = verf_body}}};
	struct rpc_msg_header header;
	XDR xdr;

	memset(buffer, 0xaa, sizeof(buffer));
	memcpy(body, "argument", 8);
	uint8_t *start = rpc_msg_put_call(body, 108, &call, cred);
	assert_true(start >= buffer && start < body);
	size_t len = (size_t)(body - start) - 4;
	assert_int_equal(wire_load_u32(start), RECORD_LAST | (len + 108));
	assert_memory_equal(body, "argument", 8);

	xdrmem_create(&xdr, (char *)start + 4, (u_int)len, XDR_DECODE);
	assert_true(xdr_callmsg(&xdr, &msg));
	assert_int_equal(xdr_getpos(&xdr), len);
	assert_int_equal(msg.rm_xid, 0xfeedface);
	assert_int_equal(msg.rm_call.cb_prog, NFS_PROGRAM);
	assert_int_equal(msg.rm_call.cb_vers, 4);
	assert_int_equal(msg.rm_call.cb_proc, 1);
	assert_int_equal(msg.rm_call.cb_cred.oa_flavor, flavor);
	assert_int_equal(msg.rm_call.cb_verf.oa_flavor, AUTH_NONE);

	assert_int_equal(rpc_msg_get(start + 4, len + 8, &header), RPC_MSG_CALL);
	assert_int_equal(header.body, len);
	assert_memory_equal(&header.call, &call, sizeof(call));
}

static void test_put_call(void **state)
{
	char machine[256];
	struct rpc_cred *cred;

	memset(machine, 'x', 255);
	machine[255] = '\0';
	assert_int_equal(rpc_cred_new_none(&cred), 0);
	check_call(cred, AUTH_NONE);
	rpc_cred_unref(cred);
	/* machine names of every padding; the longest fills the headroom */
	for (unsigned n = 250; n <= 255; n++) {
		assert_int_equal(rpc_cred_new_sys(machine + 255 - n, 1, 2, groups, 16, &cred), 0);
		check_call(cred, AUTH_SYS);
		rpc_cred_unref(cred);
	}
}

static bool_t no_results(XDR *xdr, ...)
{
	return TRUE;
}

static void test_put_reply(void **state)
{
	uint8_t buffer[RPC_MSG_HEAD_MAX];
	uint8_t *body = buffer + sizeof(buffer);

	for (uint32_t stat = SUCCESS; stat <= SYSTEM_ERR; stat++) {
		struct rpc_msg msg = {0};
		XDR xdr;

		if (stat == PROG_MISMATCH)
			continue; /* its versions are in the body */
		msg.acpted_rply.ar_results.proc = no_results;
		uint8_t *start = rpc_msg_put_reply(body, 40, 77, stat);
		size_t len = (size_t)(body - start) - 4;
		assert_int_equal(wire_load_u32(start), RECORD_LAST | (len + 40));
		xdrmem_create(&xdr, (char *)start + 4, (u_int)len, XDR_DECODE);
		assert_true(xdr_replymsg(&xdr, &msg));
		assert_int_equal(xdr_getpos(&xdr), len);
		assert_int_equal(msg.rm_xid, 77);
		assert_int_equal(msg.acpted_rply.ar_stat, stat);
	}
}

/* Decodes every prefix, each in memory of its own size: SHORT, and the result when it is whole. */
static void check_get(
	const struct wire_out *message, enum rpc_msg_kind want, int error, const char *reason)
{
	static const uint8_t rest[8] = {1, 2, 3, 4, 5, 6, 7, 8};
	struct rpc_msg_header header;

	assert_false(message->bad);
	for (size_t len = 0; len < message->len; len++) {
		uint8_t *prefix = malloc(len ? len : 1);
		assert_non_null(prefix);
		memcpy(prefix, message->data, len);
		assert_int_equal(rpc_msg_get(prefix, len, &header), RPC_MSG_SHORT);
		free(prefix);
	}

	uint8_t *whole = malloc(message->len + sizeof(rest));
	assert_non_null(whole);
	memcpy(whole, message->data, message->len);
	memcpy(whole + message->len, rest, sizeof(rest));
	for (size_t extra = 0; extra <= sizeof(rest); extra++) {
		assert_int_equal(rpc_msg_get(whole, message->len + extra, &header), want);
		assert_int_equal(header.call.xid, 9);
		assert_int_equal(header.body, message->len);
		assert_int_equal(header.error, error);
		if (reason)
			assert_string_equal(header.reason, reason);
	}
	free(whole);
}

static void put_words(struct wire_out *out, unsigned n, const uint32_t *words)
{
	for (unsigned i = 0; i < n; i++)
		wire_put_u32(out, words[i]);
}
#define PUT(out, ...) \
	put_words(out, sizeof((uint32_t[]){__VA_ARGS__}) / 4, (uint32_t[]){__VA_ARGS__})

static void test_get_reply(void **state)
{
	static const uint8_t verifier[400];
	uint8_t buffer[600];
	struct wire_out out;

	for (unsigned len = 0; len <= 400; len += 57) {
		wire_out_init(&out, buffer, sizeof(buffer));
		PUT(&out, 9, REPLY, MSG_ACCEPTED, 6);
		wire_put_opaque(&out, verifier, len);
		PUT(&out, SUCCESS);
		check_get(&out, RPC_MSG_REPLY, 0, NULL);
	}

	wire_out_init(&out, buffer, sizeof(buffer));
	PUT(&out, 9, REPLY, MSG_ACCEPTED, 0, 0, PROG_UNAVAIL);
	check_get(&out, RPC_MSG_REJECTED, -EPROTONOSUPPORT, "PROG_UNAVAIL");
	wire_out_init(&out, buffer, sizeof(buffer));
	PUT(&out, 9, REPLY, MSG_ACCEPTED, 0, 0, PROG_MISMATCH, 2, 3);
	check_get(&out, RPC_MSG_REJECTED, -EPROTONOSUPPORT, "PROG_MISMATCH");
	wire_out_init(&out, buffer, sizeof(buffer));
	PUT(&out, 9, REPLY, MSG_ACCEPTED, 0, 0, GARBAGE_ARGS);
	check_get(&out, RPC_MSG_REJECTED, -EPROTO, "GARBAGE_ARGS");
	wire_out_init(&out, buffer, sizeof(buffer));
	PUT(&out, 9, REPLY, MSG_DENIED, RPC_MISMATCH, 2, 2);
	check_get(&out, RPC_MSG_REJECTED, -EPROTO, "RPC_MISMATCH");
	wire_out_init(&out, buffer, sizeof(buffer));
	PUT(&out, 9, REPLY, MSG_DENIED, AUTH_ERROR, AUTH_TOOWEAK);
	check_get(&out, RPC_MSG_REJECTED, -EACCES, "AUTH_TOOWEAK");
	wire_out_init(&out, buffer, sizeof(buffer));
	PUT(&out, 9, REPLY, MSG_DENIED, AUTH_ERROR, 0xffffffff);
	check_get(&out, RPC_MSG_REJECTED, -EACCES, "AUTH_ERROR");
}

static void test_get_call(void **state)
{
	static const uint8_t verifier[400];
	uint8_t buffer[900];
	struct wire_out out;

	wire_out_init(&out, buffer, sizeof(buffer));
	PUT(&out, 9, CALL, 2, 0x40000000, 1, 1, AUTH_SYS);
	wire_put_opaque(&out, verifier, 400);
	PUT(&out, AUTH_SYS);
	wire_put_opaque(&out, verifier, 399);
	check_get(&out, RPC_MSG_CALL, 0, NULL);
}

static void test_get_bad(void **state)
{
	static const uint32_t bad[][7] = {
		{9, 2, 0, 0, 0, 0, 0},
		{9, 0xffffffff, 0, 0, 0, 0, 0},
		{9, CALL, 1, 0, 0, 0, 0},
		{9, CALL, 3, 0, 0, 0, 0},
		{9, REPLY, 2, 0, 0, 0, 0},
		{9, REPLY, MSG_ACCEPTED, 0, 401, 0, 0},
		{9, REPLY, MSG_ACCEPTED, 0, 0xffffffff, 0, 0},
		{9, REPLY, MSG_ACCEPTED, 0, 0, 6, 0},
		{9, REPLY, MSG_DENIED, 2, 0, 0, 0},
	};
	struct rpc_msg_header header;

	for (unsigned i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		uint8_t buffer[28];
		struct wire_out out;

		wire_out_init(&out, buffer, sizeof(buffer));
		put_words(&out, 7, bad[i]);
		assert_int_equal(rpc_msg_get(buffer, sizeof(buffer), &header), RPC_MSG_BAD);
	}

	uint8_t buffer[40];
	struct wire_out out;
	wire_out_init(&out, buffer, sizeof(buffer));
	PUT(&out, 9, CALL, 2, 1, 1, 1, AUTH_SYS, 401);
	assert_int_equal(rpc_msg_get(buffer, sizeof(buffer), &header), RPC_MSG_BAD);
	wire_out_init(&out, buffer, sizeof(buffer));
	PUT(&out, 9, CALL, 2, 1, 1, 1, 0, 0, 0, 0x80000000);
	assert_int_equal(rpc_msg_get(buffer, sizeof(buffer), &header), RPC_MSG_BAD);
}

/* Whatever the bytes are, nothing is read beyond them: the sanitizer sees each exact size. */
static void test_get_random(void **state)
{
	srand(1);
	for (unsigned i = 0; i < 200000; i++) {
		size_t len = (size_t)rand() % 64;
		uint8_t *data = malloc(len ? len : 1);
		struct rpc_msg_header header;

		assert_non_null(data);
		for (size_t j = 0; j < len; j++)
			data[j] = rand() % 8 ? 0 : (uint8_t)(rand() % 4);
		enum rpc_msg_kind kind = rpc_msg_get(data, len, &header);
		if (kind != RPC_MSG_SHORT && kind != RPC_MSG_BAD)
			assert_true(header.body <= len);
		free(data);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_put_call),
		cmocka_unit_test(test_put_reply),
		cmocka_unit_test(test_get_reply),
		cmocka_unit_test(test_get_call),
		cmocka_unit_test(test_get_bad),
		cmocka_unit_test(test_get_random),
	};
	return cmocka_run_group_tests_name("msg", tests, NULL, NULL);
}
