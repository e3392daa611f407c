/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_LOOK_H
#define VSOCKFS_LOOK_H

#include <stdint.h>

struct share;
struct status_facts;

/*
 * Has every worker say how its connection and requests are. A worker that has not answered after
 * `ns`, or owes the answer to an earlier look, is left out: facts->answers tells who is in. 0, or
 * -ENOMEM with nobody in. Not from a worker.
 */
int look_at_workers(struct share *share, uint64_t ns, struct status_facts *facts);

#endif
