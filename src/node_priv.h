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
	LIST_HEAD(, node) open_nodes;
	struct state_file *keep; /* or NULL */
	struct node_fsid *fsids;
	unsigned nfsids;
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
	return (uint64_t)node->errors << 32 | (uint64_t)node->error_told << 31 |
	       (uint32_t)-node->error;
}

#endif
