/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "rpc/record.h"
#include "util/wire.h"

#define LIMIT 4096

struct stream {
	uint8_t data[64 * 1024];
	size_t len;
};

static void put_mark(struct stream *s, uint32_t len, bool last)
{
	wire_store_u32(s->data + s->len, len | (last ? RECORD_LAST : 0));
	s->len += 4;
}

/* Appends a record of `len` bytes counting up from `first`, in fragments of `fragment` bytes. */
static void put_record(struct stream *s, size_t len, size_t fragment, uint8_t first)
{
	size_t done = 0;

	do {
		size_t n = len - done < fragment ? len - done : fragment;
		put_mark(s, (uint32_t)n, done + n == len);
		for (size_t i = 0; i < n; i++)
			s->data[s->len++] = (uint8_t)(first + done++);
	} while (done < len);
}

struct sink {
	size_t lens[64];
	unsigned records;
	size_t at; /* bytes of the present record */
};

/* Feeds the stream in pieces of `piece` bytes; each piece lies in memory of its own size. */
static bool feed(
	struct record_parser *parser, const struct stream *s, size_t piece, struct sink *out)
{
	for (size_t from = 0; from < s->len; from += piece) {
		size_t n = s->len - from < piece ? s->len - from : piece, pos = 0, run;
		uint8_t *copy = malloc(n);
		enum record_event event;

		assert_non_null(copy);
		memcpy(copy, s->data + from, n);
		while ((event = record_parser_next(parser, copy, n, &pos, &run)) != RECORD_MORE) {
			if (event == RECORD_BAD) {
				free(copy);
				return false;
			}
			if (event == RECORD_END) {
				out->lens[out->records++] = out->at;
				out->at = 0;
				continue;
			}
			assert_true(run > 0 && run <= n - pos);
			for (size_t i = 0; i < run; i++)
				assert_int_equal(
					copy[pos + i], (uint8_t)(out->records * 7 + out->at + i));
			out->at += run;
			pos += run;
		}
		assert_int_equal(pos, n);
		free(copy);
	}
	return true;
}

static void test_every_fragmentation(void **state)
{
	static const size_t fragments[] = {1, 2, 3, 4, 5, 63, 64, 65, 299, 300, 1000};
	static struct stream s;

	for (unsigned f = 0; f < sizeof(fragments) / sizeof(*fragments); f++) {
		s.len = 0;
		put_record(&s, 300, fragments[f], 0);
		put_record(&s, 0, fragments[f], 7);
		put_record(&s, 1, fragments[f], 14);
		put_record(&s, 301, fragments[f], 21);
		for (size_t piece = 1; piece <= s.len; piece += piece < 400 ? 1 : 97) {
			struct record_parser parser;
			struct sink out = {0};

			record_parser_init(&parser, LIMIT);
			assert_true(feed(&parser, &s, piece, &out));
			assert_int_equal(out.records, 4);
			assert_int_equal(out.lens[0], 300);
			assert_int_equal(out.lens[1], 0);
			assert_int_equal(out.lens[2], 1);
			assert_int_equal(out.lens[3], 301);
			assert_true(record_parser_idle(&parser));
		}
	}
}

static void test_limit(void **state)
{
	static struct stream s;
	struct record_parser parser;
	struct sink out = {0};

	put_record(&s, LIMIT, 100, 0);
	record_parser_init(&parser, LIMIT);
	assert_true(feed(&parser, &s, s.len, &out));
	assert_int_equal(out.lens[0], LIMIT);

	s.len = 0;
	put_record(&s, LIMIT + 1, 100, 7);
	assert_false(feed(&parser, &s, s.len, &out));

	s.len = 0;
	put_mark(&s, 0x7fffffff, false);
	record_parser_init(&parser, LIMIT);
	assert_false(feed(&parser, &s, 1, &out));

	/* a sum beyond 32 bits is no smaller than its parts */
	s.len = 0;
	put_record(&s, 8, 8, 0);
	wire_store_u32(s.data, 8);
	put_mark(&s, 0x7ffffff9, true);
	out = (struct sink){0};
	record_parser_init(&parser, LIMIT);
	assert_false(feed(&parser, &s, s.len, &out));
}

