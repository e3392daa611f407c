/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_UTIL_LOG_H
#define VSOCKFS_UTIL_LOG_H

#include <stdbool.h>

/*
 * The daemon's log: stderr in the foreground (with <N> priority prefixes when stderr is the
 * journal, JOURNAL_STREAM), syslog in the background. One line a call, without a newline; any
 * thread. Bytes below 0x20 that a peer put into a message are written as \xNN.
 */

enum log_target { LOG_TARGET_STDERR, LOG_TARGET_SYSLOG };

/* Called by main before other threads exist. `debug` lets log_debug through. */
void log_init(enum log_target target, bool debug);
bool log_debug_enabled(void);

void log_error(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_warn(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_info(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_debug(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
