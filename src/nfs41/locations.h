/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_NFS41_LOCATIONS_H
#define VSOCKFS_NFS41_LOCATIONS_H

#include <stddef.h>
#include <stdint.h>

/* fs_locations4 (RFC 8881, 11.16): where a file system is that this server has not, or no more. */

#define NFS_LOCATION_SERVER_MAX 256
#define NFS_LOCATION_PATH_MAX	1024
/* As many are looked at. */
#define NFS_LOCATIONS_MAX 8

struct nfs_location {
	char server[NFS_LOCATION_SERVER_MAX]; /* as the server wrote it */
	char path[NFS_LOCATION_PATH_MAX];     /* on that one, with '/' in front */
};

/*
 * Those of the attribute, as encoded, that can be said in a line of text: printable, without ".."
 * and not too long. Their number; 0 also for what is no fs_locations4.
 */
size_t nfs_locations_get(
	const uint8_t *data, size_t len, struct nfs_location list[NFS_LOCATIONS_MAX]);
/* "server:/path, server:/path", or that there is none. Returns `out`. */
const char *nfs_locations_describe(
	const struct nfs_location *list, size_t count, char *out, size_t size);

#endif
