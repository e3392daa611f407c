/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_TRACE_H
#define VSOCKFS_TRACE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

/*
 * Requests that took long, kept for whoever asks (vsockfsctl trace). As long as nobody does, or has
 * for TRACE_LEASE, a request costs one comparison. The last TRACE_KEPT are there; older ones are
 * lost, which their numbers tell.
 */

#define TRACE_KEPT  1024
#define TRACE_NAME  64			 /* bytes of a name, cut */
#define TRACE_LEASE UINT64_C(5000000000) /* ns */
#define TRACE_OFF   UINT64_MAX

struct trace;

struct trace_entry {
	uint64_t number; /* counts from 1 */
	uint64_t ended;	 /* ns since the epoch */
	uint64_t took, rpc_ns;
	uint64_t ino;	 /* of the object or the directory; 0: not known */
	uint32_t opcode; /* FUSE_* */
	pid_t pid;
	int err;		 /* 0 or -errno */
	uint32_t rpc, rpc_count; /* the last compound's label; how many there were */
	int rpc_status;		 /* nfsstat4 or -errno */
	char comm[16];		 /* of the program */
	char name[TRACE_NAME];	 /* in the directory, or empty */
};

int trace_new(struct trace **trace);
void trace_free(struct trace *trace); /* NULL is allowed */

/* Where requests find how long one has to take to be kept, ns; TRACE_OFF. */
const _Atomic uint64_t *trace_threshold(const struct trace *trace);
/* Keeps one; the number is given here. `now` as loop_clock(). Any thread. */
void trace_add(struct trace *trace, const struct trace_entry *entry, uint64_t now);

/*
 * Prints those numbered above `after` which took `slower` ns or more, and keeps such for
 * TRACE_LEASE. The first line is the last number given out and how many above `after` are lost;
 * each other one an entry:
 *
 *   NUMBER ENDED TOOK RPC-NS RPCS PID INO ERRNO OPERATION RPC STATUS COMM "NAME
 *
 * with control bytes, blanks and backslashes of names as \xNN. -ENOMEM, or 0.
 */
int trace_print(struct trace *trace, uint64_t slower, uint64_t after, uint64_t now, FILE *out);

/* Requests of this kind are about a name in a directory. */
bool trace_opcode_named(uint32_t opcode);
/* "READ" and so on; never NULL. */
const char *trace_opcode_name(uint32_t opcode);

#endif
