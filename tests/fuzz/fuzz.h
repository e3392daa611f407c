/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_TESTS_FUZZ_H
#define VSOCKFS_TESTS_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/*
 * A target is one program with this function, which libFuzzer calls with inputs of its own making;
 * drive.c calls it with files. It must not depend on what it was called with before.
 */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What must hold whatever the input is. Never compiled out. */
#define fuzz_check(condition)                                                            \
	do {                                                                             \
		if (!(condition)) {                                                      \
			fprintf(stderr, "%s:%d: %s does not hold\n", __FILE__, __LINE__, \
				#condition);                                             \
			abort();                                                         \
		}                                                                        \
	} while (0)

/* An input that is taken apart from its front; zeros and nothing once it is used up. */
struct fuzz_input {
	const uint8_t *data;
	size_t size;
};

/* At most `max` bytes; as many as there are. */
static inline const uint8_t *fuzz_take(struct fuzz_input *in, size_t max, size_t *size)
{
	const uint8_t *data = in->data;

	*size = max < in->size ? max : in->size;
	in->data += *size;
	in->size -= *size;
	return data;
}

static inline uint8_t fuzz_u8(struct fuzz_input *in)
{
	size_t size;
	const uint8_t *data = fuzz_take(in, 1, &size);

	return size ? data[0] : 0;
}

static inline uint16_t fuzz_u16(struct fuzz_input *in)
{
	uint16_t high = fuzz_u8(in);

	return (uint16_t)(high << 8 | fuzz_u8(in));
}

static inline uint32_t fuzz_u32(struct fuzz_input *in)
{
	uint32_t high = fuzz_u16(in);

	return high << 16 | fuzz_u16(in);
}

static inline uint64_t fuzz_u64(struct fuzz_input *in)
{
	uint64_t high = fuzz_u32(in);

	return high << 32 | fuzz_u32(in);
}

static inline void *fuzz_alloc(size_t size)
{
	/* of the exact size, so that the address sanitizer sees every byte beyond */
	void *p = malloc(size ? size : 1);

	if (!p)
		abort();
	return p;
}

/* The bytes as a string, cut at a NUL, in memory of its own. */
static inline char *fuzz_string(const uint8_t *data, size_t size)
{
	const uint8_t *nul = size ? memchr(data, '\0', size) : NULL;
	size_t len = nul ? (size_t)(nul - data) : size;
	char *text = fuzz_alloc(len + 1);

	if (len > 0)
		memcpy(text, data, len);
	text[len] = '\0';
	return text;
}

#endif
