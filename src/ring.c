/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "ring.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fsop.h"
#include "options.h"
#include "ring_abi.h"
#include "share.h"
#include "util/log.h"

#define RING_ENABLED  "/sys/module/fuse/parameters/enable_uring"
#define RING_POSSIBLE "/sys/devices/system/cpu/possible"
#define RING_QUEUES   CPU_SETSIZE

/* Entries that a queue begins with: most CPUs of a large machine never ask for anything. */
#define RING_FIRST 2
/* A queue that is full for so long without an answer is stuck. */
#define RING_STUCK_NS UINT64_C(100000000)
/* What entries have used is given back when nothing has come for so long; less is kept. */
#define RING_IDLE_NS UINT64_C(2000000000)
#define RING_KEEP    (64u << 10)
/* MADV_DONTNEED_LOCKED, of memory that is locked as well (Linux 5.18). */
#define RING_DONTNEED 24

/* The page in front of the payload has the header at its start. A request as /dev/fuse has it is
 * put together at its end, so that the payload is already where it belongs. */
#define RING_HEAD    4096u
#define RING_PAYLOAD (128u << 10) /* at least */

/* libfuse is given the entry's address as the number of its request. The kernel's are even. */
#define RING_MARK UINT64_C(1)
/* The number of a request that is made only to have the kernel look at its queue. */
#define RING_NUDGE (UINT64_C(1) << 62)

struct ring_queue {
	struct ring *ring;
	unsigned id, entries, busy;
	unsigned nudges; /* to be sent */
	uint64_t answers, seen;
};

struct ring_entry {
	struct loop_command command;
	struct ring_queue *queue;
	struct fuse_uring_req_header *header;
	uint8_t *payload;
	struct iovec iov[2];
	uint32_t used; /* bytes of payload since the last trim */
	bool busy;     /* the request is here */
	LIST_ENTRY(ring_entry) all;
	STAILQ_ENTRY(ring_entry) held;
};

struct ring {
	struct worker *worker;
	size_t payload; /* bytes */
	struct ring_queue *queues;
	unsigned nqueues;
	LIST_HEAD(, ring_entry) all;
	STAILQ_HEAD(, ring_entry) held; /* wait for a buffer */
	struct loop_timer stuck, idle;
	struct loop_task nudge;
	bool stuck_set, idle_set, nudging;
	uint64_t last; /* ns: when a request used much */
};

static void ring_command_done(struct loop_command *command, int result);
static void ring_stuck(struct loop_timer *timer);
static void ring_idle(struct loop_timer *timer);
static void ring_nudge(struct loop_task *task);

static bool ring_read_line(const char *path, char *line, int size)
{
	FILE *file = fopen(path, "re");
	bool got = file && fgets(line, size, file);
	if (file)
		fclose(file);
	return got;
}

/* "0-3,8": the kernel's queues have the numbers of the CPUs, and there are as many. */
static unsigned ring_count_cpus(void)
{
	char line[256];
	unsigned last = 0;
	int used = 0;
	if (!ring_read_line(RING_POSSIBLE, line, sizeof(line)))
		return 0;
	if (strcmp(line, "0\n") == 0)
		return 1;
	/* With holes the kernel's own numbers do not fit. */
	if (sscanf(line, "0-%5u%n", &last, &used) != 1 || line[used] != '\n')
		return 0;
	return last < RING_QUEUES ? last + 1 : 0;
}

unsigned ring_count_queues(const struct options *options, const char **why)
{
	char line[8] = "";
	unsigned count = 0;
	if (options->fuse_ring == OPTIONS_RING_OFF)
		*why = "the options say so";
	else if (options->takeover)
		*why = "what was under way could not be taken over";
	else if (options->rootfs)
		*why = "it is the root file system";
	else if (!ring_read_line(RING_ENABLED, line, sizeof(line)))
		*why = "the kernel does not have it (Linux 6.14)";
	else if (line[0] != 'Y')
		*why = "the kernel's parameter fuse.enable_uring is off";
	else if ((count = ring_count_cpus()) == 0)
		*why = "the CPUs' numbers are not known";
	return count;
}

static size_t ring_payload_size(const struct share *share)
{
	uint32_t size = share->rsize > share->wsize ? share->rsize : share->wsize;
	size = (size + RING_HEAD - 1) / RING_HEAD * RING_HEAD;
	return size > RING_PAYLOAD ? size : RING_PAYLOAD;
}

/* Neighbouring CPUs to one worker: 0 to 3 of 16 to the first of four. */
static unsigned ring_first_queue(const struct share *share, unsigned worker)
{
	return (unsigned)((uint64_t)share->ring_queues * worker / share->nworkers);
}

