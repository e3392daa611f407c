/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "nfs41/types.h"

const struct nfs_stateid nfs_stateid_current = {.seqid = 1};
const struct nfs_stateid nfs_stateid_anonymous = {.seqid = 0};
