/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "upcoming.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#define DIR	 7
#define OTHER	 8
#define FILES	 100
#define FIRST	 1000 /* id of the first file in DIR */
#define SECOND	 UINT64_C(1000000000)
#define MANY	 3000
#define NAME_LEN 16

static const uint64_t now = 5 * SECOND;

/* Ids of what is named for an open; those are FIRST and so on in the order of the list. */
struct told {
	uint64_t ids[UPCOMING_MAX];
	unsigned count;
};

static struct upcoming_table *table;

static int setup(void **state)
{
	(void)state;
	return upcoming_table_new(false, &table);
}

static int teardown(void **state)
{
	(void)state;
	upcoming_table_free(table);
	return 0;
}

static void add(uint64_t dir, uint64_t id, unsigned ino, unsigned name)
{
	char text[NAME_LEN];
	int len = snprintf(text, sizeof(text), "file%04u", name);
	const struct upcoming_name file = {.id = id, .ino = ino, .name = text, .len = (size_t)len};
	upcoming_add(table, dir, &file);
}

/* File i of the list has the inode number and the name of place(i). */
static void list(
	uint64_t dir, unsigned count, unsigned (*ino)(unsigned), unsigned (*name)(unsigned))
{
	upcoming_begin(table, dir);
	for (unsigned i = 0; i < count; i++)
		add(dir, FIRST + i, ino(i), name(i));
}

/* No order: as a hash would have it. */
static unsigned scattered(unsigned i)
{
	return i * 37 % 101;
}

static unsigned scattered_otherwise(unsigned i)
{
	return i * 53 % 103;
}

static struct told opened_in(uint64_t dir, uint64_t i)
{
	struct told told;
	told.count = upcoming_opened(table, dir, FIRST + i, now, told.ids);
	return told;
}

static struct told opened(unsigned i)
{
	return opened_in(DIR, i);
}

static void assert_none(struct told told)
{
	assert_int_equal(told.count, 0);
}

static void assert_told(struct told told, unsigned from, unsigned count)
{
	assert_int_equal(told.count, count);
	for (unsigned i = 0; i < count; i++)
		assert_int_equal(told.ids[i], FIRST + from + i);
}

static void test_as_listed(void **state)
{
	(void)state;
	list(DIR, FILES, scattered, scattered_otherwise);
	assert_none(opened(0));
	assert_none(opened(1));
	assert_told(opened(2), 3, 4);
	/* half of them, then twice as many */
	assert_none(opened(3));
	assert_told(opened(4), 7, 6);
	for (unsigned i = 5; i < 8; i++)
		assert_none(opened(i));
	assert_told(opened(8), 13, 12);
	for (unsigned i = 9; i < 16; i++)
		assert_none(opened(i));
	assert_told(opened(16), 25, 8);
}

static void test_to_the_end(void **state)
{
	unsigned count = 0;
	(void)state;
	list(DIR, 10, scattered, scattered_otherwise);
	for (unsigned i = 0; i < 10; i++)
		count += opened(i).count;
	assert_int_equal(count, 7);
}

/* The index in the list of the file at a place by `order`. */
static unsigned at(unsigned (*order)(unsigned), unsigned place)
{
	unsigned i = 0;
	while (order(i) != place)
		i++;
	return i;
}

/* The 50th and what comes after it. */
static void check_order(
	unsigned (*ino)(unsigned), unsigned (*name)(unsigned), unsigned (*order)(unsigned))
{
	/* no gap in what the numbers stand for */
	list(DIR, 101, ino, name);
	assert_none(opened(at(order, 50)));
	assert_none(opened(at(order, 51)));
	struct told told = opened(at(order, 52));
	assert_int_equal(told.count, 4);
	for (unsigned i = 0; i < told.count; i++)
		assert_int_equal(told.ids[i], FIRST + at(order, 53 + i));
}

static void test_by_inode_number(void **state)
{
	(void)state;
	check_order(scattered, scattered_otherwise, scattered);
}

static void test_by_name(void **state)
{
	(void)state;
	check_order(scattered_otherwise, scattered, scattered);
}

static void test_one_is_left_out(void **state)
{
	(void)state;
	list(DIR, FILES, scattered, scattered_otherwise);
	assert_none(opened(10));
	assert_none(opened(12));
	assert_told(opened(15), 16, 4);
	/* more than that are too many */
	opened(50), opened(53);
	assert_none(opened(57));
	assert_none(opened(60));
	assert_int_equal(opened(63).count, 4);
}

