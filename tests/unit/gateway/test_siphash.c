/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "gateway/siphash.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

/* The reference implementation's answers for the key 00 01 ... 0f and the text 00 01 02 ... */
static void test_vectors(void **state)
{
	static const struct {
		size_t len;
		uint64_t hash;
	} vectors[] = {{0, UINT64_C(0x726fdb47dd0e0e31)}, {1, UINT64_C(0x74f839c593dc67fd)},
		{7, UINT64_C(0xab0200f58b01d137)}, {8, UINT64_C(0x93f5f5799a932462)},
		{15, UINT64_C(0xa129ca6149be45e5)}};
	uint8_t key[16], text[16];

	for (unsigned i = 0; i < 16; i++)
		key[i] = text[i] = (uint8_t)i;
	for (unsigned i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++)
		assert_true(siphash(key, text, vectors[i].len) == vectors[i].hash);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_vectors)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
