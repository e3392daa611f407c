/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_GATEWAY_EXPORTS_WRITE_H
#define VSOCKFS_GATEWAY_EXPORTS_WRITE_H

#include <stdio.h>

#include "gateway/exports.h"

/* Checked exports in the words of a server, whose clients are the guests' addresses. */

/* A file for /etc/exports.d (exports(5)). */
void exports_write_knfsd(const struct exports *exports, const struct conf *conf, FILE *out);

/* EXPORT blocks for nfs-ganesha. -EINVAL when a path cannot be said there, else 0. */
int exports_write_ganesha(const struct exports *exports, const struct conf *conf, FILE *out);

/* Calls `each` with every address and network of guests, or only of those that `name` means. */
void exports_clients(const struct conf *conf, const struct exports_entry *e,
	const struct name *name, void (*each)(void *arg, const char *client), void *arg);

#endif
