/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "cases.h"

static const struct op_case *find(const char *name)
{
	for (size_t i = 0; i < fs_cases_count; i++) {
		if (strcmp(fs_cases[i].name, name) == 0)
			return &fs_cases[i];
	}
	for (size_t i = 0; i < state_cases_count; i++) {
		if (strcmp(state_cases[i].name, name) == 0)
			return &state_cases[i];
	}
	fail_msg("no case %s", name);
	return NULL;
}

/* A compound of the cases named, up to NULL. */
static void exchange_of(struct exchange *x, ...)
{
	const char *name;
	va_list names;

	exchange_init(x, true);
	va_start(names, x);
	while ((name = va_arg(names, const char *)) != NULL)
		exchange_add(x, find(name));
	va_end(names);
	exchange_finish(x);
}

static int decode(struct exchange *x)
{
	return nfs_compound_decode(x->c, x->reply, x->reply_len, 0, NULL);
}

#define COUNT_AT    8
#define SEQUENCE_OP 12 /* in COMPOUND4res */
#define FIRST_OP    (SEQUENCE_OP + 8 + 36)

static void test_arguments_are_laid_out(void **state)
{
	struct exchange x;

	exchange_of(&x, "putrootfh", "getfh", NULL);
	assert_int_equal(wire_load_u32(x.args), 0);
	assert_int_equal(wire_load_u32(x.args + NFS_COMPOUND_MINOR_AT), 1);
	assert_int_equal(wire_load_u32(x.args + NFS_COMPOUND_COUNT_AT), 3);
	assert_int_equal(wire_load_u32(x.args + NFS_COMPOUND_SEQUENCE_AT), OP_SEQUENCE);
	assert_memory_equal(x.args + 16, case_sessionid, NFS4_SESSIONID_SIZE);
	assert_int_equal(wire_load_u32(x.args + 32), 11);
	assert_int_equal(wire_load_u32(x.args + 36), 3);
	assert_int_equal(wire_load_u32(x.args + 40), 7);
	assert_int_equal(wire_load_u32(x.args + 44), 0);
	assert_int_equal(wire_load_u32(x.args + NFS_COMPOUND_FIRST_AT), OP_PUTROOTFH);
	assert_int_equal(wire_load_u32(x.args + 52), OP_GETFH);
	assert_int_equal(x.args_len, 56);
	assert_int_equal(x.c->call.msg.prog, NFS4_PROGRAM);
	exchange_deinit(&x);
}

static void test_unsequenced_arguments(void **state)
{
	struct exchange x;

	exchange_init(&x, false);
	exchange_add(&x, find("putrootfh"));
	exchange_finish(&x);
	nfs_compound_patch_sequence(x.c, 2, NULL, 1, 2, 3, true);
	assert_int_equal(x.args_len, 16);
	assert_int_equal(wire_load_u32(x.c->head + NFS_COMPOUND_MINOR_AT), 2);
	assert_int_equal(wire_load_u32(x.args + NFS_COMPOUND_COUNT_AT), 1);
	assert_int_equal(wire_load_u32(x.args + 12), OP_PUTROOTFH);
	assert_int_equal(decode(&x), 0);
	assert_int_equal(x.c->ops_ok, 1);
	exchange_deinit(&x);
}

static void test_sequence_result(void **state)
{
	struct nfs_sequence_res seq;
	struct exchange x;

	exchange_of(&x, "putrootfh", NULL);
	assert_int_equal(nfs_compound_decode(x.c, x.reply, x.reply_len, 0, &seq), 0);
	assert_memory_equal(seq.sessionid, case_sessionid, NFS4_SESSIONID_SIZE);
	assert_int_equal(seq.sequence, 11);
	assert_int_equal(seq.slot, 3);
	assert_int_equal(seq.highest_slot, 15);
	assert_int_equal(seq.target_highest_slot, 31);
	assert_int_equal(seq.status_flags, SEQ4_STATUS_CB_PATH_DOWN);
	assert_int_equal(seq.status, NFS4_OK);
	exchange_deinit(&x);
}

