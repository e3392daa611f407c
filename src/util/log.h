/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_UTIL_LOG_H
#define VSOCKFS_UTIL_LOG_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/*
 * The daemon's log: stderr in the foreground (with <N> priority prefixes when stderr is the
 * journal, JOURNAL_STREAM), syslog in the background, the kernel's log for a root file system,
 * which may not need a file or another process to say something. One line a call, without a
 * newline; any thread. Bytes below 0x20 that a peer put into a message are written as \xNN.
 */

enum log_target { LOG_TARGET_STDERR, LOG_TARGET_SYSLOG, LOG_TARGET_KMSG };

/*
 * Called by main before other threads exist. `debug` lets log_debug through. LOG_TARGET_KMSG opens
 * /dev/kmsg the first time that it is asked for, and keeps it; without it the log stays where it
 * is.
 */
void log_init(enum log_target target, bool debug);
/* Before log_init, for a program that is not called vsockfs; a constant. */
void log_set_name(const char *name);
/* Lets log_debug through, or no longer. Any thread. */
void log_set_debug(bool debug);
bool log_debug_enabled(void);

void log_error(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_warn(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_info(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_debug(const char *format, ...) __attribute__((format(printf, 1, 2)));

/*
 * Keeps what a peer can cause from filling the log: LOG_LIMIT_BURST lines at once, and one for
 * each LOG_LIMIT_PACE. Zeroed at first; any thread.
 */
#define LOG_LIMIT_BURST 10
#define LOG_LIMIT_PACE	UINT64_C(60000000000) /* ns */

struct log_limit {
	_Atomic uint64_t paid_at; /* ns; when every line so far will have had its time */
	atomic_uint held;	  /* lines that were not logged since the last one that was */
};

/* Whether to log a line now (ns of a monotonic clock). Tells how many were left out before it. */
bool log_limit_pass(struct log_limit *limit, uint64_t now);

#endif
