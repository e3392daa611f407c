/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_PROCCRED_H
#define VSOCKFS_PROCCRED_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "rpc/cred.h"

/*
 * RPC credentials of the processes that use the mount: uid and gid come with each FUSE request,
 * supplementary groups from /proc. One table a mount; any thread may use it. A process's groups
 * are trusted for PROCCRED_TTL_MS; equal credentials share one encoding. Both tables are of
 * fixed size.
 */

#define PROCCRED_TTL_MS 250

struct proccred;

/*
 * Keeps a descriptor of /proc from now on, so that /proc may go away later; without one (a log
 * line says so) credentials carry no supplementary groups. With RPC_SEC_NONE every credential is
 * AUTH_NONE; with Kerberos it is only a name for the user, who is not mapped then. 0 or -errno.
 */
int proccred_new(enum rpc_sec sec, struct proccred **table);
/* Credentials given out stay valid. NULL is allowed. */
void proccred_free(struct proccred *table);

/* That descriptor, or -1. */
int proccred_proc_fd(const struct proccred *table);

/*
 * A new reference to the credential of a request, as idmap_rules.h maps it, or NULL without memory.
 * `pid` is the FUSE request's (a thread's id; 0: none that is visible here). A process that has
 * vanished has no supplementary groups.
 */
struct rpc_cred *proccred_get(struct proccred *table, pid_t pid, uid_t uid, gid_t gid);

/*
 * The first RPC_CRED_GROUPS_MAX numbers of the "Groups:" line in the text of /proc/PID/status.
 * `len` bytes, no NUL needed; a number that runs into the end of the text is left out.
 * Returns how many.
 */
unsigned proccred_parse_groups(const char *text, size_t len, gid_t *groups);

#endif
