/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* after the above */
#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "util/buf.h"

static void test_buffers_are_aligned_and_writable(void **state)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE), size = 3 * page + 100;
	struct buf_pool *pool;
	struct buf *buf;

	assert_int_equal(buf_pool_new(size, 1, 0, &pool), 0);
	buf = buf_get(pool);
	assert_non_null(buf);
	assert_int_equal((uintptr_t)buf->data % page, 0);
	assert_int_equal(buf->size, size);
	memset(buf->data, 0xab, size);
	buf_unref(buf);
	buf_pool_free(pool);
}

static void test_a_mapping_is_trimmed(void **state)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	struct buf *buf = buf_map(100 * page - 1);
	unsigned char there;

	assert_non_null(buf);
	assert_int_equal(buf->size, 100 * page);
	memset(buf->data, 0xab, 2 * page + 1);
	buf_trim(buf, 2 * page + 1);
	assert_int_equal(buf->size, 3 * page);
	assert_int_equal(buf->data[2 * page], 0xab);
	assert_int_equal(mincore(buf->data + 3 * page, page, &there), -1);
	buf_trim(buf, 4 * page);
	buf_trim(buf, 0);
	assert_int_equal(buf->size, 3 * page);
	buf_unref(buf);

	buf = buf_alloc(100);
	buf_trim(buf, 1);
	assert_int_equal(buf->size, 100);
	buf_unref(buf);
}

static void test_the_limit_holds(void **state)
{
	struct buf_pool *pool;
	struct buf *a, *b;

	assert_int_equal(buf_pool_new(4096, 2, 2, &pool), 0);
	a = buf_get(pool);
	b = buf_get(pool);
	assert_non_null(a);
	assert_non_null(b);
	assert_ptr_not_equal(a->data, b->data);
	assert_int_equal(buf_pool_used(pool), 2);
	assert_null(buf_get(pool));
	assert_int_equal(buf_pool_used(pool), 2);
	buf_unref(a);
	assert_int_equal(buf_pool_used(pool), 1);
	a = buf_get(pool);
	assert_non_null(a);
	buf_unref(a);
	buf_unref(b);
	assert_int_equal(buf_pool_used(pool), 0);
	buf_pool_free(pool);
}

static void test_reserved_memory_is_what_was_used_last(void **state)
{
	struct buf_pool *pool;
	struct buf *early, *late, *other;
	uint8_t *used;

	assert_int_equal(buf_pool_new(4096, 3, 3, &pool), 0);
	early = buf_reserve(pool);
	late = buf_reserve(pool);
	other = buf_get(pool);
	assert_null(early->data);
	assert_int_equal(early->size, 4096);
	assert_null(buf_reserve(pool)); /* they count */
	used = buf_back(early);
	assert_non_null(used);
	assert_ptr_not_equal(used, other->data);
	assert_ptr_equal(buf_back(early), used);
	buf_unref(other);
	buf_unref(early);
	assert_ptr_equal(buf_back(late), used);
	buf_unref(late);
	buf_unref(buf_reserve(pool)); /* never backed */
	assert_int_equal(buf_pool_used(pool), 0);
	buf_pool_free(pool);
}

static void test_a_buffer_lives_with_its_last_reference(void **state)
{
	struct buf_pool *pool;
	struct buf *buf;

	assert_int_equal(buf_pool_new(4096, 1, 0, &pool), 0);
	buf = buf_get(pool);
	assert_ptr_equal(buf_ref(buf), buf);
	buf_unref(buf);
	assert_int_equal(buf_pool_used(pool), 1);
	buf->data[4095] = 1;
	buf_unref(buf);
	assert_int_equal(buf_pool_used(pool), 0);
	buf_unref(NULL);
	buf_pool_free(pool);
	buf_pool_free(NULL);
}

static int is_there(const uint8_t *data)
{
	unsigned char there;

	assert_int_equal(mincore((void *)(uintptr_t)data, 1, &there), 0);
	return there & 1;
}

static int count_there(uint8_t *const *data, int count)
{
	int there = 0;

	for (int i = 0; i < count; i++)
		there += is_there(data[i]);
	return there;
}

