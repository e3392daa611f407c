/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <gssapi/gssapi_ext.h>

#include "rpc/gss_token.h"
#include "rpc/record.h"
#include "util/wire.h"

/*
 * The framing of RFC 2203 with a mechanism of our own in place of the library's, whose checksums
 * are easily made here: the functions below take the places of libgssapi's.
 */

#define MIC_LEN	   29 /* not a multiple of four */
#define HEADER_LEN 16
#define WINDOW	   4
#define HANDLE	   "handle"

static char context_in_use;

static uint32_t sum_add(uint32_t sum, const void *data, size_t len)
{
	const uint8_t *p = data;

	for (size_t i = 0; i < len; i++)
		sum = (sum ^ p[i]) * 16777619u;
	return sum;
}

static void sum_put(uint32_t sum, uint8_t *mic)
{
	for (size_t i = 0; i < MIC_LEN; i++)
		mic[i] = (uint8_t)(sum >> (i % 4 * 8)) ^ (uint8_t)i;
}

static uint32_t sum_iov(const gss_iov_buffer_desc *iov, int count)
{
	uint32_t sum = 2166136261u;

	for (int i = 0; i < count; i++)
		if (iov[i].type == GSS_IOV_BUFFER_TYPE_DATA)
			sum = sum_add(sum, iov[i].buffer.value, iov[i].buffer.length);
	return sum;
}

OM_uint32 gss_import_sec_context(OM_uint32 *minor, gss_buffer_t token, gss_ctx_id_t *context)
{
	*minor = 0;
	*context = (gss_ctx_id_t)&context_in_use;
	return token->length == 0 ? GSS_S_DEFECTIVE_TOKEN : GSS_S_COMPLETE;
}

OM_uint32 gss_delete_sec_context(OM_uint32 *minor, gss_ctx_id_t *context, gss_buffer_t token)
{
	*minor = 0;
	*context = GSS_C_NO_CONTEXT;
	return GSS_S_COMPLETE;
}

OM_uint32 gss_get_mic_iov_length(
	OM_uint32 *minor, gss_ctx_id_t context, gss_qop_t qop, gss_iov_buffer_desc *iov, int count)
{
	*minor = 0;
	iov[count - 1].buffer.length = MIC_LEN;
	return GSS_S_COMPLETE;
}

OM_uint32 gss_get_mic_iov(
	OM_uint32 *minor, gss_ctx_id_t context, gss_qop_t qop, gss_iov_buffer_desc *iov, int count)
{
	*minor = 0;
	assert_int_equal(iov[count - 1].type, GSS_IOV_BUFFER_TYPE_MIC_TOKEN);
	assert_int_equal(iov[count - 1].buffer.length, MIC_LEN);
	sum_put(sum_iov(iov, count), iov[count - 1].buffer.value);
	return GSS_S_COMPLETE;
}

static OM_uint32 verify(uint32_t sum, const gss_buffer_desc *token)
{
	uint8_t mic[MIC_LEN];

	sum_put(sum, mic);
	return token->length == MIC_LEN && memcmp(token->value, mic, MIC_LEN) == 0 ? GSS_S_COMPLETE
										   : GSS_S_BAD_SIG;
}

OM_uint32 gss_verify_mic_iov(
	OM_uint32 *minor, gss_ctx_id_t context, gss_qop_t *qop, gss_iov_buffer_desc *iov, int count)
{
	*minor = 0;
	return verify(sum_iov(iov, count), &iov[count - 1].buffer);
}

OM_uint32 gss_verify_mic(OM_uint32 *minor, gss_ctx_id_t context, gss_buffer_t message,
	gss_buffer_t token, gss_qop_t *qop)
{
	*minor = 0;
	return verify(sum_add(2166136261u, message->value, message->length), token);
}

OM_uint32 gss_wrap_iov_length(OM_uint32 *minor, gss_ctx_id_t context, int conf, gss_qop_t qop,
	int *state, gss_iov_buffer_desc *iov, int count)
{
	*minor = 0;
	*state = conf;
	iov[0].buffer.length = HEADER_LEN;
	iov[2].buffer.length = 0;
	iov[3].buffer.length = MIC_LEN;
	return GSS_S_COMPLETE;
}

static void cipher(uint8_t *data, size_t len)
{
	for (size_t i = 0; i < len; i++)
		data[i] ^= 0x5a;
}

