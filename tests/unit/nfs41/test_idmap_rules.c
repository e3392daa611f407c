/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "nfs41/idmap.h"
#include "nfs41/idmap_rules.h"

#define USER(g, s)                                            \
	{                                                     \
		.numbered = true, .guest = (g), .server = (s) \
	}
#define GROUP(g, s)                                                          \
	{                                                                    \
		.group = true, .numbered = true, .guest = (g), .server = (s) \
	}
#define NAMED(g, name)                        \
	{                                     \
		.guest = (g), .owner = (name) \
	}

/* A program sets its rules once; here they change, and those before are freed. */
static struct {
	struct idmap_rule *list;
	size_t count;
} in_force;

static int put_in_force(struct idmap_rule *list, size_t count, bool others, size_t *at)
{
	int r = idmap_set_rules(list, count, others, at);

	if (r < 0) {
		idmap_free_rules(list, count);
		return r;
	}
	if (in_force.list)
		idmap_free_rules(in_force.list, in_force.count);
	in_force.list = list;
	in_force.count = count;
	return 0;
}

static int set(const struct idmap_rule *rules, size_t count, bool others, size_t *at)
{
	struct idmap_rule *list = calloc(count + 1, sizeof(*list));

	assert_non_null(list);
	for (size_t i = 0; i < count; i++) {
		list[i] = rules[i];
		list[i].owner = rules[i].owner ? strdup(rules[i].owner) : NULL;
	}
	return put_in_force(list, count, others, at);
}

#define SET(others, ...)                                                                         \
	do {                                                                                     \
		const struct idmap_rule list_[] = {__VA_ARGS__};                                 \
		size_t at_;                                                                      \
		assert_int_equal(set(list_, sizeof(list_) / sizeof(list_[0]), others, &at_), 0); \
	} while (0)

static uid_t uid_of(const char *text)
{
	return idmap_uid((const uint8_t *)text, strlen(text));
}

static gid_t gid_of(const char *text)
{
	return idmap_gid((const uint8_t *)text, strlen(text));
}

static void assert_sent(uint32_t guest, bool group, uint32_t expected)
{
	uint32_t server;

	assert_int_equal(idmap_to_server(guest, group, &server), expected != IDMAP_NOBODY);
	assert_int_equal(server, expected);
}

static void assert_owner(uid_t uid, const char *expected)
{
	char text[IDMAP_STRING_MAX];

	assert_int_equal(idmap_owner(uid, text), strlen(expected));
	assert_string_equal(text, expected);
}

static void test_none(void **state)
{
	assert_sent(0, false, 0);
	assert_sent(1000, true, 1000);
	assert_int_equal(idmap_to_guest(4294967294, false), 4294967294);
	assert_int_equal(uid_of("1000"), 1000);
	assert_owner(7, "7");
	assert_true(idmap_others());
}

/* The export's owner is one user here; whose ids these are otherwise is nobody. */
static void test_others(void **state)
{
	SET(true, USER(1000, 501), GROUP(100, 20));
	assert_sent(1000, false, 501);
	assert_sent(501, false, IDMAP_NOBODY);
	assert_sent(0, false, 0);
	assert_sent(100, true, 20);
	assert_sent(20, true, IDMAP_NOBODY);
	assert_sent(1000, true, 1000);
	assert_int_equal(uid_of("501"), 1000);
	assert_int_equal(uid_of("1000"), IDMAP_NOBODY);
	assert_int_equal(uid_of("33"), 33);
	assert_int_equal(gid_of("20"), 100);
	assert_int_equal(gid_of("100"), IDMAP_NOBODY);
	assert_int_equal(uid_of("root@example.org"), 0);
	assert_int_equal(uid_of("no-such-user@example.org"), IDMAP_NOBODY);
	assert_owner(1000, "501");
	/* the same on both sides is no clash with itself */
	SET(true, USER(5, 5));
	assert_sent(5, false, 5);
	assert_int_equal(uid_of("5"), 5);
}

