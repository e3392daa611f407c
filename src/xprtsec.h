/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_XPRTSEC_H
#define VSOCKFS_XPRTSEC_H

#include "options.h"
#include "vsock/tls.h"

/*
 * Reads what xprtsec= needs, once and while there is a right to; *context is NULL where it is none.
 * 0, or -errno with a line said. tls_context_free.
 */
int xprtsec_load(const struct options *options, struct tls_context **context);

#endif
