/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_KERBEROS_H
#define VSOCKFS_KERBEROS_H

#include <stdbool.h>

#include "options.h"

/*
 * A process beside the daemon that reads keytabs and users' tickets and asks the KDC, as rpc.gssd
 * does for the kernel's client. The daemon keeps neither the right for that nor waits for it: it
 * gets finished security contexts (rpc/gss_link.h).
 *
 * For the machine (user 0) it uses the keytab (krb5.conf's default_keytab_name), or without one
 * root's own tickets; for each other user, as that user, the default credential cache, or one that
 * others have left where rpc.gssd looks for them (/tmp/krb5cc_UID*, /run/user/UID/krb5cc*).
 */

/* Whether this program was built with Kerberos. */
bool kerberos_built(void);
/* Whether there is a keytab with a key in it. */
bool kerberos_has_keytab(void);
/*
 * Forks; no thread may run yet, and what the daemon opens later it does not have. It ends with the
 * daemon. 0 and the daemon's end of the conversation, or -errno.
 */
int kerberos_start(const struct options *options, int *fd);
/* What has to be loaded before the system call filter. */
void kerberos_prepare(void);

#endif
