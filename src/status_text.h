/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_STATUS_TEXT_H
#define VSOCKFS_STATUS_TEXT_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "nfs41/deleg.h"
#include "nfs41/status.h"
#include "options.h"
#include "worker.h"

/* How a mount is at the moment, as text. */

/* Of programs, that are not answered yet. */
struct status_requests {
	unsigned count;
	uint64_t oldest_ns, oldest_ino;
	uint32_t oldest_opcode;
	int oldest_pid;
};

struct status_facts {
	const struct options *options;
	const char *server;	      /* as address_describe */
	const char *transport, *loop; /* as in stats_text.h */
	uint64_t age_ns;
	uint32_t rsize, wsize;
	/* by the workers; what one that does not answer would have told is zero */
	bool answers[WORKER_MAX];
	struct nfs_client_status client; /* by the first */
	struct nfs_conn_status conns[WORKER_MAX];
	unsigned nconns;
	struct nfs_state_status state;
	struct deleg_stats delegations;
	uint64_t nodes;
	size_t unstable; /* bytes */
	unsigned bufs, bufs_max;
	struct status_requests requests;
	bool debug;	   /* the log has debug messages */
	char capture[160]; /* capture_print's line, without its end */
};

void status_text_print(FILE *out, bool json, const struct status_facts *facts);

#endif
