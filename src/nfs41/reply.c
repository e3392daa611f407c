/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>

#include "nfs41/client_priv.h"
#include "nfs41/error.h"
#include "nfs41/handling.h"
#include "util/log.h"

/*
 * What a reply means for the compound, its slot and the session (RFC 8881, 2.10.6), as the table in
 * handling.c has it.
 *
 * After NFS4ERR_DELAY the kernel's client waits 100 ms and more, for the sake of servers with
 * thousands of clients. Here the server has few, and the usual cause, a delegation being recalled
 * from a responsive neighbour, is over within milliseconds.
 */
#define REPLY_DELAY_MIN UINT64_C(10000000)   /* ns */
#define REPLY_DELAY_MAX UINT64_C(1000000000) /* ns */
#define REPLY_GRACE	UINT64_C(1000000000) /* ns */

static struct nfs_compound *reply_compound(struct rpc_call *call)
{
	return (struct nfs_compound *)((char *)call - offsetof(struct nfs_compound, call));
}

static uint64_t reply_delay(struct nfs_compound *c)
{
	uint64_t delay = REPLY_DELAY_MIN << (c->p.delays < 7 ? c->p.delays : 7);
	c->p.delays++;
	return delay < REPLY_DELAY_MAX ? delay : REPLY_DELAY_MAX;
}

static void reply_count(struct nfs_compound *c)
{
	struct nfs_op_stats *stats = &c->conn->stats.op[c->label < NFS_OP_LIMIT ? c->label : 0];
	conn_count(&stats->replies, 1);
	conn_count(&stats->bytes_in, c->call.bytes_in);
}

static void reply_count_error(struct nfs_compound *c)
{
	conn_count(&c->conn->stats.op[c->label < NFS_OP_LIMIT ? c->label : 0].errors, 1);
}

/* The session cannot be used any more. This request was not executed in it, an earlier copy of it
 * may have been. */
static void reply_session_lost(struct nfs_compound *c, int status)
{
	client_session_lost(c->conn->client, c->p.grant.generation, status);
	call_release(c, false, SLOT_NO_TARGET);
	if (c->one_session)
		call_end(c, -ESTALE);
	else
		call_again(c);
}

static void reply_bad_slot(struct nfs_compound *c, const struct slot_grant *grant)
{
	if (grant->slot == 0) {
		reply_session_lost(c, NFS4ERR_BADSLOT);
		return;
	}
	slot_table_shrink(&c->conn->client->slots, grant->generation, grant->slot - 1);
	call_release(c, false, SLOT_NO_TARGET);
	call_queue_first(c);
}

/* Not what a name leads to: that is for whoever looks it up. */
static bool reply_is_about_handle(const struct nfs_compound *c)
{
	bool put = false, saved = false;
	for (unsigned i = 0; i <= c->ops_ok && i < c->nops; i++)
		switch (c->ops[i].op) {
		case OP_PUTFH: put = true; break;
		case OP_SAVEFH: saved = put; break;
		case OP_RESTOREFH: put = saved; break;
		case OP_PUTROOTFH: put = false; break;
		case OP_CREATE:
		case OP_LOOKUP:
		case OP_LOOKUPP: put = put && i == c->ops_ok; break;
		}
	return put;
}

static bool reply_moved(struct nfs_compound *c)
{
	if (c->privileged || !c->conn->client->move_ops || !reply_is_about_handle(c))
		return false;
	c->p.garbage = c->p.cuts = 0;
	c->p.uncertain = !nfs_compound_may_repeat(c);
	move_await(c);
	return true;
}

