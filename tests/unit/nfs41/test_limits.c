/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "cases.h"

/* Well-formed results that say more than was asked, or what no server may say. */

static const struct op_case *found;
static const char *wanted;

static void match(const struct op_case *op_case)
{
	if (strcmp(op_case->name, wanted) == 0)
		found = op_case;
}

static const struct op_case *find(const char *name)
{
	found = NULL;
	wanted = name;
	case_each(match);
	assert_non_null(found);
	return found;
}

/* The case with `value` at `offset` of its result's body. */
static int decode_with(const char *name, size_t offset, uint32_t value)
{
	struct exchange x;
	int ret;

	exchange_init(&x, true);
	exchange_add(&x, find(name));
	exchange_finish(&x);
	assert_true(x.last_at + 8 + offset + 4 <= x.reply_len);
	wire_store_u32(x.reply + x.last_at + 8 + offset, value);
	ret = nfs_compound_decode(x.c, x.reply, x.reply_len, 0, NULL);
	exchange_deinit(&x);
	return ret;
}

static void test_numbers_out_of_bounds(void **state)
{
	static const struct {
		const char *name;
		size_t offset;
		uint32_t good, bad;
	} lies[] = {
		{"write", 0, 7, 8},					      /* count */
		{"write", 4, UNSTABLE4, 3},				      /* committed */
		{"remove", 0, 0, 2},					      /* atomic */
		{"setxattr", 0, 0, 2},					      /* atomic */
		{"removexattr", 0, 0, 2},				      /* atomic */
		{"getxattr", 0, 5, (1 << 20) + 1},			      /* length */
		{"getattr, acl", 12, 1, 2},				      /* number of ACEs */
		{"getattr, acl", 28, 6, 9},				      /* length of who */
		{"getattr, label", 28, 5, 4},				      /* length */
		{"getattr, label", 28, 8, 9}, {"listxattrs, none", 12, 1, 0}, /* eof, of nothing */
		{"listxattrs", 8, 4, 5},				      /* number of names */
		{"listxattrs", 12, 5, 129},	     /* length of the first */
		{"seek", 0, 0, 2},		     /* eof */
		{"copy", 0, 0, 2},		     /* stateids */
		{"copy", 4, 0, 1},		     /* count */
		{"copy", 12, UNSTABLE4, 3},	     /* committed */
		{"copy", 28, 0, 2},		     /* synchronous */
		{"offload_status", 8, 1, 2},	     /* complete */
		{"lock, denied", 16, READW_LT, 0},   /* locktype */
		{"lockt, denied", 16, WRITEW_LT, 5}, /* locktype */
		{"test_stateid", 0, 1, 0},	     /* number of results */
		{"test_stateid", 0, 1, 2},
		{"bind_conn_to_session", 16, CDFS4_FORE, 0}, /* direction */
		{"bind_conn_to_session", 16, CDFS4_BACK, 4},
		{"exchange_id", 16, 0, 1}, /* state protection that nobody asked for */
		{"exchange_id", 16, 0, 2}, {"create_session", 48, 1, 2}, /* ca_rdma_ird<1> */
		{"open", 52, OPEN_DELEGATE_NONE, 4},			 /* delegation_type */
		{"open, unchecked, read delegation", 72, 1, 2},		 /* recall */
		{"open, guarded, write delegation", 76, 1, 3},		 /* limitby */
	};

	for (size_t i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
		if (decode_with(lies[i].name, lies[i].offset, lies[i].good) != 0)
			fail_msg("%s, %zu: %u is good", lies[i].name, i, lies[i].good);
		if (decode_with(lies[i].name, lies[i].offset, lies[i].bad) != -EPROTO)
			fail_msg("%s, %zu: %u is bad", lies[i].name, i, lies[i].bad);
	}
}

