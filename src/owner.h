/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_OWNER_H
#define VSOCKFS_OWNER_H

#include <sys/stat.h>

#include "nfs41/attr.h"
#include "share.h"

/*
 * Whose a file is, as the guest sees it: -o uid=, gid=, umask= and idmap=. What the server thinks
 * of it, and of who asks, is settled below (nfs41/idmap_rules.h).
 */

/*
 * For idmap=user: the owner of the export, as the server names him, is the user who mounts. Once,
 * before requests are served. 0, or -errno with a sentence in share->why.
 */
int owner_learn(struct share *share, const struct nfs_attr *root);

/* Puts the options' owner and mode into *st, which has the server's. */
void owner_show(const struct share *share, struct stat *st);

/*
 * What programs set: an owner that is shown already is nothing to set. 0, -EPERM for another one,
 * or -EINVAL for one that the server does not have.
 */
int owner_settle(const struct share *share, struct nfs_setattr *set);

#endif
