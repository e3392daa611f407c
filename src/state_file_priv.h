/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_STATE_FILE_PRIV_H
#define VSOCKFS_STATE_FILE_PRIV_H

#include <stdatomic.h>

#include "state_file.h"

/* How the file is laid out, for its writer (state_file.c) and its reader (state_parse.c). */

#define STATE_MAGIC   UINT64_C(0x31656b6174667376)
#define STATE_VERSION 1
#define STATE_CELL    64u
#define STATE_NONE    0

/* The first cell. */
struct state_header {
	uint64_t magic;
	uint32_t version;
	_Atomic uint32_t incomplete; /* there was no room for something */
	_Atomic uint32_t used;	     /* cells, this one included */
};

/* In front of each record, which takes whole cells. */
struct state_head {
	_Atomic uint32_t kind; /* STATE_NONE: free */
	uint32_t cells;
	uint32_t len;	    /* bytes of data */
	uint32_t next_free; /* the writer's own */
	uint64_t key, generation, sum;
	_Atomic uint64_t words[STATE_FILE_WORDS];
};

/* Over key, generation, kind and the `head->len` bytes of `data`. */
uint64_t state_file_sum(const struct state_head *head, uint32_t kind, const uint8_t *data);

#endif
