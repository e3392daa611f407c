/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "gateway/flow.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "gateway/marks.h"

/* Empty vessels that are kept: their pages are warm, and making a pipe costs two descriptors. */
#define FLOW_STORE_KEEP 8
/* So much is looked at for the marks of records that are spliced. */
#define FLOW_LOOK 4096 /* bytes */

struct flow_vessel {
	struct flow_vessel *next;
	int pipe[2];
	char data[]; /* FLOW_CHUNK bytes of a buffer, none of a pipe */
};

static struct flow_vessel *flow_new_pipe(void)
{
	struct flow_vessel *v = malloc(sizeof(*v));

	if (!v)
		return NULL;
	if (pipe2(v->pipe, O_NONBLOCK | O_CLOEXEC) < 0) {
		free(v);
		return NULL;
	}
	/* A wish: beyond a user's share of pipe memory the kernel refuses. */
	(void)fcntl(v->pipe[1], F_SETPIPE_SZ, FLOW_CHUNK);
	return v;
}

static void flow_free_vessel(struct flow_vessel *v, bool splice)
{
	if (splice) {
		close(v->pipe[0]);
		close(v->pipe[1]);
	}
	free(v);
}

static struct flow_vessel *flow_take(struct flow_store *store, bool splice)
{
	struct flow_vessel **list = splice ? &store->pipes : &store->buffers, *v = *list;

	if (!v)
		return splice ? flow_new_pipe() : malloc(sizeof(*v) + FLOW_CHUNK);
	*list = v->next;
	if (splice)
		store->npipes--;
	else
		store->nbuffers--;
	return v;
}

static void flow_give_back(struct flow_store *store, struct flow_vessel *v, bool splice)
{
	struct flow_vessel **list = splice ? &store->pipes : &store->buffers;
	unsigned *count = splice ? &store->npipes : &store->nbuffers;

	if (*count == FLOW_STORE_KEEP) {
		flow_free_vessel(v, splice);
		return;
	}
	v->next = *list;
	*list = v;
	++*count;
}

static void flow_free_list(struct flow_vessel *v, bool splice)
{
	while (v) {
		struct flow_vessel *next = v->next;
		flow_free_vessel(v, splice);
		v = next;
	}
}

void flow_store_deinit(struct flow_store *store)
{
	flow_free_list(store->buffers, false);
	flow_free_list(store->pipes, true);
	*store = (struct flow_store){0};
}

static int flow_family(int fd)
{
	int family = AF_UNSPEC;
	socklen_t len = sizeof(family);

	getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &family, &len);
	return family;
}

void flow_init(struct flow *flow, int source, int sink, struct flow_store *store)
{
	int from = flow_family(source);

	*flow = (struct flow){
		.source = source, .sink = sink, .store = store, .at_once = UINT64_MAX};
	flow->splice = (from == AF_INET || from == AF_INET6) && flow_family(sink) == AF_UNIX;
}

void flow_deinit(struct flow *flow)
{
	if (!flow->held)
		return;
	/* A pipe with bytes in it is of no use to another flow. */
	if (flow->len > 0)
		flow_free_vessel(flow->held, flow->splice);
	else
		flow_give_back(flow->store, flow->held, flow->splice);
	flow->held = NULL;
}

static enum flow_state flow_break(struct flow *flow, bool from_source, int err)
{
	flow->from_source = from_source;
	flow->err = err;
	return FLOW_BROKEN;
}

