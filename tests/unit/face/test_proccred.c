/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <grp.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "proccred.h"
#include "util/wire.h"

#define AUTH_SYS_FLAVOR 1

struct sys {
	char machine[RPC_CRED_MACHINE_MAX + 1];
	uid_t uid;
	gid_t gid;
	unsigned ngroups;
	gid_t groups[RPC_CRED_GROUPS_MAX];
};

static struct sys decode(const struct rpc_cred *cred)
{
	struct sys sys = {0};
	struct wire_in in;
	uint32_t len;
	size_t size;
	const uint8_t *wire = rpc_cred_wire(cred, &size), *name;

	wire_in_init(&in, wire, size);
	assert_int_equal(wire_get_u32(&in), AUTH_SYS_FLAVOR);
	wire_get_u32(&in);
	wire_get_u32(&in);
	name = wire_get_opaque(&in, RPC_CRED_MACHINE_MAX, &len);
	assert_non_null(name);
	memcpy(sys.machine, name, len);
	sys.uid = wire_get_u32(&in);
	sys.gid = wire_get_u32(&in);
	sys.ngroups = wire_get_u32(&in);
	assert_true(sys.ngroups <= RPC_CRED_GROUPS_MAX);
	for (unsigned i = 0; i < sys.ngroups; i++)
		sys.groups[i] = wire_get_u32(&in);
	assert_false(in.bad);
	return sys;
}

static struct proccred *new_table(enum rpc_sec sec)
{
	struct proccred *table;

	assert_int_equal(proccred_new(sec, &table), 0);
	return table;
}

static void assert_parsed(const char *text, unsigned n, const gid_t *want)
{
	size_t len = strlen(text);
	gid_t got[RPC_CRED_GROUPS_MAX];
	char *exact = malloc(len ? len : 1);

	assert_non_null(exact);
	memcpy(exact, text, len);
	assert_int_equal(proccred_parse_groups(exact, len, got), n);
	if (n > 0)
		assert_memory_equal(got, want, n * sizeof(*want));
	free(exact);
}

static void test_parse(void **state)
{
	static const gid_t some[] = {4, 24, 4294967294, 1000};
	gid_t many[RPC_CRED_GROUPS_MAX];

	assert_parsed("Name:\tsh\nGid:\t1\t1\nGroups:\t4 24 4294967294 1000 \nNgid:\t7\n", 4, some);
	assert_parsed("Groups:\t4 24 \n", 2, some);
	assert_parsed("Name:\tsh\nGroups:\t\nNgid:\t7\n", 0, NULL);
	assert_parsed("Name:\tsh\nGroups: \nNgid:\t7\n", 0, NULL);
	assert_parsed("Name:\tsh\nNgid:\t7\n", 0, NULL);
	assert_parsed("", 0, NULL);
	assert_parsed("Groups:", 0, NULL);
	assert_parsed("Group", 0, NULL);
	/* not at the start of a line: a program may be called so */
	assert_parsed("Name:\tGroups:\t0\nGroups:\t4 24 \n", 2, some);
	assert_parsed("Name:\tx\\nGroups:\t0\nGroups:\t4 24 \n", 2, some);
	/* a number may not be cut off, out of range or none */
	assert_parsed("Groups:\t4 24 100", 2, some);
	assert_parsed("Groups:\t4 24 4294967296 5 \n", 2, some);
	assert_parsed("Groups:\t4 24 99999999999999999999999 5 \n", 2, some);
	assert_parsed("Groups:\t4 24 -5 6 \n", 2, some);
	for (unsigned i = 0; i < RPC_CRED_GROUPS_MAX; i++)
		many[i] = i + 1;
	assert_parsed("Groups:\t1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 \n",
		RPC_CRED_GROUPS_MAX, many);
}

static void test_own_groups(void **state)
{
	struct proccred *table = new_table(RPC_SEC_SYS);
	gid_t groups[65536];
	char machine[RPC_CRED_MACHINE_MAX + 1] = "";
	int n = getgroups(65536, groups);
	struct rpc_cred *cred = proccred_get(table, getpid(), 1234, 5678);

	assert_true(n >= 0);
	assert_non_null(cred);
	struct sys sys = decode(cred);
	assert_int_equal(sys.uid, 1234);
	assert_int_equal(sys.gid, 5678);
	assert_int_equal(rpc_cred_uid(cred), 1234);
	gethostname(machine, sizeof(machine) - 1);
	assert_string_equal(sys.machine, machine);
	assert_int_equal(sys.ngroups, n < RPC_CRED_GROUPS_MAX ? n : RPC_CRED_GROUPS_MAX);
	assert_memory_equal(sys.groups, groups, sys.ngroups * sizeof(*groups));
	rpc_cred_unref(cred);
	proccred_free(table);
}

/* A child that has set its groups and waits. */
static pid_t child_with_groups(size_t n, const gid_t *groups)
{
	int ready[2];
	char byte;

	assert_int_equal(pipe(ready), 0);
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		if (setgroups(n, groups) == 0 && write(ready[1], "", 1) == 1)
			pause();
		_exit(1);
	}
	close(ready[1]);
	assert_int_equal(read(ready[0], &byte, 1), 1);
	close(ready[0]);
	return pid;
}

