/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "nfs41/op.h"

/* Current and saved filehandle, and names: RFC 8881, 18.8, 18.13, 18.14, 18.19, 18.21, 18.27,
 * 18.28. */

static void plain_op(struct nfs_compound *c, uint32_t op)
{
	nfs_compound_op(c, &(struct nfs_op_slot){.op = op}, 0);
}

void nfs_op_putfh(struct nfs_compound *c, const struct nfs_fh *fh)
{
	struct wire_out *out = nfs_compound_op(c, &(struct nfs_op_slot){.op = OP_PUTFH}, 0);

	wire_put_opaque(out, fh->data, fh->len);
}

void nfs_op_putrootfh(struct nfs_compound *c)
{
	plain_op(c, OP_PUTROOTFH);
}

void nfs_op_savefh(struct nfs_compound *c)
{
	plain_op(c, OP_SAVEFH);
}

void nfs_op_restorefh(struct nfs_compound *c)
{
	plain_op(c, OP_RESTOREFH);
}

void nfs_op_lookup(struct nfs_compound *c, const char *name, size_t len)
{
	struct wire_out *out = nfs_compound_op(c, &(struct nfs_op_slot){.op = OP_LOOKUP}, 0);

	wire_put_opaque(out, name, len);
}

static void decode_getfh(
	struct wire_in *in, uint32_t status, const struct nfs_op_slot *slot, void *res)
{
	struct nfs_fh *fh = res;
	uint32_t len;
	const uint8_t *data = wire_get_opaque(in, NFS4_FHSIZE, &len);

	if (len == 0)
		in->bad = true;
	if (!data || in->bad || !fh)
		return;
	fh->len = (uint8_t)len;
	memcpy(fh->data, data, len);
}

void nfs_op_getfh(struct nfs_compound *c, struct nfs_fh *fh)
{
	nfs_compound_op(c, &(struct nfs_op_slot){.op = OP_GETFH, .decode = decode_getfh, .res = fh},
		4 + NFS4_FHSIZE);
}
