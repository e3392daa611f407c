/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_CALLER_H
#define VSOCKFS_CALLER_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/*
 * Whether the program that waits for a FUSE request is being killed. The kernel tells of a
 * request's first signal, whatever that is, and of no other; only /proc says whether there is one
 * that the program will not survive. No privilege is needed.
 */

enum caller {
	CALLER_ALIVE,
	CALLER_ENDING,	/* a fatal signal waits for it, it exits, or it is gone */
	CALLER_UNKNOWN, /* in another pid namespace, or hidden */
};

/* `tid` as in a FUSE request: a thread's id, or 0. `proc_fd`: a descriptor of /proc, or -1. */
enum caller caller_look(int proc_fd, pid_t tid);

/* The name of a thread's program, or "?"; the same arguments. */
#define CALLER_COMM_MAX 16
void caller_comm(int proc_fd, pid_t tid, char out[CALLER_COMM_MAX]);

/* In the text of /proc/TID/status: 1: a fatal signal is pending; 0: none is; -1: it does not say.
 */
int caller_parse_status(const char *text, size_t len);
/* In that of /proc/TID/stat: the thread exits. */
bool caller_parse_stat(const char *text, size_t len);

#endif