static void end_child(pid_t pid)
{
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static void test_other_groups(void **state)
{
	static const gid_t seven[] = {1, 5, 7, 100, 1000, 65534, 4294967294};
	gid_t many[200];

	if (geteuid() != 0) {
		print_message("skipped: setting groups needs root\n");
		skip();
	}
	for (unsigned i = 0; i < 200; i++)
		many[i] = 4294960000 + i;

	struct proccred *table = new_table(RPC_SEC_SYS);
	pid_t a = child_with_groups(7, seven), b = child_with_groups(200, many);
	struct rpc_cred *cred = proccred_get(table, a, 1, 2);
	struct sys sys = decode(cred);
	assert_int_equal(sys.ngroups, 7);
	assert_memory_equal(sys.groups, seven, sizeof(seven));
	rpc_cred_unref(cred);

	cred = proccred_get(table, b, 1, 2);
	sys = decode(cred);
	assert_int_equal(sys.ngroups, RPC_CRED_GROUPS_MAX);
	assert_memory_equal(sys.groups, many, RPC_CRED_GROUPS_MAX * sizeof(*many));
	rpc_cred_unref(cred);

	/* trusted for a while, then asked for again: the process is gone by then */
	end_child(a);
	end_child(b);
	cred = proccred_get(table, a, 1, 2);
	assert_int_equal(decode(cred).ngroups, 7);
	rpc_cred_unref(cred);
	usleep((PROCCRED_TTL_MS + 50) * 1000);
	cred = proccred_get(table, a, 1, 2);
	assert_int_equal(decode(cred).ngroups, 0);
	rpc_cred_unref(cred);
	proccred_free(table);
}

static void test_vanished(void **state)
{
	struct proccred *table = new_table(RPC_SEC_SYS);
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0)
		_exit(0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);

	const pid_t none[] = {pid, 0, -1};
	for (unsigned i = 0; i < 3; i++) {
		struct rpc_cred *cred = proccred_get(table, none[i], 12, 34);
		assert_non_null(cred);
		struct sys sys = decode(cred);
		assert_int_equal(sys.uid, 12);
		assert_int_equal(sys.gid, 34);
		assert_int_equal(sys.ngroups, 0);
		rpc_cred_unref(cred);
	}
	proccred_free(table);
}

static void test_interning(void **state)
{
	struct proccred *table = new_table(RPC_SEC_SYS);
	struct rpc_cred *a = proccred_get(table, 0, 1, 2), *b = proccred_get(table, -1, 1, 2);
	struct rpc_cred *other_uid = proccred_get(table, 0, 2, 2);
	struct rpc_cred *other_gid = proccred_get(table, 0, 1, 1);

	assert_ptr_equal(a, b);
	assert_ptr_not_equal(a, other_uid);
	assert_ptr_not_equal(a, other_gid);
	assert_int_equal(decode(other_gid).gid, 1);
	rpc_cred_unref(b);
	rpc_cred_unref(other_uid);
	rpc_cred_unref(other_gid);

	/* more users than the tables hold: they give way, what was given out stays */
	for (uid_t uid = 0; uid < 2000; uid++) {
		struct rpc_cred *cred = proccred_get(table, 0, uid, uid + 1);
		struct sys sys = decode(cred);
		assert_int_equal(sys.uid, uid);
		assert_int_equal(sys.gid, uid + 1);
		rpc_cred_unref(cred);
	}
	assert_int_equal(decode(a).gid, 2);
	rpc_cred_unref(a);
	proccred_free(table);
	proccred_free(NULL);
}

static void test_none(void **state)
{
	static const uint8_t want[16];
	struct proccred *table = new_table(RPC_SEC_NONE);
	struct rpc_cred *a = proccred_get(table, getpid(), 1, 2);
	struct rpc_cred *b = proccred_get(table, 0, 3, 4);
	size_t len;

	assert_ptr_equal(a, b);
	const uint8_t *wire = rpc_cred_wire(a, &len);
	assert_int_equal(len, sizeof(want));
	assert_memory_equal(wire, want, len);
	rpc_cred_unref(a);
	rpc_cred_unref(b);
	proccred_free(table);
}

/* A user is a user, whatever groups. */
static void test_kerberos(void **state)
{
	struct proccred *table = new_table(RPC_SEC_KRB5I);
	struct rpc_cred *a = proccred_get(table, getpid(), 1, 2);
	struct rpc_cred *b = proccred_get(table, 0, 1, 4);
	struct rpc_cred *c = proccred_get(table, 0, 3, 4);

	assert_ptr_equal(a, b);
	assert_ptr_not_equal(a, c);
	assert_int_equal(rpc_cred_gss(a), RPC_SEC_KRB5I);
	assert_int_equal(rpc_cred_uid(a), 1);
	rpc_cred_unref(a);
	rpc_cred_unref(b);
	rpc_cred_unref(c);
	proccred_free(table);
}

static void *ask(void *arg)
{
	bool right = true;

	for (unsigned i = 0; i < 5000; i++) {
		uid_t uid = i % 600;
		struct rpc_cred *cred = proccred_get(arg, i % 3 ? getpid() : 0, uid, 9);
		right = right && cred && rpc_cred_uid(cred) == uid;
		rpc_cred_unref(cred);
	}
	return right ? arg : NULL;
}

static void test_threads(void **state)
{
	struct proccred *table = new_table(RPC_SEC_SYS);
	pthread_t threads[4];
	void *result;

	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, ask, table), 0);
	for (unsigned i = 0; i < 4; i++) {
		pthread_join(threads[i], &result);
		assert_ptr_equal(result, table);
	}
	proccred_free(table);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_parse),
		cmocka_unit_test(test_own_groups),
		cmocka_unit_test(test_other_groups),
		cmocka_unit_test(test_vanished),
		cmocka_unit_test(test_interning),
		cmocka_unit_test(test_none),
		cmocka_unit_test(test_kerberos),
		cmocka_unit_test(test_threads),
	};
	return cmocka_run_group_tests_name("proccred", tests, NULL, NULL);
}
