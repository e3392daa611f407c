/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_LISTING_H
#define VSOCKFS_LISTING_H

#include <stdbool.h>
#include <stdint.h>

#include "nfs41/op.h"

/*
 * Directories as one READDIR has told them, with handles and attributes. A program that looks up
 * one name after the other in a directory costs one round trip for all of them that way: the second
 * LOOKUP for which the server has to be asked reads the directory instead, and so does the first in
 * a directory that was found by such a reading. Where it has served few names it takes more of them
 * the next time. A listing is believed for as long as its attributes would have been, and not once
 * a name in the directory was changed here. Names that are not in it are always asked for. Any
 * worker's thread.
 */

struct listing_table;
struct share;

/* Read of one directory at most, bytes: about 300 names. */
#define LISTING_BLOCK (64u << 10)
/* All that is kept, bytes. */
#define LISTING_MAX (4u << 20)

struct listing;

int listing_table_new(struct share *share, struct listing_table **table);
/* NULL is allowed. */
void listing_table_free(struct listing_table *table);

/* A name in the directory `fh` was asked for, and is there. */
void listing_missed(struct listing_table *table, const struct nfs_fh *fh);
/* The directory was found by a listing. */
void listing_found_dir(struct listing_table *table, const struct nfs_fh *fh);

/*
 * Is the directory to be read instead of looking up a name in it? If so a new listing, to be filled
 * with listing_read and then given to listing_keep or listing_fail. NULL: no.
 */
struct listing *listing_begin(struct listing_table *table, const struct nfs_fh *fh);
/* The same for one that is read along with others of the directory `parent_id`: siblings_used is
 * called when it is first of use, and it is told as a list once only. NULL: there is one, or no
 * memory. */
struct listing *listing_begin_along(
	struct listing_table *table, const struct nfs_fh *fh, uint64_t parent_id);
/* Appends READDIR to `c`. */
void listing_read(
	const struct listing_table *table, struct listing *listing, struct nfs_compound *c);
void listing_keep(
	struct listing_table *table, const struct nfs_fh *fh, struct listing *listing_take);
void listing_fail(
	struct listing_table *table, const struct nfs_fh *fh, struct listing *listing_take);
/* Tells siblings.h of the directories in it, if there is a listing that may be believed. */
void listing_tell_dirs(struct listing_table *table, const struct nfs_fh *fh, uint64_t dir_id);
/* How long a listing is believed, ns; 0: none is. */
uint64_t listing_time(const struct listing_table *table);

/* True: `found` (whose name is of no use) is the object with that name, as it was told when it was
 * asked for at *since (ns), to be believed until *until. */
bool listing_find(struct listing_table *table, const struct nfs_fh *fh, const char *name,
	struct nfs_dirent *found, uint64_t *since, uint64_t *until);
/* Copies a listing that is whole to *res, whose buffer is made large enough; false: there is none.
 */
bool listing_copy(struct listing_table *table, const struct nfs_fh *fh, struct nfs_readdir_res *res,
	uint64_t *since);

/* None is known any more. */
void listing_drop_all(struct listing_table *table);

#endif
