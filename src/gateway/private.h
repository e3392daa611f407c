/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_GATEWAY_PRIVATE_H
#define VSOCKFS_GATEWAY_PRIVATE_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * An nfs-ganesha of our own, in a network of its own: nobody else on the host can reach it. It
 * exports one directory, and its file handles are signed (signfh.c), so that a guest cannot make
 * handles for what is beside the directory on the same file system.
 */

#define PRIVATE_PORT 2049
#define PRIVATE_KEY  "/var/lib/vsockfs/signfh.key"

enum private_squash {
	PRIVATE_SQUASH_ALL,  /* every user of a guest is the directory's owner */
	PRIVATE_SQUASH_ROOT, /* root is; others keep their numbers */
	PRIVATE_SQUASH_NONE,
};

struct private_export {
	const char *directory, *pseudo; /* both absolute */
	bool writable;
	enum private_squash squash;
	uid_t owner;
	gid_t group;
};

struct private_server {
	char directory[PATH_MAX]; /* configuration, log and state */
	pid_t pid;
	int pidfd;
};

/* Moves this process into a network with nothing but a loopback. 0 or -errno. */
int private_enter_network(void);

/*
 * Starts the server, and waits until it exports the directory. `library` signs its handles. 0, or
 * -errno after one line in the log. private_stop is allowed in either case.
 */
int private_start(
	struct private_server *server, const struct private_export *export, const char *library);
/* Ends it and removes its directory. */
void private_stop(struct private_server *server);

#endif
