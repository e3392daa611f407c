/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_CAPTURE_H
#define VSOCKFS_CAPTURE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "rpc/tap.h"

/*
 * A packet capture of the mount's connections (pcapng.h), while one is asked for. Connections add
 * their records to a buffer in memory, and a thread of the capture's own writes it out: what does
 * not fit because the reader or the disk is slow is left out and counted, and nothing waits. One
 * capture at a time.
 */

struct capture;

struct capture_options {
	uint32_t snaplen; /* bytes kept of each packet, headers included; 0: all */
	bool data;	  /* what READs bring and WRITEs take along, too */
	uint64_t limit;	  /* bytes of the file, after which it ends; 0: none */
};

/* What the file says about the mount. */
struct capture_facts {
	const char *source, *server;
	unsigned workers;
	uint32_t major, minor; /* the mount's device, which may not be written to; 0:0 before it is
				  mounted */
};

int capture_new(struct capture **capture);
/* After the last connection has ended. NULL is allowed. */
void capture_free(struct capture *capture);

/* For the connections. */
struct rpc_tap *capture_tap(struct capture *capture);

/*
 * Begins one to `fd`: a regular file, a pipe or a socket, open for writing. Not from a worker, as
 * the functions that follow, and one at a time. 0, or -errno with a sentence in `why`.
 */
int capture_start(struct capture *capture, int fd_take, const struct capture_options *options,
	const struct capture_facts *facts, char *why, size_t why_size);
/* Ends it; a reader that does not read is not waited for long. -ENOENT: there was none. */
int capture_stop(struct capture *capture);
/* One line: whether there is one, and what it has seen. */
void capture_print(struct capture *capture, FILE *out);

#endif
