/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_GATEWAY_MARKS_H
#define VSOCKFS_GATEWAY_MARKS_H

#include <stddef.h>
#include <stdint.h>

/* Counts the fragments of RPC records (RFC 5531, 11) in a stream that comes in pieces: what a
 * server has to do goes by their number more than by their length. Zeroed to begin with. */
struct marks {
	uint32_t left; /* bytes of the fragment */
	uint32_t mark; /* as far as it is there */
	unsigned have; /* bytes of it */
};

/* The number of fragments that begin in these bytes. */
uint64_t marks_count(struct marks *marks, const void *data, size_t len);

#endif
