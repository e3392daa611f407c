/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "state_file.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "state_file_priv.h"

static struct state_record *records;
static size_t count;

static int setup(void **state)
{
	struct state_file *file;
	if (state_file_new(&file))
		return -1;
	*state = file;
	return 0;
}

static int teardown(void **state)
{
	int fd = state_file_fd(*state);
	state_file_free(*state);
	close(fd);
	free(records);
	records = NULL;
	return 0;
}

static int parse(struct state_file *file)
{
	size_t len;
	const void *data = state_file_data(file, &len);
	free(records);
	return state_file_parse(data, len, &records, &count);
}

static uint32_t put(
	struct state_file *file, uint32_t old, uint32_t kind, uint64_t key, const char *text)
{
	const uint64_t words[STATE_FILE_WORDS] = {key, 0, 0, 1};
	return state_file_put(file, old, kind, key, words, text, strlen(text));
}

static void assert_record(size_t i, uint32_t kind, uint64_t key, const char *text)
{
	assert_true(i < count);
	assert_int_equal(records[i].kind, kind);
	assert_int_equal(records[i].key, key);
	assert_int_equal(records[i].len, strlen(text));
	assert_memory_equal(records[i].data, text, strlen(text));
}

static void test_empty(void **state)
{
	assert_int_equal(parse(*state), 0);
	assert_int_equal(count, 0);
}

static void test_sorted(void **state)
{
	assert_int_not_equal(put(*state, 0, 2, 5, "two five"), 0);
	put(*state, 0, 1, 9, "");
	put(*state, 0, 2, 4, "two four");
	assert_int_equal(parse(*state), 0);
	assert_int_equal(count, 3);
	assert_record(0, 1, 9, "");
	assert_record(1, 2, 4, "two four");
	assert_record(2, 2, 5, "two five");
	assert_int_equal(records[2].words[0], 5);
	assert_int_equal(records[2].words[3], 1);
	assert_ptr_equal(state_file_find(records, count, 2, 0), &records[1]);
	assert_ptr_equal(state_file_find(records, count, 2, 5), &records[2]);
	assert_null(state_file_find(records, count, 2, 6));
	assert_null(state_file_find(records, count, 3, 0));
	assert_null(state_file_find(NULL, 0, 1, 0));
}

static void test_replaced(void **state)
{
	uint32_t at = put(*state, 0, 1, 1, "old");
	at = put(*state, at, 1, 1, "new");
	assert_int_equal(parse(*state), 0);
	assert_int_equal(count, 1);
	assert_record(0, 1, 1, "new");
	state_file_drop(*state, at);
	assert_int_equal(parse(*state), 0);
	assert_int_equal(count, 0);
	state_file_drop(*state, 0);
}

static void test_words_change_in_place(void **state)
{
	uint32_t at = put(*state, 0, 1, 1, "x");
	state_file_set(*state, at, 2, UINT64_MAX);
	state_file_set(*state, 0, 2, 5);
	assert_int_equal(parse(*state), 0);
	assert_int_equal(records[0].words[2], UINT64_MAX);
}

/* Killed between the two halves of a replacement. */
static void test_the_later_of_two(void **state)
{
	put(*state, 0, 1, 1, "before");
	put(*state, 0, 1, 1, "after");
	put(*state, 0, 1, 2, "other");
	assert_int_equal(parse(*state), 0);
	assert_int_equal(count, 2);
	assert_record(0, 1, 1, "after");
	assert_record(1, 1, 2, "other");
}

static void test_room_is_used_again(void **state)
{
	static char text[40000];
	size_t before, after;
	memset(text, 'x', sizeof(text) - 1);
	state_file_data(*state, &before);
	for (int i = 0; i < 1000; i++) {
		uint32_t small = put(*state, 0, 1, 1, "small");
		uint32_t large = put(*state, 0, 1, 2, text);
		assert_true(small && large);
		state_file_drop(*state, small);
		state_file_drop(*state, large);
	}
	state_file_data(*state, &after);
	assert_int_equal(before, after);
}

static void test_opened_again(void **state)
{
	struct state_file *again;
	put(*state, 0, 1, 1, "stays");
	uint32_t gone = put(*state, 0, 1, 2, "goes");
	state_file_drop(*state, gone);
	assert_int_equal(parse(*state), 0);
	assert_int_equal(state_file_open(state_file_fd(*state), records, count, &again), 0);
	assert_int_equal(put(again, 0, 1, 3, "newx"), gone);
	put(again, 0, 1, 1, "later");
	assert_int_equal(parse(*state), 0);
	assert_int_equal(count, 2);
	assert_record(0, 1, 1, "later");
	assert_record(1, 1, 3, "newx");
	state_file_free(again);
}

/* What was replaced does not come back when its replacement goes. */
static void test_the_earlier_of_two_stays_away(void **state)
{
	struct state_file *again;
	put(*state, 0, 1, 1, "before");
	uint32_t after = put(*state, 0, 1, 1, "after");
	assert_int_equal(parse(*state), 0);
	assert_int_equal(state_file_open(state_file_fd(*state), records, count, &again), 0);
	state_file_drop(again, after);
	assert_int_equal(parse(again), 0);
	assert_int_equal(count, 0);
	state_file_free(again);
}

