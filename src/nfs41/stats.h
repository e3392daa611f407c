/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_NFS41_STATS_H
#define VSOCKFS_NFS41_STATS_H

#include <stdatomic.h>
#include <stdint.h>

#include "nfs41/proto.h"

/*
 * Counters of one worker's connection; written by its thread alone, read by any with relaxed
 * loads. Exact: one RPC is one call message handed to the stream. Index of `op` is the label of the
 * compound.
 */
struct nfs_op_stats {
	_Atomic uint64_t calls;		      /* RPCs sent, retransmissions included */
	_Atomic uint64_t replies;	      /* answered */
	_Atomic uint64_t retransmits;	      /* sent again after a connection was lost, or DELAY */
	_Atomic uint64_t timeouts;	      /* soft calls given up */
	_Atomic uint64_t errors;	      /* replies whose status was not NFS4_OK */
	_Atomic uint64_t bytes_out, bytes_in; /* with record marks and RPC headers */
	_Atomic uint64_t queue_ns;	      /* from nfs_compound_send to the stream */
	_Atomic uint64_t rtt_ns;	      /* from the stream to the reply */
	_Atomic uint64_t total_ns;	      /* from nfs_compound_send to done */
	_Atomic uint64_t max_ns;	      /* the longest of these */
};

struct nfs_stats {
	struct nfs_op_stats op[NFS_OP_LIMIT];
	_Atomic uint64_t connects;   /* connections made; the first is one */
	_Atomic uint64_t callbacks;  /* calls from the server */
	_Atomic uint64_t slot_waits; /* compounds that waited for a slot */
	/* bytes of files' data that were moved in memory on their way: what came along with the
	 * head of a READ's reply, small WRITEs, and what is gathered */
	_Atomic uint64_t copied;
};

#endif
