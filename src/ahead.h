/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_AHEAD_H
#define VSOCKFS_AHEAD_H

#include <stdbool.h>
#include <stdint.h>

#include "file.h"
#include "util/buf.h"

/*
 * The data of a small file, read in the compound that opened it. It answers the reads that follow,
 * as long as no other change of the file is known than the one that the open has found, and no
 * longer than its attributes are trusted. Any worker's thread.
 */

struct ahead_pool;
struct share;

/* A longer file is not read with its open, bytes. */
#define AHEAD_FILE_MAX (64u << 10)
/* What all files together may keep, bytes. */
#define AHEAD_MAX (8u << 20)

int ahead_pool_new(struct share *share, struct ahead_pool **pool);
/* When no file is left. NULL is allowed. */
void ahead_pool_free(struct ahead_pool *pool);

/* How much to read when `node` is opened with `flags`; 0: nothing, the kernel has it, or it is not
 * worth it. */
uint32_t ahead_wanted(struct ahead_pool *pool, struct node *node, int flags);
/* `len` bytes from the beginning of the file, all of it if `eof`, when its change was `change`. */
void ahead_keep(struct ahead_pool *pool, struct file *file, struct buf *buf, uint32_t len, bool eof,
	uint64_t change);
/* The buffer (a reference) that answers a read, with how many bytes it gets from `offset`; NULL:
 * the server has to be asked. */
struct buf *ahead_read(
	struct ahead_pool *pool, struct file *file, uint64_t offset, uint32_t len, uint32_t *got);
/* The same for all of the file, if that came, which stays for reads; NULL: no. */
struct buf *ahead_whole(struct ahead_pool *pool, struct file *file, uint32_t *len);
/* Nothing is kept any more. */
void ahead_drop_all(struct ahead_pool *pool);
/* The last reference to the file goes. */
void ahead_forget(struct ahead_pool *pool, struct file *file);

#endif
