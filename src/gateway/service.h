/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_GATEWAY_SERVICE_H
#define VSOCKFS_GATEWAY_SERVICE_H

#include <sys/types.h>

/* What a service manager and a daemon tell each other (sd_notify(3), sd_listen_fds(3)). */

#define SERVICE_FD_FIRST 3

/* How many sockets were passed, from SERVICE_FD_FIRST on; they become close-on-exec. */
int service_listen_fds(void);
/* Sends `state` ("READY=1", ...) to the manager, if there is one. */
void service_notify(const char *state);

/*
 * Blocks what asks a program to end or to read its configuration again (TERM, INT, HUP): they come
 * from a signalfd(2) that does not block, or -1 with errno. SIGPIPE is ignored from now on.
 */
int service_signals(void);

/*
 * Gives up root for `user`, with no right left but, with `reserved_ports`, to bind ports below
 * 1024; who is not root keeps at most that right. 0 or -errno, -ESRCH for an unknown user.
 */
int service_drop(const char *user, int reserved_ports);
/* Stays root, for its files, with no right left but to end processes. 0 or -errno. */
int service_restrict(void);

#endif
