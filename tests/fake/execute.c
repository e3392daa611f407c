/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the fake server does with a compound when no script interferes. */
#include "fake.h"

static uint32_t min_u32(uint32_t a, uint32_t b)
{
	return a < b ? a : b;
}

static void put_exchange_id(struct fake *fake, struct wire_out *out)
{
	bool confirmed = fake->clientid_known && fake->clientid_confirmed;
	if (!confirmed)
		fake->create_sequence = 1;
	fake->clientid_known = true;
	wire_put_u64(out, fake->clientid);
	wire_put_u32(out, fake->create_sequence);
	wire_put_u32(out, confirmed ? EXCHGID4_FLAG_CONFIRMED_R : 0);
	wire_put_u32(out, 0); /* SP4_NONE */
	wire_put_u64(out, 1); /* server owner */
	wire_put_opaque(out, "fake", 4);
	wire_put_opaque(out, "fake", 4);
	wire_put_u32(out, 0); /* server impl id */
}

static void put_channel(struct fake *fake, struct wire_out *out, const uint32_t asked[6], bool fore)
{
	wire_put_u32(out, 0);
	wire_put_u32(out, fore ? min_u32(asked[1], fake->max_request) : asked[1]);
	wire_put_u32(out, fore ? min_u32(asked[2], fake->max_response) : asked[2]);
	wire_put_u32(out, asked[3]);
	wire_put_u32(out, asked[4]);
	wire_put_u32(out, fore ? fake->slots : asked[5]);
	wire_put_u32(out, 0);
}

static void put_create_session(struct fake *fake, struct fake_call *call, struct wire_out *out)
{
	fake->sessions++;
	fake->session_alive = fake->clientid_confirmed = true;
	fake->slots = min_u32(min_u32(call->fore[5], fake->granted_slots), FAKE_SLOTS);
	memset(fake->slot, 0, sizeof(fake->slot));
	memset(fake->sessionid, 0, sizeof(fake->sessionid));
	wire_store_u32(fake->sessionid, 0xfa4e0000 + fake->sessions);
	call->conn->bound = true;
	wire_put_fixed(out, fake->sessionid, NFS4_SESSIONID_SIZE);
	wire_put_u32(out, call->create_sequence);
	wire_put_u32(out, call->flags);
	put_channel(fake, out, call->fore, true);
	put_channel(fake, out, call->back, false);
	fake->create_sequence++;
}

static uint32_t create_session(struct fake *fake, struct fake_call *call, struct wire_out *out)
{
	size_t start = out->len;
	if (!fake->clientid_known || call->clientid != fake->clientid)
		return NFS4ERR_STALE_CLIENTID;
	if (call->create_sequence + 1 == fake->create_sequence) {
		fake->replays++;
		wire_put_fixed(out, fake->create_reply, fake->create_reply_len);
		return NFS4_OK;
	}
	if (call->create_sequence != fake->create_sequence)
		return NFS4ERR_SEQ_MISORDERED;
	put_create_session(fake, call, out);
	fake->create_reply_len = out->len - start;
	memcpy(fake->create_reply, out->data + start, fake->create_reply_len);
	return NFS4_OK;
}

static uint32_t bind_conn(struct fake *fake, struct fake_call *call, struct wire_out *out)
{
	if (fake->no_bind_op)
		return NFS4ERR_NOTSUPP;
	if (!fake->session_alive ||
		memcmp(call->sessionid, fake->sessionid, NFS4_SESSIONID_SIZE) != 0)
		return NFS4ERR_BADSESSION;
	call->conn->bound = true;
	wire_put_fixed(out, fake->sessionid, NFS4_SESSIONID_SIZE);
	wire_put_u32(out, CDFS4_BOTH);
	wire_put_bool(out, false);
	return NFS4_OK;
}

static uint32_t sequence(struct fake *fake, struct fake_call *call, struct wire_out *out)
{
	if (!fake->session_alive ||
		memcmp(call->sessionid, fake->sessionid, NFS4_SESSIONID_SIZE) != 0)
		return NFS4ERR_BADSESSION;
	if (!call->conn->bound && !fake->no_bind_op)
		return NFS4ERR_CONN_NOT_BOUND_TO_SESSION;
	if (call->slot >= fake->slots)
		return NFS4ERR_BADSLOT;
	struct fake_slot *slot = &fake->slot[call->slot];
	if (call->sequence != slot->sequence + 1)
		return NFS4ERR_SEQ_MISORDERED;
	slot->sequence = call->sequence;
	slot->cached = false;
	wire_put_fixed(out, fake->sessionid, NFS4_SESSIONID_SIZE);
	wire_put_u32(out, call->sequence);
	wire_put_u32(out, call->slot);
	wire_put_u32(out, fake->slots - 1);
	wire_put_u32(out, min_u32(fake->target, fake->slots - 1));
	wire_put_u32(out, fake->status_flags);
	return NFS4_OK;
}

