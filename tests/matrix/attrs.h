/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef TESTS_MATRIX_ATTRS_H
#define TESTS_MATRIX_ATTRS_H

#include "nfs41/types.h"

/* FATTR4_SUPPORTED_ATTRS of `source`'s directory, from a client without a mount. 0 or -1, with a
 * line on standard error. */
int attrs_ask(const char *source, struct nfs_bitmap *supported);

#endif
