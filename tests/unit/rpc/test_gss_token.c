/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "mechanism.h"
#include "rpc/gss_token.h"
#include "rpc/record.h"
#include "util/wire.h"

/* The framing of RFC 2203 with the mechanism of mechanism.h. */

#define WINDOW 4
#define HANDLE "handle"

/* A call with arguments in three pieces, as a WRITE has them. */
struct sealed {
	struct rpc_gss_session *session;
	struct rpc_call call;
	uint8_t headroom[RPC_MSG_HEAD_MAX];
	uint8_t head[8];
	uint8_t data[12];
	uint8_t end[4];
	uint8_t wire[2048];
	size_t wire_len;
};

static const char arguments[] = "argument"
				"payload data"
				"last";

static struct rpc_gss_session *session_new(enum rpc_sec sec)
{
	struct rpc_gss_session *session;

	assert_int_equal(rpc_gss_session_new(sec, "context", 7, (const uint8_t *)HANDLE,
				 strlen(HANDLE), WINDOW, &session),
		0);
	return session;
}

static void seal(struct sealed *s, struct rpc_gss_session *session, enum rpc_gss_proc proc)
{
	memset(s, 0, sizeof(*s));
	memcpy(s->head, arguments, sizeof(s->head));
	memcpy(s->data, arguments + 8, sizeof(s->data));
	memcpy(s->end, arguments + 20, sizeof(s->end));
	s->session = session;
	s->call.msg = (struct rpc_msg_call){.xid = 77, .prog = 100003, .vers = 4, .proc = 1};
	s->call.head = s->head;
	s->call.head_len = sizeof(s->head);
	s->call.tail[0] = (struct iovec){s->data, sizeof(s->data)};
	s->call.tail[1] = (struct iovec){s->end, sizeof(s->end)};
	s->call.ntail = 2;
	assert_int_equal(rpc_gss_call_seal(session, &s->call, proc), 0);
	for (unsigned i = 0; i < s->call.out.niov; i++) {
		const struct iovec *iov = &s->call.out.iov[i];
		memcpy(s->wire + s->wire_len, iov->iov_base, iov->iov_len);
		s->wire_len += iov->iov_len;
	}
	assert_memory_equal(s->head, arguments, 8);
	assert_memory_equal(s->data, arguments + 8, 12);
}

/* Checks the header (RFC 2203, 5.3.1) and returns where the arguments begin. */
static size_t check_header(const struct sealed *s, uint32_t proc, uint32_t service, uint32_t seq)
{
	struct wire_in in;
	uint32_t len;
	uint8_t mic[MECHANISM_MIC];

	wire_in_init(&in, s->wire, s->wire_len);
	assert_int_equal(wire_get_u32(&in), RECORD_LAST | (s->wire_len - 4));
	assert_int_equal(wire_get_u32(&in), 77);
	assert_int_equal(wire_get_u32(&in), 0);
	assert_int_equal(wire_get_u32(&in), 2);
	assert_int_equal(wire_get_u32(&in), 100003);
	assert_int_equal(wire_get_u32(&in), 4);
	assert_int_equal(wire_get_u32(&in), 1);
	assert_int_equal(wire_get_u32(&in), 6);
	assert_int_equal(wire_get_u32(&in), 28);
	assert_int_equal(wire_get_u32(&in), 1);
	assert_int_equal(wire_get_u32(&in), proc);
	assert_int_equal(wire_get_u32(&in), seq);
	assert_int_equal(wire_get_u32(&in), service);
	const uint8_t *handle = wire_get_opaque(&in, 64, &len);
	assert_int_equal(len, strlen(HANDLE));
	assert_memory_equal(handle, HANDLE, len);
	mechanism_mic(s->wire + 4, in.pos - 4, mic);
	assert_int_equal(wire_get_u32(&in), 6);
	const uint8_t *verifier = wire_get_opaque(&in, 400, &len);
	assert_int_equal(len, MECHANISM_MIC);
	assert_memory_equal(verifier, mic, MECHANISM_MIC);
	assert_false(in.bad);
	return in.pos;
}

static void test_calls_without_protection(void **state)
{
	struct rpc_gss_session *session = session_new(RPC_SEC_KRB5);
	struct sealed s;

	seal(&s, session, RPC_GSS_DATA);
	size_t at = check_header(&s, RPC_GSS_DATA, 1, 1);
	assert_int_equal(s.wire_len - at, 24);
	assert_memory_equal(s.wire + at, arguments, 24);
	rpc_gss_call_release(&s.call);

	seal(&s, session, RPC_GSS_DESTROY);
	check_header(&s, RPC_GSS_DESTROY, 1, 2);
	rpc_gss_call_release(&s.call);
	rpc_gss_session_unref(session);
}

