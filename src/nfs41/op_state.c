/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "nfs41/attr.h"
#include "nfs41/op.h"

/* Opens and locks: RFC 8881, 18.2, 18.6, 18.10 to 18.12, 18.16, 18.18, 18.38, 18.48. */

enum { OPEN4_NOCREATE = 0, OPEN4_CREATE = 1 };
enum { UNCHECKED4 = 0, GUARDED4 = 1, EXCLUSIVE4_1 = 3 };
enum { CLAIM_NULL = 0, CLAIM_PREVIOUS = 1, CLAIM_FH = 4, CLAIM_DELEG_CUR_FH = 5 };
enum { NFS_LIMIT_SIZE = 1, NFS_LIMIT_BLOCKS = 2 };
enum { WND4_CONTENTION = 1, WND4_RESOURCE = 2 };

#define OWNER_SIZE 8 /* a number */

#define OWNER_WIRE_MAX	    (8 + 4 + NFS4_OPAQUE_LIMIT)
#define DENIED_WIRE_MAX	    (8 + 8 + 4 + OWNER_WIRE_MAX)
#define ACE_WIRE_MAX	    (12 + 4 + NFS4_OPAQUE_LIMIT)
#define DELEGATION_WIRE_MAX (4 + NFS_ATTR_STATEID_SIZE + 4 + 12 + ACE_WIRE_MAX)
#define OPEN_WIRE_MAX                                                                       \
	(NFS_ATTR_STATEID_SIZE + NFS_ATTR_CHANGE_INFO_SIZE + 4 + NFS_ATTR_BITMAP_WIRE_MAX + \
		DELEGATION_WIRE_MAX)

void nfs_op_put_owner(struct wire_out *out, uint64_t owner)
{
	/* the server takes the client id from the session */
	wire_put_u64(out, 0);
	wire_put_u32(out, OWNER_SIZE);
	wire_put_u64(out, owner);
}

uint64_t nfs_op_get_owner(struct wire_in *in, uint64_t *clientid)
{
	struct wire_in own;
	uint32_t len;

	*clientid = wire_get_u64(in);
	const uint8_t *data = wire_get_opaque(in, NFS4_OPAQUE_LIMIT, &len);
	if (!data || len != OWNER_SIZE)
		return 0;
	wire_in_init(&own, data, OWNER_SIZE);
	return wire_get_u64(&own);
}

static void put_openhow(struct wire_out *out, const struct nfs_open_args *args)
{
	if (args->how == NFS_OPEN_NOCREATE) {
		wire_put_u32(out, OPEN4_NOCREATE);
		return;
	}
	wire_put_u32(out, OPEN4_CREATE);
	if (args->how == NFS_OPEN_EXCLUSIVE) {
		wire_put_u32(out, EXCLUSIVE4_1);
		wire_put_fixed(out, args->verifier, NFS4_VERIFIER_SIZE);
	} else {
		wire_put_u32(out, args->how == NFS_OPEN_GUARDED ? GUARDED4 : UNCHECKED4);
	}
	nfs_attr_put_set(out, args->set);
}

static void put_claim(struct wire_out *out, const struct nfs_open_args *args)
{
	switch (args->claim) {
	case NFS_CLAIM_NAME:
		wire_put_u32(out, CLAIM_NULL);
		wire_put_opaque(out, args->name, args->name_len);
		break;
	case NFS_CLAIM_FH: wire_put_u32(out, CLAIM_FH); break;
	case NFS_CLAIM_PREVIOUS:
		wire_put_u32(out, CLAIM_PREVIOUS);
		wire_put_u32(out, args->delegate_type);
		break;
	case NFS_CLAIM_DELEGATION:
		wire_put_u32(out, CLAIM_DELEG_CUR_FH);
		nfs_attr_put_stateid(out, &args->delegation);
		break;
	}
}

/* nfsace4: of no use to a client whose server checks access anyway */
static void skip_ace(struct wire_in *in)
{
	uint32_t len;

	wire_get_raw(in, 12);
	wire_get_opaque(in, NFS4_OPAQUE_LIMIT, &len);
}

