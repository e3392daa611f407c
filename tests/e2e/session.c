/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Drives the session layer alone: session SOURCE WORKERS COMPOUNDS
 * Every worker keeps a number of compounds under way until COMPOUNDS in all are done: GETATTR of
 * the export, and every tenth CREATE or REMOVE of a directory of its own in the export. Prints one
 * line "ready", then "done" with counts; the exit status tells whether all of it went well.
 */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "nfs41/client.h"
#include "nfs41/op.h"
#include "util/log.h"

#define WORKERS_MAX 8
#define DEPTH	    40 /* compounds under way per worker */

struct worker {
	pthread_t thread;
	struct loop *loop;
	struct nfs_conn *conn;
	struct loop_task start;
	unsigned number, alive;
};

struct task {
	struct worker *worker;
	unsigned turn;
	bool made; /* its directory exists */
	char name[32];
	struct nfs_attr attr;
	struct nfs_change_info cinfo;
};

static struct nfs_client *client;
static struct rpc_cred *cred;
static struct worker workers[WORKERS_MAX];
static unsigned nworkers;
static char *components[16];
static unsigned ncomponents;
static atomic_long left;
static atomic_uint busy, failures, reclaims;
static int result = 1;

static void stopped(void *arg)
{
	for (unsigned i = 0; i < nworkers; i++)
		loop_stop(workers[i].loop);
}

static void next(struct task *task);

static void executed(struct nfs_compound *c)
{
	struct task *task = c->arg;
	int status = c->status;
	bool twice = c->replayed && (status == NFS4ERR_EXIST || status == NFS4ERR_NOENT);
	if (status != 0 && !twice) {
		fprintf(stderr, "%s: label %u: status %d after %u operations\n", task->name,
			c->label, status, c->ops_ok);
		atomic_fetch_add(&failures, 1);
	}
	if (c->label == OP_CREATE)
		task->made = true;
	else if (c->label == OP_REMOVE)
		task->made = false;
	nfs_compound_free(c);
	next(task);
}

static void finish(struct task *task)
{
	free(task);
	if (atomic_fetch_sub(&busy, 1) == 1)
		nfs_client_stop(client, UINT64_C(5000000000), stopped, NULL);
}

static void next(struct task *task)
{
	bool last = atomic_fetch_sub(&left, 1) <= 0;
	unsigned turn = task->turn++;
	if (last && !task->made) {
		finish(task);
		return;
	}
	bool make = !last && turn % 10 == 3 && !task->made;
	bool drop = task->made && (last || turn % 10 == 7);
	uint32_t label = make ? OP_CREATE : drop ? OP_REMOVE : OP_GETATTR;
	struct nfs_compound *c = nfs_compound_new(task->worker->conn, cred, label);
	struct nfs_bitmap want = {{0}};
	nfs_bitmap_set(&want, FATTR4_CHANGE);
	nfs_bitmap_set(&want, FATTR4_FILEID);
	nfs_op_putrootfh(c);
	for (unsigned i = 0; i < ncomponents; i++)
		nfs_op_lookup(c, components[i], strlen(components[i]));
	if (make) {
		struct nfs_setattr set = {.set = NFS_SET_MODE, .mode = 0755};
		struct nfs_create_args args = {.type = NF4DIR,
			.name = task->name,
			.name_len = strlen(task->name),
			.set = &set};
		nfs_op_create(c, &args, &task->cinfo);
	} else if (drop) {
		nfs_op_remove(c, task->name, strlen(task->name), &task->cinfo);
	}
	nfs_op_getattr(c, &want, &task->attr);
	nfs_compound_send(c, executed, task);
}

static void start_worker(struct loop_task *loop_task)
{
	struct worker *worker =
		(struct worker *)((char *)loop_task - offsetof(struct worker, start));
	for (unsigned i = 0; i < DEPTH; i++) {
		struct task *task = calloc(1, sizeof(*task));
		task->worker = worker;
		snprintf(task->name, sizeof(task->name), "w%u.%u", worker->number, i);
		next(task);
	}
}

