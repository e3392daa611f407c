/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "state_file_priv.h"

/* No pointer, no length and no count of the file is used before it was checked. */

static uint64_t state_mix(uint64_t x)
{
	x ^= x >> 33;
	x *= UINT64_C(0xff51afd7ed558ccd);
	x ^= x >> 33;
	return x;
}

uint64_t state_file_sum(const struct state_head *head, uint32_t kind, const uint8_t *data)
{
	uint64_t sum = state_mix(head->key ^ STATE_MAGIC), word;
	sum = state_mix(sum ^ head->generation);
	sum = state_mix(sum ^ ((uint64_t)kind << 32 | head->len));
	size_t left = head->len;
	for (; left >= sizeof(word); left -= sizeof(word), data += sizeof(word)) {
		memcpy(&word, data, sizeof(word));
		sum = state_mix(sum ^ word);
	}
	word = 0;
	memcpy(&word, data, left);
	return state_mix(sum ^ word);
}

struct state_found {
	struct state_record *records;
	size_t count, room;
};

static int found_add(struct state_found *found, const struct state_record *record)
{
	if (found->count == found->room) {
		size_t room = found->room ? found->room * 2 : 64;
		struct state_record *records = realloc(found->records, room * sizeof(*records));
		if (!records)
			return -ENOMEM;
		found->records = records;
		found->room = room;
	}
	found->records[found->count++] = *record;
	return 0;
}

static int record_compare(const void *left, const void *right)
{
	const struct state_record *a = left, *b = right;
	if (a->kind != b->kind)
		return a->kind < b->kind ? -1 : 1;
	if (a->key != b->key)
		return a->key < b->key ? -1 : 1;
	if (a->generation != b->generation)
		return a->generation < b->generation ? -1 : 1;
	return 0;
}

/* Of those with one kind and key the latest stays. */
static void found_unify(struct state_found *found)
{
	size_t kept = 0;
	if (found->count > 0)
		qsort(found->records, found->count, sizeof(*found->records), record_compare);
	for (size_t i = 0; i < found->count; i++) {
		const struct state_record *last = kept ? &found->records[kept - 1] : NULL;
		if (last && last->kind == found->records[i].kind &&
			last->key == found->records[i].key)
			kept--;
		found->records[kept++] = found->records[i];
	}
	found->count = kept;
}

/* The record in `head`, whose cells lie within the file. -EBADMSG: it is damaged. */
static int record_check(const struct state_head *head, uint32_t at, struct state_record *record)
{
	const uint8_t *data = (const uint8_t *)(head + 1);
	uint32_t kind = head->kind;
	if (head->len > STATE_FILE_DATA_MAX ||
		head->len > (uint64_t)head->cells * STATE_CELL - sizeof(*head) ||
		head->sum != state_file_sum(head, kind, data))
		return -EBADMSG;
	*record = (struct state_record){.kind = kind,
		.at = at,
		.key = head->key,
		.generation = head->generation,
		.words = (const uint64_t *)(const void *)head->words,
		.data = data,
		.len = head->len};
	return 0;
}

static int parse_cells(const uint8_t *data, uint32_t used, struct state_found *found)
{
	int damage = 0;
	for (uint32_t at = 1, cells; at < used; at += cells) {
		const struct state_head *head =
			(const struct state_head *)(const void *)(data + (size_t)at * STATE_CELL);
		struct state_record record;
		/* Another head needs two cells. */
		if (used - at < 2)
			return -EBADMSG;
		cells = head->cells;
		if (cells < 2 || cells > used - at)
			return -EBADMSG;
		if (head->kind == STATE_NONE)
			continue;
		int err = record_check(head, at, &record);
		if (!err)
			err = found_add(found, &record);
		if (err == -ENOMEM)
			return err;
		if (err)
			damage = err;
	}
	return damage;
}

int state_file_parse(const void *data, size_t len, struct state_record **records, size_t *count)
{
	struct state_found found = {0};
	*records = NULL;
	*count = 0;
	if (len < STATE_CELL || len > STATE_FILE_MAX)
		return -EINVAL;
	const struct state_header *header = data;
	uint32_t used = header->used;
	if (header->magic != STATE_MAGIC || header->version != STATE_VERSION)
		return -EINVAL;
	int err = used < 1 || used > len / STATE_CELL ? -EBADMSG : parse_cells(data, used, &found);
	if (!err && header->incomplete)
		err = -EBADMSG;
	if (err == -ENOMEM || err == -EINVAL) {
		free(found.records);
		return err;
	}
	found_unify(&found);
	*records = found.records;
	*count = found.count;
	return err;
}

const struct state_record *state_file_find(
	const struct state_record *records, size_t count, uint32_t kind, uint64_t from_key)
{
	size_t low = 0, high = count;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		const struct state_record *record = &records[middle];
		if (record->kind < kind || (record->kind == kind && record->key < from_key))
			low = middle + 1;
		else
			high = middle;
	}
	return low < count && records[low].kind == kind ? &records[low] : NULL;
}