static void put_getattr(struct fake *fake, uint32_t want, struct wire_out *out)
{
	want &= 1u << FATTR4_LEASE_TIME | 1u << FATTR4_CHANGE;
	wire_put_u32(out, 1);
	wire_put_u32(out, want);
	wire_put_u32(out,
		(want & 1u << FATTR4_CHANGE ? 8 : 0) + (want & 1u << FATTR4_LEASE_TIME ? 4 : 0));
	if (want & 1u << FATTR4_CHANGE)
		wire_put_u64(out, 4711);
	if (want & 1u << FATTR4_LEASE_TIME)
		wire_put_u32(out, fake->lease);
}

static void put_read(uint32_t count, struct wire_out *out)
{
	count = min_u32(count, FAKE_READ_MAX);
	wire_put_bool(out, true);
	wire_put_u32(out, count);
	uint8_t *data = wire_put_raw(out, count + wire_pad(count));
	if (data)
		memset(data, 'r', count + wire_pad(count));
}

static void put_change_info(struct wire_out *out)
{
	wire_put_bool(out, true);
	wire_put_u64(out, 1);
	wire_put_u64(out, 2);
}

static void put_stateid(struct wire_out *out, const char *other)
{
	wire_put_u32(out, 1);
	wire_put_fixed(out, other, NFS4_OTHER_SIZE);
}

static void put_open(const struct fake *fake, struct wire_out *out)
{
	/* none for who claims what is delegated already */
	bool asked = fake->open_claim == 4 || fake->open_delegate != OPEN_DELEGATE_NONE;
	bool delegate = (asked || fake->delegate_unasked) && fake->delegate != OPEN_DELEGATE_NONE;
	put_stateid(out, "an open file");
	put_change_info(out);
	wire_put_u32(out, fake->open_rflags);
	wire_put_u32(out, 0);
	wire_put_u32(out, delegate ? fake->delegate : OPEN_DELEGATE_NONE);
	if (!delegate)
		return;
	put_stateid(out, fake->delegation ? fake->delegation : "a delegation");
	wire_put_bool(out, fake->recall);
	if (fake->delegate == OPEN_DELEGATE_WRITE) {
		wire_put_u32(out, 1);
		wire_put_u64(out, UINT64_MAX);
	}
	for (unsigned i = 0; i < 3; i++)
		wire_put_u32(out, 0);
	wire_put_opaque(out, "OWNER@", 6);
}

static void put_dir_delegation(const struct fake *fake, struct wire_out *out)
{
	wire_put_u32(out, fake->refuse_dirs ? GDD4_UNAVAIL : GDD4_OK);
	if (fake->refuse_dirs) {
		wire_put_bool(out, false);
		return;
	}
	wire_put_u64(out, 0);
	put_stateid(out, fake->delegation ? fake->delegation : "a delegation");
	for (unsigned i = 0; i < 3; i++)
		wire_put_u32(out, 0);
}

static uint32_t destroy_session(struct fake *fake)
{
	uint32_t status = fake->session_alive ? NFS4_OK : NFS4ERR_BADSESSION;
	fake->session_alive = false;
	return status;
}

static uint32_t destroy_clientid(struct fake *fake, const struct fake_call *call)
{
	if (!fake->clientid_known || call->clientid != fake->clientid)
		return NFS4ERR_STALE_CLIENTID;
	if (fake->session_alive)
		return NFS4ERR_CLIENTID_BUSY;
	fake->clientid_known = fake->reclaim_completed = false;
	return NFS4_OK;
}

