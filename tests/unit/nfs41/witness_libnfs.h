/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_TESTS_NFS41_WITNESS_LIBNFS_H
#define VSOCKFS_TESTS_NFS41_WITNESS_LIBNFS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * libnfs's NFSv4 codec as an independent witness. Its header uses the names of nfs41/proto.h,
 * so only witness_libnfs.c sees it.
 */

/*
 * What libnfs reads in COMPOUND4args `data`: one operation after another in words, separated by
 * "; ". False when it cannot decode them or bytes are left over.
 */
bool witness_args(const uint8_t *data, size_t len, char *text, size_t cap);

/*
 * Whether libnfs decodes COMPOUND4res `data`, and encodes what it decoded into the very same
 * bytes.
 */
bool witness_res(const uint8_t *data, size_t len);

/*
 * The result of the case `name` as libnfs encodes it from its own types, opcode and status
 * included. Returns its length; 0 for a case that libnfs does not speak for.
 */
size_t witness_result(const char *name, uint8_t *data, size_t cap);

/*
 * fattr4 as libnfs encodes it, attribute by attribute through its own type for each, with the
 * values of case_put_fattr. Returns its length.
 */
size_t witness_fattr(uint8_t *data, size_t cap);

#endif