static void skip_space_limit(struct wire_in *in)
{
	uint32_t limitby = wire_get_u32(in);

	if (limitby != NFS_LIMIT_SIZE && limitby != NFS_LIMIT_BLOCKS)
		in->bad = true;
	wire_get_raw(in, 8);
}

/* open_delegation4 */
static void get_delegation(struct wire_in *in, struct nfs_open_res *open)
{
	open->delegation_type = wire_get_u32(in);
	switch (open->delegation_type) {
	case OPEN_DELEGATE_NONE: break;
	case OPEN_DELEGATE_READ:
	case OPEN_DELEGATE_READ_ATTRS_DELEG:
	case OPEN_DELEGATE_WRITE:
	case OPEN_DELEGATE_WRITE_ATTRS_DELEG:
		nfs_attr_get_stateid(in, &open->delegation);
		open->delegation_recall = wire_get_bool(in);
		if (open->delegation_type == OPEN_DELEGATE_WRITE ||
			open->delegation_type == OPEN_DELEGATE_WRITE_ATTRS_DELEG)
			skip_space_limit(in);
		skip_ace(in);
		break;
	case OPEN_DELEGATE_NONE_EXT: {
		uint32_t why = wire_get_u32(in);

		/* whether the server will push or signal one later */
		if (why == WND4_CONTENTION || why == WND4_RESOURCE)
			wire_get_bool(in);
		break;
	}
	default: in->bad = true;
	}
}

static void decode_open(
	struct wire_in *in, uint32_t status, const struct nfs_op_slot *slot, void *res)
{
	struct nfs_open_res open = {0};

	nfs_attr_get_stateid(in, &open.stateid);
	nfs_attr_get_change_info(in, &open.cinfo);
	open.rflags = wire_get_u32(in);
	nfs_attr_get_bitmap(in, &open.attrset);
	get_delegation(in, &open);
	if (!in->bad && res)
		memcpy(res, &open, sizeof(open));
}

void nfs_op_open(struct nfs_compound *c, const struct nfs_open_args *args, struct nfs_open_res *res)
{
	const struct nfs_op_slot slot = {.op = OP_OPEN, .decode = decode_open, .res = res};
	struct wire_out *out = nfs_compound_op(c, &slot, OPEN_WIRE_MAX);

	wire_put_u32(out, 0); /* seqid, unused in sessions, here and below */
	wire_put_u32(out, args->access);
	wire_put_u32(out, args->deny);
	nfs_op_put_owner(out, args->owner);
	put_openhow(out, args);
	put_claim(out, args);
}

static void decode_stateid(
	struct wire_in *in, uint32_t status, const struct nfs_op_slot *slot, void *res)
{
	struct nfs_stateid stateid;

	nfs_attr_get_stateid(in, &stateid);
	if (!in->bad && res)
		memcpy(res, &stateid, sizeof(stateid));
}

void nfs_op_close(struct nfs_compound *c, const struct nfs_stateid *stateid)
{
	const struct nfs_op_slot slot = {.op = OP_CLOSE, .decode = decode_stateid};
	struct wire_out *out = nfs_compound_op(c, &slot, NFS_ATTR_STATEID_SIZE);

	wire_put_u32(out, 0);
	nfs_attr_put_stateid(out, stateid);
}

void nfs_op_delegreturn(struct nfs_compound *c, const struct nfs_stateid *stateid)
{
	nfs_attr_put_stateid(
		nfs_compound_op(c, &(struct nfs_op_slot){.op = OP_DELEGRETURN}, 0), stateid);
}

/* LOCK4denied */
static void get_denied(struct wire_in *in, struct nfs_lock_denied *res)
{
	struct nfs_lock_denied denied = {0};

	denied.range.offset = wire_get_u64(in);
	denied.range.length = wire_get_u64(in);
	denied.range.type = wire_get_u32(in);
	denied.owner = nfs_op_get_owner(in, &denied.owner_clientid);
	if (denied.range.type < READ_LT || denied.range.type > WRITEW_LT)
		in->bad = true;
	if (!in->bad && res)
		memcpy(res, &denied, sizeof(denied));
}

