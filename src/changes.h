/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_CHANGES_H
#define VSOCKFS_CHANGES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * What was changed here, and when: tells whether an answer that is kept may lack a change of ours.
 * Objects share places by their hashes, so that one may count as changed which is not. Any thread,
 * no lock.
 */

struct changes;

int changes_new(struct changes **changes);
/* NULL is allowed. */
void changes_free(struct changes *changes);

/* What can change: an object (with a directory the names in it), what a name stands for
 * (node_name_mark), and the number of names of whatever has several. */
uint32_t changes_object(const uint8_t *fh, size_t len);
#define CHANGES_LINKS 0u

/* What one request is about to change, or is changing. Zero-initialised. */
#define CHANGES_MAX 6
struct changes_held {
	uint32_t what[CHANGES_MAX];
	uint8_t count;
};
/* Before the server is asked to. At most CHANGES_MAX times. */
void changes_hold(struct changes *changes, struct changes_held *held, uint32_t what);
/* After the program was answered. */
void changes_release(struct changes *changes, struct changes_held *held);

/* Has it not been changed, and is it not being changed, since an answer was asked for (ns)? */
bool changes_none(const struct changes *changes, uint32_t what, uint64_t since);

#endif