static ssize_t flow_receive(struct flow *flow, void *data, size_t most, int flags)
{
	ssize_t n;

	do
		n = recv(flow->source, data, most, MSG_DONTWAIT | flags);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

static ssize_t flow_splice(struct flow *flow, size_t most)
{
	ssize_t n;

	do
		n = splice(flow->source, NULL, flow->held->pipe[1], NULL, most,
			SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	flow->len = (size_t)n;
	flow->more = flow->len == most;
	return n;
}

/*
 * Splices as far as is known where records end: to the end of a fragment that is under way, or of
 * those of which the marks are among the next bytes.
 */
static ssize_t flow_splice_counted(struct flow *flow)
{
	struct marks seen = *flow->marks;
	uint8_t look[FLOW_LOOK];
	ssize_t looked = 0, n;
	size_t most;

	if (seen.left == 0) {
		looked = flow_receive(flow, look, sizeof(look), MSG_PEEK);
		if (looked <= 0)
			return looked;
		marks_count(&seen, look, (size_t)looked);
	}
	most = (size_t)looked + seen.left;
	n = flow_splice(flow, most < FLOW_CHUNK ? most : FLOW_CHUNK);
	if (n <= 0)
		return n;
	size_t known = n < looked ? (size_t)n : (size_t)looked;
	flow->calls += marks_count(flow->marks, look, known);
	marks_skip(flow->marks, (size_t)n - known);
	/* All that there was has been looked at. */
	if (n == looked && looked < FLOW_LOOK)
		flow->more = false;
	return n;
}

/* Up to `most` bytes more into what is held. */
static ssize_t flow_read(struct flow *flow, size_t most)
{
	ssize_t n = flow_receive(flow, flow->held->data + flow->len, most, 0);

	if (n < 0)
		return n;
	if (n > 0 && flow->marks)
		flow->calls += marks_count(flow->marks, flow->held->data + flow->len, (size_t)n);
	flow->len += (size_t)n;
	flow->more = (size_t)n == most;
	return n;
}

/* Ends with a fragment, unless the source has no more, or there is no room. */
static ssize_t flow_read_fragments(struct flow *flow)
{
	uint64_t ended = 0;
	ssize_t n;

	do {
		size_t some = marks_within(flow->marks), room = FLOW_CHUNK - flow->len;
		n = flow_read(flow, some < room ? some : room);
		if (n > 0 && marks_is_between(flow->marks))
			ended++;
	} while (n > 0 && flow->more && flow->len < FLOW_CHUNK && ended < flow->at_once);
	/* What ends the source is met again by the next move. */
	return flow->len > 0 ? (ssize_t)flow->len : n;
}

static ssize_t flow_write(struct flow *flow)
{
	ssize_t n;

	do {
		if (flow->splice)
			n = splice(flow->held->pipe[0], NULL, flow->sink, NULL, flow->len,
				SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
		else
			n = send(flow->sink, flow->held->data + flow->start, flow->len,
				MSG_DONTWAIT | MSG_NOSIGNAL);
	} while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

/* FLOW_READY when bytes are held now. */
static enum flow_state flow_fill(struct flow *flow)
{
	flow->held = flow_take(flow->store, flow->splice);
	if (!flow->held && flow->splice) {
		/* No descriptors are left for a pipe. */
		flow->splice = false;
		flow->held = flow_take(flow->store, false);
	}
	if (!flow->held)
		return flow_break(flow, false, -ENOMEM);
	flow->start = 0;
	ssize_t n;
	if (flow->splice)
		n = flow->marks ? flow_splice_counted(flow) : flow_splice(flow, FLOW_CHUNK);
	else if (flow->marks && flow->at_once < UINT64_MAX)
		n = flow_read_fragments(flow);
	else
		n = flow_read(flow, FLOW_CHUNK);
	if (n > 0)
		return FLOW_READY;
	flow_deinit(flow);
	if (n == -EAGAIN)
		return FLOW_SOURCE;
	if (n < 0)
		return flow_break(flow, true, (int)n);
	/* What fails here has ended already, and the other direction will tell. */
	shutdown(flow->sink, SHUT_WR);
	return FLOW_END;
}

enum flow_state flow_move(struct flow *flow, bool drain)
{
	enum flow_state state = FLOW_READY;

	if (flow->len == 0)
		state = drain ? FLOW_SOURCE : flow_fill(flow);
	if (state != FLOW_READY)
		return state;
	while (flow->len > 0) {
		ssize_t n = flow_write(flow);
		if (n == -EAGAIN)
			return FLOW_SINK;
		if (n <= 0)
			return flow_break(flow, false, n < 0 ? (int)n : -EPIPE);
		flow->start += (size_t)n;
		flow->len -= (size_t)n;
		flow->bytes += (uint64_t)n;
	}
	flow_deinit(flow);
	if (flow->marks)
		flow->whole = flow->marks->ended;
	/* A short read has emptied the source: waiting for it saves a call that finds nothing. */
	return flow->more ? FLOW_READY : FLOW_SOURCE;
}
