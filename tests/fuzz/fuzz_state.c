/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fuzz.h"

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include "state_file_priv.h"

/*
 * What a daemon left to the next. The input's first byte says what is put right before the rest is
 * parsed, which no fuzzer would find: the magic number, the checksums. A file that was parsed
 * without complaint must be fit to go on with.
 */

#define FIX_HEADER 1
#define FIX_SUMS   2

static void fix_sums(uint8_t *data, size_t len)
{
	struct state_header *header = (struct state_header *)(void *)data;
	uint32_t used =
		header->used < len / STATE_CELL ? header->used : (uint32_t)(len / STATE_CELL);

	for (uint32_t at = 1, cells; used - at >= 2 && at < used; at += cells) {
		struct state_head *head =
			(struct state_head *)(void *)(data + (size_t)at * STATE_CELL);

		cells = head->cells;
		if (cells < 2 || cells > used - at ||
			head->len > (size_t)cells * STATE_CELL - sizeof(*head))
			return;
		head->sum = state_file_sum(head, head->kind, (uint8_t *)(head + 1));
	}
}

static volatile uint64_t digest;

static void check_records(
	const uint8_t *data, size_t len, const struct state_record *records, size_t count)
{
	uint64_t seen = 0;

	for (size_t i = 0; i < count; i++) {
		const struct state_record *r = &records[i];

		fuzz_check(r->data >= data && r->len <= len);
		fuzz_check(r->data + r->len <= data + len && r->len <= STATE_FILE_DATA_MAX);
		fuzz_check(r->kind != STATE_NONE && (uintptr_t)r->data % 8 == 0);
		fuzz_check((size_t)r->at * STATE_CELL < len);
		for (unsigned j = 0; j < STATE_FILE_WORDS; j++)
			seen += r->words[j];
		fuzz_check(state_file_find(records, count, r->kind, r->key) == r);
		if (i > 0)
			fuzz_check(r[-1].kind < r->kind ||
				   (r[-1].kind == r->kind && r[-1].key < r->key));
	}
	/* every word was read */
	digest = seen;
}

/* The next daemon writes to it: what was there stays, and what it writes is found. */
static void check_goes_on(
	const uint8_t *data, size_t len, const struct state_record *records, size_t count)
{
	static const uint64_t words[STATE_FILE_WORDS] = {1, 2, 3, 4};
	struct state_record *again;
	struct state_file *file;
	size_t now_len, now_count;
	int fd = memfd_create("state", MFD_CLOEXEC);

	fuzz_check(fd >= 0 && write(fd, data, len) == (ssize_t)len);
	int r = state_file_open(fd, records, count, &file);
	if (r < 0) {
		close(fd);
		return;
	}
	uint32_t at = state_file_put(file, 0, 0xfffffffe, 7, words, "next", 4);
	if (at != 0)
		state_file_set(file, at, 1, 99);
	const void *now = state_file_data(file, &now_len);
	r = state_file_parse(now, now_len, &again, &now_count);
	fuzz_check(r == 0 || (r == -EBADMSG && at == 0));
	const struct state_record *mine = state_file_find(again, now_count, 0xfffffffe, 7);
	if (at != 0)
		fuzz_check(mine && mine->len == 4 && mine->words[1] == 99);
	fuzz_check(now_count >= count);
	free(again);
	state_file_free(file);
	close(fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input in = {data, size};
	struct state_record *records;
	uint8_t fix = fuzz_u8(&in);
	size_t count, len = in.size;
	uint8_t *copy = fuzz_alloc(len);

	if (len > 0)
		memcpy(copy, in.data, len);
	if ((fix & FIX_HEADER) && len >= STATE_CELL) {
		struct state_header *header = (struct state_header *)(void *)copy;
		header->magic = STATE_MAGIC;
		header->version = STATE_VERSION;
	}
	if ((fix & FIX_SUMS) && len >= STATE_CELL)
		fix_sums(copy, len);
	int r = state_file_parse(copy, len, &records, &count);
	fuzz_check(r == 0 || r == -EBADMSG || r == -EINVAL);
	fuzz_check(r != -EINVAL || count == 0);
	check_records(copy, len, records, count);
	if (r == 0)
		check_goes_on(copy, len, records, count);
	free(records);
	free(copy);
	return 0;
}
