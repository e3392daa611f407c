/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_GATEWAY_PROBE_H
#define VSOCKFS_GATEWAY_PROBE_H

/*
 * Asks the NFSv4.1 server at the other end of a connected, blocking socket for the path `pseudo`,
 * as a client would, and leaves nothing behind there. 0 when it has it; -ENOENT when it has not;
 * -EPROTO for what is no sensible answer, -errno when the connection fails.
 */
int probe_path(int fd, const char *pseudo);

#endif
