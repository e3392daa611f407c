/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_DAEMONIZE_H
#define VSOCKFS_DAEMONIZE_H

#include <stdbool.h>

#include "util/log.h"

/*
 * Going to the background only when the mount works. The process forks before it has threads; the
 * parent waits for what the child says and hands it on as its own exit status. Until then errors
 * go to the terminal, and SIGINT and SIGTERM sent to the parent are passed to the child.
 *
 *	r = daemonize_start(options.foreground, &status);
 *	if (r != 0)
 *		return status;
 *	... mount; on failure: daemonize_fail(32), return 32 ...
 *	daemonize_ready(options.debug);
 *
 * In the foreground nothing forks and nothing is closed, so the caller does the same in both cases.
 */

/*
 * 0 in the process that goes on: the child, or the caller itself in the foreground. The child stays
 * in its process group for now: while autofs waits for a mount, its daemon's group alone may look
 * at the mount point. 1 in the parent, when the outcome is known, or when forking failed (reported
 * on stderr): main returns *status, an exit status of mount(8).
 */
int daemonize_start(bool foreground, int *status);

/*
 * The mount works: the process gets a session of its own, standard input and output become
 * /dev/null, the log goes to `target`, the working directory is "/", and the parent exits with 0.
 */
void daemonize_ready(enum log_target target, bool debug);

/* The mount failed, and that was reported on stderr: the parent exits with `status`. */
void daemonize_fail(int status);

#endif
