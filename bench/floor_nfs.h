/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef BENCH_FLOOR_NFS_H
#define BENCH_FLOOR_NFS_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * The least of an NFSv4.1 client that can read and write one file: one connection, one session, no
 * open (the anonymous stateid), no recovery. A server that does not answer as expected ends the
 * program. One thread.
 */
enum {
	FLOOR_SLOTS = 64,
	FLOOR_IO = 1 << 20,
	FLOOR_FH = 128,
};

enum floor_kind { FLOOR_READ = 25, FLOOR_WRITE = 38, FLOOR_COMMIT = 5 };

struct floor_nfs {
	int fd;
	unsigned slots; /* that the server gave */
	uint8_t session[16];
	uint32_t seqid[FLOOR_SLOTS];
	uint8_t fh[FLOOR_FH];
	uint32_t fh_len;
	uint64_t size; /* of the file */
	uint64_t clientid;
	uint32_t sequence;
};

struct floor_reply {
	unsigned slot;
	enum floor_kind kind;
	uint32_t count; /* bytes read, which are in data, or written */
};

/* where: tcp:PORT of 127.0.0.1, or unix:PATH; path: the file below the server's root */
void floor_nfs_connect(struct floor_nfs *nfs, const char *where, const char *path);

/* One of each slot at a time. data is of WRITE, and free again on return. */
void floor_nfs_send(struct floor_nfs *nfs, unsigned slot, enum floor_kind kind, uint64_t offset,
	uint32_t count, const void *data);

/* Waits for the next reply; what was read goes to data, which has room for FLOOR_IO and padding. */
void floor_nfs_receive(struct floor_nfs *nfs, void *data, struct floor_reply *reply);

#endif
