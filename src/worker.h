/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_WORKER_H
#define VSOCKFS_WORKER_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "nfs41/client.h"
#include "spin.h"
#include "util/buf.h"
#include "util/loop.h"
#include "util/spare.h"
#include "vigil.h"

/*
 * A worker: one thread, one loop, one connection bound to the session, and one channel of the
 * FUSE device (its own clone, so that replies go where the request came from). It runs each
 * request from /dev/fuse to the reply without handing it to another thread.
 */

#define WORKER_MAX 16

struct share;

struct worker {
	struct share *share;
	unsigned index;
	struct loop *loop;
	struct nfs_conn *conn;
	pthread_t thread;
	bool running;
	/* the FUSE channel */
	int fuse_fd; /* -1 before worker_serve */
	bool serving, polling, ending;
	bool due;	 /* the poll has told of a request */
	uint64_t unique; /* the kernel's number of the request being decoded */
	uint32_t opcode; /* and its kind */
	struct vigil vigil;
	struct spare requests;
	struct buf *in;	   /* the request being read or decoded; a WRITE may keep it */
	struct ring *ring; /* or NULL: all requests come from the device */
	bool in_ring;	   /* the request being decoded came from there */
	struct loop_hook hook;
	struct loop_poll poll;
	struct loop_spin spin;
	struct spin odds;
	uint64_t spun_at;
	struct spin_stats spun;
	struct loop_task call; /* requests come on top of each other */
	atomic_bool called;
	struct loop_timer retry;  /* no buffer was free */
	struct loop_timer behind; /* gathered data gets old */
	bool behind_set;
	struct loop_timer closing; /* what waits to be closed */
	bool closing_set;
	struct loop_timer unread; /* what was read ahead gets old */
	bool unread_set;
	struct loop_timer trim; /* buffers that nobody needs any more */
	bool trim_set;
	struct loop_task recall_task; /* delegations are due */
	atomic_bool recall_posted;
	struct loop_timer recall_timer; /* the same, and nobody waits */
	bool recall_set;
	atomic_bool looked_at; /* a look (look.h) has not been answered yet */
};

int worker_new(struct share *share, unsigned index, struct worker **worker);
/* After worker_stop. NULL is allowed. */
void worker_free(struct worker *worker);

int worker_start(struct worker *worker);
/* Reads no more requests, and waits for the end of those that were read. Not from a worker. */
void worker_quiesce(struct worker *worker);
/* Ends the loop and joins the thread. */
void worker_stop(struct worker *worker);

/* On the worker's thread: serves FUSE requests from `fd` (non-blocking) from now on. */
void worker_serve(struct worker *worker, int fd_take);

/* Fewer are free than requests that begin may take. */
bool worker_lacks_buffers(const struct worker *worker);

/* On its thread: there is something for behind_tick. */
void worker_watch_behind(struct worker *worker);
/* The same for closing_tick, at `deadline` (ns) at the latest. */
void worker_watch_closing(struct worker *worker, uint64_t deadline);

/* The same for lead_tick and preopen_tick. */
void worker_watch_unread(struct worker *worker);

/* The worker whose thread this is, or NULL. */
struct worker *worker_self(void);

/* Runs `run(arg)` on the worker's thread and waits for it. Not from a worker. */
void worker_call(struct worker *worker, void (*run)(void *arg), void *arg);

#endif