static void test_calls_with_integrity(void **state)
{
	struct rpc_gss_session *session = session_new(RPC_SEC_KRB5I);
	struct sealed s;
	struct wire_in in;
	uint32_t len, sum_len;
	uint8_t mic[MECHANISM_MIC];

	seal(&s, session, RPC_GSS_DATA);
	wire_in_init(&in, s.wire, s.wire_len);
	in.pos = check_header(&s, RPC_GSS_DATA, 2, 1);
	const uint8_t *body = wire_get_opaque(&in, 1000, &len);
	const uint8_t *sum = wire_get_opaque(&in, 1000, &sum_len);
	assert_int_equal(in.pos, in.len);
	assert_int_equal(len, 4 + 24);
	assert_int_equal(wire_load_u32(body), 1);
	assert_memory_equal(body + 4, arguments, 24);
	mechanism_mic(body, len, mic);
	assert_int_equal(sum_len, MECHANISM_MIC);
	assert_memory_equal(sum, mic, MECHANISM_MIC);
	rpc_gss_call_release(&s.call);
	rpc_gss_session_unref(session);
}

static void test_calls_with_privacy(void **state)
{
	struct rpc_gss_session *session = session_new(RPC_SEC_KRB5P);
	struct sealed s;
	struct wire_in in;
	uint32_t len;
	uint8_t token[256];

	seal(&s, session, RPC_GSS_DATA);
	wire_in_init(&in, s.wire, s.wire_len);
	in.pos = check_header(&s, RPC_GSS_DATA, 3, 1);
	const uint8_t *sealed = wire_get_opaque(&in, sizeof(token), &len);
	assert_int_equal(in.pos, in.len);
	assert_int_equal(len, MECHANISM_HEADER + 4 + 24 + MECHANISM_MIC);
	memcpy(token, sealed, len);
	mechanism_cipher(token + MECHANISM_HEADER, 28);
	assert_int_equal(wire_load_u32(token + MECHANISM_HEADER), 1);
	assert_memory_equal(token + MECHANISM_HEADER + 4, arguments, 24);
	rpc_gss_call_release(&s.call);
	rpc_gss_session_unref(session);
}

/* The reply to a call with that number; returns its length. */
static size_t make_reply(enum rpc_sec sec, uint32_t seq, uint8_t *record, size_t size)
{
	struct wire_out out;
	uint8_t number[4], mic[MECHANISM_MIC], body[64] = {0};
	static const char results[] = "results!";

	wire_store_u32(number, seq);
	wire_out_init(&out, record, size);
	wire_put_u32(&out, 77);
	wire_put_u32(&out, 1);
	wire_put_u32(&out, 0);
	wire_put_u32(&out, 6);
	mechanism_mic(number, 4, mic);
	wire_put_opaque(&out, mic, MECHANISM_MIC);
	wire_put_u32(&out, 0);
	memcpy(body + MECHANISM_HEADER, number, 4);
	memcpy(body + MECHANISM_HEADER + 4, results, 8);
	mechanism_mic(body + MECHANISM_HEADER, 12, mic);
	if (sec == RPC_SEC_KRB5) {
		wire_put_fixed(&out, results, 8);
	} else if (sec == RPC_SEC_KRB5I) {
		wire_put_opaque(&out, body + MECHANISM_HEADER, 12);
		wire_put_opaque(&out, mic, MECHANISM_MIC);
	} else {
		mechanism_cipher(body + MECHANISM_HEADER, 12);
		memcpy(body + MECHANISM_HEADER + 12, mic, MECHANISM_MIC);
		wire_put_opaque(&out, body, MECHANISM_HEADER + 12 + MECHANISM_MIC);
	}
	assert_false(out.bad);
	return out.len;
}

/* 0 when the results are those of make_reply, else -EPROTO or 1. */
static int open_reply(struct rpc_call *call, const uint8_t *record, size_t len)
{
	struct rpc_msg_header header;
	const char *why;
	/* of its own size, so that a sanitizer sees who reads on */
	uint8_t *copy = malloc(len);

	memcpy(copy, record, len);
	if (rpc_msg_get(copy, len, &header) != RPC_MSG_REPLY) {
		free(copy);
		return 1;
	}
	const uint8_t *data = copy + header.body;
	size_t left = len - header.body;
	int err = rpc_gss_call_open(call, &header, copy, &data, &left, &why);
	if (!err && (left != 8 || memcmp(data, "results!", 8) != 0))
		err = 1;
	if (err < 0)
		assert_non_null(why);
	free(copy);
	return err;
}

