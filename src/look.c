/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "look.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include "fsop.h"
#include "share.h"
#include "status_text.h"

struct look {
	struct loop_task task;
	struct look_round *round;
	struct worker *worker;
	bool done;
	/* what it has seen */
	struct nfs_conn_status conn;
	struct nfs_client_status client; /* by the first worker */
	struct status_requests requests;
};

/* One question to all; who answers last frees it when the asker has given up. */
struct look_round {
	pthread_mutex_t mutex;
	pthread_cond_t cond;
	unsigned missing; /* of those that were asked */
	bool left;	  /* by the asker */
	struct look looks[WORKER_MAX];
};

static void look_free(struct look_round *round)
{
	pthread_mutex_destroy(&round->mutex);
	pthread_cond_destroy(&round->cond);
	free(round);
}

static void look_see(struct look *look)
{
	const struct worker *worker = look->worker;
	struct status_requests *requests = &look->requests;
	const struct fsop_request *req;

	nfs_conn_status(worker->conn, &look->conn);
	if (worker->index == 0)
		nfs_client_status(worker->share->client, &look->client);
	LIST_FOREACH (req, &worker->vigil.pending, pending) {
		uint64_t age = loop_now(worker->loop) - req->begun_at;
		if (!req->fuse)
			continue; /* nobody waits for it */
		requests->count++;
		if (age < requests->oldest_ns)
			continue;
		requests->oldest_ns = age;
		requests->oldest_opcode = req->opcode;
		requests->oldest_ino = req->node ? req->node->ino : 0;
		requests->oldest_pid = (int)req->pid;
	}
}

/* On the worker's thread. */
static void look_run(struct loop_task *task)
{
	struct look *look = (struct look *)((char *)task - offsetof(struct look, task));
	struct look_round *round = look->round;
	bool last;

	look_see(look);
	atomic_store(&look->worker->looked_at, false);
	pthread_mutex_lock(&round->mutex);
	look->done = true;
	last = --round->missing == 0;
	bool left = round->left;
	if (last)
		pthread_cond_signal(&round->cond);
	pthread_mutex_unlock(&round->mutex);
	if (last && left)
		look_free(round);
}

static struct look_round *look_new(void)
{
	struct look_round *round = calloc(1, sizeof(*round));
	pthread_condattr_t attr;

	if (!round)
		return NULL;
	pthread_mutex_init(&round->mutex, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&round->cond, &attr);
	pthread_condattr_destroy(&attr);
	return round;
}

static void look_ask(struct look_round *round, struct share *share)
{
	for (unsigned i = 0; i < share->nworkers; i++) {
		struct worker *worker = share->workers[i];
		struct look *look = &round->looks[i];
		/* Those that are asked in vain again and again would cost memory each time. */
		if (atomic_exchange(&worker->looked_at, true))
			continue;
		*look = (struct look){.task.run = look_run, .round = round, .worker = worker};
		pthread_mutex_lock(&round->mutex);
		round->missing++;
		pthread_mutex_unlock(&round->mutex);
		loop_post(worker->loop, &look->task);
	}
}

static void look_collect(
	const struct look_round *round, unsigned nworkers, struct status_facts *facts)
{
	struct status_requests *all = &facts->requests;

	for (unsigned i = 0; i < nworkers; i++) {
		const struct look *look = &round->looks[i];
		facts->answers[i] = look->done;
		if (!look->done)
			continue;
		facts->conns[i] = look->conn;
		if (i == 0)
			facts->client = look->client;
		unsigned count = all->count + look->requests.count;
		if (look->requests.count > 0 && look->requests.oldest_ns >= all->oldest_ns)
			*all = look->requests;
		all->count = count;
	}
}

int look_at_workers(struct share *share, uint64_t ns, struct status_facts *facts)
{
	struct look_round *round = look_new();
	struct timespec deadline;

	if (!round)
		return -ENOMEM;
	clock_gettime(CLOCK_MONOTONIC, &deadline);
	uint64_t end = (uint64_t)deadline.tv_sec * 1000000000 + (uint64_t)deadline.tv_nsec + ns;
	deadline.tv_sec = (time_t)(end / 1000000000);
	deadline.tv_nsec = (long)(end % 1000000000);
	look_ask(round, share);
	pthread_mutex_lock(&round->mutex);
	while (round->missing > 0 &&
		pthread_cond_timedwait(&round->cond, &round->mutex, &deadline) != ETIMEDOUT)
		;
	look_collect(round, share->nworkers, facts);
	bool missing = round->left = round->missing > 0;
	pthread_mutex_unlock(&round->mutex);
	if (!missing)
		look_free(round);
	return 0;
}