/* An implementation id too many, whole and well-formed. */
static void test_two_implementations(void **state)
{
	struct exchange x;

	exchange_init(&x, true);
	exchange_add(&x, find("exchange_id, no implementation"));
	exchange_finish(&x);
	for (uint32_t count = 0; count < 3; count++) {
		wire_store_u32(x.reply + x.reply_len - 4, count);
		memset(x.reply + x.reply_len, 0, 40);
		assert_int_equal(nfs_compound_decode(
					 x.c, x.reply, x.reply_len + (count > 0 ? 20 : 0), 0, NULL),
			count < 2 ? 0 : -EPROTO);
	}
	exchange_deinit(&x);
}

static int decode_only(struct exchange *x, uint32_t op, const struct wire_out *body)
{
	wire_put_u32(&x->out, op);
	wire_put_u32(&x->out, NFS4_OK);
	wire_put_fixed(&x->out, body->data, body->len);
	x->count++;
	exchange_finish(x);
	return nfs_compound_decode(x->c, x->reply, x->reply_len, 0, NULL);
}

static void test_link_longer_than_its_place(void **state)
{
	uint8_t bytes[64] = {0}, body[64];

	for (uint32_t len = 0; len < 32; len++) {
		struct exchange x;
		struct wire_out out;

		exchange_init(&x, true);
		nfs_op_readlink(x.c, &got.readlink);
		wire_out_init(&out, body, sizeof(body));
		memset(bytes, 'l', sizeof(bytes));
		wire_put_opaque(&out, bytes, len);
		assert_int_equal(
			decode_only(&x, OP_READLINK, &out), len < sizeof(got.link) ? 0 : -EPROTO);
		exchange_deinit(&x);
	}
}

static void test_more_data_than_asked(void **state)
{
	uint8_t bytes[2 * GOT_DATA] = {0}, body[4 * GOT_DATA];

	for (uint32_t len = 0; len < sizeof(bytes); len++) {
		struct exchange x;
		struct wire_out out;

		exchange_init(&x, true);
		nfs_op_read(x.c, &case_stateid, 0, GOT_DATA, NULL, got.data, &got.read);
		wire_out_init(&out, body, sizeof(body));
		wire_put_u32(&out, 0);
		wire_put_opaque(&out, bytes, len);
		assert_int_equal(decode_only(&x, OP_READ, &out), len <= GOT_DATA ? 0 : -EPROTO);
		exchange_deinit(&x);
	}
}

/* READDIR's reply with `entries` entries of 32 bytes each. */
static int decode_directory(uint32_t entries, uint32_t maxcount, bool eof)
{
	static const struct nfs_bitmap want;
	uint8_t body[1024];
	struct exchange x;
	struct wire_out out;

	exchange_init(&x, true);
	nfs_op_readdir(x.c, 0, case_verifier, 0, maxcount, &want, &got.readdir);
	wire_out_init(&out, body, sizeof(body));
	wire_put_u64(&out, 0);
	for (uint32_t i = 0; i < entries; i++) {
		wire_put_u32(&out, 1);
		wire_put_u64(&out, 10 + i);
		wire_put_opaque(&out, "12345678", 8);
		wire_put_u32(&out, 0);
		wire_put_u32(&out, 0);
	}
	wire_put_u32(&out, 0);
	wire_put_u32(&out, eof);
	int ret = decode_only(&x, OP_READDIR, &out);
	exchange_deinit(&x);
	return ret;
}

static void test_directory_longer_than_asked(void **state)
{
	assert_int_equal(decode_directory(3, 96, false), 0);
	assert_int_equal(got.readdir.len, 96);
	assert_int_equal(got.readdir.last_cookie, 12);
	assert_int_equal(decode_directory(3, 95, false), -EPROTO);
}

static void test_empty_directory(void **state)
{
	assert_int_equal(decode_directory(0, 96, true), 0);
	assert_int_equal(got.readdir.len, 0);
	/* neither an entry nor the end: the reader would ask for ever */
	assert_int_equal(decode_directory(0, 96, false), -EPROTO);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_numbers_out_of_bounds),
		cmocka_unit_test(test_two_implementations),
		cmocka_unit_test(test_link_longer_than_its_place),
		cmocka_unit_test(test_more_data_than_asked),
		cmocka_unit_test(test_directory_longer_than_asked),
		cmocka_unit_test(test_empty_directory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
