/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_FSOP_COPY_H
#define VSOCKFS_FSOP_COPY_H

#include "fsop.h"

/* copy_file_range(2): the copying (fsop_copy.c), and the waiting for a copy that goes on after its
 * COPY was answered (fsop_offload.c). Of requests whose u.copy is in use. */

/* req->u.copy.res has the stateid. Ends in one of the others. */
void copy_wait(struct fsop_request *req);

/* res.write is what was copied: commits it unless it is stable, and goes on. */
void copy_commit(struct fsop_request *req);
/* What was to be copied is not there: once more, unless that was done too often. */
void copy_again(struct fsop_request *req);
/* `status`: nfsstat4 or -errno. */
void copy_fail(struct fsop_request *req, int status);

#endif
