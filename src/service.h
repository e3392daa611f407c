/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_SERVICE_H
#define VSOCKFS_SERVICE_H

#include <stdbool.h>

/*
 * The service manager's side of a service of Type=notify: sd_notify(3), and the descriptors that it
 * keeps for the next start, sd_pid_notify_with_fds(3) and sd_listen_fds(3). Main thread only.
 */

/* Names of descriptors in the manager's store. */
#define SERVICE_FD_FUSE	 "vsockfs-fuse"
#define SERVICE_FD_STATE "vsockfs-state"
#define SERVICE_FDS_MAX	 32

/* Descriptors that the manager has handed back; -1 or none. */
struct service_fds {
	int state;
	int fuse[SERVICE_FDS_MAX];
	unsigned nfuse;
};

/* True: somebody listens to what this service says. */
bool service_managed(void);
/*
 * Takes what was handed over out of the environment; close-on-exec. True if it is a device with its
 * state. What has another name is closed.
 */
bool service_take_fds(struct service_fds *fds);
/* True if there is a device among what was handed over, with its state or without; takes nothing.
 */
bool service_has_device(void);
void service_close_fds(struct service_fds *fds);

/* 0 or -errno; without a manager 0. */
int service_store_fd(int fd, const char *name);
int service_forget_fds(const char *name);
int service_ready(void);
int service_stopping(void);

#endif
