/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_FSOP_OPEN_H
#define VSOCKFS_FSOP_OPEN_H

#include "fsop.h"

/* What OPENs have in common: those of files that there are, those that make them (fsop_create.c),
 * and those that are sent ahead of a program (fsop_preopen.c). */

/* Takes up what a program asks for in req->u.open. */
void fsop_open_prepare(struct fsop_request *req, const struct fuse_file_info *fi);
/* The WANT_* bits for the OPEN that is about to be sent; `fh` is NULL for one that makes the file.
 * deleg_answered, or fsop_open_delegated, follows in any case. */
uint32_t fsop_open_want(struct fsop_request *req, const struct nfs_fh *fh);
/* Asks what else the opener may do, for opens under a delegation that this one may bring. */
void fsop_open_put_access(struct fsop_request *req);
/* Appends to req->compound, behind PUTFH of req->node, what opens it as req->u.open says, with
 * what there is to know and the first `read` bytes. */
void fsop_open_put(struct fsop_request *req, uint32_t read);
/* What became of that: 0 or -errno, *read if the file was read, too. It may be open all the same:
 * when two operations succeeded. */
int fsop_open_took(struct fsop_request *req, bool *read);

/* A file that this user may write and not read: the kernel gets no pages of it. True: to be opened
 * once more. What is refused behind OPEN is another matter, and the file is open then. */
bool fsop_open_narrow(struct fsop_request *req);
/* What the kernel may keep in its page cache for this open of `node`. True: not before it has
 * dropped what it has, attributes included. */
bool fsop_open_note(struct fsop_request *req, struct node *node, enum node_cached cached);

/* The open of req->fh that was granted, on record. NULL without memory, and closed again. */
struct nfs_open *fsop_open_record(struct fsop_request *req);
/* After that: keeps the delegation that came with it. True: `node` is delegated. */
bool fsop_open_delegated(struct fsop_request *req, struct node *node);
/* Both, and the open file as req->file. 0 or -errno, with the state given back. */
int fsop_open_make_file(struct fsop_request *req, struct node *node);

/* fsop_store.c: puts the first `len` bytes of req->node, which are all of it, into the kernel's
 * page cache; between node_note_open and node_note_stored. False: it does not take them. */
bool fsop_store(const struct fsop_request *req, const struct buf *buf, uint32_t len);

/* fsop_preopen.c: a program opens req->node; opens what it will open next. */
void fsop_preopen(struct fsop_request *req);

#endif
