/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_STATS_TEXT_H
#define VSOCKFS_STATS_TEXT_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "nfs41/deleg.h"
#include "nfs41/stats.h"
#include "preopen.h"

/* A mount's counters as text. */

enum stats_form {
	STATS_TABLE,	  /* for people */
	STATS_JSON,	  /* one object */
	STATS_MOUNTSTATS, /* as /proc/self/mountstats has it for nfs4, for mountstats(8) */
	/* "age NS", then for each operation its name, RPCs, replies, retransmissions, errors, bytes
	 * out and in, and the sums of queue, rtt and total in ns */
	STATS_LINES,
};

/* What is said of the mount besides its counters. Strings are UTF-8 or not: any bytes. */
struct stats_facts {
	const char *source, *mountpoint;
	const char *netid, *uaddr;
	const char *fuse_transport; /* how requests come in: "/dev/fuse", "io_uring" */
	const char *loop;	    /* "io_uring" or "poll" */
	bool read_only, soft;
	enum rpc_sec sec;
	unsigned minor;
	uint32_t rsize, wsize; /* bytes */
	struct deleg_stats delegations;
	uint64_t polls, polls_found, polls_ns; /* busy polls, those that found something, time */
	struct preopen_stats ahead;
	uint64_t age_ns; /* since the mount */
};

/* Prints the sum over `workers` counters. Any thread. */
void stats_text_print(FILE *out, enum stats_form form, const struct stats_facts *facts,
	const struct nfs_stats *const *stats, unsigned workers);

#endif
