/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_RING_ABI_H
#define VSOCKFS_RING_ABI_H

#include <linux/fuse.h>
#include <stdint.h>

/*
 * What FUSE over io_uring is between the kernel and a daemon, as linux/fuse.h has it since 6.14
 * (protocol 7.42), for building with older headers. The names are the kernel's.
 */

#ifndef FUSE_OVER_IO_URING

/* In the 64 bits of flags and flags2 of INIT. */
#define FUSE_OVER_IO_URING (1ULL << 41)

#define FUSE_URING_IN_OUT_HEADER_SZ 128
#define FUSE_URING_OP_IN_OUT_SZ	    128

/* Of what is in the entry: its payload (bytes), and the number that its answer is known by. */
struct fuse_uring_ent_in_out {
	uint64_t flags;
	uint64_t commit_id;
	uint32_t payload_sz;
	uint32_t padding;
	uint64_t reserved;
};

/* First of an entry's two buffers; the second has the payload. */
struct fuse_uring_req_header {
	char in_out[FUSE_URING_IN_OUT_HEADER_SZ]; /* fuse_in_header, then fuse_out_header */
	char op_in[FUSE_URING_OP_IN_OUT_SZ];	  /* the operation's own struct */
	struct fuse_uring_ent_in_out ring_ent_in_out;
};

enum fuse_uring_cmd {
	FUSE_IO_URING_CMD_INVALID = 0,
	FUSE_IO_URING_CMD_REGISTER = 1,	       /* an entry, which then takes a request */
	FUSE_IO_URING_CMD_COMMIT_AND_FETCH = 2 /* answers, and takes the next */
};

/* In the command's SQE. */
struct fuse_uring_cmd_req {
	uint64_t flags;
	uint64_t commit_id;
	uint16_t qid; /* the CPU's number */
	uint8_t padding[6];
};

#endif

#endif
