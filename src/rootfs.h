/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_ROOTFS_H
#define VSOCKFS_ROOTFS_H

#include <stdbool.h>

#include "options.h"
#include "util/log.h"

/*
 * -o rootfs: the mount is about to become the root file system, and the daemon, which an initramfs
 * started, stays below all that runs from it. What is different then:
 *
 *   It outlives the switch of roots and the end of all other processes: the command line of each of
 *   its processes begins with "@", which systemd and others spare; SIGTERM, SIGINT and SIGHUP are
 *   ignored. It ends when the mount does.
 *
 *   It may not stay stopped. At shutdown systemd and killall5 stop every process there is,
 *   "@" or not, and then read programs and libraries, from this very mount. So timers send SIGCONT
 *   to the process whenever its own thread does not put them off, and it wakes the others.
 *
 *   It finds no file by its path: its own root is the initramfs, which is empty by then.
 * Descriptors are taken before (/proc, the log in /dev/kmsg, the control socket in /run/vsockfs,
 * which moves with /run), ids are numbers, and nothing is loaded.
 *
 *   LOOKUP of a name that the kernel knows fails with ENOENT, if the server says so, ENOMEM or
 * EINTR, and with nothing else: for any other error the kernel drops the name, and with it what is
 *   mounted there, such as /proc, /dev and /run. While the server is away it waits.
 *
 *   sync(2) never comes to a FUSE daemon, and the machine may end with nothing but that: writes are
 *   not gathered (behind.h), and committed at most a second later.
 */

struct share;

/* Marks this process, and those that it will fork. Changes argv[0]. */
void rootfs_mark(char **argv);

/*
 * Once it is mounted, on the main thread, with the privileges of the start: takes what is needed
 * later and starts the thread and the timers. 0 or -errno.
 */
int rootfs_start(struct share *share);

/* Where the log goes in the background. */
enum log_target rootfs_log_target(const struct options *options);

/* What LOOKUP is answered instead of `err` (-errno); `known`: the kernel has the name. */
int rootfs_lookup_error(int err, bool known);

#endif
