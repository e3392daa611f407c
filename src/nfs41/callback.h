/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_NFS41_CALLBACK_H
#define VSOCKFS_NFS41_CALLBACK_H

#include <stddef.h>
#include <stdint.h>

#include "nfs41/types.h"
#include "util/wire.h"

/*
 * The backchannel (RFC 8881, 20): decodes a CB_COMPOUND, answers it, and hands what concerns others
 * to the handlers. Holds the backchannel's slot table with its cached replies; one thread at a
 * time.
 */

#define CALLBACK_SLOTS	   16
#define CALLBACK_REPLY_MAX 1024

/* What became of a copy: offload_info4 (RFC 7862, 16.1). */
struct callback_offload {
	uint32_t status; /* nfsstat4 */
	uint64_t count;	 /* bytes copied; on NFS4_OK the rest, too */
	uint32_t committed;
	uint8_t verifier[NFS4_VERIFIER_SIZE];
};

struct callback_ops {
	/* A lock that was denied may be had now: owner is the lock-owner's number (CB_NOTIFY_LOCK).
	 */
	void (*notify_lock)(void *arg, const struct nfs_fh *fh, uint64_t owner);
	/* CB_RECALL_SLOT */
	void (*recall_slot)(void *arg, uint32_t target_highest_slot);
	/* CB_RECALL; returns an nfsstat4: NFS4ERR_BADHANDLE, NFS4ERR_BAD_STATEID when nothing like
	 * it is held. */
	uint32_t (*recall)(void *arg, const struct nfs_fh *fh, const struct nfs_stateid *stateid);
	/* CB_RECALL_ANY of delegations of these kinds, at least one */
	void (*recall_any)(void *arg, uint32_t keep, struct deleg_kinds kinds);
	/* CB_GETATTR: change and size of a file that is delegated for writing; an nfsstat4. */
	uint32_t (*getattr)(void *arg, const struct nfs_fh *fh, uint64_t *change, uint64_t *size);
	/* CB_OFFLOAD; an nfsstat4. */
	uint32_t (*offload)(void *arg, const struct nfs_fh *fh, const struct nfs_stateid *stateid,
		const struct callback_offload *result);
};

struct callback_slot {
	uint32_t sequence; /* last one answered */
	uint64_t digest;   /* of that request's arguments: tells a retry from a false one */
	uint32_t reply_len;
	uint8_t reply[CALLBACK_REPLY_MAX];
};

struct callback {
	uint8_t sessionid[NFS4_SESSIONID_SIZE];
	struct callback_slot slots[CALLBACK_SLOTS];
	const struct callback_ops *ops;
	void *arg;
};

/* For a new session. */
void callback_init(struct callback *cb, const uint8_t sessionid[NFS4_SESSIONID_SIZE],
	const struct callback_ops *ops, void *arg);

/*
 * Answers one CB_COMPOUND with arguments `data[0..len)`; the results are put into `out`. 0, or
 * -EPROTO for arguments that cannot be decoded (the RPC answer is then GARBAGE_ARGS).
 */
int callback_compound(struct callback *cb, const uint8_t *data, size_t len, struct wire_out *out);

#endif
