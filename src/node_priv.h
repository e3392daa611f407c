/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_NODE_PRIV_H
#define VSOCKFS_NODE_PRIV_H

#include <pthread.h>

#include "node.h"
#include "records.h"
#include "state_file.h"

/*
 * The table as node.c (who is in it), node_note.c (what is known of them) and node_open.c (those
 * that are open, and their names) share it.
 */

/* What node.fsid can tell apart. */
#define NODE_FSIDS_MAX (UINT16_MAX + 1U)

/* A file system within the export, and what its fileids are mixed with. */
struct node_fsid {
	struct nfs_fsid fsid;
	uint64_t tag;
};

struct node_table {
	pthread_mutex_t mutex;
	struct node **by_id, **by_fh;
	size_t buckets; /* of each; a power of two */
	uint64_t count, next_id;
	LIST_HEAD(, node_file) open_files;
	struct state_file *keep; /* or NULL */
	struct node_fsid *fsids; /* the root's first; those that find no place share the last */
	uint32_t nfsids;
	uint16_t fsid; /* of the node that was asked for last */
};

/* The same for the same bytes, in every daemon. */
uint64_t node_hash(const void *data, size_t len);

/* A word of the node's record; one that has none stays without. */
static inline void table_note(
	struct node_table *table, struct node *node, unsigned word, uint64_t value)
{
	if (table->keep)
		state_file_set(table->keep, node->record, word, value);
}

/* What is known of its errors, as one word of a record. */
static inline uint64_t node_error_word(const struct node *node)
{
	const struct node_file *file = node->file;
	return file ? (uint64_t)file->errors << 32 | (uint64_t)file->error_told << 31 |
			       (uint32_t)-file->error
		    : 0;
}

/* Under the mutex. NULL without memory. */
struct node_file *table_need_file(struct node *node);

#endif
