/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_LACKS_H
#define VSOCKFS_LACKS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/*
 * Operations, most of them of NFSv4.2, that the server does not have, learnt from its first refusal
 * for each file system of the export (node.h's `fsid`), so that nobody asks for them twice. Any
 * thread. Zero-initialised.
 */

/* More file systems are not remembered, and asked again. */
#define LACKS_MAX 64

struct lacks {
	_Atomic uint32_t ops[LACKS_MAX]; /* bit 0: the first operation of NFSv4.2; the last bit:
					    GET_DIR_DELEGATION */
};

/* Is `op` (OP_ALLOCATE to OP_REMOVEXATTR, OP_GET_DIR_DELEGATION) known not to be there? */
bool lacks_op(const struct lacks *lacks, uint16_t fs, uint32_t op);
/* What became of `op`: true, and remembered, if `status` (nfsstat4, or -errno) means that it is not
 * there. */
bool lacks_note(struct lacks *lacks, uint16_t fs, uint32_t op, int status);

#endif