OM_uint32 gss_wrap_iov(OM_uint32 *minor, gss_ctx_id_t context, int conf, gss_qop_t qop, int *state,
	gss_iov_buffer_desc *iov, int count)
{
	*minor = 0;
	*state = conf;
	memset(iov[0].buffer.value, 'H', HEADER_LEN);
	sum_put(sum_iov(iov, count), iov[3].buffer.value);
	cipher(iov[1].buffer.value, iov[1].buffer.length);
	return GSS_S_COMPLETE;
}

OM_uint32 gss_unwrap_iov(OM_uint32 *minor, gss_ctx_id_t context, int *state, gss_qop_t *qop,
	gss_iov_buffer_desc *iov, int count)
{
	uint8_t *token = iov[0].buffer.value;
	size_t len = iov[0].buffer.length;

	*minor = 0;
	*state = 1;
	if (len < HEADER_LEN + MIC_LEN)
		return GSS_S_DEFECTIVE_TOKEN;
	iov[1].buffer.value = token + HEADER_LEN;
	iov[1].buffer.length = len - HEADER_LEN - MIC_LEN;
	cipher(iov[1].buffer.value, iov[1].buffer.length);
	gss_buffer_desc sum = {.length = MIC_LEN, .value = token + len - MIC_LEN};
	return verify(sum_iov(iov, 2), &sum);
}

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
	uint8_t mic[MIC_LEN];

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
	sum_put(sum_add(2166136261u, s->wire + 4, in.pos - 4), mic);
	assert_int_equal(wire_get_u32(&in), 6);
	const uint8_t *verifier = wire_get_opaque(&in, 400, &len);
	assert_int_equal(len, MIC_LEN);
	assert_memory_equal(verifier, mic, MIC_LEN);
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
	uint8_t mic[MIC_LEN];

	seal(&s, session, RPC_GSS_DATA);
	wire_in_init(&in, s.wire, s.wire_len);
	in.pos = check_header(&s, RPC_GSS_DATA, 2, 1);
	const uint8_t *body = wire_get_opaque(&in, 1000, &len);
	const uint8_t *sum = wire_get_opaque(&in, 1000, &sum_len);
	assert_int_equal(in.pos, in.len);
	assert_int_equal(len, 4 + 24);
	assert_int_equal(wire_load_u32(body), 1);
	assert_memory_equal(body + 4, arguments, 24);
	sum_put(sum_add(2166136261u, body, len), mic);
	assert_int_equal(sum_len, MIC_LEN);
	assert_memory_equal(sum, mic, MIC_LEN);
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
	assert_int_equal(len, HEADER_LEN + 4 + 24 + MIC_LEN);
	memcpy(token, sealed, len);
	cipher(token + HEADER_LEN, 28);
	assert_int_equal(wire_load_u32(token + HEADER_LEN), 1);
	assert_memory_equal(token + HEADER_LEN + 4, arguments, 24);
	rpc_gss_call_release(&s.call);
	rpc_gss_session_unref(session);
}

/* The reply to a call with that number; returns its length. */
static size_t make_reply(enum rpc_sec sec, uint32_t seq, uint8_t *record, size_t size)
{
	struct wire_out out;
	uint8_t number[4], mic[MIC_LEN], body[64] = {0};
	static const char results[] = "results!";

	wire_store_u32(number, seq);
	wire_out_init(&out, record, size);
	wire_put_u32(&out, 77);
	wire_put_u32(&out, 1);
	wire_put_u32(&out, 0);
	wire_put_u32(&out, 6);
	sum_put(sum_add(2166136261u, number, 4), mic);
	wire_put_opaque(&out, mic, MIC_LEN);
	wire_put_u32(&out, 0);
	memcpy(body + HEADER_LEN, number, 4);
	memcpy(body + HEADER_LEN + 4, results, 8);
	sum_put(sum_add(2166136261u, body + HEADER_LEN, 12), mic);
	if (sec == RPC_SEC_KRB5) {
		wire_put_fixed(&out, results, 8);
	} else if (sec == RPC_SEC_KRB5I) {
		wire_put_opaque(&out, body + HEADER_LEN, 12);
		wire_put_opaque(&out, mic, MIC_LEN);
	} else {
		cipher(body + HEADER_LEN, 12);
		memcpy(body + HEADER_LEN + 12, mic, MIC_LEN);
		wire_put_opaque(&out, body, HEADER_LEN + 12 + MIC_LEN);
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
		size_t body = 4 * 5 + MIC_LEN + wire_pad(MIC_LEN) + 4;
		for (size_t at = body; at < len; at++) {
			size_t header = body + 4;
			bool unsigned_part =
				sec == RPC_SEC_KRB5P && at >= header && at < header + HEADER_LEN;
			bool padding = at >= len - wire_pad(MIC_LEN);
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
