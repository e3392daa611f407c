/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_NFS41_ERROR_H
#define VSOCKFS_NFS41_ERROR_H

#include <stdint.h>

/* nfsstat4 as -errno, as the Linux kernel's client maps it; unknown numbers become -EIO. */
int nfs_error_errno(uint32_t status);
/* "NFS4ERR_NOENT", or "nfsstat4 12345" in a static buffer of the thread. */
const char *nfs_error_name(uint32_t status);
/* "LOOKUP", or "op 99". */
const char *nfs_op_name(uint32_t op);

#endif
