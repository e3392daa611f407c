/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <grp.h>
#include <pthread.h>
#include <pwd.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "nfs41/idmap.h"

static uid_t uid_of(const char *text)
{
	return idmap_uid((const uint8_t *)text, strlen(text));
}

static gid_t gid_of(const char *text)
{
	return idmap_gid((const uint8_t *)text, strlen(text));
}

static void assert_owner(uid_t uid, const char *expected)
{
	char text[IDMAP_STRING_MAX];
	size_t len = idmap_owner(uid, text);

	assert_int_equal(len, strlen(expected));
	assert_memory_equal(text, expected, len);
}

static void test_numbers(void **state)
{
	idmap_init(false);
	assert_int_equal(uid_of("0"), 0);
	assert_int_equal(uid_of("1000"), 1000);
	assert_int_equal(gid_of("4294967294"), 4294967294);
	/* (uid_t)-1 and more are nobody's */
	assert_int_equal(uid_of("4294967295"), IDMAP_NOBODY);
	assert_int_equal(uid_of("4294967296"), IDMAP_NOBODY);
	assert_int_equal(uid_of("99999999999999999999999"), IDMAP_NOBODY);
	assert_int_equal(uid_of("-1"), IDMAP_NOBODY);
	assert_int_equal(uid_of("1000x"), IDMAP_NOBODY);
	assert_int_equal(uid_of(""), IDMAP_NOBODY);
}

static void test_numbers_only(void **state)
{
	idmap_init(true);
	assert_int_equal(uid_of("1000"), 1000);
	assert_int_equal(uid_of("root@example.org"), IDMAP_NOBODY);
	assert_false(idmap_use_names());
	idmap_init(false);
}

static void test_owners_are_numbers_at_first(void **state)
{
	char text[IDMAP_STRING_MAX];

	/* no domain is known yet */
	assert_false(idmap_use_names());
	assert_owner(0, "0");
	assert_owner(4294967294, "4294967294");
	assert_int_equal(idmap_group(100, text), 3);
	assert_memory_equal(text, "100", 3);
}

static void test_names(void **state)
{
	struct passwd *user = getpwnam("daemon");
	struct group *group = getgrnam("daemon");

	assert_int_equal(uid_of("root@example.org"), 0);
	assert_int_equal(gid_of("root@example.org"), 0);
	if (user && group) {
		assert_int_equal(uid_of("daemon@example.org"), user->pw_uid);
		assert_int_equal(gid_of("daemon@example.org"), group->gr_gid);
	}
	/* twice: from the user database, and from the cache */
	assert_int_equal(uid_of("no-such-user@example.org"), IDMAP_NOBODY);
	assert_int_equal(uid_of("no-such-user@example.org"), IDMAP_NOBODY);
	assert_int_equal(uid_of("root"), 0);
}

static void test_hostile_names(void **state)
{
	char longest[2 * IDMAP_STRING_MAX];
	const uint8_t with_nul[] = "root\0@x";

	memset(longest, 'n', sizeof(longest));
	for (size_t len = 1; len <= sizeof(longest); len++)
		assert_int_equal(idmap_uid((uint8_t *)longest, len), IDMAP_NOBODY);
	assert_int_equal(idmap_uid(with_nul, sizeof(with_nul) - 1), IDMAP_NOBODY);
	assert_int_equal(uid_of("@"), IDMAP_NOBODY);
	assert_int_equal(uid_of("@example.org"), IDMAP_NOBODY);
	assert_int_equal(uid_of("/etc/passwd@"), IDMAP_NOBODY);
}

/* More names than the cache holds, from several threads: answers stay right. */
static void *ask_much(void *arg)
{
	char name[64];
	bool *good = arg;

	for (unsigned i = 0; i < 2000; i++) {
		snprintf(name, sizeof(name), "user-%u@example.org", i % 700);
		*good = *good && uid_of(name) == IDMAP_NOBODY && uid_of("root@example.org") == 0;
	}
	return NULL;
}

static void test_threads(void **state)
{
	bool good[4] = {true, true, true, true};
	pthread_t threads[4];

	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, ask_much, &good[i]), 0);
	for (int i = 0; i < 4; i++) {
		pthread_join(threads[i], NULL);
		assert_true(good[i]);
	}
}

static void test_owners_become_names(void **state)
{
	assert_int_equal(uid_of("root@last.example"), 0);
	assert_true(idmap_use_names());
	assert_owner(0, "root@last.example");
	assert_owner(4294967294, "4294967294"); /* has no name */
	/* a second refusal by the server is final */
	assert_false(idmap_use_names());
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_numbers),
		cmocka_unit_test(test_numbers_only),
		cmocka_unit_test(test_owners_are_numbers_at_first),
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_hostile_names),
		cmocka_unit_test(test_threads),
		cmocka_unit_test(test_owners_become_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
