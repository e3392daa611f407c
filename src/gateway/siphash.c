/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "gateway/siphash.h"

#include <endian.h>
#include <string.h>

static uint64_t siphash_load(const uint8_t *bytes)
{
	uint64_t word;

	memcpy(&word, bytes, sizeof(word));
	return le64toh(word);
}

static uint64_t siphash_rotate(uint64_t word, unsigned bits)
{
	return word << bits | word >> (64 - bits);
}

static void siphash_rounds(uint64_t v[4], int n)
{
	while (n-- > 0) {
		v[0] += v[1];
		v[1] = siphash_rotate(v[1], 13) ^ v[0];
		v[0] = siphash_rotate(v[0], 32);
		v[2] += v[3];
		v[3] = siphash_rotate(v[3], 16) ^ v[2];
		v[0] += v[3];
		v[3] = siphash_rotate(v[3], 21) ^ v[0];
		v[2] += v[1];
		v[1] = siphash_rotate(v[1], 17) ^ v[2];
		v[2] = siphash_rotate(v[2], 32);
	}
}

uint64_t siphash(const uint8_t key[16], const void *data, size_t len)
{
	uint64_t k0 = siphash_load(key), k1 = siphash_load(key + 8);
	uint64_t v[4] = {k0 ^ UINT64_C(0x736f6d6570736575), k1 ^ UINT64_C(0x646f72616e646f6d),
		k0 ^ UINT64_C(0x6c7967656e657261), k1 ^ UINT64_C(0x7465646279746573)};
	uint8_t last[8] = {[7] = (uint8_t)len};
	const uint8_t *at = data, *end = at + len / 8 * 8;

	for (; at < end; at += 8) {
		uint64_t word = siphash_load(at);
		v[3] ^= word;
		siphash_rounds(v, 2);
		v[0] ^= word;
	}
	if (len % 8 > 0)
		memcpy(last, at, len % 8);
	v[3] ^= siphash_load(last);
	siphash_rounds(v, 2);
	v[0] ^= siphash_load(last);
	v[2] ^= 0xff;
	siphash_rounds(v, 4);
	return v[0] ^ v[1] ^ v[2] ^ v[3];
}
