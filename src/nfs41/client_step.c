/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>

#include "nfs41/client_priv.h"
#include "nfs41/error.h"
#include "util/log.h"

/*
 * Around a READ's or WRITE's payload: RPC header with a full credential (below 500 bytes),
 * SEQUENCE, PUTFH, GETATTR, SETATTR, COMMIT, CLOSE. Servers that clamp to 1 MiB allow for at least
 * a page.
 */
#define STEP_OVERHEAD	  2048
#define STEP_OVERHEAD_ASK 8192
#define STEP_IO_UNIT	  NFS_CLIENT_IO_UNIT
#define STEP_OPS_ASK	  128
#define STEP_OPS_MIN	  8 /* what one of our compounds needs at least */
#define STEP_CACHED_ASK	  6144
#define STEP_BACK_SIZE	  4096
#define STEP_BACK_OPS	  8
#define STEP_LEASE	  90 /* seconds, of a server that does not say */
#define STEP_SECOND	  UINT64_C(1000000000)
#define STEP_RENEW_MIN	  (STEP_SECOND / 10)

static void step_result(struct nfs_client *client, enum recovery_state step, int status)
{
	client_event(client, &(struct recovery_event){
				     .type = RECOVERY_EV_RESULT, .step = step, .status = status});
}

/* A compound on the first connection; without memory the step is tried again later. */
static struct nfs_compound *step_new(struct nfs_client *client, uint32_t op)
{
	struct nfs_compound *c = nfs_compound_new(client->conns[0], client->config.cred, op);
	if (!c)
		step_result(client, client->recovery.state, NFS4ERR_DELAY);
	return c;
}

static int step_take_status(struct nfs_compound *c)
{
	int status = c->status;
	if (status != 0 && status != -ECONNRESET)
		log_debug("%s: %s: %s", nfs_conn_client(c->conn)->peer, nfs_op_name(c->label),
			status > 0 ? nfs_error_name((uint32_t)status) : strerror(-status));
	nfs_compound_free(c);
	return status;
}

static void step_exchanged(struct nfs_compound *c)
{
	struct nfs_client *client = c->arg;
	const struct nfs_exchange_id_res *res = &client->exchange;
	struct recovery_event ev = {.type = RECOVERY_EV_RESULT, .step = RECOVERY_EXCHANGE};
	ev.status = step_take_status(c);
	if (ev.status == 0) {
		bool confirmed = res->flags & EXCHGID4_FLAG_CONFIRMED_R;
		if (client_meet_server(client, confirmed)) {
			client_step_exchange_id(client);
			return;
		}
		ev.new_client = !client->has_clientid || !confirmed ||
				res->clientid != atomic_load(&client->clientid);
		/* a confirmed client id goes on with its own count, unless the server disagrees */
		if (ev.new_client || client->create_misordered) {
			client->create_sequence = res->sequenceid;
			client->create_sent = false;
		}
		client->create_misordered = false;
		client->has_clientid = true;
		client_met_server(client, ev.new_client);
		atomic_store(&client->clientid, res->clientid);
		log_debug("%s: client id %016llx of %s %s", client->peer,
			(unsigned long long)res->clientid, res->server_impl, res->server_owner);
	}
	client_event(client, &ev);
}

void client_step_exchange_id(struct nfs_client *client)
{
	struct nfs_compound *c = step_new(client, OP_EXCHANGE_ID);
	if (!c)
		return;
	struct nfs_exchange_id_args args = {
		.owner = client->owner, .owner_len = strlen(client->owner), .impl = "vsockfs"};
	memcpy(args.verifier, client->verifier, sizeof(args.verifier));
	nfs_compound_unsequenced(c);
	nfs_op_exchange_id(c, &args, &client->exchange);
	nfs_compound_send(c, step_exchanged, client);
}

static uint32_t step_io_size(uint32_t wanted, uint32_t message)
{
	uint32_t size = message - STEP_OVERHEAD;
	if (size > wanted)
		size = wanted;
	return size - size % STEP_IO_UNIT;
}

static bool step_is_usable(const struct nfs_channel_attrs *fore)
{
	return fore->max_request >= STEP_OVERHEAD + STEP_IO_UNIT &&
	       fore->max_response >= STEP_OVERHEAD + STEP_IO_UNIT &&
	       fore->max_ops >= STEP_OPS_MIN && fore->max_requests > 0;
}

