/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_TOLD_H
#define VSOCKFS_TOLD_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/*
 * What the log has heard of, so that it hears of the same no more than about once a minute, however
 * often programs come across it. Others may push it out.
 */

#define TOLD_PLACES 64

struct told {
	_Atomic uint64_t places[TOLD_PLACES]; /* what, and when */
};

/* Was `text`, in connection with `id`, told lately? If not, it is now. Any thread. */
bool told_lately(struct told *told, uint64_t id, const char *text);

#endif