static void test_again_is_no_step(void **state)
{
	(void)state;
	list(DIR, FILES, scattered, scattered_otherwise);
	opened(0), opened(1);
	assert_none(opened(1));
	assert_told(opened(2), 3, 4);
	/* nor is it of more use */
	for (unsigned i = 0; i < 20; i++)
		assert_none(opened(3));
	opened(30), opened(31);
	assert_int_equal(opened(32).count, 4);
	opened(60), opened(61);
	assert_none(opened(62));
}

static void test_without_an_order(void **state)
{
	(void)state;
	list(DIR, FILES, scattered, scattered_otherwise);
	for (unsigned i = 0; i < FILES; i++)
		assert_none(opened(i * 17 % FILES));
	/* the same one again and again is none either */
	for (unsigned i = 0; i < 10; i++)
		assert_none(opened(5));
	/* nor what is not in the list */
	assert_none(opened(FILES));
	assert_none(opened_in(OTHER, 0));
}

/* Places in another order, behind those that were named in the first. */
static void test_another_order(void **state)
{
	(void)state;
	uint64_t front = 0;
	list(DIR, 101, scattered, scattered_otherwise);
	for (unsigned i = 0; i < 60; i++) {
		struct told listed = opened(i);
		front = listed.count > 0 ? listed.ids[listed.count - 1] - FIRST : front;
	}
	opened(at(scattered, 5)), opened(at(scattered, 6));
	struct told told = opened(at(scattered, 7));
	assert_int_equal(told.count, 4);
	/* without those that are named already */
	assert_in_range(at(scattered, 8), 60, front);
	for (unsigned i = 0, place = 9; i < told.count; i++, place++) {
		while (at(scattered, place) >= 60 && at(scattered, place) <= front)
			place++;
		assert_int_equal(told.ids[i], FIRST + at(scattered, place));
	}
}

static void test_what_is_not_opened_ends_it(void **state)
{
	(void)state;
	list(DIR, FILES, scattered, scattered_otherwise);
	opened(0), opened(1);
	assert_int_equal(opened(2).count, 4);
	opened(30), opened(31);
	assert_int_equal(opened(32).count, 4);
	opened(60), opened(61);
	assert_none(opened(62));
	assert_none(opened(63));
	/* and begins anew when the directory is read again */
	list(DIR, FILES, scattered, scattered_otherwise);
	assert_told(opened(0), 1, 4);
}

static void test_the_next_directory(void **state)
{
	struct told told;
	(void)state;
	list(DIR, FILES, scattered, scattered_otherwise);
	list(OTHER, FILES, scattered, scattered_otherwise);
	opened(0), opened(1), opened(2);
	assert_told(opened_in(OTHER, 0), 1, 4);
	/* not from the middle of it, nor after a while */
	list(OTHER, FILES, scattered, scattered_otherwise);
	assert_none(opened_in(OTHER, 20));
	list(OTHER, FILES, scattered, scattered_otherwise);
	told.count = upcoming_opened(table, OTHER, FIRST, now + 2 * SECOND, told.ids);
	assert_none(told);
}

static void test_the_next_directory_by_name(void **state)
{
	(void)state;
	list(DIR, 101, scattered_otherwise, scattered);
	list(OTHER, 101, scattered_otherwise, scattered);
	for (unsigned place = 50; place < 53; place++)
		opened(at(scattered, place));
	struct told told = opened_in(OTHER, at(scattered, 0));
	assert_int_equal(told.count, 4);
	for (unsigned i = 0; i < told.count; i++)
		assert_int_equal(told.ids[i], FIRST + at(scattered, 1 + i));
}

static void test_the_list_goes_on_after_an_open(void **state)
{
	(void)state;
	list(DIR, FILES, scattered, scattered_otherwise);
	assert_none(opened(20));
	for (unsigned i = FILES; i < 3 * FILES; i++)
		add(DIR, FIRST + i, i, i);
	assert_none(opened(21));
	assert_told(opened(22), 23, 4);
	assert_none(opened(200));
	assert_none(opened(201));
	assert_told(opened(202), 203, 4);
}

/* Nor may what comes later lie between those that are known: they are in order by then. */
static void test_the_list_goes_on_after_two(void **state)
{
	(void)state;
	list(DIR, 101, scattered, scattered_otherwise);
	opened(0), opened(1);
	add(DIR, FIRST + 101, 101, 101);
	assert_none(opened(101));
	opened(at(scattered, 10)), opened(at(scattered, 11));
	assert_none(opened(at(scattered, 12)));
	opened(30), opened(31);
	assert_told(opened(32), 33, 4);
}

