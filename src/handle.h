/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_HANDLE_H
#define VSOCKFS_HANDLE_H

#include <stdbool.h>
#include <stdint.h>

/*
 * Numbers for what the kernel has open (fuse_file_info.fh), which another daemon can take over, as
 * it could not a pointer. A number is not used again as long as another can be meant. Finding what
 * it stands for takes no lock; the kernel never names one that it has released.
 */

struct handle_table;

/* `epoch` tells apart the numbers of daemons that have served one mount. 0 or -ENOMEM. */
int handle_table_new(uint16_t epoch, struct handle_table **table);
/* NULL is allowed. Objects are not touched: see handle_drop_all. */
void handle_table_free(struct handle_table *table);

/* A number for `object`; 0: no memory. Any thread. */
uint64_t handle_new(struct handle_table *table, void *object);
/* The object, or NULL: no such number. */
void *handle_find(const struct handle_table *table, uint64_t handle);
/* It may be a number of an earlier daemon that nothing was restored for. */
bool handle_is_past(const struct handle_table *table, uint64_t handle);
void handle_drop(struct handle_table *table, uint64_t handle);
/* Takes all numbers back, with a word to the owner of each object. At the end. */
void handle_drop_all(struct handle_table *table, void (*dropped)(void *object));
/* Gives a number of an earlier daemon its object; before any other call. 0, -ENOMEM or -EINVAL. */
int handle_restore(struct handle_table *table, uint64_t handle, void *object);

#endif
