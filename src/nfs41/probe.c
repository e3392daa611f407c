/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>

#include "nfs41/client_priv.h"
#include "nfs41/error.h"
#include "nfs41/handling.h"
#include "util/log.h"

/*
 * Guests restored from one snapshot are twins: each believes that the session is its own, and a
 * twin's slot and sequence id fetch the reply to what the other one did: an OPEN "succeeds" whose
 * file was never made. So the first compound on every connection is one whose reply no server
 * keeps, SEQUENCE and PUTROOTFH, in a slot that is used for nothing else. (SEQUENCE alone does not
 * serve: servers answer it again.) A server that has seen its sequence id says so
 * (RFC 8881, 2.10.6.1.3), and nobody but a twin can have used it. The lease is renewed in the same
 * way, so that the one who was there first notices, too.
 *
 * A probe that was cut off may have been counted: it is sent again as it was, and when the server
 * has seen it, that was perhaps ourselves. The next sequence id will tell.
 */

static void probe_free(struct nfs_compound *c, bool used, uint32_t target)
{
	call_release(c, used, target);
	nfs_compound_free(c);
}

void probe_send(struct nfs_conn *conn)
{
	struct nfs_client *client = conn->client;
	struct slot_grant grant;
	if (conn->probe_sent)
		return;
	struct nfs_compound *c = nfs_compound_new(conn, client->config.cred, OP_SEQUENCE);
	if (!c) {
		conn_retry_later(conn);
		return;
	}
	switch (slot_take_kept(&client->slots, &grant)) {
	case SLOT_KEPT_TAKEN:
		conn->probe_sent = true;
		nfs_op_putrootfh(c);
		call_send_probe(c, &grant);
		return;
	case SLOT_KEPT_USED:
		/* It may be held for this very connection, and tells as much. */
		conn_set_probed(conn);
		break;
	case SLOT_KEPT_WAIT:
	case SLOT_KEPT_DEAD: break;
	}
	nfs_compound_free(c);
}

/* Somebody has used the slot's sequence id. */
static void probe_was_used(struct nfs_compound *c)
{
	struct nfs_conn *conn = c->conn;
	if (!c->p.grant.doubtful) {
		client_cloned(conn->client, c->p.grant.generation);
		probe_free(c, true, SLOT_NO_TARGET);
		return;
	}
	probe_free(c, true, SLOT_NO_TARGET);
	probe_send(conn);
}

static void probe_good(struct nfs_compound *c, const struct nfs_sequence_res *seq)
{
	struct nfs_conn *conn = c->conn;
	atomic_store_explicit(&conn->renewed_at, c->call.sent_at, memory_order_relaxed);
	client_seen_flags(conn->client, c->p.grant.generation, seq->status_flags);
	probe_free(c, true, seq->target_highest_slot);
	conn_set_probed(conn);
}

/* More than one step ahead of us: that cannot be a probe of ours. */
static void probe_meets_twin(struct nfs_compound *c)
{
	client_cloned(c->conn->client, c->p.grant.generation);
	probe_free(c, false, SLOT_NO_TARGET);
}

/* `status` is SEQUENCE's, or -errno of the RPC layer. */
static void probe_refused(struct nfs_compound *c, int status, enum handling handling)
{
	struct nfs_conn *conn = c->conn;
	uint32_t generation = c->p.grant.generation;
	probe_free(c, false, SLOT_NO_TARGET);
	switch (handling) {
	case HANDLING_DELAY:
		atomic_store(&conn->renew, conn->state == CONN_BOUND);
		conn_retry_later(conn);
		break;
	case HANDLING_BIND: conn_lost_binding(conn); break;
	case HANDLING_SESSION:
		client_session_lost(conn->client, generation, status);
		conn_rejoin(conn);
		break;
	default:
		log_debug("%s: probe: %s", conn->client->peer,
			status > 0 ? nfs_error_name((uint32_t)status) : strerror(-status));
		conn_set_probed(conn);
	}
}

void probe_answered(
	struct nfs_compound *c, const struct nfs_sequence_res *seq, int err, bool foreign)
{
	c->conn->probe_sent = false;
	if (err == -ECONNRESET) {
		/* the next one repeats it */
		probe_free(c, false, SLOT_NO_TARGET);
		return;
	}
	if (err) {
		probe_refused(c, err, HANDLING_OWNER);
		return;
	}
	enum handling handling = handling_of((uint32_t)c->status, HANDLING_AT_PROBE);
	if (foreign || handling == HANDLING_USED)
		probe_was_used(c);
	else if (seq->status == NFS4_OK)
		probe_good(c, seq);
	else if (handling == HANDLING_TWIN)
		probe_meets_twin(c);
	else
		probe_refused(c, (int)seq->status, handling);
}