static void test_sequence_of_another_request_is_refused(void **state)
{
	struct exchange x;

	exchange_of(&x, "putrootfh", NULL);
	for (size_t at = SEQUENCE_OP + 8; at < SEQUENCE_OP + 8 + 24; at++) {
		x.reply[at] ^= 1;
		assert_int_equal(decode(&x), -EPROTO);
		x.reply[at] ^= 1;
	}
	assert_int_equal(decode(&x), 0);
	exchange_deinit(&x);
}

static void test_sequence_error(void **state)
{
	struct nfs_sequence_res seq;
	struct exchange x;

	exchange_of(&x, "putrootfh", NULL);
	wire_store_u32(x.reply, NFS4ERR_BADSESSION);
	wire_store_u32(x.reply + COUNT_AT, 1);
	wire_store_u32(x.reply + SEQUENCE_OP + 4, NFS4ERR_BADSESSION);
	assert_int_equal(nfs_compound_decode(x.c, x.reply, SEQUENCE_OP + 8, 0, &seq), 0);
	assert_int_equal(seq.status, NFS4ERR_BADSESSION);
	assert_int_equal(x.c->status, NFS4ERR_BADSESSION);
	assert_int_equal(x.c->ops_ok, 0);
	exchange_deinit(&x);
}

static void test_refused_as_a_whole(void **state)
{
	struct nfs_sequence_res seq;
	struct exchange x;

	exchange_of(&x, "putrootfh", NULL);
	wire_store_u32(x.reply, NFS4ERR_MINOR_VERS_MISMATCH);
	wire_store_u32(x.reply + COUNT_AT, 0);
	assert_int_equal(nfs_compound_decode(x.c, x.reply, SEQUENCE_OP, 0, &seq), 0);
	assert_int_equal(x.c->status, NFS4ERR_MINOR_VERS_MISMATCH);
	assert_int_equal(seq.status, NFS4ERR_MINOR_VERS_MISMATCH);
	assert_int_equal(nfs_compound_errno(x.c), -EPROTONOSUPPORT);
	/* but not with success */
	wire_store_u32(x.reply, NFS4_OK);
	assert_int_equal(nfs_compound_decode(x.c, x.reply, SEQUENCE_OP, 0, &seq), -EPROTO);
	exchange_deinit(&x);
}

static void test_error_ends_the_results(void **state)
{
	struct exchange x;

	exchange_of(&x, "putfh", "lookup, noent", NULL);
	nfs_op_getfh(x.c, &got.fh);
	assert_int_equal(decode(&x), 0);
	assert_int_equal(x.c->status, NFS4ERR_NOENT);
	assert_int_equal(x.c->ops_ok, 1);
	assert_int_equal(nfs_compound_errno(x.c), -ENOENT);
	exchange_deinit(&x);
}

