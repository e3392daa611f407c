/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_GATEWAY_SIPHASH_H
#define VSOCKFS_GATEWAY_SIPHASH_H

#include <stddef.h>
#include <stdint.h>

/*
 * SipHash-2-4 (Aumasson and Bernstein, 2012): a keyed 64-bit hash that nobody without the key can
 * compute. knfsd signs its handles with the same.
 */
uint64_t siphash(const uint8_t key[16], const void *data, size_t len);

#endif
