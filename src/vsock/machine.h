/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_VSOCK_MACHINE_H
#define VSOCKFS_VSOCK_MACHINE_H

#include <stdbool.h>

/*
 * What tells a guest from the inside that it was made anew from a snapshot, and may have twins:
 *
 *  - its own CID is another one (/dev/vsock, IOCTL_VM_SOCKETS_GET_LOCAL_CID), since no two guests
 *    of a host have the same;
 *  - the kernel's vmgenid driver has seen a new VM generation ID, which it says in an uevent with
 *    NEW_VMGENID=1 (Linux 6.10) and shows nowhere else.
 *
 * Either may be missing: nothing is known of it then. Any thread.
 */

struct machine;

/*
 * `vsock`: the CID is of interest. NULL without memory. Opened before the process gives up the
 * rights to do so.
 */
struct machine *machine_new(bool vsock);
void machine_free(struct machine *machine); /* NULL is allowed */
/* Whether it has become another machine since the last call, or since machine_new. */
bool machine_has_changed(struct machine *machine);

#endif
