/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_VIGIL_H
#define VSOCKFS_VIGIL_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "util/loop.h"

/*
 * A worker's requests that are not answered yet, watched so that a program can be killed while it
 * waits for a server that is dead. The kernel lets nobody go before the answer, so a request whose
 * program is being killed (caller.h) is answered with EINTR early; any other signal changes
 * nothing, as on a local disk. Looked at are:
 *
 *   interrupted requests   at once (FUSE_INTERRUPT, of which the kernel sends one for a request),
 *                          then several times a second;
 *   all older ones         every second: a program that exits already is waiting in FLUSH, or one
 *                          that waits for direct I/O, is not announced.
 *
 * A request answered early goes on without its program (fsop_request.fuse is NULL): it ends as it
 * would have, and takes back what the kernel would have had to know of.
 */

struct worker;
struct fsop_request;

#define VIGIL_INBOX 256

struct vigil {
	struct worker *worker;
	LIST_HEAD(, fsop_request) pending;
	struct loop_timer timer;
	bool set;
	uint64_t active; /* ns: when a request last came or was answered */
	/* interrupts that other workers have read, under the mutex */
	pthread_mutex_t mutex;
	uint64_t inbox[VIGIL_INBOX];
	unsigned count;
	bool posted;
	struct loop_task task;
};

void vigil_init(struct vigil *vigil, struct worker *worker);
void vigil_deinit(struct vigil *vigil);

/* A request begins and ends. On its worker's thread. */
void vigil_add(struct vigil *vigil, struct fsop_request *req);
void vigil_remove(struct fsop_request *req);

/* A worker has read FUSE_INTERRUPT for the request numbered `unique`, of whichever worker. */
void vigil_interrupt(struct worker *reader, uint64_t unique);

#endif
