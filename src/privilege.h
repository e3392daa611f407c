/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_PRIVILEGE_H
#define VSOCKFS_PRIVILEGE_H

#include "options.h"

/*
 * What the daemon takes, and what it gives up. The calls change the calling thread and the threads
 * that it starts later, so they come before any other runs. What is refused is left: a user who is
 * not root has none of it, and a mount works without it.
 */

/*
 * While programs write to the mount to free memory, the daemon must get memory without waiting for
 * them, nor be chosen to be killed: marks it as an I/O flusher (which makes allocations go past
 * file systems), locks its pages as they are used, and (root) lowers its OOM score, to the least
 * that there is where everything hangs on it.
 */
void privilege_prepare(const struct options *options);

/*
 * Sets no_new_privs and drops every capability but CAP_NET_BIND_SERVICE where connections come from
 * reserved ports, and CAP_NET_ADMIN where a Unix socket's buffers are to exceed
 * net.core.wmem_max. Joins the group that /proc is mounted with (gid=), which shows other users'
 * supplementary groups in spite of hidepid=.
 */
void privilege_drop(const struct options *options);

/* The same for the guard once it has mounted: unmounting alone is left. */
void privilege_drop_guard(void);
/* The same for the process that reads keytabs and tickets: becoming another user is left. */
void privilege_drop_kerberos(void);
/* Nothing is left. */
void privilege_drop_all(void);

#endif
