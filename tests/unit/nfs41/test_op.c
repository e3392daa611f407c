/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "cases.h"

/* Every operation: a good reply gives its result, and any damage to a reply is refused. */

static const struct op_case *root(void)
{
	return &fs_cases[1];
}

static int decode(struct exchange *x, const uint8_t *data, size_t len)
{
	struct nfs_sequence_res seq;

	return nfs_compound_decode(x->c, data, len, 0, &seq);
}

/* SEQUENCE, the case, and PUTROOTFH where the case does not end the compound. */
static void exchange_of(struct exchange *x, const struct op_case *op_case)
{
	exchange_init(x, true);
	exchange_add(x, op_case);
	if (op_case->status == NFS4_OK)
		exchange_add(x, root());
	exchange_finish(x);
}

static void decodes(const struct op_case *op_case)
{
	struct exchange x;

	exchange_of(&x, op_case);
	if (decode(&x, x.reply, x.reply_len) != 0)
		fail_msg("%s", op_case->name);
	assert_int_equal(x.c->status, op_case->status);
	assert_int_equal(x.c->ops_ok, op_case->status == NFS4_OK ? 2 : 0);
	if (op_case->check)
		op_case->check();
	exchange_deinit(&x);
}

static void test_replies_decode(void **state)
{
	case_each(decodes);
}

static void leaves_results(const struct op_case *op_case)
{
	struct exchange x;
	struct got before;

	exchange_of(&x, op_case);
	x.c->abandoned = true;
	memcpy(&before, &got, sizeof(got));
	assert_int_equal(decode(&x, x.reply, x.reply_len), 0);
	assert_memory_equal(&before, &got, sizeof(got));
	exchange_deinit(&x);
}

static void test_abandoned_results_stay_unwritten(void **state)
{
	case_each(leaves_results);
}

/* The place of a result is untouched when the operation failed. */
static void fails_cleanly(const struct op_case *op_case)
{
	struct exchange x;
	struct got before;

	exchange_init(&x, true);
	op_case->build(x.c);
	wire_put_u32(&x.out, x.c->ops[0].op);
	wire_put_u32(&x.out, NFS4ERR_IO);
	wire_store_u32(x.reply, NFS4ERR_IO);
	x.count++;
	exchange_finish(&x);
	memcpy(&before, &got, sizeof(got));
	assert_int_equal(decode(&x, x.reply, x.reply_len), 0);
	assert_int_equal(x.c->status, NFS4ERR_IO);
	assert_memory_equal(&before, &got, sizeof(got));
	exchange_deinit(&x);
}

static void test_failed_operations_write_nothing(void **state)
{
	case_each(fails_cleanly);
}

/* In memory of its own size, so that the sanitizer sees a read beyond the end. */
static int decode_copy(struct exchange *x, const uint8_t *data, size_t len)
{
	uint8_t *copy = malloc(len > 0 ? len : 1);

	assert_non_null(copy);
	memcpy(copy, data, len);
	int ret = decode(x, copy, len);
	free(copy);
	return ret;
}

static void refuses_truncation(const struct op_case *op_case)
{
	struct exchange x;

	exchange_of(&x, op_case);
	for (size_t len = 0; len < x.reply_len; len++) {
		/* an error of SETATTR may come without its body */
		if (op_case->status == NFS4ERR_PERM && len == x.last_at + 8)
			continue;
		if (decode_copy(&x, x.reply, len) != -EPROTO)
			fail_msg("%s, cut to %zu of %zu bytes", op_case->name, len, x.reply_len);
	}
	exchange_deinit(&x);
}

static void test_truncations_are_refused(void **state)
{
	case_each(refuses_truncation);
}

static void refuses_more(const struct op_case *op_case)
{
	struct exchange x;

	exchange_of(&x, op_case);
	memset(x.reply + x.reply_len, 0, 4);
	if (decode_copy(&x, x.reply, x.reply_len + 4) != -EPROTO)
		fail_msg("%s", op_case->name);
	exchange_deinit(&x);
}

static void test_trailing_bytes_are_refused(void **state)
{
	case_each(refuses_more);
}

static uint32_t next_random(void)
{
	static uint32_t state = 0x2545f491;

	state ^= state << 13;
	state ^= state >> 17;
	state ^= state << 5;
	return state;
}

static void walk_directory(void)
{
	struct nfs_dirent entry;
	size_t pos = 0;

	while (nfs_dir_next(&got.readdir, &pos, &entry) == 1)
		assert_true(entry.name_len > 0 && entry.name_len <= NFS4_NAME_MAX);
	assert_true(pos <= sizeof(got.dir));
}

static void damage(uint8_t *data, size_t len)
{
	static const uint32_t words[] = {
		0, 1, 2, 0x7fffffff, 0x80000000, 0xfffffffc, 0xffffffff, 64, 1024, 0x10000};
	uint32_t kind = next_random();

	if (kind & 1)
		data[next_random() % len] ^= (uint8_t)(1u << (kind >> 8) % 8);
	else
		wire_store_u32(data + next_random() % (len / 4) * 4,
			words[(kind >> 8) % (sizeof(words) / sizeof(words[0]))]);
}

static void survives_damage(const struct op_case *op_case)
{
	uint8_t copy[sizeof(((struct exchange *)0)->reply)];
	struct exchange x;

	exchange_of(&x, op_case);
	for (unsigned round = 0; round < 400; round++) {
		memcpy(copy, x.reply, x.reply_len);
		for (unsigned i = 0; i <= round % 3; i++)
			damage(copy, x.reply_len);
		int ret = decode_copy(&x, copy, x.reply_len);
		assert_true(ret == 0 || ret == -EPROTO);
		if (ret == 0)
			assert_true(x.c->status >= 0 && x.c->ops_ok <= x.c->nops);
		walk_directory();
	}
	exchange_deinit(&x);
}

static void test_corruption_is_survived(void **state)
{
	case_each(survives_damage);
}

static void fits_announced_size(const struct op_case *op_case)
{
	struct exchange x;

	exchange_of(&x, op_case);
	/* COMPOUND's own 12 bytes and SEQUENCE's 44 are not among the operations' */
	assert_true(x.reply_len - 12 - 44 <= x.c->reply_size);
	assert_true(x.reply_len < x.c->call.max_reply);
	exchange_deinit(&x);
}

static void test_replies_fit_max_reply(void **state)
{
	case_each(fits_announced_size);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_replies_decode),
		cmocka_unit_test(test_abandoned_results_stay_unwritten),
		cmocka_unit_test(test_failed_operations_write_nothing),
		cmocka_unit_test(test_truncations_are_refused),
		cmocka_unit_test(test_trailing_bytes_are_refused),
		cmocka_unit_test(test_corruption_is_survived),
		cmocka_unit_test(test_replies_fit_max_reply),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