static void test_listed_only(void **state)
{
	SET(false, USER(1000, 501), USER(0, 100), NAMED(1000, "bob@example.org"),
		NAMED(1001, "eve"), GROUP(10, 20));
	assert_sent(1000, false, 501);
	assert_sent(0, false, 100);
	assert_sent(501, false, IDMAP_NOBODY);
	assert_sent(33, false, IDMAP_NOBODY);
	assert_sent(1000, true, IDMAP_NOBODY);
	assert_sent(10, true, 20);
	/* known by name: by the own number */
	assert_sent(1001, false, 1001);
	assert_int_equal(uid_of("501"), 1000);
	assert_int_equal(uid_of("100"), 0);
	assert_int_equal(uid_of("0"), IDMAP_NOBODY);
	assert_int_equal(uid_of("bob@example.org"), 1000);
	assert_int_equal(gid_of("bob@example.org"), IDMAP_NOBODY);
	assert_int_equal(uid_of("bob@example.com"), IDMAP_NOBODY);
	assert_int_equal(uid_of("eve"), 1001);
	assert_int_equal(uid_of("root@example.org"), IDMAP_NOBODY);
	assert_int_equal(uid_of(""), IDMAP_NOBODY);
	assert_owner(1000, "501");
	SET(false, );
	assert_sent(0, false, IDMAP_NOBODY);
	assert_int_equal(uid_of("0"), IDMAP_NOBODY);
}

static void test_clashes(void **state)
{
	const struct idmap_rule guest[] = {USER(1, 2), USER(3, 4), USER(1, 5)};
	const struct idmap_rule server[] = {USER(1, 2), GROUP(1, 2), USER(3, 2)};
	const struct idmap_rule owner[] = {NAMED(1, "a"), NAMED(2, "b"), NAMED(3, "a")};
	size_t at = 99;

	assert_int_equal(set(guest, 3, false, &at), -EEXIST);
	assert_int_equal(at, 2);
	assert_int_equal(set(server, 3, false, &at), -EEXIST);
	assert_true(at == 0 || at == 2);
	assert_int_equal(set(owner, 3, false, &at), -EEXIST);
	assert_true(at == 0 || at == 2);
}

static void test_many(void **state)
{
	struct idmap_rule *rules = calloc(IDMAP_RULES_MAX, sizeof(*rules));
	size_t at;

	assert_non_null(rules);
	for (uint32_t i = 0; i < IDMAP_RULES_MAX; i++)
		rules[i] = (struct idmap_rule){.numbered = true,
			.group = i % 2,
			.guest = i * 7919 % IDMAP_RULES_MAX,
			.server = 100000 + i};
	assert_int_equal(put_in_force(rules, IDMAP_RULES_MAX, false, &at), 0);
	for (uint32_t i = 0; i < IDMAP_RULES_MAX; i++) {
		assert_sent(i * 7919 % IDMAP_RULES_MAX, i % 2, 100000 + i);
		assert_int_equal(idmap_to_guest(100000 + i, i % 2), i * 7919 % IDMAP_RULES_MAX);
		assert_int_equal(idmap_to_guest(100000 + i, !(i % 2)), IDMAP_NOBODY);
	}
}

/* When the server has refused a number. */
static void test_names(void **state)
{
	SET(false, USER(1000, 501), NAMED(1000, "bob@rules.example"), USER(2, 4294967294));
	assert_int_equal(uid_of("bob@rules.example"), 1000);
	assert_true(idmap_use_names());
	assert_owner(1000, "bob@rules.example");
	assert_owner(2, "4294967294");
	SET(true, USER(1000, 0));
	assert_owner(1000, "root@rules.example");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_none),
		cmocka_unit_test(test_others),
		cmocka_unit_test(test_listed_only),
		cmocka_unit_test(test_clashes),
		cmocka_unit_test(test_many),
		cmocka_unit_test(test_names),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
