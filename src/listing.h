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
 * a name in the directory was changed here. That a name is not in it is no answer, but for whom it
 * was read (and see whole.h). Any worker's thread.
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
 * with listing_read and then given to listing_keep or listing_fail. NULL: no. `delegable`: what is
 * read now may be trusted for longer, so that it is worth more than a listing that is there.
 */
struct listing *listing_begin(struct listing_table *table, const struct nfs_fh *fh, bool delegable);
/* The same for one that is read along with others of the directory `parent_id`: siblings_used is
 * called when it is first of use, and it is told as a list once, and again only while it is young.
 * NULL: there is one, or no memory. */
struct listing *listing_begin_along(
	struct listing_table *table, const struct nfs_fh *fh, uint64_t parent_id);
/* Appends READDIR to `c`. */
void listing_read(
	const struct listing_table *table, struct listing *listing, struct nfs_compound *c);
/* `held`: its names are trusted while the delegation stands that they were read under. */
void listing_keep(struct listing_table *table, const struct nfs_fh *fh,
	struct listing *listing_take, bool held);
void listing_fail(
	struct listing_table *table, const struct nfs_fh *fh, struct listing *listing_take);
/* Tells siblings.h of the directories in it, if there is a listing that may be believed. */
void listing_tell_dirs(struct listing_table *table, const struct nfs_fh *fh, uint64_t dir_id);
/* How long a listing is believed, ns; 0: none is. */
uint64_t listing_time(const struct listing_table *table);

struct listing_found {
	struct nfs_dirent dirent; /* whose name is of no use */
	uint64_t since;		  /* ns: when it was asked for */
	uint64_t until;		  /* ns: as long as it is to be believed */
	bool held;		  /* the name is, as long as the delegation stands */
};
/* True: *found is the object with that name. */
bool listing_find(struct listing_table *table, const struct nfs_fh *fh, const char *name,
	struct listing_found *found);
/* The names that were read. */
const struct nfs_readdir_res *listing_names(const struct listing *listing);
/* A program has read the directory, all of it in one block: the same as listing_keep. */
void listing_keep_read(struct listing_table *table, const struct nfs_fh *fh,
	const struct nfs_readdir_res *res, uint64_t since, bool held);
/* Copies a listing that is whole to *res, where its buffer is large enough; false: there is none.
 */
bool listing_copy(struct listing_table *table, const struct nfs_fh *fh, struct nfs_readdir_res *res,
	uint64_t *since);

/* May the server be asked to delegate it? Not soon after it has refused or recalled that. */
bool listing_may_ask(struct listing_table *table, const struct nfs_fh *fh);
void listing_not_delegated(struct listing_table *table, const struct nfs_fh *fh);

/* It is not known any more. */
void listing_drop(struct listing_table *table, const struct nfs_fh *fh);
/* None is known any more. */
void listing_drop_all(struct listing_table *table);

#endif