/* Servers may grant more than was asked for, or echo it: neither binds us to use it. */
static void step_take_limits(struct nfs_client *client)
{
	const struct nfs_channel_attrs *fore = &client->session.fore;
	const struct nfs_client_config *config = &client->config;
	struct nfs_limits *limits = &client->limits;
	uint32_t rsize = step_io_size(config->rsize, fore->max_response);
	uint32_t wsize = step_io_size(config->wsize, fore->max_request);
	if (!client->recovery.first) {
		/* others have read the limits: they stay */
		if (rsize < limits->rsize || wsize < limits->wsize)
			log_warn("%s: the new session has smaller limits than the first",
				client->peer);
		return;
	}
	limits->minor = client->recovery.minor;
	limits->rsize = rsize;
	limits->wsize = wsize;
	limits->max_ops = fore->max_ops < STEP_OPS_ASK ? fore->max_ops : STEP_OPS_ASK;
	limits->max_request = fore->max_request;
	limits->max_response = fore->max_response;
}

/* Takes the new session into use; returns its generation. */
static uint32_t step_adopt_session(struct nfs_client *client)
{
	const struct nfs_create_session_res *res = &client->session;
	struct nfs_conn *conn = client->conns[0];
	step_take_limits(client);
	pthread_mutex_lock(&client->callback_lock);
	callback_init(&client->callback, res->sessionid, &client_callback_ops, client);
	pthread_mutex_unlock(&client->callback_lock);
	atomic_store(&client->status_flags, 0);
	uint32_t generation =
		slot_table_reset(&client->slots, res->sessionid, res->fore.max_requests);
	log_debug("%s: %u slots, %u operations, requests of %u bytes, replies of %u, cached %u",
		client->peer, res->fore.max_requests, res->fore.max_ops, res->fore.max_request,
		res->fore.max_response, res->fore.max_response_cached);
	/* a reply from the server's cache does not bind the connection that it came on */
	if (conn->serial == client->create_serial)
		conn_set_associated(conn, generation);
	client_kick_conns(client);
	return generation;
}

static void step_created(struct nfs_compound *c)
{
	struct nfs_client *client = c->arg;
	struct recovery_event ev = {.type = RECOVERY_EV_RESULT, .step = RECOVERY_CREATE};
	ev.status = step_take_status(c);
	if (ev.status == 0) {
		client->create_sequence++;
		client->create_sent = false;
		if (step_is_usable(&client->session.fore))
			ev.generation = step_adopt_session(client);
		else
			ev.status = NFS4ERR_TOOSMALL;
	} else if (ev.status > 0) {
		client->create_misordered = ev.status == NFS4ERR_SEQ_MISORDERED;
	}
	client_event(client, &ev);
}

void client_step_create_session(struct nfs_client *client)
{
	const struct nfs_client_config *config = &client->config;
	struct nfs_compound *c = step_new(client, OP_CREATE_SESSION);
	if (!c)
		return;
	const struct nfs_create_session_args args = {
		.clientid = client->exchange.clientid,
		.sequence = client->create_sequence,
		.flags = CREATE_SESSION4_FLAG_CONN_BACK_CHAN,
		.fore = {.max_request = config->wsize + STEP_OVERHEAD_ASK,
			.max_response = config->rsize + STEP_OVERHEAD_ASK,
			.max_response_cached = STEP_CACHED_ASK,
			.max_ops = STEP_OPS_ASK,
			.max_requests = config->max_requests + 1},
		.back = {.max_request = STEP_BACK_SIZE,
			.max_response = STEP_BACK_SIZE,
			.max_response_cached = CALLBACK_REPLY_MAX,
			.max_ops = STEP_BACK_OPS,
			.max_requests = CALLBACK_SLOTS},
		.cb_program = NFS4_CALLBACK,
	};
	if (!client->create_sent)
		client->create_serial = client->conns[0]->serial;
	client->create_sent = true;
	nfs_compound_unsequenced(c);
	nfs_op_create_session(c, &args, &client->session);
	nfs_compound_send(c, step_created, client);
}

static void step_completed(struct nfs_compound *c)
{
	struct nfs_client *client = c->arg;
	/* the root's attributes were read before RECLAIM_COMPLETE, if at all */
	if (client->recovery.first && c->ops_ok >= 2) {
		uint32_t lease = nfs_bitmap_has(&client->root.have, FATTR4_LEASE_TIME)
					 ? client->root.lease_time
					 : 0;
		client->limits.lease_time = lease > 0 ? lease : STEP_LEASE;
	}
	step_result(client, RECOVERY_COMPLETE, step_take_status(c));
}

