/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_GATEWAY_VISIBLE_H
#define VSOCKFS_GATEWAY_VISIBLE_H

#include <stdio.h>

#include "gateway/conf.h"

/*
 * What a server exports already and would show to guests, since their addresses are among its
 * clients. Each such export is one complaint "FILE:LINE:COLUMN: ..."; the results are their number.
 */

/* One file in the form of exports(5). A file that does not exist exports nothing. */
unsigned visible_knfsd(const char *file, const struct conf *conf, FILE *errors);
/* All that knfsd reads, and what exportfs(8) was told; `ours` is left out. */
unsigned visible_knfsd_all(const char *ours, const struct conf *conf, FILE *errors);

/*
 * nfs-ganesha's configuration. Its rules for clients are spread over blocks and defaults, so any
 * EXPORT block of its own counts; what it includes by %include is read too, but for `ours`.
 */
unsigned visible_ganesha(const char *file, const char *ours, FILE *errors);

#endif
