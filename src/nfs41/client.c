/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "nfs41/client.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <unistd.h>

#include "nfs41/client_priv.h"
#include "nfs41/status.h"
#include "util/log.h"
#include "util/probe.h"

static void client_time(struct loop_timer *timer);
static void client_renew(struct loop_timer *timer);

static struct nfs_client *client_of_timer(struct loop_timer *timer)
{
	return (struct nfs_client *)((char *)timer - offsetof(struct nfs_client, timer));
}

/* FNV-1a of the owner. */
static void client_note_salt(struct nfs_client *client)
{
	uint64_t salt = UINT64_C(0xcbf29ce484222325);
	for (const char *at = client->owner; *at; at++)
		salt = (salt ^ (uint8_t)*at) * UINT64_C(0x100000001b3);
	atomic_store(&client->salt, salt);
}

int client_make_verifier(struct nfs_client *client)
{
	uint8_t random[NFS4_VERIFIER_SIZE];
	if (getrandom(random, sizeof(random), 0) != sizeof(random))
		return -errno;
	memcpy(client->verifier, random, sizeof(random));
	return 0;
}

int client_name_peer(struct nfs_client *client, const struct address *address)
{
	struct client_peer *peer = calloc(1, sizeof(*peer));
	if (!peer)
		return -ENOMEM;
	address_describe(address, peer->text, sizeof(peer->text));
	peer->before = client->peers;
	client->peers = peer;
	client->peer = peer->text;
	return 0;
}

/*
 * co_ownerid is unique even among mounts of one machine and cannot be guessed, so that nobody else
 * takes this client's state over; it stays the same until the end of the mount, or until this guest
 * turns out to be a clone. Clones may draw the same numbers, but not at the same time.
 */
static int client_make_owner(struct nfs_client *client)
{
	char host[256] = "", *to = client->owner;
	struct timespec now;
	uint8_t random[16];
	if (getrandom(random, sizeof(random), 0) != sizeof(random))
		return -errno;
	gethostname(host, sizeof(host) - 1);
	to += snprintf(to, CLIENT_OWNER_OWN, "vsockfs %s ",
		client->clientaddr ? client->clientaddr : host);
	if (to > client->owner + (CLIENT_OWNER_OWN - 1))
		to = client->owner + (CLIENT_OWNER_OWN - 1);
	for (unsigned i = 0; i < 16; i++)
		to += sprintf(to, "%02x", random[i]);
	if (atomic_load(&client->identity) > 0) {
		clock_gettime(CLOCK_REALTIME, &now);
		sprintf(to, " %llx%08lx", (unsigned long long)now.tv_sec, now.tv_nsec);
	}
	client_note_salt(client);
	return client_make_verifier(client);
}

int nfs_client_new(const struct nfs_client_config *config, struct nfs_client **out)
{
	struct nfs_client *client = calloc(1, sizeof(*client));
	if (!client)
		return -ENOMEM;
	client->config = *config;
	client->config.cred = rpc_cred_ref(config->cred);
	client->clientaddr = config->clientaddr ? strdup(config->clientaddr) : NULL;
	client->config.clientaddr = client->clientaddr;
	slot_table_init(&client->slots, config->max_requests);
	recovery_init(&client->recovery, config->minor);
	pthread_mutex_init(&client->lock, NULL);
	pthread_mutex_init(&client->callback_lock, NULL);
	client->task.run = client_read_mail;
	client->timer.fire = client_time;
	client->renew.fire = client_renew;
	atomic_init(&client->next_owner, 1);
	client->machine =
		config->scout ? NULL : machine_new(config->address.proto == ADDRESS_VSOCK);
	int err = client_name_peer(client, &config->address);
	if (!err)
		err = client_make_owner(client);
	/* Whether the server is there must not hang on a ticket. */
	if (!err && rpc_sec_is_gss(rpc_cred_gss(config->cred)))
		err = rpc_cred_new_none(&client->nobody);
	else
		client->nobody = rpc_cred_ref(config->cred);
	if (!err && ((config->clientaddr && !client->clientaddr) ||
			    (!client->machine && !config->scout)))
		err = -ENOMEM;
	if (err) {
		nfs_client_free(client);
		return err;
	}
	*out = client;
	return 0;
}

