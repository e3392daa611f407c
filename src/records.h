/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_RECORDS_H
#define VSOCKFS_RECORDS_H

#include <stdint.h>

#include "nfs41/client.h"
#include "nfs41/types.h"
#include "rpc/cred.h"

/*
 * What the records of the state file hold. Who reads them (takeover_load.c) checks each length and
 * each number. A change here is a new STATE_VERSION, unless it is a kind that may be missing.
 */

enum record_kind {
	RECORD_SETUP = 1, /* key 0 */
	RECORD_CLIENT,	  /* key 0: struct nfs_client_identity */
	RECORD_NODE,	  /* key: node id */
	RECORD_OPEN,	  /* key: open-owner */
	RECORD_LOCK,	  /* key: lock-owner */
	RECORD_FILE,	  /* key: fuse_file_info.fh */
	RECORD_SILLY,	  /* key: node id */
	RECORD_UNSTABLE,  /* key: node id */
	RECORD_MARK,	  /* key: the request's number */
	RECORD_SERVER,	  /* key 0; none: the server of the options */
};

/* A FUSE_INIT request of any kernel. */
#define RECORD_INIT_MAX 256

struct record_setup {
	uint64_t options; /* hash of what must not have changed */
	uint64_t mount_id;
	uint32_t major, minor, unique;
	uint32_t rsize, wsize; /* what the kernel was told, bytes */
	uint32_t init_len;
	uint8_t init[RECORD_INIT_MAX];
};

enum { RECORD_SETUP_EPOCH }; /* daemons that have served the mount before this one */

struct record_server {
	uint32_t cid, port;
};

struct record_node {
	uint64_t ino, fsid_major, fsid_minor;
	uint32_t type, fh_len;
	uint8_t fh[NFS4_FHSIZE]; /* fh_len of them */
};

enum { RECORD_NODE_LOOKUPS, RECORD_NODE_PARENT, RECORD_NODE_NAME, RECORD_NODE_ERROR };

struct record_cred {
	uint32_t uid, len;
	uint8_t wire[RPC_CRED_WIRE_MAX]; /* len of them */
};

struct record_open {
	struct nfs_stateid stateid;
	uint32_t access; /* of nfs_open, and shifted by RECORD_OPEN_GRANTED what the server has */
	int32_t err;
	uint32_t fh_len;
	uint8_t fh[NFS4_FHSIZE];
	struct record_cred cred;
};

#define RECORD_OPEN_GRANTED 2

struct record_range {
	uint64_t first, last;
	uint32_t kind, unused;
};

struct record_lock {
	uint64_t open_owner, fuse_owner;
	struct nfs_stateid stateid;
	uint32_t established, lost, count;
	struct record_range ranges[]; /* count of them */
};

struct record_file {
	uint64_t node_id, owner;
	int32_t flags;
	uint32_t unused;
};

enum { RECORD_FILE_SEEN }; /* errors of its node that it was told of */

struct record_silly {
	uint64_t dir_id;
	char name[NFS4_NAME_MAX + 1];
	struct record_cred cred;
};

/* By which what a request makes or opens is known again: fsop_once.c. */
struct record_mark {
	int64_t seconds, nanoseconds;
	uint64_t owner; /* open-owner, or 0 */
};

/* Of data that the server has not committed. No data at all: of several, so that it is lost. */
struct record_unstable {
	uint8_t verifier[NFS4_VERIFIER_SIZE];
};

#endif
