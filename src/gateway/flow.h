/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_GATEWAY_FLOW_H
#define VSOCKFS_GATEWAY_FLOW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * One direction of a connection: bytes from a source socket to a sink socket, both non-blocking.
 * What the sink does not take at once is held, at most FLOW_CHUNK bytes, in a vessel that comes
 * from a store and goes back as soon as it is empty, so that an idle connection costs none.
 *
 * Splicing through a pipe moves the pages where TCP fills a Unix socket, at half the cost of
 * copying. Other pairs are copied: into TCP a splice costs more than the copy (measured), and
 * AF_VSOCK copies anyway.
 */

#define FLOW_CHUNK (256 * 1024) /* bytes */

struct marks;
struct flow_vessel;

/* Empty vessels of both kinds, shared by all flows of a thread. */
struct flow_store {
	struct flow_vessel *buffers, *pipes;
	unsigned nbuffers, npipes;
};

void flow_store_deinit(struct flow_store *store);

enum flow_state {
	FLOW_READY,  /* flow_move has something to do, as far as is known */
	FLOW_SOURCE, /* waits until the source is readable */
	FLOW_SINK,   /* waits until the sink is writable */
	FLOW_END,    /* the source has ended, and the sink's side is shut down for writing */
	FLOW_BROKEN, /* *err tells */
};

struct flow {
	int source, sink;
	struct flow_store *store;
	bool splice;
	bool from_source; /* of a FLOW_BROKEN: the source failed, else the sink */
	int err;	  /* of a FLOW_BROKEN: -errno */
	uint64_t bytes;	  /* that the sink has taken */
	uint64_t calls;	  /* fragments of records that came from the source, if they are counted */
	uint64_t whole;	  /* records whose last byte the sink has taken, if they are counted */
	struct marks *marks; /* counts them; NULL: nobody does */
	uint64_t at_once;    /* fragments that flow_move may take; UINT64_MAX: as many as come */
	/* private */
	struct flow_vessel *held;
	size_t start, len; /* bytes in `held` */
	bool more;	   /* the source had all that it was asked for */
};

/* `store` is borrowed. The descriptors stay the caller's. */
void flow_init(struct flow *flow, int source, int sink, struct flow_store *store);
void flow_deinit(struct flow *flow);

/* Moves at most FLOW_CHUNK bytes, and of the source's no byte behind `at_once` fragments. With
 * `drain` it takes nothing more from the source, and waits for it (FLOW_SOURCE) when nothing is
 * held. */
enum flow_state flow_move(struct flow *flow, bool drain);

#endif