static void ready(void *arg, int err, const char *why)
{
	const struct nfs_limits *limits = nfs_client_limits(client);
	if (err) {
		printf("failed: %s\n", why);
		fflush(stdout);
		stopped(NULL);
		return;
	}
	printf("ready: 4.%u rsize %u wsize %u ops %u lease %u\n", limits->minor, limits->rsize,
		limits->wsize, limits->max_ops, limits->lease_time);
	fflush(stdout);
	result = 0;
	for (unsigned i = 0; i < nworkers; i++) {
		workers[i].start.run = start_worker;
		loop_post(workers[i].loop, &workers[i].start);
	}
}

static void reclaim(void *arg, struct nfs_conn *conn, bool grace,
	void (*done)(void *done_arg, int err), void *done_arg)
{
	atomic_fetch_add(&reclaims, 1);
	done(done_arg, 0);
}

static const struct nfs_reclaim_ops reclaim_ops = {reclaim};

static void *run(void *arg)
{
	struct worker *worker = arg;
	if (loop_run(worker->loop) < 0)
		abort();
	return NULL;
}

static uint64_t total(size_t offset)
{
	uint64_t sum = 0;
	for (unsigned i = 0; i < nworkers; i++)
		for (unsigned op = 0; op < NFS_OP_LIMIT; op++) {
			const char *at = (const char *)&nfs_conn_stats(workers[i].conn)->op[op];
			sum += atomic_load((const _Atomic uint64_t *)(at + offset));
		}
	return sum;
}

static void report(void)
{
	uint64_t connects = 0, waits = 0, callbacks = 0;
	for (unsigned i = 0; i < nworkers; i++) {
		const struct nfs_stats *stats = nfs_conn_stats(workers[i].conn);
		connects += atomic_load(&stats->connects);
		waits += atomic_load(&stats->slot_waits);
		callbacks += atomic_load(&stats->callbacks);
	}
	printf("done: failures %u calls %llu replies %llu retransmits %llu connects %llu "
	       "slot_waits %llu callbacks %llu reclaims %u bytes_out %llu\n",
		atomic_load(&failures),
		(unsigned long long)total(offsetof(struct nfs_op_stats, calls)),
		(unsigned long long)total(offsetof(struct nfs_op_stats, replies)),
		(unsigned long long)total(offsetof(struct nfs_op_stats, retransmits)),
		(unsigned long long)connects, (unsigned long long)waits,
		(unsigned long long)callbacks, atomic_load(&reclaims),
		(unsigned long long)total(offsetof(struct nfs_op_stats, bytes_out)));
}

int main(int argc, char **argv)
{
	struct nfs_client_config config = {.minor = -1,
		.timeo_ns = UINT64_C(10000000000),
		.retrans = 2,
		.rsize = 1048576,
		.wsize = 1048576,
		.max_requests = 64};
	const char *path, *why;
	if (argc != 4 || address_parse_source(argv[1], &config.address, &path, &why) < 0)
		return 2;
	log_init(LOG_TARGET_STDERR, getenv("SESSION_DEBUG") != NULL);
	nworkers = (unsigned)atoi(argv[2]);
	if (nworkers < 1 || nworkers > WORKERS_MAX)
		return 2;
	atomic_store(&left, atol(argv[3]));
	atomic_store(&busy, nworkers * DEPTH);
	char *copy = strdup(path);
	for (char *word = strtok(copy, "/"); word && ncomponents < 16; word = strtok(NULL, "/"))
		components[ncomponents++] = word;
	if (rpc_cred_new_sys("session-test", 0, 0, NULL, 0, &cred) < 0)
		return 2;
	config.cred = cred;
	if (nfs_client_new(&config, &client) < 0)
		return 2;
	nfs_client_set_reclaim(client, &reclaim_ops, NULL);
	for (unsigned i = 0; i < nworkers; i++) {
		workers[i].number = i;
		if (loop_new(LOOP_AUTO, &workers[i].loop) < 0 ||
			nfs_client_attach(client, workers[i].loop, &workers[i].conn) < 0)
			return 2;
	}
	nfs_client_start(client, ready, NULL);
	for (unsigned i = 0; i < nworkers; i++)
		pthread_create(&workers[i].thread, NULL, run, &workers[i]);
	for (unsigned i = 0; i < nworkers; i++)
		pthread_join(workers[i].thread, NULL);
	report();
	nfs_client_free(client);
	for (unsigned i = 0; i < nworkers; i++)
		loop_free(workers[i].loop);
	rpc_cred_unref(cred);
	free(copy);
	return result || atomic_load(&failures) > 0;
}
