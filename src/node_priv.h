/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_NODE_PRIV_H
#define VSOCKFS_NODE_PRIV_H

#include <pthread.h>

#include "node.h"
#include "records.h"
#include "state_file.h"

/*
 * The table as node.c (who is in it), node_name.c (what they are called), node_note.c (what is
 * known of them) and node_open.c (those that are open) share it.
 */

/* What node.fsid can tell apart. */
#define NODE_FSIDS_MAX (UINT16_MAX + 1U)

/* A file system within the export, and what its fileids are mixed with. */
struct node_fsid {
	struct nfs_fsid fsid;
	uint64_t tag;
};

/* A name that an object had when it was given another one. */
struct node_link {
	uint32_t mark; /* node_mark_of */
	uint64_t id;   /* of the node; 0: none */
};

/* Such names that are remembered; a power of two. */
#define NODE_LINKS 64

struct node_table {
	pthread_mutex_t mutex;
	struct node **by_id, **by_fh;
	size_t buckets; /* of each; a power of two */
	uint64_t count, next_id;
	LIST_HEAD(, node_file) open_files;
	struct state_file *keep; /* or NULL */
	struct node_fsid *fsids; /* the root's first; those that find no place share the last */
	uint32_t nfsids;
	struct node_link links[NODE_LINKS]; /* by mark */
	uint16_t fsid;			    /* of the node that was asked for last */
};

/* The same for the same bytes, in every daemon. */
uint64_t node_hash(const void *data, size_t len);

/* What stands for a name in a directory. */
static inline uint32_t node_mark(uint64_t parent_id, uint32_t name_hash)
{
	return (uint32_t)((parent_id * UINT64_C(0x9e3779b97f4a7c15)) >> 32) ^ name_hash;
}

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

/* Under the mutex, as the next. NULL: the kernel does not know it. */
struct node *table_lookup(struct node_table *table, uint64_t id);
/* NULL without memory. */
struct node_file *table_need_file(struct node *node);

#endif
