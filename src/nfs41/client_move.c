/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>

#include "nfs41/client_priv.h"
#include "nfs41/error.h"
#include "util/log.h"

void nfs_client_set_move(struct nfs_client *client, const struct nfs_move_ops *ops, void *arg)
{
	client->move_ops = ops;
	client->move_arg = arg;
}

void nfs_client_address(struct nfs_client *client, struct address *address)
{
	client_target(client, address);
}

int nfs_client_new_like(
	struct nfs_client *client, const struct address *address, struct nfs_client **other)
{
	struct nfs_client_config config = client->config;
	config.address = *address;
	config.minor = (int)client->limits.minor;
	config.identified = NULL;
	config.tap = NULL;
	config.scout = true; /* the sandbox would not let it listen */
	return nfs_client_new(&config, other);
}

bool nfs_client_is_at_rest(const struct nfs_client *client)
{
	bool posted = atomic_load(&client->posted);
	for (unsigned i = 0; i < client->nconns; i++)
		posted |= atomic_load(&client->conns[i]->posted);
	return !posted && client->recovery.state == RECOVERY_IDLE;
}

uint32_t client_target(struct nfs_client *client, struct address *address)
{
	pthread_mutex_lock(&client->lock);
	*address = client->config.address;
	uint32_t identity = atomic_load(&client->identity);
	pthread_mutex_unlock(&client->lock);
	return identity;
}

void move_await(struct nfs_compound *c)
{
	struct nfs_conn *conn = c->conn;
	c->p.moved_round = atomic_load(&conn->client->move.round);
	call_place(c, &conn->moved, NFS_COMPOUND_MOVED);
	client_moved(conn->client);
}

/* The first that a round of asking has come after. */
static struct nfs_compound *move_first_decided(const struct nfs_conn *conn)
{
	uint32_t decided = atomic_load(&conn->client->move.decided);
	struct nfs_compound *c;
	TAILQ_FOREACH (c, &conn->moved, p.entry)
		if ((int32_t)(decided - c->p.moved_round) > 0)
			break;
	return c;
}

void move_settle(struct nfs_conn *conn)
{
	struct nfs_compound *c;
	while ((c = move_first_decided(conn)) != NULL) {
		bool again = atomic_load(&conn->client->move.here) && !c->p.moved_twice;
		call_unplace(c);
		c->p.moved_twice = true;
		/* It may have been away for a moment. */
		if (again)
			call_again(c);
		else
			call_end(c, NFS4ERR_MOVED);
	}
}

static void move_asked(void *arg, enum nfs_move answer, const struct address *to)
{
	struct nfs_client *client = arg;
	struct client_move *move = &client->move;
	move->asking = false;
	if (answer == NFS_MOVE_TO) {
		move->to = *to;
		client_event(client, &(struct recovery_event){.type = RECOVERY_EV_MOVED});
		return;
	}
	atomic_store(&move->here, answer == NFS_MOVE_HERE);
	atomic_store(&move->decided, atomic_load(&move->round));
	client_kick_conns(client);
	client_move_consider(client);
}

void client_move_consider(struct nfs_client *client)
{
	struct client_move *move = &client->move;
	if (!move->wanted || move->asking || client->recovery.state != RECOVERY_READY)
		return;
	move->wanted = false;
	if (!client->move_ops)
		return;
	move->asking = true;
	/* Who meets it from here on waits for the next round. */
	atomic_fetch_add(&move->round, 1);
	client->move_ops->ask(client->move_arg, client_first(client), move_asked, client);
}

void client_change_server(struct nfs_client *client)
{
	struct client_move *move = &client->move;
	memcpy(move->left_owner, client->exchange.server_owner, sizeof(move->left_owner));
	move->left_clientid = atomic_load(&client->clientid);
	move->changed = true;
	move->wanted = move->forgetful = false;
	if (client_name_peer(client, &move->to) < 0)
		log_error("no memory for the name of a server");
	slot_table_bury(&client->slots, client->recovery.generation);
	pthread_mutex_lock(&client->lock);
	client->config.address = move->to;
	atomic_fetch_add(&client->identity, 1);
	pthread_mutex_unlock(&client->lock);
	client_kick_conns(client);
}

/* That server has what we held there when we left, if it is not the one that we come from. */
bool client_meet_server(struct nfs_client *client, bool confirmed)
{
	struct client_move *move = &client->move;
	const struct nfs_exchange_id_res *res = &client->exchange;
	bool same = res->clientid == move->left_clientid &&
		    strcmp(res->server_owner, move->left_owner) == 0;
	if (!move->changed || !confirmed || same || move->forgetful ||
		client_make_verifier(client) < 0)
		return false;
	move->forgetful = true;
	client->has_clientid = false;
	return true;
}

void client_met_server(struct nfs_client *client, bool new_client)
{
	if (!client->move.changed)
		return;
	client->move.changed = false;
	log_info("the file system has moved: going on with %s%s", client->peer,
		new_client ? "" : ", which is the same server");
	if (client->move_ops && client->move_ops->moved)
		client->move_ops->moved(client->move_arg, !new_client);
}