void nfs_client_free(struct nfs_client *client)
{
	if (!client)
		return;
	for (unsigned i = 0; i < client->nconns; i++)
		conn_free(client->conns[i]);
	free(client->conns);
	slot_table_deinit(&client->slots);
	pthread_mutex_destroy(&client->lock);
	pthread_mutex_destroy(&client->callback_lock);
	rpc_cred_unref(client->config.cred);
	rpc_cred_unref(client->nobody);
	free(client->clientaddr);
	for (struct client_peer *peer = client->peers, *before; peer; peer = before) {
		before = peer->before;
		free(peer);
	}
	machine_free(client->machine);
	free(client);
}

void nfs_client_resume(
	struct nfs_client *client, const struct nfs_client_identity *identity, uint64_t first_owner)
{
	memcpy(client->owner, identity->owner, sizeof(client->owner));
	client->owner[sizeof(client->owner) - 1] = '\0';
	memcpy(client->verifier, identity->verifier, sizeof(client->verifier));
	memcpy(client->resumed_session, identity->sessionid, sizeof(client->resumed_session));
	atomic_store(&client->clientid, identity->clientid);
	atomic_store(&client->next_owner, first_owner);
	client_note_salt(client);
	/* Where its count of sessions stood the server tells. */
	client->has_clientid = client->resume = client->create_misordered = true;
}

int nfs_client_attach(struct nfs_client *client, struct loop *loop, struct nfs_conn **out)
{
	struct nfs_conn **conns =
		realloc(client->conns, (client->nconns + 1) * sizeof(struct nfs_conn *));
	if (!conns)
		return -ENOMEM;
	client->conns = conns;
	struct nfs_conn *conn = conn_new(client, loop, client->nconns);
	if (!conn)
		return -ENOMEM;
	conns[client->nconns++] = conn;
	*out = conn;
	return 0;
}

void nfs_client_set_reclaim(struct nfs_client *client, const struct nfs_reclaim_ops *ops, void *arg)
{
	client->reclaim_ops = ops;
	client->reclaim_arg = arg;
}

bool nfs_client_lease_stands(const struct nfs_client *client)
{
	uint64_t lease = client->limits.lease_time * UINT64_C(1000000000), latest = 0;
	for (unsigned i = 0; i < client->nconns; i++) {
		uint64_t at =
			atomic_load_explicit(&client->conns[i]->renewed_at, memory_order_relaxed);
		latest = at > latest ? at : latest;
	}
	return loop_clock() < latest + lease;
}

void nfs_client_set_callbacks(struct nfs_client *client, const struct callback_ops *ops, void *arg)
{
	client->callback_ops = ops;
	client->callback_arg = arg;
}

static void client_notify_lock(void *arg, const struct nfs_fh *fh, uint64_t owner)
{
	struct nfs_client *client = arg;
	if (client->callback_ops && client->callback_ops->notify_lock)
		client->callback_ops->notify_lock(client->callback_arg, fh, owner);
}

static void client_recall_slot(void *arg, uint32_t target)
{
	struct nfs_client *client = arg;
	slot_table_shrink(&client->slots, slot_table_session(&client->slots, NULL, NULL), target);
	if (client->callback_ops && client->callback_ops->recall_slot)
		client->callback_ops->recall_slot(client->callback_arg, target);
}

static uint32_t client_recall(void *arg, const struct nfs_fh *fh, const struct nfs_stateid *stateid)
{
	struct nfs_client *client = arg;
	if (!client->callback_ops || !client->callback_ops->recall)
		return NFS4ERR_BADHANDLE;
	return client->callback_ops->recall(client->callback_arg, fh, stateid);
}

static void client_recall_any(void *arg, uint32_t keep, struct deleg_kinds kinds)
{
	struct nfs_client *client = arg;
	if (client->callback_ops && client->callback_ops->recall_any)
		client->callback_ops->recall_any(client->callback_arg, keep, kinds);
}