int ring_new(struct worker *worker, struct ring **ring)
{
	const struct share *share = worker->share;
	unsigned first = ring_first_queue(share, worker->index);
	unsigned count = ring_first_queue(share, worker->index + 1) - first;
	struct ring *r = calloc(1, sizeof(*r));
	if (!r)
		return -ENOMEM;
	r->worker = worker;
	r->payload = ring_payload_size(share);
	r->stuck.fire = ring_stuck;
	r->idle.fire = ring_idle;
	r->nudge.run = ring_nudge;
	LIST_INIT(&r->all);
	STAILQ_INIT(&r->held);
	r->queues = calloc(count ? count : 1, sizeof(*r->queues));
	if (!r->queues) {
		free(r);
		return -ENOMEM;
	}
	r->nqueues = count;
	for (unsigned i = 0; i < count; i++)
		r->queues[i] = (struct ring_queue){.ring = r, .id = first + i};
	*ring = r;
	return 0;
}

static void ring_drop(struct ring_entry *entry)
{
	entry->queue->entries--;
	LIST_REMOVE(entry, all);
	munmap(entry->header, RING_HEAD + entry->queue->ring->payload);
	free(entry);
}

void ring_free(struct ring *ring)
{
	struct ring_entry *entry;
	if (!ring)
		return;
	while ((entry = LIST_FIRST(&ring->all)))
		ring_drop(entry);
	free(ring->queues);
	free(ring);
}

static void ring_command(struct ring_entry *entry, uint32_t number, uint64_t commit_id)
{
	struct worker *worker = entry->queue->ring->worker;
	const struct fuse_uring_cmd_req request = {
		.commit_id = commit_id, .qid = (uint16_t)entry->queue->id};
	_Static_assert(sizeof(request) <= LOOP_COMMAND_DATA, "what a command has room for");
	entry->command.fd = worker->fuse_fd;
	entry->command.number = number;
	memcpy(entry->command.data, &request, sizeof(request));
	loop_command_start(worker->loop, &entry->command);
}

static void ring_add(struct ring_queue *queue)
{
	struct ring *ring = queue->ring;
	size_t size = RING_HEAD + ring->payload;
	struct ring_entry *entry = calloc(1, sizeof(*entry));
	uint8_t *memory =
		mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (!entry || memory == MAP_FAILED) {
		if (memory != MAP_FAILED)
			munmap(memory, size);
		free(entry);
		return;
	}
	/* One huge page would take as much as a whole entry of which little is used. */
	madvise(memory, size, MADV_NOHUGEPAGE);
	entry->queue = queue;
	entry->header = (struct fuse_uring_req_header *)memory;
	entry->payload = memory + RING_HEAD;
	entry->iov[0] = (struct iovec){.iov_base = memory, .iov_len = sizeof(*entry->header)};
	entry->iov[1] = (struct iovec){.iov_base = entry->payload, .iov_len = ring->payload};
	entry->command.done = ring_command_done;
	entry->command.address = entry->iov;
	entry->command.len = 2;
	LIST_INSERT_HEAD(&ring->all, entry, all);
	queue->entries++;
	ring_command(entry, FUSE_IO_URING_CMD_REGISTER, 0);
}

static void ring_fill(struct ring_queue *queue, unsigned entries)
{
	for (unsigned n = queue->entries; n < entries; n++)
		ring_add(queue);
}

/* Where programs wait for it, it is there at once, and wakes without another CPU. */
static void ring_stay(const struct ring *ring)
{
	cpu_set_t allowed, cpus;
	CPU_ZERO(&cpus);
	for (unsigned i = 0; i < ring->nqueues; i++)
		CPU_SET(ring->queues[i].id, &cpus);
	if (sched_getaffinity(0, sizeof(allowed), &allowed) < 0)
		return;
	CPU_AND(&cpus, &cpus, &allowed);
	if (CPU_COUNT(&cpus) > 0)
		sched_setaffinity(0, sizeof(cpus), &cpus);
}

void ring_start(struct ring *ring)
{
	ring_stay(ring);
	for (unsigned i = 0; i < ring->nqueues; i++)
		ring_fill(&ring->queues[i], RING_FIRST);
}

/* The kernel has let go of the entry. */
static void ring_lost(struct ring_entry *entry, int err)
{
	struct share *share = entry->queue->ring->worker->share;
	bool ended =
		err == -ENOTCONN || err == -ECONNABORTED || err == -ENODEV || err == -ECANCELED;
	if (!ended && entry->command.number == FUSE_IO_URING_CMD_REGISTER) {
		log_debug("FUSE over io_uring: queue %u: %s", entry->queue->id, strerror(-err));
		if (!entry->queue->answers)
			share->ring_failed = 1;
	} else if (!ended) {
		log_error("FUSE over io_uring: an answer was refused: %s", strerror(-err));
	}
	ring_drop(entry);
}

