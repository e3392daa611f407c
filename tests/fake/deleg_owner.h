/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_TEST_FAKE_DELEG_OWNER_H
#define VSOCKFS_TEST_FAKE_DELEG_OWNER_H

#include "drive.h"
#include "nfs41/deleg.h"
#include "nfs41/reclaim.h"

/* What owns state and delegations in these tests, as the mount does, and callbacks from the server.
 */

struct deleg_owner {
	struct drive *d;
	struct nfs_state *state;
	struct reclaim *reclaim;
	struct loop_task task;
	bool posted;
	unsigned flushes;
	bool gone;		/* of the last one flushed */
	uint32_t next_sequence; /* of CB_SEQUENCE */
};
extern struct deleg_owner owner;

/* With drive_setup, and a server that has one connection. */
int owner_setup(void **state, enum deleg_mode mode);
int owner_teardown(void **state);

/* A CB_COMPOUND with this operation, `sequence` or the next one. */
void call_back_as(struct drive *d, uint32_t sequence, void (*put)(struct wire_out *out));
void call_back(struct drive *d, void (*put)(struct wire_out *out));
/* Status of the last of so many replies to them, once they are there. */
uint32_t answered(struct drive *d, unsigned replies);
/* call_back and its answer. */
uint32_t call(struct drive *d, void (*put)(struct wire_out *out));
/* The delegation of `fh` that the server has given. */
void put_recall_of(struct wire_out *out, const struct nfs_fh *fh);
void put_recall_any_of(struct wire_out *out, uint32_t types);
/* All are back, and so many were. */
void until_returned(struct drive *d, unsigned times);

#endif