static void test_results_that_do_not_answer_are_refused(void **state)
{
	struct exchange x;

	exchange_of(&x, "putfh", "getfh", NULL);
	assert_int_equal(decode(&x), 0);
	/* fewer results, without an error to explain it */
	wire_store_u32(x.reply + COUNT_AT, 2);
	assert_int_equal(nfs_compound_decode(x.c, x.reply, x.last_at, 0, NULL), -EPROTO);
	wire_store_u32(x.reply + COUNT_AT, 4);
	assert_int_equal(decode(&x), -EPROTO);
	wire_store_u32(x.reply + COUNT_AT, 3);
	/* the status is not the last one's */
	wire_store_u32(x.reply, NFS4ERR_IO);
	assert_int_equal(decode(&x), -EPROTO);
	wire_store_u32(x.reply, NFS4_OK);
	/* a result after an error */
	wire_store_u32(x.reply + FIRST_OP + 4, NFS4ERR_STALE);
	assert_int_equal(decode(&x), -EPROTO);
	wire_store_u32(x.reply, NFS4ERR_STALE);
	assert_int_equal(nfs_compound_decode(x.c, x.reply, FIRST_OP + 8, 0, NULL), -EPROTO);
	wire_store_u32(x.reply + COUNT_AT, 2);
	assert_int_equal(nfs_compound_decode(x.c, x.reply, FIRST_OP + 8, 0, NULL), 0);
	wire_store_u32(x.reply + COUNT_AT, 3);
	wire_store_u32(x.reply, NFS4_OK);
	wire_store_u32(x.reply + FIRST_OP + 4, NFS4_OK);
	/* another operation's result */
	wire_store_u32(x.reply + FIRST_OP, OP_SAVEFH);
	assert_int_equal(decode(&x), -EPROTO);
	exchange_deinit(&x);
}

static void test_illegal_operation(void **state)
{
	struct exchange x;

	exchange_of(&x, "savefh", NULL);
	wire_store_u32(x.reply, NFS4ERR_OP_ILLEGAL);
	wire_store_u32(x.reply + FIRST_OP, OP_ILLEGAL);
	wire_store_u32(x.reply + FIRST_OP + 4, NFS4ERR_OP_ILLEGAL);
	assert_int_equal(decode(&x), 0);
	assert_int_equal(x.c->status, NFS4ERR_OP_ILLEGAL);
	wire_store_u32(x.reply, NFS4_OK);
	wire_store_u32(x.reply + FIRST_OP + 4, NFS4_OK);
	assert_int_equal(decode(&x), -EPROTO);
	exchange_deinit(&x);
}

static int decode_with_tag(struct exchange *x, uint32_t tag_len)
{
	size_t shift = (size_t)tag_len + wire_pad(tag_len), len = x->reply_len + shift;
	uint8_t *reply = calloc(1, len);

	memcpy(reply, x->reply, 4);
	wire_store_u32(reply + 4, tag_len);
	memcpy(reply + 8 + shift, x->reply + 8, x->reply_len - 8);
	int ret = nfs_compound_decode(x->c, reply, len, 0, NULL);
	free(reply);
	return ret;
}

static void test_tags(void **state)
{
	struct exchange x;

	exchange_of(&x, "putrootfh", NULL);
	assert_int_equal(decode_with_tag(&x, 5), 0);
	assert_int_equal(decode_with_tag(&x, NFS4_OPAQUE_LIMIT), 0);
	assert_int_equal(decode_with_tag(&x, NFS4_OPAQUE_LIMIT + 1), -EPROTO);
	exchange_deinit(&x);
}

static void test_many_operations(void **state)
{
	struct nfs_compound *c = nfs_compound_new(NULL, NULL, OP_LOOKUP);

	for (unsigned i = 0; i < 256; i++)
		nfs_op_savefh(c);
	assert_int_equal(nfs_compound_finish(c), 0);
	assert_int_equal(wire_load_u32(c->head + NFS_COMPOUND_COUNT_AT), 257);
	assert_int_equal(c->ops[255].op, OP_SAVEFH);
	nfs_op_savefh(c);
	assert_int_equal(nfs_compound_finish(c), -EOVERFLOW);
	assert_true(c->overflow);
	nfs_compound_free(c);
}

static void test_arguments_too_long(void **state)
{
	static char name[NFS_COMPOUND_HEAD];
	struct nfs_compound *c = nfs_compound_new(NULL, NULL, OP_LOOKUP);

	memset(name, 'n', sizeof(name));
	nfs_op_lookup(c, name, NFS_COMPOUND_HEAD - NFS_COMPOUND_FIRST_AT - 8);
	assert_int_equal(nfs_compound_finish(c), 0);
	nfs_op_savefh(c);
	assert_int_equal(nfs_compound_finish(c), -EOVERFLOW);
	nfs_compound_free(c);
}

