/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "attrs.h"

#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nfs41/client.h"
#include "nfs41/op.h"
#include "util/log.h"

struct asking {
	struct nfs_client *client;
	struct nfs_conn *conn;
	struct rpc_cred *cred;
	struct loop *loop;
	struct loop_task task;
	struct nfs_compound *compound;
	struct nfs_fsattr fs;
	sem_t done;
	int err;
};

static void ready(void *arg, int err, const char *why)
{
	struct asking *a = arg;

	if (err)
		fprintf(stderr, "matrix: %s\n", why);
	a->err = err;
	sem_post(&a->done);
}

static void answered(struct nfs_compound *c)
{
	struct asking *a = c->arg;

	a->err = c->status;
	sem_post(&a->done);
}

static void on_send(struct loop_task *task)
{
	struct asking *a = (struct asking *)((char *)task - offsetof(struct asking, task));

	nfs_compound_send(a->compound, answered, a);
}

static void stopped(void *arg)
{
	loop_stop(((struct asking *)arg)->loop);
}

static void *run_loop(void *arg)
{
	if (loop_run(((struct asking *)arg)->loop) < 0)
		abort();
	return NULL;
}

static void ask(struct asking *a, char *path)
{
	struct nfs_bitmap want = {0};

	a->compound = nfs_compound_new(a->conn, a->cred, OP_GETATTR);
	if (!a->compound)
		abort();
	nfs_op_putrootfh(a->compound);
	for (char *word = strtok(path, "/"); word; word = strtok(NULL, "/"))
		nfs_op_lookup(a->compound, word, strlen(word));
	nfs_bitmap_set(&want, FATTR4_SUPPORTED_ATTRS);
	nfs_op_getfsattr(a->compound, &want, &a->fs);
	a->task.run = on_send;
	loop_post(a->loop, &a->task);
	sem_wait(&a->done);
	nfs_compound_free(a->compound);
}

int attrs_ask(const char *source, struct nfs_bitmap *supported)
{
	struct nfs_client_config config = {.minor = -1,
		.timeo_ns = UINT64_C(60000000000),
		.rsize = 1 << 16,
		.wsize = 1 << 16,
		.max_requests = 2};
	struct asking a = {.err = -1};
	const char *path, *why;
	pthread_t thread;

	if (address_parse_source(source, &config.address, &path, &why) < 0) {
		fprintf(stderr, "matrix: %s: %s\n", source, why);
		return -1;
	}
	char *copy = strdup(path);
	log_init(LOG_TARGET_STDERR, false);
	if (!copy || sem_init(&a.done, 0, 0) < 0 || loop_new(LOOP_AUTO, &a.loop) < 0 ||
		rpc_cred_new_sys("matrix", 0, 0, NULL, 0, &a.cred) < 0)
		abort();
	config.cred = a.cred;
	if (nfs_client_new(&config, &a.client) < 0 ||
		nfs_client_attach(a.client, a.loop, &a.conn) < 0)
		abort();
	nfs_client_start(a.client, ready, &a);
	pthread_create(&thread, NULL, run_loop, &a);
	sem_wait(&a.done);
	if (a.err == 0)
		ask(&a, copy);
	nfs_client_stop(a.client, UINT64_C(5000000000), stopped, &a);
	pthread_join(thread, NULL);
	nfs_client_free(a.client);
	loop_free(a.loop);
	rpc_cred_unref(a.cred);
	free(copy);
	*supported = a.fs.supported;
	return a.err == 0 ? 0 : -1;
}