static uint32_t client_getattr(void *arg, const struct nfs_fh *fh, uint64_t *change, uint64_t *size)
{
	struct nfs_client *client = arg;
	if (!client->callback_ops || !client->callback_ops->getattr)
		return NFS4ERR_BADHANDLE;
	return client->callback_ops->getattr(client->callback_arg, fh, change, size);
}

static uint32_t client_offload(void *arg, const struct nfs_fh *fh,
	const struct nfs_stateid *stateid, const struct callback_offload *result)
{
	struct nfs_client *client = arg;
	if (!client->callback_ops || !client->callback_ops->offload)
		return NFS4ERR_BAD_STATEID;
	return client->callback_ops->offload(client->callback_arg, fh, stateid, result);
}

const struct callback_ops client_callback_ops = {
	.notify_lock = client_notify_lock,
	.recall_slot = client_recall_slot,
	.recall = client_recall,
	.recall_any = client_recall_any,
	.getattr = client_getattr,
	.offload = client_offload,
};

void client_kick_conns(struct nfs_client *client)
{
	for (unsigned i = 0; i < client->nconns; i++)
		conn_kick(client->conns[i]);
}

static void client_reclaim(struct nfs_client *client)
{
	if (client->reclaim_ops)
		client->reclaim_ops->reclaim(client->reclaim_arg, client_first(client),
			client->recovery.grace, client_reclaimed, client);
	else
		client_reclaimed(client, 0);
}

static void client_connect(struct nfs_client *client)
{
	client->connected_once = false;
	atomic_store(&client->closing, false);
	atomic_store(&client->draining, false);
	for (unsigned i = 0; i < client->nconns; i++) {
		atomic_store(&client->conns[i]->closed, false);
		atomic_store(&client->conns[i]->drained, false);
	}
	pthread_mutex_lock(&client->lock);
	client->mail.closed = client->mail.drained = 0;
	pthread_mutex_unlock(&client->lock);
	atomic_store(&client->wanted, 1);
	conn_kick(client_first(client));
}

static void client_identified(struct nfs_client *client)
{
	struct nfs_client_identity identity = {.clientid = atomic_load(&client->clientid)};
	if (!client->config.identified)
		return;
	memcpy(identity.owner, client->owner, sizeof(identity.owner));
	memcpy(identity.verifier, client->verifier, sizeof(identity.verifier));
	slot_table_session(&client->slots, identity.sessionid, NULL);
	client->config.identified(client->config.identified_arg, &identity);
}

static void client_flow(struct nfs_client *client)
{
	client_identified(client);
	slot_table_open(&client->slots, true);
	atomic_store(&client->wanted, client->nconns);
	if (!client->recovery.first)
		log_debug("%s: session %u in force", client->peer, client->recovery.generation);
	client_kick_conns(client);
	client_step_renew(client);
	client_move_consider(client);
}

static void client_close(struct nfs_client *client)
{
	struct loop *loop = client_first(client)->loop;
	slot_table_bury(&client->slots, client->recovery.generation);
	atomic_store(&client->wanted, 0);
	atomic_store(&client->closing, true);
	loop_timer_cancel(loop, &client->renew);
	client_kick_conns(client);
}

static void client_drain(struct nfs_client *client)
{
	atomic_store(&client->draining, true);
	client_kick_conns(client);
}

static void client_set_timer(struct nfs_client *client)
{
	struct loop *loop = client_first(client)->loop;
	uint64_t deadline = recovery_deadline(&client->recovery);
	if (deadline == UINT64_MAX)
		loop_timer_cancel(loop, &client->timer);
	else
		loop_timer_set(loop, &client->timer, deadline);
}

/* A client owner that nobody has, and connections that the server associates with nothing. */
static void client_become_other(struct nfs_client *client)
{
	log_warn("%s: this guest is a clone, or has been cloned: from now on it is a client of its "
		 "own, without the locks that it held",
		client->peer);
	atomic_fetch_add(&client->identity, 1);
	int err = client_make_owner(client);
	if (err)
		log_error("%s: no random numbers: %s", client->peer, strerror(-err));
	slot_table_bury(&client->slots, client->recovery.generation);
	client->has_clientid = false;
	client->create_misordered = false;
	if (client->reclaim_ops && client->reclaim_ops->cloned)
		client->reclaim_ops->cloned(client->reclaim_arg);
	client_kick_conns(client);
}

