/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>

#include "nfs41/client_priv.h"
#include "nfs41/error.h"
#include "nfs41/handling.h"
#include "util/log.h"

/*
 * How a connection that is up becomes one of the session: a probe, BIND_CONN_TO_SESSION, and then
 * requests; and how it ceases to be one without being cut.
 */

#define CONN_BIND_DELAY UINT64_C(100000000) /* ns, after NFS4ERR_DELAY */
/* A connection that is "not bound" again so soon after it was is ended instead. */
#define CONN_REBIND_MIN UINT64_C(1000000000) /* ns */

static void conn_set_bound(struct nfs_conn *conn)
{
	conn->state = CONN_BOUND;
	conn->bound = conn->joining;
	conn->bound_at = loop_now(conn->loop);
	lend_end(conn);
	watch_start(conn);
	conn_tell_recovery(conn, true);
	if (atomic_load(&conn->client->borrowers) > 0)
		client_kick_conns(conn->client);
}

/*
 * The probe comes first, so that a clone leaves no trace in what is another guest's session. The
 * server associates the connection with the session then, or says that BIND_CONN_TO_SESSION has to
 * do that before; the backchannel needs it in any case.
 */
static void conn_go_on(struct nfs_conn *conn)
{
	loop_timer_cancel(conn->loop, &conn->retry);
	if (!conn->probed) {
		conn->state = CONN_PROBING;
		probe_send(conn);
	} else if (!conn->associated) {
		conn_bind(conn);
	} else {
		conn_set_bound(conn);
	}
}

void conn_join(struct nfs_conn *conn, uint32_t generation, bool associated)
{
	conn->bound = 0;
	conn->joining = generation;
	conn->probed = false;
	conn->associated = associated;
	conn_go_on(conn);
}

void conn_set_associated(struct nfs_conn *conn, uint32_t generation)
{
	if (conn->state >= CONN_UP)
		conn_join(conn, generation, true);
}

void conn_set_probed(struct nfs_conn *conn)
{
	if (conn->state != CONN_PROBING)
		return;
	conn->probed = true;
	conn_go_on(conn);
	conn_kick(conn);
}

void conn_rejoin(struct nfs_conn *conn)
{
	if (conn->state < CONN_UP)
		return;
	loop_timer_cancel(conn->loop, &conn->retry);
	conn->bound = 0;
	conn->state = CONN_UP;
	conn_kick(conn);
}

void conn_retry_later(struct nfs_conn *conn)
{
	loop_timer_set(conn->loop, &conn->retry, loop_now(conn->loop) + CONN_BIND_DELAY);
}

void conn_rebind(struct nfs_conn *conn)
{
	if (conn->state == CONN_BOUND)
		conn_rejoin(conn);
}

void conn_lost_binding(struct nfs_conn *conn)
{
	if (conn->state == CONN_PROBING && !conn->associated) {
		conn_bind(conn);
		return;
	}
	if (conn->state != CONN_BOUND && conn->state != CONN_PROBING)
		return;
	if (loop_now(conn->loop) - conn->bound_at < CONN_REBIND_MIN) {
		conn_reset(conn, -ENOTCONN);
		return;
	}
	conn_rebind(conn);
}

static void conn_judge_bind(struct nfs_conn *conn, int status)
{
	if (status == -ECONNRESET || status == -EPROTO)
		return; /* `down` follows */
	switch (status > 0 ? handling_of((uint32_t)status, HANDLING_AT_BIND) : HANDLING_OWNER) {
	case HANDLING_DELAY: conn_retry_later(conn); return;
	case HANDLING_SESSION:
		conn->state = CONN_UP;
		client_session_lost(conn->client, conn->joining, status);
		return;
	default:
		/* SEQUENCE associates by itself where no state protection was asked for. */
		if (status != NFS4_OK)
			log_debug("%s: BIND_CONN_TO_SESSION: %s", conn->client->peer,
				status > 0 ? nfs_error_name((uint32_t)status) : strerror(-status));
		conn->associated = true;
		conn_go_on(conn);
	}
}

static void conn_bind_done(struct nfs_compound *c)
{
	struct nfs_conn *conn = c->arg;
	int status = c->status;
	nfs_compound_free(c);
	/* CREATE_SESSION may have been quicker */
	if (conn->state != CONN_BINDING)
		return;
	conn_judge_bind(conn, status);
	conn_update(conn);
}

void conn_bind(struct nfs_conn *conn)
{
	struct nfs_client *client = conn->client;
	uint8_t sessionid[NFS4_SESSIONID_SIZE];
	conn->state = CONN_BINDING;
	conn->joining = slot_table_session(&client->slots, sessionid, NULL);
	struct nfs_compound *c =
		nfs_compound_new(conn, client->config.cred, OP_BIND_CONN_TO_SESSION);
	if (!c) {
		conn_retry_later(conn);
		return;
	}
	nfs_compound_unsequenced(c);
	nfs_op_bind_conn_to_session(c, sessionid, CDFC4_FORE_OR_BOTH, NULL);
	nfs_compound_send(c, conn_bind_done, conn);
}

/* Whether it has to join the session in force (again). */
bool conn_is_stray(const struct nfs_conn *conn, uint32_t generation)
{
	switch (conn->state) {
	case CONN_UP: return true;
	case CONN_PROBING: return conn->joining != generation && !conn->probe_sent;
	case CONN_BOUND: return conn->bound != generation;
	default: return false;
	}
}