/* SEQUENCE went well: what did the operations say? False: it is for the owner. */
static bool reply_handle_executed(struct nfs_compound *c, int status)
{
	enum handling handling = handling_of((uint32_t)status, HANDLING_AT_OPERATION);
	if (handling == HANDLING_REPEATED) {
		call_repeat(c);
		return true;
	}
	if (handling == HANDLING_MOVED)
		return reply_moved(c);
	if (!nfs_compound_may_repeat(c))
		return false;
	switch (handling) {
	case HANDLING_DELAY:
		if (c->optional)
			return false;
		/* fallthrough */
	case HANDLING_GRACE:
		c->p.garbage = c->p.cuts = 0;
		call_pause(c, handling == HANDLING_GRACE ? REPLY_GRACE : reply_delay(c));
		return true;
	case HANDLING_UNCACHED:
		if (c->p.uncached)
			return false;
		c->p.uncached = true;
		call_queue_first(c);
		return true;
	case HANDLING_SESSION: reply_session_lost(c, status); return true;
	default: return false;
	}
}

static void reply_executed(struct nfs_compound *c, int status)
{
	c->p.uncertain = false;
	if (status == NFS4_OK || !reply_handle_executed(c, status))
		call_end(c, status);
}

/* SEQUENCE failed: nothing was executed, the sequence id is still to be used. False: as above. */
static bool reply_handle_refused(struct nfs_compound *c, int status)
{
	enum handling handling = handling_of((uint32_t)status, HANDLING_AT_SEQUENCE);
	switch (handling) {
	case HANDLING_DELAY:
	case HANDLING_GRACE:
		/* A copy of it may be at work in this slot: then only the same request may follow
		 * in it. */
		if (!c->p.uncertain)
			call_release(c, false, SLOT_NO_TARGET);
		call_pause(c, handling == HANDLING_GRACE ? REPLY_GRACE : reply_delay(c));
		return true;
	case HANDLING_REPEATED:
		call_release(c, true, SLOT_NO_TARGET);
		call_repeat(c);
		return true;
	case HANDLING_SLOTS: reply_bad_slot(c, &c->p.grant); return true;
	case HANDLING_BIND:
		call_hold(c);
		conn_lost_binding(c->conn);
		return true;
	case HANDLING_STRIPPED:
		if (!c->p.stripped) {
			reply_session_lost(c, status);
			return true;
		}
		/* the slot was used up by what this one stands for */
		call_release(c, true, SLOT_NO_TARGET);
		call_end(c, -ECANCELED);
		return true;
	case HANDLING_SESSION: reply_session_lost(c, status); return true;
	case HANDLING_UNCACHED:
		if (c->p.uncached)
			return false;
		c->p.uncached = true;
		call_release(c, false, SLOT_NO_TARGET);
		call_queue_first(c);
		return true;
	default: return false;
	}
}

static void reply_refused(struct nfs_compound *c, int status)
{
	if (reply_handle_refused(c, status))
		return;
	call_release(c, false, SLOT_NO_TARGET);
	call_end(c, status);
}

static void reply_sequenced(struct nfs_compound *c, const struct nfs_sequence_res *seq, int status)
{
	struct nfs_conn *conn = c->conn;
	if (seq->status != NFS4_OK) {
		reply_refused(c, (int)seq->status);
	} else {
		conn->garbage = conn->silences = 0;
		if (conn->backoff > CONN_BACKOFF_MIN && conn->state == CONN_BOUND)
			conn->backoff = CONN_BACKOFF_MIN;
		atomic_store_explicit(&conn->renewed_at, c->call.sent_at, memory_order_relaxed);
		client_seen_flags(conn->client, c->p.grant.generation, seq->status_flags);
		call_release(c, true, seq->target_highest_slot);
		if (c->abandoned)
			call_end(c, -ECANCELED);
		else
			reply_executed(c, status);
	}
	call_pump(conn);
}

/* No reply will come, or none that can be used. The request stays for the next connection: there
 * it goes out with the same slot and sequence, which keeps it from being executed twice. */
