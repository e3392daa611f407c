/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_TESTS_MECHANISM_H
#define VSOCKFS_TESTS_MECHANISM_H

#include <stddef.h>
#include <stdint.h>

/*
 * A security mechanism whose checksums anybody can make: a program that has this file has these
 * functions in the places of libgssapi's. Any bytes but none are a context.
 */

#define MECHANISM_MIC	 29 /* bytes of a checksum; not a multiple of four */
#define MECHANISM_HEADER 16 /* of what is in front of encrypted data; nothing vouches for it */

void mechanism_mic(const void *data, size_t len, uint8_t mic[MECHANISM_MIC]);
/* Encrypts and decrypts. The checksum of what was encrypted follows it. */
void mechanism_cipher(uint8_t *data, size_t len);

#endif
