/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "cases.h"
#include "nfs41/attr.h"
#include "witness_libnfs.h"

/* Every operation that NFSv4.0 has, against libnfs's codec. */

static unsigned witnessed;

/* PUTFH, the case, RESTOREFH: an operation of a wrong length spoils the one behind it. */
static void exchange_of(struct exchange *x, const struct op_case *op_case)
{
	exchange_init(x, false);
	exchange_add(x, &fs_cases[0]);
	exchange_add(x, op_case);
	if (op_case->status == NFS4_OK)
		exchange_add(x, &fs_cases[3]);
	exchange_finish(x);
}

static void reads_the_same(const struct op_case *op_case)
{
	char text[1024], expected[1024];
	struct exchange x;

	if (!op_case->witness)
		return;
	witnessed++;
	exchange_of(&x, op_case);
	snprintf(expected, sizeof(expected), "PUTFH deadbeef05; %s; RESTOREFH", op_case->witness);
	if (!witness_args(x.args, x.args_len, text, sizeof(text)))
		fail_msg("%s: libnfs cannot read it: %s", op_case->name, text);
	assert_string_equal(text, expected);
	exchange_deinit(&x);
}

static void test_arguments_mean_the_same(void **state)
{
	witnessed = 0;
	case_each(reads_the_same);
	assert_int_equal(witnessed, 31);
}

/* It fails to read a SECINFO with RPCSEC_GSS in it, which tshark does. */
static bool libnfs_has(uint32_t op)
{
	return op <= OP_RELEASE_LOCKOWNER && op != OP_SECINFO;
}

static void replies_the_same(const struct op_case *op_case)
{
	struct exchange x;

	exchange_of(&x, op_case);
	if (libnfs_has(x.c->ops[1].op)) {
		struct nfs_sequence_res seq;

		assert_int_equal(nfs_compound_decode(x.c, x.reply, x.reply_len, 0, &seq), 0);
		if (op_case->check)
			op_case->check();
		/* kinds of OPEN result that NFSv4.0 has not */
		if (got.open.delegation_type < OPEN_DELEGATE_NONE_EXT) {
			witnessed++;
			if (!witness_res(x.reply, x.reply_len))
				fail_msg("%s: libnfs reads another reply", op_case->name);
		}
	}
	exchange_deinit(&x);
}

static void test_replies_mean_the_same(void **state)
{
	witnessed = 0;
	case_each(replies_the_same);
	assert_int_equal(witnessed, 42);
}

/* A reply whose result libnfs encoded from named fields. */
static void decodes_theirs(const struct op_case *op_case)
{
	uint8_t theirs[512];
	size_t len = witness_result(op_case->name, theirs, sizeof(theirs));
	struct exchange x;

	if (len == 0)
		return;
	witnessed++;
	exchange_init(&x, false);
	exchange_add(&x, op_case);
	exchange_finish(&x);
	assert_int_equal(x.reply_len - x.last_at, len);
	memcpy(x.reply + x.last_at, theirs, len);
	assert_int_equal(nfs_compound_decode(x.c, x.reply, x.reply_len, 0, NULL), 0);
	if (op_case->check)
		op_case->check();
	exchange_deinit(&x);
}

static void test_replies_of_libnfs_decode(void **state)
{
	witnessed = 0;
	case_each(decodes_theirs);
	assert_int_equal(witnessed, 18);
}

static void test_attributes_of_libnfs_decode(void **state)
{
	uint8_t theirs[1024], ours[1024];
	size_t len = witness_fattr(theirs, sizeof(theirs));
	struct nfs_attr attr;
	struct wire_out out;
	struct wire_in in;

	wire_in_init(&in, theirs, len);
	nfs_attr_get(&in, &case_want, &attr);
	assert_false(in.bad);
	assert_int_equal(in.pos, len);
	case_check_attr(&attr);

	wire_out_init(&out, ours, sizeof(ours));
	case_put_fattr(&out);
	assert_int_equal(out.len, len);
	assert_memory_equal(ours, theirs, len);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_arguments_mean_the_same),
		cmocka_unit_test(test_replies_mean_the_same),
		cmocka_unit_test(test_replies_of_libnfs_decode),
		cmocka_unit_test(test_attributes_of_libnfs_decode),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
