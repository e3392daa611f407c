/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "rpc/cred.h"
#include "util/wire.h"

#define AUTH_NONE_FLAVOR 0
#define AUTH_SYS_FLAVOR	 1

/* Checks an encoded AUTH_SYS credential against RFC 5531, appendix A, by hand. */
static void assert_sys(const struct rpc_cred *cred, const char *machine, uint32_t uid, uint32_t gid,
	const gid_t *groups, unsigned ngroups)
{
	struct wire_in in, body;
	uint32_t len;
	size_t size;
	const uint8_t *wire = rpc_cred_wire(cred, &size), *p;

	assert_true(size <= RPC_CRED_WIRE_MAX);
	wire_in_init(&in, wire, size);
	assert_int_equal(wire_get_u32(&in), AUTH_SYS_FLAVOR);
	p = wire_get_opaque(&in, 400, &len);
	assert_non_null(p);
	assert_int_equal(len % 4, 0);
	assert_int_equal(wire_get_u32(&in), AUTH_NONE_FLAVOR);
	assert_int_equal(wire_get_u32(&in), 0);
	assert_false(in.bad);
	assert_int_equal(wire_left(&in), 0);

	wire_in_init(&body, p, len);
	wire_get_u32(&body);
	p = wire_get_opaque(&body, 255, &len);
	assert_int_equal(len, strlen(machine));
	assert_memory_equal(p, machine, len);
	assert_int_equal(wire_get_u32(&body), uid);
	assert_int_equal(wire_get_u32(&body), gid);
	assert_int_equal(wire_get_u32(&body), ngroups);
	for (unsigned i = 0; i < ngroups; i++)
		assert_int_equal(wire_get_u32(&body), groups[i]);
	assert_false(body.bad);
	assert_int_equal(wire_left(&body), 0);
}

static void test_sys(void **state)
{
	static const gid_t groups[] = {4, 24, 0xfffffffe};
	struct rpc_cred *cred;

	assert_int_equal(rpc_cred_new_sys("guest", 1000, 0xfffffffd, groups, 3, &cred), 0);
	assert_sys(cred, "guest", 1000, 0xfffffffd, groups, 3);
	assert_int_equal(rpc_cred_uid(cred), 1000);
	rpc_cred_unref(cred);

	assert_int_equal(rpc_cred_new_sys("", 0, 0, NULL, 0, &cred), 0);
	assert_sys(cred, "", 0, 0, NULL, 0);
	rpc_cred_unref(cred);
	rpc_cred_unref(NULL);
}

static void test_largest(void **state)
{
	char machine[400];
	gid_t groups[20];
	struct rpc_cred *cred;

	memset(machine, 'm', sizeof(machine));
	machine[sizeof(machine) - 1] = '\0';
	for (unsigned i = 0; i < 20; i++)
		groups[i] = 100 + i;
	assert_int_equal(rpc_cred_new_sys(machine, 1, 2, groups, 20, &cred), 0);
	machine[RPC_CRED_MACHINE_MAX] = '\0';
	assert_sys(cred, machine, 1, 2, groups, RPC_CRED_GROUPS_MAX);
	rpc_cred_unref(cred);
}

static void test_none(void **state)
{
	static const uint8_t want[16];
	struct rpc_cred *cred;
	size_t len;

	assert_int_equal(rpc_cred_new_none(&cred), 0);
	const uint8_t *wire = rpc_cred_wire(cred, &len);
	assert_int_equal(len, sizeof(want));
	assert_memory_equal(wire, want, len);
	rpc_cred_unref(cred);
}

/* A name that is kept and taken up again, and different from all others. */
static void test_gss(void **state)
{
	struct rpc_cred *cred, *other, *again;
	size_t len, other_len;

	assert_int_equal(rpc_cred_new_gss(RPC_SEC_KRB5P, 1000, &cred), 0);
	assert_int_equal(rpc_cred_new_gss(RPC_SEC_KRB5P, 1001, &other), 0);
	const uint8_t *wire = rpc_cred_wire(cred, &len);
	const uint8_t *other_wire = rpc_cred_wire(other, &other_len);
	assert_true(len != other_len || memcmp(wire, other_wire, len) != 0);
	assert_int_equal(rpc_cred_new_wire(1000, wire, len, &again), 0);
	assert_int_equal(rpc_cred_gss(again), RPC_SEC_KRB5P);
	assert_int_equal(rpc_cred_uid(again), 1000);
	rpc_cred_unref(cred);
	rpc_cred_unref(other);
	rpc_cred_unref(again);
	assert_int_equal(rpc_cred_new_gss(RPC_SEC_SYS, 0, &cred), -EINVAL);
	assert_int_equal(rpc_cred_new_none(&cred), 0);
	assert_int_equal(rpc_cred_gss(cred), RPC_SEC_SYS);
	rpc_cred_unref(cred);
}

static void *count(void *arg)
{
	for (unsigned i = 0; i < 20000; i++)
		rpc_cred_unref(rpc_cred_ref(arg));
	rpc_cred_unref(arg);
	return NULL;
}

/* A lost count shows as a leak or a double free under the sanitizer, and in the last check. */
static void test_references(void **state)
{
	static const gid_t groups[] = {7};
	pthread_t threads[4];
	struct rpc_cred *cred;

	assert_int_equal(rpc_cred_new_sys("guest", 5, 6, groups, 1, &cred), 0);
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, count, rpc_cred_ref(cred)), 0);
	for (unsigned i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	assert_sys(cred, "guest", 5, 6, groups, 1);
	rpc_cred_unref(cred);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sys),
		cmocka_unit_test(test_largest),
		cmocka_unit_test(test_none),
		cmocka_unit_test(test_gss),
		cmocka_unit_test(test_references),
	};
	return cmocka_run_group_tests_name("cred", tests, NULL, NULL);
}