static void reply_cut(struct nfs_compound *c, bool garbage)
{
	if (c->p.probe) {
		probe_answered(c, NULL, -ECONNRESET, false);
		return;
	}
	if (!c->sequenced) {
		call_end(c, garbage ? -EPROTO : -ECONNRESET);
		return;
	}
	c->p.garbage += garbage;
	if (c->call.bytes_out > 0) {
		c->p.uncertain = true;
		c->p.cut_serial = c->conn->serial;
	}
	call_hold(c);
}

static int reply_rejected(struct nfs_compound *c, int err)
{
	log_debug("%s: %s was rejected: %s", c->conn->client->peer, nfs_op_name(c->label),
		c->call.reason ? c->call.reason : "no reason");
	reply_count_error(c);
	if (c->p.probe) {
		probe_answered(c, NULL, err, false);
		return 0;
	}
	/* an RPC layer that refuses does not get as far as SEQUENCE */
	struct nfs_conn *conn = c->conn;
	call_release(c, false, SLOT_NO_TARGET);
	/* a program knows no such word */
	call_end(c, c->sequenced && err == -EPROTO ? -EIO : err);
	call_pump(conn);
	return 0;
}

/* After SEQUENCE, whose result was checked, comes what a probe does not ask for. */
static bool reply_is_of_another(const uint8_t *data, size_t len)
{
	struct wire_in in;
	uint32_t tag_len;
	wire_in_init(&in, data, len);
	wire_get_u32(&in);
	wire_get_opaque(&in, NFS4_OPAQUE_LIMIT, &tag_len);
	uint32_t results = wire_get_u32(&in);
	/* SEQUENCE4res: opcode, status, sessionid and five numbers */
	wire_get_raw(&in, 8 + NFS4_SESSIONID_SIZE + 20);
	uint32_t op = wire_get_u32(&in);
	return !in.bad && results > 1 && op != OP_PUTROOTFH;
}

/* The reply to a probe, unless it is garbage. Another's reply begins with the same SEQUENCE. */
static int reply_probe(struct nfs_compound *c, const uint8_t *data, size_t len)
{
	struct nfs_sequence_res seq;
	bool foreign = nfs_compound_decode(c, data, len, 0, &seq) != 0;
	int err = foreign ? nfs_compound_decode_stripped(c, data, len, &seq) : 0;
	/* a damaged answer to the probe itself is no sign of a twin */
	if (!err && foreign && (seq.status != NFS4_OK || !reply_is_of_another(data, len)))
		err = -EPROTO;
	if (err) {
		reply_cut(c, true);
		return err;
	}
	watch_heard(c->conn);
	if (c->status != NFS4_OK)
		reply_count_error(c);
	probe_answered(c, &seq, 0, foreign);
	return 0;
}

int reply_done(struct rpc_call *call, int err, const uint8_t *data, size_t len, size_t sink_len)
{
	struct nfs_compound *c = reply_compound(call);
	call_unplace(c);
	return reply_received(c, err, data, len, sink_len);
}

int reply_received(
	struct nfs_compound *c, int err, const uint8_t *data, size_t len, size_t sink_len)
{
	struct nfs_sequence_res seq;
	if (err == -ECONNRESET || err == -EBADMSG) {
		reply_cut(c, err == -EBADMSG);
		return 0;
	}
	reply_count(c);
	if (err) {
		watch_heard(c->conn);
		return reply_rejected(c, err);
	}
	if (c->p.probe)
		return reply_probe(c, data, len);
	int kept = c->status;
	err = c->p.stripped ? nfs_compound_decode_stripped(c, data, len, &seq)
			    : nfs_compound_decode(c, data, len, sink_len, &seq);
	int status = c->status;
	if (c->p.delivered)
		c->status = kept;
	if (err) {
		reply_cut(c, true);
		return err;
	}
	watch_heard(c->conn);
	conn_count(&c->conn->stats.copied, c->call.copied);
	if (status != NFS4_OK)
		reply_count_error(c);
	if (c->sequenced)
		reply_sequenced(c, &seq, status);
	else
		call_end(c, status);
	return 0;
}
