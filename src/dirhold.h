/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_DIRHOLD_H
#define VSOCKFS_DIRHOLD_H

#include <stdbool.h>
#include <stdint.h>

#include "nfs41/deleg.h"
#include "nfs41/op.h"
#include "node.h"

/*
 * Directories that the server has delegated to us: while such a delegation stands, what names there
 * are is known without asking (listing.h, whole.h), and so are the directory's own attributes; not
 * the attributes of what the names stand for. It is asked for where a directory is read because
 * several names of it were looked up, in the same compound. What was read while a delegation stood
 * is trusted until that ends. recall.h has the recall. Any worker's thread.
 */

struct share;
struct rpc_cred;

/* What one READDIR has to do with it. */
struct dirhold {
	uint64_t before; /* the delegation that it was sent under; 0: none */
	bool asked, granted;
	bool first;  /* it was asked for in front of READDIR, else behind all else */
	unsigned at; /* operations in front of what asks */
	struct deleg_asking asking;
	struct nfs_dir_delegation_res res;
};

/* Is it, or might it be, delegated? */
bool dirhold_possible(struct share *share, const struct node *dir);
/*
 * `c` goes to the directory, by right of `cred`, and is about to read it: may ask for the
 * delegation first. A server of which nobody knows whether it has the operation would not do
 * what comes behind it, so there dirhold_finish asks, at the compound's end.
 */
void dirhold_begin(struct share *share, const struct node *dir, struct rpc_cred *cred,
	struct nfs_compound *c, struct dirhold *hold);
void dirhold_finish(struct share *share, const struct node *dir, struct rpc_cred *cred,
	struct nfs_compound *c, struct dirhold *hold);
/* In `done`, before all else that looks at status and ops_ok: they become those of the other
 * operations. True: nothing behind it was done, so the compound is to be sent again; it will not
 * ask again. */
bool dirhold_unload(
	struct share *share, const struct node *dir, struct dirhold *hold, struct nfs_compound *c);
/* May what was read be kept for as long as a delegation stands? If it is, it has to be there before
 * dirhold_end, which makes it go if it may not. */
bool dirhold_covers(const struct dirhold *hold);
/* After dirhold_begin in any case. */
void dirhold_end(
	struct share *share, struct node *dir, struct rpc_cred *cred, struct dirhold *hold);

/* How long the kernel may believe that the directory lacks a name, seconds: not longer than one
 * while it is delegated, since a recall does not reach what the kernel knows of single names, and
 * the daemon knows it. */
void dirhold_limit(struct share *share, struct node *dir, double *left);
/* Does one stand, and can the server not have given it to somebody else? It counts as used. */
bool dirhold_stands(struct share *share, const struct node *dir);
/* It does not any more. `dir` may be NULL: nobody knows it. */
void dirhold_forget(struct share *share, const struct nfs_fh *fh, const struct node *dir);

#endif
