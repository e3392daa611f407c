/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_UPCOMING_H
#define VSOCKFS_UPCOMING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Which files a program will open next. One that reads the small files of a directory (grep -r, cp,
 * tar, git, a shell's *) takes them as the directory lists them, by inode number, or by name. So
 * what a program reads of a directory is remembered, and when it has opened two files which follow
 * each other in one of these orders, those behind them are upcoming: few at first, and twice as
 * many each time. Who has come through one directory in such an order is expected to begin the next
 * one in it. Where files that were named have not been opened, no more are. Any worker's thread.
 */

struct upcoming_table;

/* Named ahead of a program. */
#define UPCOMING_MAX 16

/* `off`: nothing will be opened ahead, whatever is told. */
int upcoming_table_new(bool off, struct upcoming_table **table);
/* NULL is allowed. */
void upcoming_table_free(struct upcoming_table *table);

/* An OPEN that asked for a delegation has brought one, or has not: where none come nothing is
 * remembered. */
void upcoming_told(struct upcoming_table *table, bool delegated);
/* Do they? */
bool upcoming_is_on(struct upcoming_table *table);

/* The directory `dir_id` is being read from its beginning. */
void upcoming_begin(struct upcoming_table *table, uint64_t dir_id);
struct upcoming_name {
	uint64_t id;  /* of the node */
	uint64_t ino; /* as the program sees it */
	const char *name;
	size_t len;
};
/* This small file is the next one in it. */
void upcoming_add(struct upcoming_table *table, uint64_t dir_id, const struct upcoming_name *name);

/* A program opens the file `id` of the directory at `now` (ns): node ids of those that it will open
 * next, and that were not told yet. Returns how many. */
unsigned upcoming_opened(struct upcoming_table *table, uint64_t dir_id, uint64_t id, uint64_t now,
	uint64_t ids[UPCOMING_MAX]);

#endif