void client_step_reclaim_complete(struct nfs_client *client)
{
	struct nfs_compound *c = step_new(client, OP_RECLAIM_COMPLETE);
	if (!c)
		return;
	c->privileged = true;
	c->one_session = true;
	if (client->recovery.first) {
		struct nfs_bitmap want = {{0}};
		nfs_bitmap_set(&want, FATTR4_LEASE_TIME);
		nfs_op_putrootfh(c);
		nfs_op_getfsattr(c, &want, &client->root);
	}
	nfs_op_reclaim_complete(c, false);
	nfs_compound_send(c, step_completed, client);
}

static void step_destroyed_session(struct nfs_compound *c)
{
	struct nfs_client *client = c->arg;
	enum recovery_state step = client->recovery.state == RECOVERY_DISCARD
					   ? RECOVERY_DISCARD
					   : RECOVERY_DESTROY_SESSION;
	step_result(client, step, step_take_status(c));
}

static void step_destroy_session(
	struct nfs_client *client, const uint8_t sessionid[NFS4_SESSIONID_SIZE])
{
	struct nfs_compound *c = step_new(client, OP_DESTROY_SESSION);
	if (!c)
		return;
	nfs_compound_unsequenced(c);
	nfs_op_destroy_session(c, sessionid);
	nfs_compound_send(c, step_destroyed_session, client);
}

static void step_bound(struct nfs_compound *c)
{
	struct nfs_client *client = c->arg;
	int status = step_take_status(c);
	if (status == -ECONNRESET)
		step_result(client, RECOVERY_DISCARD, status);
	else
		step_destroy_session(client, client->resumed_session);
}

/* A session is destroyed on a connection of its own (RFC 8881, 18.37.3): another process's gets
 * this one. */
static void step_destroy_resumed(struct nfs_client *client)
{
	struct nfs_compound *c = step_new(client, OP_BIND_CONN_TO_SESSION);
	if (!c)
		return;
	nfs_compound_unsequenced(c);
	nfs_op_bind_conn_to_session(c, client->resumed_session, CDFC4_FORE_OR_BOTH, NULL);
	nfs_compound_send(c, step_bound, client);
}

void client_step_destroy_session(struct nfs_client *client)
{
	uint8_t sessionid[NFS4_SESSIONID_SIZE];
	if (slot_table_session(&client->slots, sessionid, NULL) == 0)
		step_destroy_resumed(client);
	else
		step_destroy_session(client, sessionid);
}

static void step_destroyed_clientid(struct nfs_compound *c)
{
	struct nfs_client *client = c->arg;
	client->has_clientid = false;
	step_result(client, RECOVERY_DESTROY_CLIENTID, step_take_status(c));
}

void client_step_destroy_clientid(struct nfs_client *client)
{
	struct nfs_compound *c = step_new(client, OP_DESTROY_CLIENTID);
	if (!c)
		return;
	nfs_compound_unsequenced(c);
	nfs_op_destroy_clientid(c, atomic_load(&client->clientid));
	nfs_compound_send(c, step_destroyed_clientid, client);
}

/* On any connection; where there is none, the probe of the next one does it. */
static void step_probe(struct nfs_client *client)
{
	for (unsigned i = 0; i < client->nconns; i++) {
		struct nfs_conn *conn = client->conns[i];
		if (atomic_load(&conn->bound) == 0)
			continue;
		atomic_store(&conn->renew, true);
		conn_kick(conn);
		return;
	}
}

void client_step_renew(struct nfs_client *client)
{
	struct loop *loop = client->conns[0]->loop;
	uint64_t now = loop_now(loop), latest = 0;
	uint64_t half = client->limits.lease_time * STEP_SECOND / 2;
	if (half < STEP_RENEW_MIN)
		half = STEP_RENEW_MIN;
	for (unsigned i = 0; i < client->nconns; i++) {
		uint64_t at =
			atomic_load_explicit(&client->conns[i]->renewed_at, memory_order_relaxed);
		latest = at > latest ? at : latest;
	}
	bool due = latest + half <= now;
	if (due && client->recovery.state == RECOVERY_READY)
		step_probe(client);
	loop_timer_set(loop, &client->renew, due ? now + half : latest + half);
}