static bool ring_full(const struct ring_queue *queue)
{
	return queue->busy == queue->entries;
}

static void ring_watch(struct ring_queue *queue)
{
	struct ring *ring = queue->ring;
	struct loop *loop = ring->worker->loop;
	queue->seen = queue->answers;
	if (ring->stuck_set)
		return;
	ring->stuck_set = true;
	loop_timer_set(loop, &ring->stuck, loop_now(loop) + RING_STUCK_NS);
}

/*
 * New entries take only what comes after them, while requests that wait in the kernel are taken by
 * an entry whose own one is answered. So as many as there are new entries are made and answered.
 */
static void ring_stuck(struct loop_timer *timer)
{
	struct ring *ring = (struct ring *)((char *)timer - offsetof(struct ring, stuck));
	ring->stuck_set = false;
	for (unsigned i = 0; i < ring->nqueues; i++) {
		struct ring_queue *queue = &ring->queues[i];
		unsigned before = queue->entries;
		if (!ring_full(queue) || before == 0 || before >= RING_DEPTH_MAX)
			continue;
		if (queue->answers == queue->seen) {
			ring_fill(queue, before * 2 < RING_DEPTH_MAX ? before * 2 : RING_DEPTH_MAX);
			queue->nudges += queue->entries - before;
		}
		ring_watch(queue);
	}
	/* When they are the kernel's. */
	if (!ring->nudging)
		loop_post(ring->worker->loop, &ring->nudge);
	ring->nudging = true;
}

/* Asks for no bytes of what the kernel has cached of a file: they come as a request. 0 or -errno.
 */
static int ring_ask(const struct ring_queue *queue, uint64_t nodeid)
{
	struct {
		struct fuse_out_header header;
		struct fuse_notify_retrieve_out retrieve;
	} note = {.header = {.len = sizeof(note), .error = FUSE_NOTIFY_RETRIEVE},
		.retrieve = {.notify_unique = RING_NUDGE + 2 * queue->id, .nodeid = nodeid}};
	return write(queue->ring->worker->fuse_fd, &note, sizeof(note)) < 0 ? -errno : 0;
}

/* On that CPU, about a file that one of the queue's requests is about. */
static void ring_nudge_queue(struct ring_queue *queue)
{
	const struct ring_entry *entry;
	int err = -ENOENT;
	cpu_set_t cpus;
	CPU_ZERO(&cpus);
	CPU_SET(queue->id, &cpus);
	if (sched_setaffinity(0, sizeof(cpus), &cpus) < 0)
		return;
	LIST_FOREACH (entry, &queue->ring->all, all) {
		struct fuse_in_header in;
		if (!entry->busy || entry->queue != queue)
			continue;
		memcpy(&in, entry->header->in_out, sizeof(in));
		/* A directory has no pages, and no requests that wait for each other. */
		while (queue->nudges > 0 && (err = ring_ask(queue, in.nodeid)) == 0)
			queue->nudges--;
		if (queue->nudges == 0)
			return;
	}
	log_debug("FUSE over io_uring: queue %u: %s", queue->id, strerror(-err));
	queue->nudges = 0;
}

static void ring_nudge(struct loop_task *task)
{
	struct ring *ring = (struct ring *)((char *)task - offsetof(struct ring, nudge));
	cpu_set_t cpus;
	ring->nudging = false;
	if (sched_getaffinity(0, sizeof(cpus), &cpus) < 0)
		return;
	for (unsigned i = 0; i < ring->nqueues; i++)
		if (ring->queues[i].nudges > 0)
			ring_nudge_queue(&ring->queues[i]);
	sched_setaffinity(0, sizeof(cpus), &cpus);
}

static void ring_idle(struct loop_timer *timer)
{
	struct ring *ring = (struct ring *)((char *)timer - offsetof(struct ring, idle));
	struct loop *loop = ring->worker->loop;
	struct ring_entry *entry;
	ring->idle_set = false;
	bool idle = loop_now(loop) - ring->last >= RING_IDLE_NS;
	LIST_FOREACH (entry, &ring->all, all) {
		if (entry->used <= RING_KEEP)
			continue;
		/* The kernel writes to it on this thread only. */
		if (idle && !entry->busy) {
			madvise(entry->payload + RING_KEEP, ring->payload - RING_KEEP,
				RING_DONTNEED);
			entry->used = 0;
			continue;
		}
		ring->idle_set = true;
	}
	if (ring->idle_set)
		loop_timer_set(loop, &ring->idle, loop_now(loop) + RING_IDLE_NS);
}

