/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "nfs41/client_priv.h"
#include "nfs41/error.h"
#include "nfs41/handling.h"
#include "util/log.h"

/* Unlocks, and wakes the first worker. */
static void client_post(struct nfs_client *client)
{
	pthread_mutex_unlock(&client->lock);
	if (!atomic_exchange(&client->posted, true))
		loop_post(client_first(client)->loop, &client->task);
}

void nfs_client_start(struct nfs_client *client, nfs_client_ready_fn ready, void *arg)
{
	pthread_mutex_lock(&client->lock);
	client->ready = ready;
	client->ready_arg = arg;
	client->mail.start = true;
	client_post(client);
}

void nfs_client_stop(
	struct nfs_client *client, uint64_t timeout_ns, void (*stopped)(void *arg), void *arg)
{
	pthread_mutex_lock(&client->lock);
	client->stopped = stopped;
	client->stopped_arg = arg;
	client->mail.stop = true;
	client->mail.stop_timeout = timeout_ns;
	client_post(client);
}

void client_session_lost(struct nfs_client *client, uint32_t generation, int status)
{
	/* at once, so that nobody runs into the same wall meanwhile */
	slot_table_bury(&client->slots, generation);
	pthread_mutex_lock(&client->lock);
	if (generation >= client->mail.lost_generation) {
		client->mail.lost_generation = generation;
		client->mail.lost_status = status;
	}
	client_post(client);
}

void client_cloned(struct nfs_client *client, uint32_t generation)
{
	slot_table_bury(&client->slots, generation);
	pthread_mutex_lock(&client->lock);
	client->mail.cloned = true;
	client->mail.cloned_generation = generation;
	client_post(client);
}

void client_check_machine(struct nfs_client *client)
{
	if (!client->machine || !machine_has_changed(client->machine))
		return;
	/* nothing goes out until the recovery machine knows */
	slot_table_bury(&client->slots, slot_table_session(&client->slots, NULL, NULL));
	client_cloned(client, 0);
}

void client_conn_drained(struct nfs_client *client)
{
	pthread_mutex_lock(&client->lock);
	client->mail.drained++;
	client_post(client);
}

void client_conn_closed(struct nfs_client *client)
{
	pthread_mutex_lock(&client->lock);
	client->mail.closed++;
	client_post(client);
}

static void client_post_news(struct nfs_client *client, uint32_t news)
{
	bool reclaim = handling_flags(news, HANDLING_FLAG_RECLAIM) != 0;
	pthread_mutex_lock(&client->lock);
	client->mail.revoked |= reclaim || handling_flags(news, HANDLING_FLAG_STATE) != 0;
	client->mail.grace |= reclaim;
	client->mail.rebind |= handling_flags(news, HANDLING_FLAG_PATH) != 0;
	client->mail.moved |= handling_flags(news, HANDLING_FLAG_MOVED) != 0;
	client_post(client);
}

void client_seen_flags(struct nfs_client *client, uint32_t generation, uint32_t status_flags)
{
	if (status_flags == atomic_load_explicit(&client->status_flags, memory_order_relaxed))
		return;
	/* the server goes on saying so until it is put right: once is enough */
	uint32_t news = status_flags & ~atomic_exchange(&client->status_flags, status_flags);
	news &= ~handling_flags(news, HANDLING_FLAG_IGNORED);
	if (handling_flags(news, HANDLING_FLAG_SESSION) != 0)
		client_session_lost(client, generation, NFS4ERR_SEQ_MISORDERED);
	else if (news != 0)
		client_post_news(client, news);
}

void client_moved(struct nfs_client *client)
{
	pthread_mutex_lock(&client->lock);
	client->mail.moved = true;
	client_post(client);
}

void client_reclaimed(void *arg, int err)
{
	struct nfs_client *client = arg;
	pthread_mutex_lock(&client->lock);
	client->mail.reclaimed = true;
	client->mail.reclaim_err = err;
	client_post(client);
}

static void client_simple_event(struct nfs_client *client, enum recovery_event_type type)
{
	client_event(client, &(struct recovery_event){.type = type});
}

static void client_lost(struct nfs_client *client, uint32_t generation, int status)
{
	if (generation == client->recovery.generation && client->recovery.state == RECOVERY_READY)
		log_warn("%s: session lost (%s), making another", client->peer,
			nfs_error_name((uint32_t)status));
	client_event(client,
		&(struct recovery_event){
			.type = RECOVERY_EV_LOST, .generation = generation, .status = status});
}

static struct client_mail client_take_mail(struct nfs_client *client)
{
	pthread_mutex_lock(&client->lock);
	struct client_mail mail = client->mail;
	/* drained and closed go on counting */
	client->mail = (struct client_mail){.drained = mail.drained, .closed = mail.closed};
	pthread_mutex_unlock(&client->lock);
	return mail;
}

/* How many connections are drained, and closed, now. */
static void client_count_conns(struct nfs_client *client, unsigned *drained, unsigned *closed)
{
	pthread_mutex_lock(&client->lock);
	*drained = client->mail.drained;
	*closed = client->mail.closed;
	pthread_mutex_unlock(&client->lock);
}

void client_read_mail(struct loop_task *task)
{
	struct nfs_client *client =
		(struct nfs_client *)((char *)task - offsetof(struct nfs_client, task));
	atomic_store(&client->posted, false);
	struct client_mail mail = client_take_mail(client);
	unsigned drained, closed;
	if (mail.start)
		client_event(client, &(struct recovery_event){.type = RECOVERY_EV_START,
					     .timeout = client->config.timeo_ns,
					     .resume = client->resume});
	if (mail.cloned)
		client_event(client, &(struct recovery_event){.type = RECOVERY_EV_CLONED,
					     .generation = mail.cloned_generation});
	if (mail.lost_generation != 0)
		client_lost(client, mail.lost_generation, mail.lost_status);
	if (mail.revoked)
		client_event(client,
			&(struct recovery_event){.type = RECOVERY_EV_REVOKED, .grace = mail.grace});
	if (mail.rebind)
		conn_rebind(client_first(client));
	if (mail.moved) {
		client->move.wanted = true;
		client_move_consider(client);
	}
	if (mail.reclaimed)
		client_event(client, &(struct recovery_event){.type = RECOVERY_EV_RECLAIMED,
					     .status = mail.reclaim_err});
	if (mail.stop)
		client_event(client, &(struct recovery_event){.type = RECOVERY_EV_STOP,
					     .timeout = mail.stop_timeout});
	client_count_conns(client, &drained, &closed);
	if (drained == client->nconns)
		client_simple_event(client, RECOVERY_EV_DRAINED);
	if (closed == client->nconns)
		client_simple_event(client, RECOVERY_EV_CLOSED);
}