static void test_payload_lies_between(void **state)
{
	struct exchange x;

	exchange_of(&x, "putfh", "write", "getattr", NULL);
	assert_int_equal(x.c->call.ntail, 2);
	assert_int_equal(x.c->call.tail[0].iov_len, 7);
	assert_memory_equal(x.c->call.tail[0].iov_base, "payload", 7);
	/* one byte of padding, then GETATTR */
	assert_int_equal(*(uint8_t *)x.c->call.tail[1].iov_base, 0);
	assert_int_equal(wire_load_u32((uint8_t *)x.c->call.tail[1].iov_base + 1), OP_GETATTR);
	assert_int_equal(decode(&x), 0);
	/* a second WRITE has no place */
	find("write")->build(x.c);
	assert_int_equal(nfs_compound_finish(x.c), -EOVERFLOW);
	exchange_deinit(&x);
}

static bool cached(const char *name)
{
	struct exchange x;
	bool cachethis;

	exchange_of(&x, "putfh", name, NULL);
	cachethis = wire_load_u32(x.args + 44);
	exchange_deinit(&x);
	return cachethis;
}

static void test_which_replies_are_cached(void **state)
{
	struct exchange x;

	assert_true(cached("open") && cached("close") && cached("mkdir") && cached("remove"));
	assert_true(cached("rename") && cached("link") && cached("setattr") && cached("lock"));
	assert_true(cached("locku") && cached("delegreturn"));
	assert_false(cached("lookup") || cached("getattr") || cached("read") || cached("write"));
	assert_false(cached("commit") || cached("readdir") || cached("lockt"));
	exchange_of(&x, "open", "read", NULL);
	assert_true(x.c->modifies && x.c->has_read);
	assert_int_equal(wire_load_u32(x.args + 44), 0);
	exchange_deinit(&x);
}

static int ask_sink(struct exchange *x, const uint8_t *reply, size_t len, struct rpc_sink *sink)
{
	/* an RPC header in front, and memory of its own size for the sanitizer */
	const size_t body = 24;
	uint8_t *copy = calloc(1, body + len);

	memcpy(copy + body, reply, len);
	int ret = x->c->call.sink(&x->c->call, copy, body + len, body, sink);
	free(copy);
	if (ret == 1)
		sink->head -= body;
	return ret;
}

static void test_sink_finds_the_data(void **state)
{
	struct rpc_sink sink = {0};
	struct exchange x;

	exchange_of(&x, "putfh", "getattr", "open", "read", NULL);
	const size_t data_at = x.last_at + 16;
	for (size_t len = 0; len < data_at; len++)
		assert_int_equal(ask_sink(&x, x.reply, len, &sink), -EAGAIN);
	for (size_t len = data_at; len <= x.reply_len; len++) {
		assert_int_equal(ask_sink(&x, x.reply, len, &sink), 1);
		assert_int_equal(sink.head, data_at);
		assert_int_equal(sink.len, 19);
		assert_ptr_equal(sink.data, got.data);
	}
	exchange_deinit(&x);
}

static void test_sunk_data_are_accounted_for(void **state)
{
	struct exchange x;

	exchange_of(&x, "putfh", "read", NULL);
	const size_t data_at = x.last_at + 16;
	for (size_t sunk = 1; sunk < 64; sunk++)
		assert_int_equal(nfs_compound_decode(x.c, x.reply, data_at, sunk, NULL),
			sunk == 19 ? 0 : -EPROTO);
	assert_int_equal(nfs_compound_decode(x.c, x.reply, data_at, 19, NULL), 0);
	assert_int_equal(got.read.len, 19);
	assert_true(got.read.eof);
	/* with the padding, or with something else behind */
	assert_int_equal(nfs_compound_decode(x.c, x.reply, data_at + 1, 19, NULL), 0);
	assert_int_equal(nfs_compound_decode(x.c, x.reply, data_at + 2, 19, NULL), -EPROTO);
	/* not sunk at all: copied */
	memset(got.data, 0, sizeof(got.data));
	assert_int_equal(decode(&x), 0);
	find("read")->check();
	exchange_deinit(&x);
}