#define MANY 8

static void test_only_so_many_keep_their_memory(void **state)
{
	struct buf_pool *pool;
	struct buf *bufs[MANY];
	uint8_t *data[MANY];

	assert_int_equal(buf_pool_new(1 << 20, MANY, 2, &pool), 0);
	for (int i = 0; i < MANY; i++) {
		bufs[i] = buf_get(pool);
		data[i] = bufs[i]->data;
		assert_false(i < 2 && is_there(data[i])); /* no huge pages */
		memset(data[i], 0xab, 1 << 20);
	}
	assert_false(buf_pool_has_spare(pool));
	for (int i = 0; i < MANY; i++)
		buf_unref(bufs[i]);
	assert_true(buf_pool_has_spare(pool));
	buf_pool_trim(pool); /* all were in use a moment ago */
	assert_int_equal(count_there(data, MANY), MANY);
	bufs[0] = buf_get(pool); /* and one since */
	assert_ptr_equal(bufs[0]->data, data[MANY - 1]);
	buf_unref(bufs[0]);
	buf_pool_trim(pool);
	assert_int_equal(count_there(data, MANY), 2);
	assert_int_equal(count_there(data, 2), 2);
	assert_false(buf_pool_has_spare(pool));
	/* what was given back comes again, empty */
	for (int i = 0; i < MANY; i++)
		bufs[i] = buf_get(pool);
	assert_int_equal(bufs[MANY - 1]->data[0], 0);
	assert_null(buf_get(pool));
	for (int i = 0; i < MANY; i++)
		buf_unref(bufs[i]);
	buf_pool_free(pool);
}

static void test_populated_memory_is_there(void **state)
{
	struct buf_pool *pool;

	assert_int_equal(buf_pool_new(1 << 20, 1, 1, &pool), 0);
	buf_pool_populate(pool);
	struct buf *buf = buf_get(pool);
	for (size_t at = 0; at < buf->size; at += 4096)
		assert_true(is_there(buf->data + at));
	buf_unref(buf);
	buf_pool_free(pool);
}

static void test_no_buffers_of_no_size(void **state)
{
	struct buf_pool *pool;

	assert_int_equal(buf_pool_new(0, 1, 1, &pool), -EINVAL);
	assert_int_equal(buf_pool_new(1, 0, 1, &pool), -EINVAL);
}

static void test_without_memory_there_is_no_pool(void **state)
{
	struct buf_pool *pool;

	assert_int_equal(buf_pool_new(SIZE_MAX / 2, 1, 1, &pool), -ENOMEM);
	assert_int_equal(buf_pool_new(SIZE_MAX / 2, 3, 1, &pool), -ENOMEM);
}

#define THREADS 4
#define ROUNDS	5000

static void *churn(void *arg)
{
	struct buf_pool *pool = arg;

	for (int i = 0; i < ROUNDS; i++) {
		struct buf *buf = buf_get(pool);
		if (!buf)
			continue;
		buf->data[i % 4096] = (uint8_t)i;
		buf_unref(buf_ref(buf));
		buf_unref(buf);
	}
	return NULL;
}

static void test_from_many_threads(void **state)
{
	struct buf_pool *pool;
	pthread_t threads[THREADS];

	assert_int_equal(buf_pool_new(4096, 3, 2, &pool), 0);
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, churn, pool), 0);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(buf_pool_used(pool), 0);
	buf_pool_free(pool);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_buffers_are_aligned_and_writable),
		cmocka_unit_test(test_a_mapping_is_trimmed),
		cmocka_unit_test(test_the_limit_holds),
		cmocka_unit_test(test_reserved_memory_is_what_was_used_last),
		cmocka_unit_test(test_a_buffer_lives_with_its_last_reference),
		cmocka_unit_test(test_only_so_many_keep_their_memory),
		cmocka_unit_test(test_populated_memory_is_there),
		cmocka_unit_test(test_no_buffers_of_no_size),
		cmocka_unit_test(test_without_memory_there_is_no_pool),
		cmocka_unit_test(test_from_many_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
