/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_NFS41_HANDLING_H
#define VSOCKFS_NFS41_HANDLING_H

#include <stdbool.h>
#include <stdint.h>

/*
 * What is done about each nfsstat4 and SEQ4_STATUS flag that concerns sessions, leases and state
 * (RFC 8881, 15.1 and 18.46.3), in two tables that reply.c, probe.c, conn.c, client.c, recovery.c
 * and reclaim.c go by. The steps of the recovery itself are in recovery.c.
 */

enum handling {
	/* The compound's owner gets it; error.c has the errno. Of a probe, or of
	 * BIND_CONN_TO_SESSION: it says nothing against going on. */
	HANDLING_OWNER,
	HANDLING_STATE,	   /* the owner's: it has the stateid tested and made anew (reclaim.h) */
	HANDLING_DELAY,	   /* the same again, after a pause that grows */
	HANDLING_GRACE,	   /* the same again, after a pause */
	HANDLING_SESSION,  /* again in another session */
	HANDLING_SLOTS,	   /* again in a lower slot; there is none below the first: as SESSION */
	HANDLING_BIND,	   /* again when the connection is associated with the session */
	HANDLING_REPEATED, /* executed, and the reply not kept: again as another request, in the
			    * knowledge that it may be the second time */
	HANDLING_UNCACHED, /* again, without asking for the reply to be kept; once */
	HANDLING_STRIPPED, /* of a request that stands for an abandoned one: that was executed; of
			    * any other: as SESSION */
	HANDLING_MOVED,	   /* again, once it is known where: client_move.c */
	HANDLING_USED,	   /* of a probe: its sequence id was used, see probe.c */
	HANDLING_TWIN,	   /* of a probe: by another guest */
};

/* Who says it. */
enum handling_stage {
	HANDLING_AT_SEQUENCE,  /* SEQUENCE, or the server of the compound as a whole: nothing was
				* executed and the sequence id is still to be used */
	HANDLING_AT_OPERATION, /* an operation behind it. What asks to repeat is the owner's where
				* one in front of it must not be executed twice. */
	HANDLING_AT_PROBE,
	HANDLING_AT_BIND, /* BIND_CONN_TO_SESSION */
	HANDLING_STAGES,
};

/* What it means for the session that it was said in. */
enum handling_loss {
	HANDLING_UNUSABLE, /* it is there, but not of use: destroyed, and another made */
	HANDLING_NO_SESSION,
	HANDLING_NO_CLIENT, /* nor the client id */
};

struct handling_row {
	uint32_t status;
	uint8_t handling[HANDLING_STAGES]; /* enum handling */
	uint8_t loss;			   /* enum handling_loss */
};

enum handling_of_flag {
	HANDLING_FLAG_IGNORED,
	HANDLING_FLAG_STATE,   /* opens and locks are tested, and made anew where need be */
	HANDLING_FLAG_RECLAIM, /* they are reclaimed */
	HANDLING_FLAG_PATH,    /* the first connection is associated once more */
	HANDLING_FLAG_MOVED,   /* the server is asked where its file system is */
	HANDLING_FLAG_SESSION, /* the session is of no use: another is made */
};

struct handling_flag {
	uint32_t flag;
	uint8_t handling; /* enum handling_of_flag */
};

enum handling handling_of(uint32_t status, enum handling_stage stage);
enum handling_loss handling_loss(uint32_t status);
/* Those of `flags` that are handled so. */
uint32_t handling_flags(uint32_t flags, enum handling_of_flag handling);

/* The tables, for tests: row `i`, or NULL. */
const struct handling_row *handling_row(unsigned i);
const struct handling_flag *handling_flag(unsigned i);

#endif
