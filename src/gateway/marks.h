/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_GATEWAY_MARKS_H
#define VSOCKFS_GATEWAY_MARKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Counts the fragments of RPC records (RFC 5531, 11) in a stream that comes in pieces: what a
 * server has to do goes by their number more than by their length. Zeroed to begin with. */
struct marks {
	uint64_t ended; /* records whose last byte was there */
	uint32_t left;	/* bytes of the fragment that are to come */
	/* private */
	uint32_t mark; /* as far as it is there, or the last one */
	unsigned have; /* bytes of the one that has begun */
};

/* How many bytes are left of the fragment, or of its mark while that is not whole. Never 0. */
size_t marks_within(const struct marks *marks);
/* Whether one fragment has ended, and no byte of another was there. */
bool marks_is_between(const struct marks *marks);

/* The number of fragments that begin in these bytes. */
uint64_t marks_count(struct marks *marks, const void *data, size_t len);
/* The same for bytes that nobody has looked at, at most `left`. */
void marks_skip(struct marks *marks, size_t len);

#endif
