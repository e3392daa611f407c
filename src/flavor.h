/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_FLAVOR_H
#define VSOCKFS_FLAVOR_H

#include <stdbool.h>

#include "rpc/cred.h"

/*
 * Which security flavor a mount has: that of sec=, else what the server asks for (SECINFO, in
 * export.c). It may ask for another one with each name on the way to the export. Main thread, but
 * for flavor_is_usable.
 */

struct options;
struct share;

/* May it be used, as sec= has it, and can it? Kerberos was started by then, or was not. */
bool flavor_is_usable(const struct options *options, enum rpc_sec sec);

/*
 * The options with which to connect next, since the server did not let this share in with its
 * flavor: another one of those that were asked for, else of those that the server names, in that
 * order, from the directory on where the present one ends. Or NULL. Valid until the next call.
 */
const struct options *flavor_next(const struct share *share);

#endif
