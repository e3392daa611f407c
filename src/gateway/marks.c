/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "gateway/marks.h"

#define MARKS_LENGTH UINT32_C(0x7fffffff)
#define MARKS_LAST   UINT32_C(0x80000000)

size_t marks_within(const struct marks *marks)
{
	return marks->left > 0 ? marks->left : sizeof(marks->mark) - marks->have;
}

bool marks_is_between(const struct marks *marks)
{
	return marks->left == 0 && marks->have == 0;
}

static void marks_end_fragment(struct marks *marks)
{
	if (marks->mark & MARKS_LAST)
		marks->ended++;
}

void marks_skip(struct marks *marks, size_t len)
{
	marks->left -= (uint32_t)len;
	if (len > 0 && marks->left == 0)
		marks_end_fragment(marks);
}

uint64_t marks_count(struct marks *marks, const void *data, size_t len)
{
	const uint8_t *at = data, *end = at + len;
	uint64_t n = 0;

	while (at < end) {
		if (marks->left > 0) {
			size_t some = (size_t)(end - at);
			if (some > marks->left)
				some = marks->left;
			marks_skip(marks, some);
			at += some;
			continue;
		}
		marks->mark = marks->mark << 8 | *at++;
		if (++marks->have < sizeof(marks->mark))
			continue;
		marks->left = marks->mark & MARKS_LENGTH;
		marks->have = 0;
		n++;
		if (marks->left == 0)
			marks_end_fragment(marks);
	}
	return n;
}