/* The body of an operation that succeeds; its status otherwise. */
static uint32_t execute_op(
	struct fake *fake, struct fake_call *call, unsigned i, struct wire_out *out)
{
	switch (call->op[i]) {
	case OP_SEQUENCE: return sequence(fake, call, out);
	case OP_EXCHANGE_ID: put_exchange_id(fake, out); return NFS4_OK;
	case OP_CREATE_SESSION: return create_session(fake, call, out);
	case OP_BIND_CONN_TO_SESSION: return bind_conn(fake, call, out);
	case OP_DESTROY_SESSION: return destroy_session(fake);
	case OP_DESTROY_CLIENTID: return destroy_clientid(fake, call);
	case OP_GETATTR: put_getattr(fake, call->count[i], out); return NFS4_OK;
	case OP_READ: put_read(call->count[i], out); return NFS4_OK;
	case OP_REMOVE: put_change_info(out); return NFS4_OK;
	case OP_OPEN: put_open(fake, out); return NFS4_OK;
	case OP_CLOSE: put_stateid(out, "an open file"); return NFS4_OK;
	case OP_GET_DIR_DELEGATION: put_dir_delegation(fake, out); return NFS4_OK;
	case OP_TEST_STATEID:
		wire_put_u32(out, 1);
		wire_put_u32(out, NFS4_OK);
		return NFS4_OK;
	case OP_PUTFH:
	case OP_DELEGRETURN:
	case OP_FREE_STATEID:
	case OP_PUTROOTFH:
	case OP_LOOKUP: return NFS4_OK;
	case OP_RECLAIM_COMPLETE:
		if (fake->reclaim_completed)
			return NFS4ERR_COMPLETE_ALREADY;
		fake->reclaim_completed = true;
		return NFS4_OK;
	default: return NFS4ERR_NOTSUPP;
	}
}

static void put_op(struct wire_out *out, uint32_t op, uint32_t status)
{
	wire_put_u32(out, op);
	wire_put_u32(out, status);
}

/* A retransmission, answered from the slot; false: it is none. */
static bool execute_replay(struct fake *fake, struct fake_call *call, struct wire_out *out)
{
	if (!call->sequenced || call->slot >= fake->slots || !fake->session_alive ||
		!call->conn->bound ||
		memcmp(call->sessionid, fake->sessionid, NFS4_SESSIONID_SIZE) != 0)
		return false;
	struct fake_slot *slot = &fake->slot[call->slot];
	if (call->sequence != slot->sequence || slot->reply_len == 0)
		return false;
	fake->replays++;
	if (slot->cached) {
		wire_put_fixed(out, slot->reply, slot->reply_len);
		return true;
	}
	uint32_t status = call->nops == 1 ? NFS4ERR_SEQ_FALSE_RETRY : NFS4ERR_RETRY_UNCACHED_REP;
	wire_put_u32(out, status);
	wire_put_u32(out, 0);
	if (call->nops == 1) {
		wire_put_u32(out, 1);
		put_op(out, OP_SEQUENCE, status);
		return true;
	}
	wire_put_u32(out, 2);
	put_op(out, OP_SEQUENCE, NFS4_OK);
	slot->sequence--;
	sequence(fake, call, out);
	put_op(out, call->op[1], status);
	return true;
}

static uint32_t execute_all(struct fake *fake, struct fake_call *call, struct wire_out *out)
{
	uint32_t status = NFS4_OK, done = 0;
	size_t start = out->len;
	wire_put_u32(out, NFS4_OK);
	wire_put_u32(out, 0);
	wire_put_u32(out, 0);
	for (; done < call->nops && status == NFS4_OK; done++) {
		put_op(out, call->op[done], NFS4_OK);
		size_t at = out->len;
		status = call->fail_status && call->fail_at == done
				 ? call->fail_status
				 : execute_op(fake, call, done, out);
		wire_store_u32(out->data + at - 4, status);
		if (status == NFS4_OK && call->op[done] < NFS_OP_LIMIT)
			fake->executed[call->op[done]]++;
	}
	wire_store_u32(out->data + start, status);
	wire_store_u32(out->data + start + 8, done);
	return done;
}

void fake_execute(struct fake *fake, struct fake_call *call, struct wire_out *out)
{
	if (call->sequenced && !fake->strict_bind && fake->session_alive &&
		memcmp(call->sessionid, fake->sessionid, NFS4_SESSIONID_SIZE) == 0)
		call->conn->bound = true;
	if (call->minor < 1 || call->minor > fake->minor_max) {
		wire_put_u32(out, NFS4ERR_MINOR_VERS_MISMATCH);
		wire_put_u32(out, 0);
		wire_put_u32(out, 0);
		return;
	}
	if (execute_replay(fake, call, out))
		return;
	size_t start = out->len;
	execute_all(fake, call, out);
	struct fake_slot *slot = &fake->slot[call->slot % FAKE_SLOTS];
	if (!call->sequenced || call->sequence != slot->sequence)
		return;
	slot->cached = call->cachethis || call->nops == 1;
	slot->reply_len = out->len - start;
	memcpy(slot->reply, out->data + start, slot->reply_len);
}