static void test_empty_fragments(void **state)
{
	static struct stream s;
	struct record_parser parser;
	struct sink out = {0};

	for (unsigned record = 0; record < 2; record++) {
		for (unsigned i = 0; i < RECORD_EMPTY_MAX; i++)
			put_mark(&s, 0, false);
		put_record(&s, 10, 10, (uint8_t)(record * 7));
	}
	record_parser_init(&parser, LIMIT);
	assert_true(feed(&parser, &s, 3, &out));
	assert_int_equal(out.records, 2);

	s.len = 0;
	for (unsigned i = 0; i <= RECORD_EMPTY_MAX; i++)
		put_mark(&s, 0, false);
	assert_false(feed(&parser, &s, 3, &out));
}

static void test_narrow(void **state)
{
	static struct stream s;
	struct record_parser parser;
	struct sink out = {0};

	put_record(&s, 100, 50, 0);
	record_parser_init(&parser, LIMIT);
	s.len = 60;
	assert_true(feed(&parser, &s, 60, &out));
	assert_false(record_parser_narrow(&parser, 99));
	assert_true(record_parser_narrow(&parser, 100));

	/* whoever goes on all the same meets the limit in the next fragment */
	record_parser_init(&parser, LIMIT);
	out = (struct sink){0};
	s.len = 54;
	assert_true(feed(&parser, &s, 54, &out));
	assert_false(record_parser_narrow(&parser, 49));
	assert_int_equal(record_parser_next(&parser, s.data + 54, 4, &(size_t){0}, &(size_t){0}),
		RECORD_BAD);

	record_parser_init(&parser, LIMIT);
	out = (struct sink){0};
	s.len = 50;
	assert_true(feed(&parser, &s, 50, &out));
	assert_true(record_parser_narrow(&parser, 60));
	memmove(s.data, s.data + 54, 54);
	s.len = 54;
	size_t pos = 4, run;
	assert_int_equal(record_parser_next(&parser, s.data, 8, &pos, &run), RECORD_BYTES);
	assert_int_equal(run, 4);
	pos = 0;
	assert_int_equal(record_parser_next(&parser, s.data, 8, &pos, &run), RECORD_BAD);
}

static void test_direct(void **state)
{
	static struct stream s;
	struct record_parser parser;
	size_t pos = 0, run;

	put_record(&s, 100, 60, 0);
	record_parser_init(&parser, LIMIT);
	assert_true(record_parser_idle(&parser));
	assert_int_equal(record_parser_direct(&parser), 0);
	assert_int_equal(record_parser_next(&parser, s.data, 14, &pos, &run), RECORD_BYTES);
	assert_int_equal(run, 10);
	assert_false(record_parser_idle(&parser));
	assert_int_equal(record_parser_direct(&parser), 50);
	record_parser_skip(&parser, 20);
	record_parser_skip(&parser, 30);
	assert_int_equal(record_parser_direct(&parser), 0);

	pos = 64;
	assert_int_equal(record_parser_next(&parser, s.data, 66, &pos, &run), RECORD_MORE);
	assert_int_equal(record_parser_direct(&parser), 0);
	assert_int_equal(record_parser_next(&parser, s.data, 68, &pos, &run), RECORD_MORE);
	assert_int_equal(record_parser_direct(&parser), 40);
	record_parser_skip(&parser, 40);
	assert_int_equal(record_parser_next(&parser, NULL, 0, &(size_t){0}, &run), RECORD_END);
	assert_true(record_parser_idle(&parser));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_fragmentation),
		cmocka_unit_test(test_limit),
		cmocka_unit_test(test_empty_fragments),
		cmocka_unit_test(test_narrow),
		cmocka_unit_test(test_direct),
	};
	return cmocka_run_group_tests_name("record", tests, NULL, NULL);
}