static void test_full(void **state)
{
	static uint8_t much[STATE_FILE_DATA_MAX + 1];
	assert_int_equal(state_file_put(*state, 0, 1, 1, NULL, much, sizeof(much)), 0);
	assert_int_equal(parse(*state), -EBADMSG);
	assert_int_equal(count, 0);
}

/* A copy whose length or bytes a stranger has changed. */
static void test_truncated_anywhere(void **state)
{
	size_t len, whole = 40 * STATE_CELL;
	for (uint64_t i = 0; i < 10; i++)
		put(*state, 0, 1, i, "some text that takes a part of a second cell");
	const uint8_t *data = state_file_data(*state, &len);
	assert_true(whole < len);
	for (size_t cut = 0; cut <= whole; cut++) {
		struct state_record *found;
		size_t n;
		/* On the heap, so that a read beyond it is seen. */
		void *copy = malloc(cut ? cut : 1);
		assert_non_null(copy);
		memcpy(copy, data, cut);
		int err = state_file_parse(copy, cut, &found, &n);
		const struct state_header *header = (const void *)data;
		if (cut < STATE_CELL)
			assert_int_equal(err, -EINVAL);
		else if (cut < (size_t)header->used * STATE_CELL)
			assert_int_equal(err, -EBADMSG);
		else
			assert_true(err == 0 && n == 10);
		free(found);
		free(copy);
	}
}

static void test_each_byte_spoilt(void **state)
{
	size_t len;
	for (uint64_t i = 0; i < 4; i++)
		put(*state, 0, 1, i, "some text that takes a part of a second cell");
	const uint8_t *data = state_file_data(*state, &len);
	size_t used = ((const struct state_header *)(const void *)data)->used * STATE_CELL;
	uint8_t *copy = malloc(used);
	assert_non_null(copy);
	for (size_t at = 0; at < used; at++)
		for (unsigned bit = 0; bit < 8; bit++) {
			struct state_record *found;
			size_t n;
			memcpy(copy, data, used);
			copy[at] ^= (uint8_t)(1u << bit);
			state_file_parse(copy, used, &found, &n);
			assert_true(n <= 4);
			for (size_t i = 0; i < n; i++) {
				assert_true(found[i].data >= copy);
				assert_true(found[i].data + found[i].len <= copy + used);
			}
			free(found);
		}
	free(copy);
}

/* A writer killed at any instant leaves what can be read: the last value or the one before. */
static void scribble(struct state_file *file, int ready)
{
	uint32_t at = 0;
	char text[200];
	if (write(ready, "", 1) != 1)
		_exit(1);
	for (unsigned i = 0;; i++) {
		memset(text, 'a' + (int)(i % 26), sizeof(text));
		at = state_file_put(file, at, 1, 1, NULL, text, 100 + i % 100);
		state_file_set(file, at, 0, i);
	}
}

static void test_killed_at_any_instant(void **state)
{
	for (unsigned round = 0; round < 100; round++) {
		int ready[2], status;
		char byte;
		assert_int_equal(pipe(ready), 0);
		pid_t pid = fork();
		assert_true(pid >= 0);
		if (pid == 0)
			scribble(*state, ready[1]);
		assert_int_equal(read(ready[0], &byte, 1), 1);
		usleep(round * 37 % 1000);
		kill(pid, SIGKILL);
		waitpid(pid, &status, 0);
		close(ready[0]);
		close(ready[1]);
		assert_int_equal(parse(*state), 0);
		assert_true(count <= 1);
		for (size_t i = 1; count == 1 && i < records[0].len; i++)
			assert_int_equal(records[0].data[i], records[0].data[0]);
		/* as the next daemon does */
		struct state_file *next;
		assert_int_equal(state_file_open(state_file_fd(*state), records, count, &next), 0);
		int fd = state_file_fd(*state);
		state_file_free(*state);
		*state = next;
		assert_int_equal(state_file_fd(next), fd);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_empty, setup, teardown),
		cmocka_unit_test_setup_teardown(test_sorted, setup, teardown),
		cmocka_unit_test_setup_teardown(test_replaced, setup, teardown),
		cmocka_unit_test_setup_teardown(test_words_change_in_place, setup, teardown),
		cmocka_unit_test_setup_teardown(test_the_later_of_two, setup, teardown),
		cmocka_unit_test_setup_teardown(test_room_is_used_again, setup, teardown),
		cmocka_unit_test_setup_teardown(test_opened_again, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_the_earlier_of_two_stays_away, setup, teardown),
		cmocka_unit_test_setup_teardown(test_full, setup, teardown),
		cmocka_unit_test_setup_teardown(test_truncated_anywhere, setup, teardown),
		cmocka_unit_test_setup_teardown(test_each_byte_spoilt, setup, teardown),
		cmocka_unit_test_setup_teardown(test_killed_at_any_instant, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