/* What the owner hears. */
static void client_tell(struct nfs_client *client, unsigned actions)
{
	if (actions & RECOVERY_DO_READY)
		client->ready(client->ready_arg, 0, "");
	if (actions & RECOVERY_DO_FAILED) {
		int err = client_why(client);
		client->ready(client->ready_arg, err, client->why);
	}
	if (actions & RECOVERY_DO_STOPPED)
		client->stopped(client->stopped_arg);
}

/* For who looks on from outside. */
static void client_tell_state(enum recovery_state before, enum recovery_state now)
{
	const char *from = nfs_recovery_name(before), *to = nfs_recovery_name(now);
	log_debug("recovery: %s -> %s", from, to);
	PROBE2(recovery_state, from, to);
}

void client_event(struct nfs_client *client, const struct recovery_event *ev)
{
	enum recovery_state before = client->recovery.state;
	unsigned actions =
		recovery_event(&client->recovery, ev, loop_now(client_first(client)->loop));
	if (client->recovery.state != before)
		client_tell_state(before, client->recovery.state);
	atomic_store(&client->minor, client->recovery.minor);
	if (actions & RECOVERY_DO_HOLD)
		slot_table_open(&client->slots, false);
	if (actions & RECOVERY_DO_BECOME_OTHER)
		client_become_other(client);
	if (actions & RECOVERY_DO_CHANGE_SERVER)
		client_change_server(client);
	if (actions & RECOVERY_DO_CONNECT)
		client_connect(client);
	if (actions & RECOVERY_DO_EXCHANGE_ID)
		client_step_exchange_id(client);
	if (actions & RECOVERY_DO_DESTROY_SESSION)
		client_step_destroy_session(client);
	if (actions & RECOVERY_DO_CREATE_SESSION)
		client_step_create_session(client);
	if (actions & RECOVERY_DO_RECLAIM)
		client_reclaim(client);
	if (actions & RECOVERY_DO_RECLAIM_COMPLETE)
		client_step_reclaim_complete(client);
	if (actions & RECOVERY_DO_FLOW)
		client_flow(client);
	if (actions & RECOVERY_DO_DRAIN)
		client_drain(client);
	if (actions & RECOVERY_DO_DESTROY_CLIENTID)
		client_step_destroy_clientid(client);
	if (actions & RECOVERY_DO_CLOSE)
		client_close(client);
	client_set_timer(client);
	client_tell(client, actions);
}

static void client_time(struct loop_timer *timer)
{
	client_event(client_of_timer(timer), &(struct recovery_event){.type = RECOVERY_EV_TIME});
}

static void client_renew(struct loop_timer *timer)
{
	client_step_renew(
		(struct nfs_client *)((char *)timer - offsetof(struct nfs_client, renew)));
}

const struct nfs_limits *nfs_client_limits(const struct nfs_client *client)
{
	return &client->limits;
}

/* A server that says less than the unit answers what it is asked in parts. */
static uint32_t limit_io(uint32_t size, uint64_t max)
{
	if (max == 0 || max >= size)
		return size;
	return max < NFS_CLIENT_IO_UNIT ? NFS_CLIENT_IO_UNIT
					: (uint32_t)(max - max % NFS_CLIENT_IO_UNIT);
}

void nfs_client_limit_io(struct nfs_client *client, uint64_t maxread, uint64_t maxwrite)
{
	struct nfs_limits *limits = &client->limits;
	limits->rsize = limit_io(limits->rsize, maxread);
	limits->wsize = limit_io(limits->wsize, maxwrite);
}

uint64_t nfs_client_owner(struct nfs_client *client)
{
	return atomic_fetch_add(&client->next_owner, 1);
}

uint64_t nfs_client_salt(const struct nfs_client *client)
{
	return atomic_load(&client->salt);
}

uint64_t nfs_client_id(const struct nfs_client *client)
{
	return atomic_load(&client->clientid);
}
