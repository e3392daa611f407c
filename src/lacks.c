/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lacks.h"

#include "nfs41/proto.h"

static uint32_t lacks_bit(uint32_t op)
{
	if (op == OP_GET_DIR_DELEGATION)
		return UINT32_C(1) << 31;
	return op >= OP_ALLOCATE && op < NFS_OP_LIMIT ? UINT32_C(1) << (op - OP_ALLOCATE) : 0;
}

bool lacks_op(const struct lacks *lacks, uint16_t fs, uint32_t op)
{
	return fs < LACKS_MAX && (atomic_load(&lacks->ops[fs]) & lacks_bit(op));
}

bool lacks_note(struct lacks *lacks, uint16_t fs, uint32_t op, int status)
{
	if (status != NFS4ERR_NOTSUPP && status != NFS4ERR_OP_ILLEGAL)
		return false;
	if (fs < LACKS_MAX)
		atomic_fetch_or(&lacks->ops[fs], lacks_bit(op));
	return true;
}