static void ring_used(struct ring_entry *entry, size_t len)
{
	struct ring *ring = entry->queue->ring;
	struct loop *loop = ring->worker->loop;
	if (len <= RING_KEEP)
		return;
	ring->last = loop_now(loop);
	entry->used = (uint32_t)len;
	if (ring->idle_set)
		return;
	ring->idle_set = true;
	loop_timer_set(loop, &ring->idle, ring->last + RING_IDLE_NS);
}

static void ring_commit(struct ring_entry *entry, const struct fuse_out_header *out)
{
	uint64_t commit_id = entry->header->ring_ent_in_out.commit_id;
	memcpy(entry->header->in_out, out, sizeof(*out));
	entry->header->ring_ent_in_out.payload_sz = out->len - (uint32_t)sizeof(*out);
	entry->busy = false;
	entry->queue->busy--;
	entry->queue->answers++;
	ring_command(entry, FUSE_IO_URING_CMD_COMMIT_AND_FETCH, commit_id);
}

bool ring_has(uint64_t unique)
{
	return unique & RING_MARK;
}

ssize_t ring_reply(const struct iovec *iov, int count)
{
	struct fuse_out_header out;
	size_t len = 0;
	memcpy(&out, iov[0].iov_base, sizeof(out));
	struct ring_entry *entry = (struct ring_entry *)(uintptr_t)(out.unique & ~RING_MARK);
	size_t room = entry->queue->ring->payload;
	out.unique = entry->header->ring_ent_in_out.commit_id;
	for (int i = 1; i < count && iov[i].iov_len <= room - len; i++) {
		memcpy(entry->payload + len, iov[i].iov_base, iov[i].iov_len);
		len += iov[i].iov_len;
	}
	out.len = (uint32_t)(sizeof(out) + len);
	ring_used(entry, len);
	ring_commit(entry, &out);
	return (ssize_t)out.len;
}

/* The request as /dev/fuse would have it. NULL: the kernel's numbers do not fit together. */
static uint8_t *ring_compose(const struct ring_entry *entry, size_t *len)
{
	const struct fuse_uring_req_header *header = entry->header;
	struct fuse_in_header in;
	size_t payload = header->ring_ent_in_out.payload_sz;
	memcpy(&in, header->in_out, sizeof(in));
	if (payload > entry->queue->ring->payload || in.len < sizeof(in) + payload ||
		in.len - sizeof(in) - payload > sizeof(header->op_in))
		return NULL;
	size_t op = in.len - sizeof(in) - payload;
	uint8_t *data = entry->payload - op - sizeof(in);
	memcpy(data, &in, sizeof(in));
	memcpy(data + sizeof(in), header->op_in, op);
	*len = in.len;
	return data;
}

static void ring_decode(struct ring_entry *entry)
{
	size_t len;
	uint8_t *data = ring_compose(entry, &len);
	const struct fuse_out_header out = {.len = sizeof(out),
		.error = data ? 0 : -EIO,
		.unique = entry->header->ring_ent_in_out.commit_id};
	ring_used(entry, entry->header->ring_ent_in_out.payload_sz);
	if (!data)
		log_error("FUSE over io_uring: a request whose lengths contradict each other");
	if (!data || out.unique >= RING_NUDGE)
		ring_commit(entry, &out);
	else
		fsop_process_ring(entry->queue->ring->worker, data, len,
			(uint64_t)(uintptr_t)entry | RING_MARK);
}

int ring_serve(struct ring *ring)
{
	struct ring_entry *entry = STAILQ_FIRST(&ring->held);
	if (!entry)
		return 0;
	if (!ring->worker->serving || worker_lacks_buffers(ring->worker))
		return -ENOBUFS;
	STAILQ_REMOVE_HEAD(&ring->held, held);
	ring_decode(entry);
	return 1;
}

static void ring_command_done(struct loop_command *command, int result)
{
	struct ring_entry *entry =
		(struct ring_entry *)((char *)command - offsetof(struct ring_entry, command));
	struct ring_queue *queue = entry->queue;
	if (result < 0) {
		ring_lost(entry, result);
		return;
	}
	entry->busy = true;
	queue->busy++;
	ring_fill(queue, RING_DEPTH);
	if (ring_full(queue))
		ring_watch(queue);
	STAILQ_INSERT_TAIL(&queue->ring->held, entry, held);
	/* Now, not when the hook runs: an interrupt of it may be among the tasks. */
	ring_serve(queue->ring);
}
