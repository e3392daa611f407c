/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_LISTING_PRIV_H
#define VSOCKFS_LISTING_PRIV_H

#include <stdatomic.h>

#include "listing.h"

/* One listing with an index of its names (listing_index.c), as the table of directories in
 * listing.c keeps it. */

struct listing {
	atomic_uint refs;
	uint64_t since, until; /* ns */
	uint64_t ahead_of; /* read along: the node that it is in, until somebody wants it; or 0 */
	bool held;	   /* names are trusted while the directory is delegated */
	bool along, told;  /* it was not read for a LOOKUP; a program has had it as a list */
	struct nfs_readdir_res res;
	uint32_t *places; /* 1 + position in res.data, by the name's hash; 0: free */
	uint32_t mask;	  /* number of places - 1 */
};

/* Bytes that it takes. */
size_t listing_bytes(const struct listing *listing);
/* The last one frees it. NULL is allowed. */
void listing_unref(struct listing *listing);
/* Once it is filled. False: no memory. */
bool listing_index(struct listing *listing);
/* True: *found is what the name stands for. */
bool listing_search(const struct listing *listing, const char *name, struct nfs_dirent *found);

#endif
