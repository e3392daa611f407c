/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_MIGRATE_H
#define VSOCKFS_MIGRATE_H

#include "nfs41/client.h"

/*
 * The mount's file system moves while it is in use: NFS4ERR_MOVED for its handles. The server that
 * it has left tells the new place (fs_locations). Where that is a vsock address, a client of its
 * own looks at that first: it must be reached, let us in, allow as much as this one, and know the
 * root's handle. Only then does the mount's client go there (nfs41/client.h, nfs_move_ops), so
 * that whatever is wrong with the new place is found out while the old one can still be asked.
 *
 * A place that cannot be reached is tried again, after asking the old server again, as long as
 * somebody waits or not: NFS's mounts are hard. One that cannot serve is not tried again for a
 * while, and what needs the file system fails with EREMOTE, as does what has moved to nowhere that
 * can be followed.
 *
 * Everything happens on the first worker's thread.
 */

struct migrate;
struct share;

/* For nfs_client_set_move, with the share's `migrate`. */
extern const struct nfs_move_ops migrate_ops;

int migrate_new(struct share *share, struct migrate **migrate);
/* Its own client has ended (migrate_stop), and so have the workers. NULL is allowed. */
void migrate_free(struct migrate *migrate);
/* Looks no more; `stopped` comes when its connection is closed. */
void migrate_stop(struct migrate *migrate, void (*stopped)(void *arg), void *arg);

#endif