/* As many as there may be places for them, and numbers whose last bits are the same. */
static void test_any_ids(void **state)
{
	const uint64_t apart = 65536;
	(void)state;
	upcoming_begin(table, DIR);
	for (unsigned i = 0; i < 64; i++)
		add(DIR, FIRST + i * apart, i, i);
	for (unsigned i = 10; i < 12; i++) {
		assert_none(opened_in(DIR, i * apart));
		assert_none(opened_in(DIR, (i + 64) * apart));
	}
	struct told told = opened_in(DIR, 12 * apart);
	assert_int_equal(told.count, 4);
	for (unsigned i = 0; i < told.count; i++)
		assert_int_equal(told.ids[i], FIRST + (13 + i) * apart);
}

static void test_a_file_with_two_names(void **state)
{
	(void)state;
	upcoming_begin(table, DIR);
	for (unsigned i = 0; i < FILES; i++)
		add(DIR, FIRST + (i == 60 ? 10 : i), i, i);
	assert_none(opened(10));
	assert_none(opened(11));
	assert_told(opened(12), 13, 4);
}

static unsigned as_listed(unsigned i)
{
	return i;
}

static unsigned backwards(unsigned i)
{
	return MANY - i;
}

static void test_too_many_files(void **state)
{
	(void)state;
	list(DIR, MANY, backwards, scattered);
	opened(0), opened(1);
	assert_int_equal(opened(2).count, 4);
	/* what is not known may lie between those that are */
	list(OTHER, MANY, backwards, scattered);
	opened_in(OTHER, 99), opened_in(OTHER, 98);
	assert_none(opened_in(OTHER, 97));
	assert_none(opened_in(OTHER, 96));
	/* here nothing is */
	list(OTHER, FILES, backwards, scattered);
	opened_in(OTHER, 99), opened_in(OTHER, 98);
	assert_int_equal(opened_in(OTHER, 97).count, 4);
}

static void test_more_directories_than_there_is_room_for(void **state)
{
	(void)state;
	for (unsigned dir = 1; dir <= 1000; dir++)
		list(dir, 3, as_listed, as_listed);
	assert_none(opened_in(1, 0));
	opened_in(1000, 0);
	assert_none(opened_in(1000, 1));
}

/* All of these have the same places. */
static void test_the_one_out_of_use_gives_way(void **state)
{
	static const uint64_t used_at[] = {3, 1, 2, 4};
	struct told told;
	(void)state;
	for (unsigned i = 0; i < 4; i++) {
		list(64 * (i + 1), FILES, scattered, scattered_otherwise);
		told.count =
			upcoming_opened(table, 64 * (i + 1), FIRST, used_at[i] * SECOND, told.ids);
		assert_none(told);
	}
	list(64 * 5, FILES, scattered, scattered_otherwise);
	for (unsigned i = 0; i < 4; i++) {
		opened_in(64 * (i + 1), 1);
		assert_int_equal(opened_in(64 * (i + 1), 2).count, i == 1 ? 0 : 4);
	}
}

static void test_without_delegations(void **state)
{
	(void)state;
	assert_true(upcoming_is_on(table));
	for (unsigned i = 0; i < 7; i++)
		upcoming_told(table, false);
	upcoming_told(table, true);
	for (unsigned i = 0; i < 7; i++)
		upcoming_told(table, false);
	assert_true(upcoming_is_on(table));
	list(DIR, FILES, scattered, scattered_otherwise);
	upcoming_told(table, false);
	assert_false(upcoming_is_on(table));
	opened(0), opened(1);
	assert_none(opened(2));
	upcoming_told(table, true);
	opened(3), opened(4);
	assert_int_equal(opened(5).count, 4);
}

static void test_off_for_good(void **state)
{
	struct upcoming_table *on = table;
	(void)state;
	assert_int_equal(upcoming_table_new(true, &table), 0);
	upcoming_told(table, true);
	assert_false(upcoming_is_on(table));
	list(DIR, FILES, scattered, scattered_otherwise);
	opened(0), opened(1);
	assert_none(opened(2));
	upcoming_table_free(table);
	table = on;
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_as_listed),
		TEST(test_to_the_end),
		TEST(test_by_inode_number),
		TEST(test_by_name),
		TEST(test_one_is_left_out),
		TEST(test_again_is_no_step),
		TEST(test_another_order),
		TEST(test_without_an_order),
		TEST(test_what_is_not_opened_ends_it),
		TEST(test_the_next_directory),
		TEST(test_the_next_directory_by_name),
		TEST(test_the_list_goes_on_after_an_open),
		TEST(test_the_list_goes_on_after_two),
		TEST(test_any_ids),
		TEST(test_a_file_with_two_names),
		TEST(test_too_many_files),
		TEST(test_more_directories_than_there_is_room_for),
		TEST(test_the_one_out_of_use_gives_way),
		TEST(test_without_delegations),
		TEST(test_off_for_good),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