static void test_no_sink_after_a_failure(void **state)
{
	struct rpc_sink sink;
	struct exchange x;

	exchange_of(&x, "lookup, noent", NULL);
	find("read")->build(x.c);
	assert_int_equal(nfs_compound_finish(x.c), 0);
	assert_int_equal(ask_sink(&x, x.reply, x.reply_len, &sink), 0);
	assert_int_equal(decode(&x), 0);
	assert_int_equal(x.c->status, NFS4ERR_NOENT);
	/* data nobody announced */
	assert_int_equal(nfs_compound_decode(x.c, x.reply, x.reply_len, 8, NULL), -EPROTO);
	exchange_deinit(&x);
}

static void test_sink_refuses_garbage(void **state)
{
	struct rpc_sink sink;
	struct exchange x;

	exchange_of(&x, "getattr", "read", NULL);
	/* more data than asked for */
	wire_store_u32(x.reply + x.last_at + 12, GOT_DATA + 1);
	assert_int_equal(ask_sink(&x, x.reply, x.reply_len, &sink), -EPROTO);
	wire_store_u32(x.reply + x.last_at + 12, GOT_DATA);
	assert_int_equal(ask_sink(&x, x.reply, x.reply_len, &sink), 1);
	/* no data */
	wire_store_u32(x.reply + x.last_at + 12, 0);
	assert_int_equal(ask_sink(&x, x.reply, x.reply_len, &sink), 0);
	/* eof is no boolean */
	wire_store_u32(x.reply + x.last_at + 8, 2);
	assert_int_equal(ask_sink(&x, x.reply, x.reply_len, &sink), -EPROTO);
	wire_store_u32(x.reply + x.last_at + 8, 1);
	/* a list of attributes that does not end where it says is no matter of more bytes */
	wire_store_u32(x.reply + FIRST_OP + 20, 4);
	assert_int_equal(ask_sink(&x, x.reply, x.reply_len, &sink), -EPROTO);
	exchange_deinit(&x);
}

static void test_read_in_the_middle_is_copied(void **state)
{
	struct exchange x;

	exchange_of(&x, "read", "getfh", NULL);
	assert_null(x.c->call.sink);
	assert_int_equal(decode(&x), 0);
	find("read")->check();
	wire_store_u32(x.reply + FIRST_OP + 12, GOT_DATA + 1);
	assert_int_equal(decode(&x), -EPROTO);
	exchange_deinit(&x);
}

static size_t without_data(const struct exchange *x, size_t len)
{
	return nfs_compound_without_data(x->c, x->reply, len, 0);
}

static void test_where_data_begin(void **state)
{
	struct exchange x;

	exchange_of(&x, "putfh", "getattr", "open", "read", NULL);
	const size_t data_at = x.last_at + 16;
	for (size_t len = 0; len <= x.reply_len; len++) {
		size_t found = without_data(&x, len);
		assert_true(len < data_at ? found <= len : found == data_at);
	}
	/* results that make no sense are no reason to show what may be data */
	wire_store_u32(x.reply + FIRST_OP, OP_CLOSE);
	assert_true(without_data(&x, x.reply_len) <= FIRST_OP + 8);
	exchange_deinit(&x);

	exchange_of(&x, "read", "getfh", NULL);
	assert_int_equal(without_data(&x, x.reply_len), FIRST_OP + 16);
	exchange_deinit(&x);

	exchange_of(&x, "putfh", "readdir", NULL);
	assert_int_equal(without_data(&x, x.reply_len), x.reply_len);
	exchange_deinit(&x);
}

