/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_CONTROL_H
#define VSOCKFS_CONTROL_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>
#include <sys/un.h>

/*
 * The daemon's control socket, which vsockfsctl talks to: MAJOR:MINOR.sock, by the mount's device
 * number, in /run/vsockfs for root and in $XDG_RUNTIME_DIR/vsockfs (or /run/user/UID/vsockfs) for
 * others. It answers its owner and root, one at a time, from a thread of its own that never touches
 * the mount: it works while the server is away.
 *
 * A request is one line, as command.h has them; a descriptor may come with its first byte. The
 * answer is a line, "vsockfs-control 1 ok LENGTH" with that many bytes behind it, or
 * "vsockfs-control 1 error TEXT".
 */

#define CONTROL_PATH_MAX (sizeof(((struct sockaddr_un *)0)->sun_path))

struct control;

struct control_ops {
	/*
	 * Answers one request, on the control thread, which may wait for some seconds. False: `out`
	 * has one line that says why not. `fd` came with it, or is -1; who answers takes it out
	 * (-1) to keep it.
	 */
	bool (*answer)(void *arg, const char *request, int *fd, FILE *out);
};

/*
 * The directory for mounts of `uid`. 0, -ENOENT when there is none, or -ENAMETOOLONG. Reads the
 * environment: not while another thread changes it.
 */
int control_directory(uid_t uid, char out[CONTROL_PATH_MAX]);

/* The socket's path in `directory`. False: it does not fit. */
bool control_path(const char *directory, uint32_t major, uint32_t minor, char *out, size_t size);

/*
 * Daemon: listens for the mount with this device number. Call it after daemonizing (it starts the
 * thread). 0 or -errno, with one line in the debug log; a mount without a control socket works.
 * Takes the place of a daemon whose mount had that number before, though it listens still. Sockets
 * of daemons that died are removed unless their file system is still mounted.
 */
int control_new(uint32_t major, uint32_t minor, const struct control_ops *ops, void *arg,
	struct control **control);
/* The same in a directory of the caller's choice, which is made if it is missing. */
int control_new_in(const char *directory, uint32_t major, uint32_t minor,
	const struct control_ops *ops, void *arg, struct control **control);
/*
 * Ends the thread. The socket's file is guard_remove_control's to remove, before: the daemon may
 * not remove files any more. NULL is allowed.
 */
void control_free(struct control *control);

/* The inode number of the socket's file, which no other file has until control_free. */
ino_t control_inode(const struct control *control);
/* Removes the socket's file if it is the one with this inode number, not that of a later mount. */
void control_remove(uint32_t major, uint32_t minor, ino_t inode);
void control_remove_in(const char *directory, uint32_t major, uint32_t minor, ino_t inode);

/*
 * Client: connects to the daemon of a mount that `uid` made. The socket, or -errno: -ENOENT no
 * control socket, -ECONNREFUSED the daemon is dead, -EACCES somebody else's mount.
 */
int control_connect(uint32_t major, uint32_t minor, uid_t uid);
int control_connect_in(const char *directory, uint32_t major, uint32_t minor);

/*
 * Client: sends one request, with the descriptor `with` unless it is -1, and copies the answer to
 * `out`. Closes `fd`. 0, or -errno with a sentence in `why`.
 */
int control_request(
	int fd_take, const char *request, int with, FILE *out, char *why, size_t why_size);

#endif
