/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_XATTRS_H
#define VSOCKFS_XATTRS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "node.h"
#include "util/buf.h"

/*
 * Extended attributes, and lists of their names, as the server told them to one user: told to him
 * once more while the object's change attribute stands and for as long as its attributes are
 * trusted, since programs ask for the size first. A fixed number of them, and of bytes. Any
 * worker's thread.
 */

struct xattr_table;
struct share;
struct rpc_cred;

/* The list of the names, in the place of a name. */
#define XATTRS_LIST ""

int xattr_table_new(struct share *share, struct xattr_table **table);
/* NULL is allowed. */
void xattr_table_free(struct xattr_table *table);

/* `buf` has `len` bytes that were asked for at `since` (ns), with or after the change attribute. */
void xattrs_put(struct xattr_table *table, const struct node *node, struct rpc_cred *cred,
	const char *name, uint64_t change, uint64_t since, const void *data, size_t len);
/* A reference to a buffer that has them, or NULL. */
struct buf *xattrs_get(struct xattr_table *table, struct node *node, const struct rpc_cred *cred,
	const char *name, size_t *len);

#endif