/* knfsd gets a READ behind much other data wrong. */
static void test_one_read_only(void **state)
{
	static const char *const first[] = {"read", "readdir", "readlink"};

	for (size_t i = 0; i < 3; i++) {
		struct exchange x;

		exchange_of(&x, "putfh", first[i], NULL);
		find("read")->build(x.c);
		assert_int_equal(nfs_compound_finish(x.c), -EOVERFLOW);
		exchange_deinit(&x);
	}
}

static void test_buffers_are_held(void **state)
{
	struct nfs_read_res read;
	struct nfs_write_res write;
	struct buf_pool *pool;

	assert_int_equal(buf_pool_new(4096, 2, 0, &pool), 0);
	struct buf *in = buf_get(pool), *out = buf_get(pool);
	struct nfs_compound *c = nfs_compound_new(NULL, NULL, OP_READ);
	nfs_op_write(c, &case_stateid, 0, UNSTABLE4, out, out->data, 10, &write);
	nfs_op_read(c, &case_stateid, 0, 10, in, in->data, &read);
	buf_unref(in);
	buf_unref(out);
	assert_int_equal(buf_pool_used(pool), 2);
	nfs_compound_free(c);
	assert_int_equal(buf_pool_used(pool), 0);
	buf_pool_free(pool);
}

/* READ into a buffer that has no memory yet. */
static struct buf *read_reserved(struct exchange *x, struct buf_pool *pool)
{
	struct buf *buf = buf_reserve(pool);

	assert_non_null(buf);
	exchange_of(x, "putfh", "read", NULL);
	x->c->ops[1].data = NULL;
	x->c->ops[1].buf = buf;
	return buf;
}

static void test_memory_comes_with_the_data(void **state)
{
	struct rpc_sink sink = {0};
	struct buf_pool *pool;
	struct exchange x;

	assert_int_equal(buf_pool_new(4096, 1, 0, &pool), 0);
	struct buf *buf = read_reserved(&x, pool);
	assert_int_equal(ask_sink(&x, x.reply, x.last_at, &sink), -EAGAIN);
	assert_null(buf->data);
	assert_int_equal(ask_sink(&x, x.reply, x.reply_len, &sink), 1);
	assert_non_null(buf->data);
	assert_ptr_equal(sink.data, buf->data);
	exchange_deinit(&x);

	buf = read_reserved(&x, pool);
	assert_int_equal(decode(&x), 0);
	assert_memory_equal(buf->data, "data that were read", 19);
	exchange_deinit(&x);
	buf_pool_free(pool);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_arguments_are_laid_out),
		cmocka_unit_test(test_unsequenced_arguments),
		cmocka_unit_test(test_sequence_result),
		cmocka_unit_test(test_sequence_of_another_request_is_refused),
		cmocka_unit_test(test_sequence_error),
		cmocka_unit_test(test_refused_as_a_whole),
		cmocka_unit_test(test_error_ends_the_results),
		cmocka_unit_test(test_results_that_do_not_answer_are_refused),
		cmocka_unit_test(test_illegal_operation),
		cmocka_unit_test(test_tags),
		cmocka_unit_test(test_many_operations),
		cmocka_unit_test(test_arguments_too_long),
		cmocka_unit_test(test_payload_lies_between),
		cmocka_unit_test(test_which_replies_are_cached),
		cmocka_unit_test(test_sink_finds_the_data),
		cmocka_unit_test(test_sunk_data_are_accounted_for),
		cmocka_unit_test(test_no_sink_after_a_failure),
		cmocka_unit_test(test_sink_refuses_garbage),
		cmocka_unit_test(test_read_in_the_middle_is_copied),
		cmocka_unit_test(test_where_data_begin),
		cmocka_unit_test(test_one_read_only),
		cmocka_unit_test(test_buffers_are_held),
		cmocka_unit_test(test_memory_comes_with_the_data),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
