/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_RING_H
#define VSOCKFS_RING_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

/*
 * FUSE over io_uring (Linux 6.14, where the module's parameter enable_uring is on): requests come
 * as completions of the worker's own ring, and one io_uring_enter(2) carries the answers out and
 * the next requests in. The kernel has a queue for each possible CPU, in which it puts what
 * programs on that CPU ask, and uses none before all have an entry; each worker serves some.
 * FORGET, INTERRUPT and notifications stay on /dev/fuse.
 *
 * An entry is memory for one request and its answer: a header and a payload of the largest size,
 * of which only what was used is there. Every queue begins with few and gets RING_DEPTH when its
 * first request comes. A request keeps its entry until it is answered, and some wait long for
 * others (a lock, a page): when all entries of a queue are taken and nothing moves, it gets more.
 *
 * On the worker's thread, but for ring_new and ring_free.
 */

struct options;
struct share;
struct worker;
struct ring;

/* Entries of a queue that is in use: as many requests of one CPU go to the server at once. */
#define RING_DEPTH 32
/* No more than that: what then waits for others that wait behind it waits for good. */
#define RING_DEPTH_MAX 1024

/* How many queues this kernel has, or 0 and in *why what keeps them from being used. */
unsigned ring_count_queues(const struct options *options, const char **why);

/* The queues of `worker`, whose loop takes commands. 0 or -ENOMEM. */
int ring_new(struct worker *worker, struct ring **ring);
/* When the worker's thread has ended. NULL is allowed. */
void ring_free(struct ring *ring);

/* Gives the kernel its entries, once it has had the answer to INIT. */
void ring_start(struct ring *ring);
/* Decodes requests that had to wait for a buffer. 1: some; 0: there are none; -ENOBUFS. */
int ring_serve(struct ring *ring);

/* Is it the number of a request of ours, as libfuse has it? */
bool ring_has(uint64_t unique);
/* The answer to it, as writev(2) would send it. Bytes, or -1 with errno. */
ssize_t ring_reply(const struct iovec *iov, int count);

#endif