static void test_replies(void **state)
{
	for (enum rpc_sec sec = RPC_SEC_KRB5; sec <= RPC_SEC_KRB5P; sec++) {
		struct rpc_gss_session *session = session_new(sec);
		uint8_t record[512];
		struct sealed first, second;

		seal(&first, session, RPC_GSS_DATA);
		seal(&second, session, RPC_GSS_DATA);
		/* each against its own number, whichever comes first */
		size_t len = make_reply(sec, 2, record, sizeof(record));
		assert_int_equal(open_reply(&second.call, record, len), 0);
		assert_true(open_reply(&first.call, record, len) < 0);
		len = make_reply(sec, 1, record, sizeof(record));
		assert_int_equal(open_reply(&first.call, record, len), 0);
		for (size_t cut = 0; cut < len; cut++)
			assert_int_not_equal(open_reply(&first.call, record, cut), 0);
		rpc_gss_call_release(&first.call);
		rpc_gss_call_release(&second.call);
		rpc_gss_session_unref(session);
	}
}

static void test_damaged_replies(void **state)
{
	for (enum rpc_sec sec = RPC_SEC_KRB5I; sec <= RPC_SEC_KRB5P; sec++) {
		struct rpc_gss_session *session = session_new(sec);
		uint8_t record[512];
		struct sealed s;

		seal(&s, session, RPC_GSS_DATA);
		size_t len = make_reply(sec, 1, record, sizeof(record));
		size_t body = 4 * 5 + MECHANISM_MIC + wire_pad(MECHANISM_MIC) + 4;
		for (size_t at = body; at < len; at++) {
			size_t header = body + 4;
			bool unsigned_part = sec == RPC_SEC_KRB5P && at >= header &&
					     at < header + MECHANISM_HEADER;
			bool padding = at >= len - wire_pad(MECHANISM_MIC);
			record[at] ^= 0x81;
			if (!padding && !unsigned_part)
				assert_int_not_equal(open_reply(&s.call, record, len), 0);
			record[at] ^= 0x81;
		}
		rpc_gss_call_release(&s.call);
		rpc_gss_session_unref(session);
	}
}

static void test_window(void **state)
{
	struct rpc_gss_session *session = session_new(RPC_SEC_KRB5);
	struct sealed s[WINDOW + 1];

	for (unsigned i = 0; i < WINDOW; i++) {
		assert_true(rpc_gss_session_room(session));
		seal(&s[i], session, RPC_GSS_DATA);
	}
	assert_false(rpc_gss_session_room(session));
	/* as long as the oldest is not answered, nothing else helps */
	rpc_gss_call_release(&s[2].call);
	assert_false(rpc_gss_session_room(session));
	assert_false(rpc_gss_session_idle(session));
	rpc_gss_call_release(&s[0].call);
	assert_true(rpc_gss_session_room(session));
	seal(&s[4], session, RPC_GSS_DATA);
	assert_false(rpc_gss_session_room(session));
	rpc_gss_call_release(&s[1].call);
	rpc_gss_call_release(&s[3].call);
	rpc_gss_call_release(&s[4].call);
	assert_true(rpc_gss_session_idle(session));
	assert_false(rpc_gss_session_worn(session));
	rpc_gss_session_unref(session);
}

static void test_contexts_that_cannot_be_used(void **state)
{
	struct rpc_gss_session *session;
	uint8_t handle[RPC_GSS_HANDLE_MAX + 1] = {0};

	assert_true(rpc_gss_session_new(RPC_SEC_KRB5, "", 0, handle, 4, 1, &session) < 0);
	assert_true(rpc_gss_session_new(RPC_SEC_KRB5, "x", 1, handle, 4, 0, &session) < 0);
	assert_true(
		rpc_gss_session_new(RPC_SEC_KRB5, "x", 1, handle, sizeof(handle), 1, &session) < 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_calls_without_protection),
		cmocka_unit_test(test_calls_with_integrity),
		cmocka_unit_test(test_calls_with_privacy),
		cmocka_unit_test(test_replies),
		cmocka_unit_test(test_damaged_replies),
		cmocka_unit_test(test_window),
		cmocka_unit_test(test_contexts_that_cannot_be_used),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