static void decode_lock(
	struct wire_in *in, uint32_t status, const struct nfs_op_slot *slot, void *res)
{
	if (status == NFS4_OK)
		decode_stateid(in, status, slot, res);
	else if (status == NFS4ERR_DENIED)
		get_denied(in, res);
}

void nfs_op_lock(struct nfs_compound *c, const struct nfs_lock_args *args,
	struct nfs_stateid *stateid, struct nfs_lock_denied *denied)
{
	const struct nfs_op_slot slot = {
		.op = OP_LOCK, .decode = decode_lock, .res = stateid, .error_res = denied};
	struct wire_out *out = nfs_compound_op(c, &slot, DENIED_WIRE_MAX);

	wire_put_u32(out, args->range.type);
	wire_put_bool(out, args->reclaim);
	wire_put_u64(out, args->range.offset);
	wire_put_u64(out, args->range.length);
	wire_put_bool(out, args->new_owner);
	if (args->new_owner) {
		wire_put_u32(out, 0);
		nfs_attr_put_stateid(out, &args->open_stateid);
		wire_put_u32(out, 0);
		nfs_op_put_owner(out, args->owner);
	} else {
		nfs_attr_put_stateid(out, &args->lock_stateid);
		wire_put_u32(out, 0);
	}
}

static void decode_lockt(
	struct wire_in *in, uint32_t status, const struct nfs_op_slot *slot, void *res)
{
	if (status == NFS4ERR_DENIED)
		get_denied(in, res);
}

void nfs_op_lockt(struct nfs_compound *c, const struct nfs_lock_range *range, uint64_t owner,
	struct nfs_lock_denied *denied)
{
	const struct nfs_op_slot slot = {
		.op = OP_LOCKT, .decode = decode_lockt, .error_res = denied};
	struct wire_out *out = nfs_compound_op(c, &slot, DENIED_WIRE_MAX);

	wire_put_u32(out, range->type);
	wire_put_u64(out, range->offset);
	wire_put_u64(out, range->length);
	nfs_op_put_owner(out, owner);
}

void nfs_op_locku(struct nfs_compound *c, const struct nfs_lock_range *range,
	const struct nfs_stateid *lock_stateid, struct nfs_stateid *stateid)
{
	const struct nfs_op_slot slot = {.op = OP_LOCKU, .decode = decode_stateid, .res = stateid};
	struct wire_out *out = nfs_compound_op(c, &slot, NFS_ATTR_STATEID_SIZE);

	wire_put_u32(out, range->type);
	wire_put_u32(out, 0);
	nfs_attr_put_stateid(out, lock_stateid);
	wire_put_u64(out, range->offset);
	wire_put_u64(out, range->length);
}

static void decode_test_stateid(
	struct wire_in *in, uint32_t status, const struct nfs_op_slot *slot, void *res)
{
	if (wire_get_u32(in) != 1)
		in->bad = true;
	uint32_t tested = wire_get_u32(in);
	if (!in->bad && res)
		memcpy(res, &tested, sizeof(tested));
}

void nfs_op_test_stateid(
	struct nfs_compound *c, const struct nfs_stateid *stateid, uint32_t *status)
{
	const struct nfs_op_slot slot = {
		.op = OP_TEST_STATEID, .decode = decode_test_stateid, .res = status};
	struct wire_out *out = nfs_compound_op(c, &slot, 8);

	wire_put_u32(out, 1);
	nfs_attr_put_stateid(out, stateid);
}

void nfs_op_free_stateid(struct nfs_compound *c, const struct nfs_stateid *stateid)
{
	nfs_attr_put_stateid(
		nfs_compound_op(c, &(struct nfs_op_slot){.op = OP_FREE_STATEID}, 0), stateid);
}
