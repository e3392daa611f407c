/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "nfs41/handling.h"

#include <stddef.h>

#include "nfs41/proto.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* clang-format off */
#define ROW(name, sequence, operation, probe, bind, loss_of_it)                                   \
	{NFS4ERR_##name, {HANDLING_##sequence, HANDLING_##operation, HANDLING_##probe,            \
				 HANDLING_##bind}, HANDLING_##loss_of_it}

static const struct handling_row rows[] = {
	/*  nfsstat4                   SEQUENCE   operation  probe    BIND     the session */
	ROW(DELAY,                     DELAY,     DELAY,     DELAY,   DELAY,   UNUSABLE),
	ROW(GRACE,                     GRACE,     GRACE,     DELAY,   DELAY,   UNUSABLE),

	ROW(BADSESSION,                SESSION,   SESSION,   SESSION, SESSION, NO_SESSION),
	ROW(DEADSESSION,               SESSION,   SESSION,   SESSION, SESSION, NO_SESSION),
	ROW(STALE_CLIENTID,            SESSION,   SESSION,   SESSION, SESSION, NO_CLIENT),
	ROW(BADSLOT,                   SLOTS,     OWNER,     SESSION, OWNER,   UNUSABLE),
	ROW(BAD_HIGH_SLOT,             SLOTS,     OWNER,     SESSION, OWNER,   UNUSABLE),
	ROW(SEQ_MISORDERED,            SESSION,   OWNER,     TWIN,    OWNER,   UNUSABLE),
	ROW(SEQ_FALSE_RETRY,           STRIPPED,  OWNER,     USED,    OWNER,   UNUSABLE),
	ROW(RETRY_UNCACHED_REP,        REPEATED,  REPEATED,  USED,    OWNER,   UNUSABLE),
	ROW(REP_TOO_BIG_TO_CACHE,      UNCACHED,  UNCACHED,  OWNER,   OWNER,   UNUSABLE),
	ROW(CONN_NOT_BOUND_TO_SESSION, BIND,      OWNER,     BIND,    OWNER,   UNUSABLE),
	ROW(REQ_TOO_BIG,               OWNER,     OWNER,     OWNER,   OWNER,   UNUSABLE),
	ROW(REP_TOO_BIG,               OWNER,     OWNER,     OWNER,   OWNER,   UNUSABLE),
	ROW(TOO_MANY_OPS,              OWNER,     OWNER,     OWNER,   OWNER,   UNUSABLE),
	ROW(OP_NOT_IN_SESSION,         OWNER,     OWNER,     OWNER,   OWNER,   UNUSABLE),
	ROW(SEQUENCE_POS,              OWNER,     OWNER,     OWNER,   OWNER,   UNUSABLE),
	ROW(UNSAFE_COMPOUND,           OWNER,     OWNER,     OWNER,   OWNER,   UNUSABLE),
	ROW(WRONG_CRED,                OWNER,     OWNER,     OWNER,   OWNER,   UNUSABLE),

	ROW(BAD_STATEID,               OWNER,     STATE,     OWNER,   OWNER,   UNUSABLE),
	ROW(OLD_STATEID,               OWNER,     STATE,     OWNER,   OWNER,   UNUSABLE),
	ROW(STALE_STATEID,             OWNER,     STATE,     OWNER,   OWNER,   UNUSABLE),
	ROW(EXPIRED,                   OWNER,     STATE,     OWNER,   OWNER,   UNUSABLE),
	ROW(ADMIN_REVOKED,             OWNER,     STATE,     OWNER,   OWNER,   UNUSABLE),
	ROW(DELEG_REVOKED,             OWNER,     STATE,     OWNER,   OWNER,   UNUSABLE),
	/* what a reclaim means by it: reclaim.c */
	ROW(NO_GRACE,                  OWNER,     OWNER,     OWNER,   OWNER,   UNUSABLE),
	ROW(RECLAIM_BAD,               OWNER,     OWNER,     OWNER,   OWNER,   UNUSABLE),
	ROW(RECLAIM_CONFLICT,          OWNER,     OWNER,     OWNER,   OWNER,   UNUSABLE),

	/* of a handle's file system; that a name leads elsewhere is the owner's (reply.c) */
	ROW(MOVED,                     OWNER,     MOVED,     OWNER,   OWNER,   UNUSABLE),
	ROW(LEASE_MOVED,               OWNER,     OWNER,     OWNER,   OWNER,   UNUSABLE),
	/* RFC 8881, 4.2.3: volatile handles are not looked up again. */
	ROW(FHEXPIRED,                 OWNER,     OWNER,     OWNER,   OWNER,   UNUSABLE),
	ROW(STALE,                     OWNER,     OWNER,     OWNER,   OWNER,   UNUSABLE),
	ROW(WRONGSEC,                  OWNER,     OWNER,     OWNER,   OWNER,   UNUSABLE),
};

static const struct handling_flag flags_of_sequence[] = {
	{SEQ4_STATUS_CB_PATH_DOWN,               HANDLING_FLAG_PATH},
	{SEQ4_STATUS_CB_PATH_DOWN_SESSION,       HANDLING_FLAG_PATH},
	{SEQ4_STATUS_BACKCHANNEL_FAULT,          HANDLING_FLAG_SESSION},
	{SEQ4_STATUS_EXPIRED_ALL_STATE_REVOKED,  HANDLING_FLAG_STATE},
	{SEQ4_STATUS_EXPIRED_SOME_STATE_REVOKED, HANDLING_FLAG_STATE},
	{SEQ4_STATUS_ADMIN_STATE_REVOKED,        HANDLING_FLAG_STATE},
	{SEQ4_STATUS_RECALLABLE_STATE_REVOKED,   HANDLING_FLAG_STATE},
	{SEQ4_STATUS_RESTART_RECLAIM_NEEDED,     HANDLING_FLAG_RECLAIM},
	{SEQ4_STATUS_LEASE_MOVED,                HANDLING_FLAG_MOVED},
	/* callbacks come without RPCSEC_GSS */
	{SEQ4_STATUS_CB_GSS_CONTEXTS_EXPIRING,   HANDLING_FLAG_IGNORED},
	{SEQ4_STATUS_CB_GSS_CONTEXTS_EXPIRED,    HANDLING_FLAG_IGNORED},
	/* there are no layouts */
	{SEQ4_STATUS_DEVID_CHANGED,              HANDLING_FLAG_IGNORED},
	{SEQ4_STATUS_DEVID_DELETED,              HANDLING_FLAG_IGNORED},
};
/* clang-format on */

static const struct handling_row *handling_find(uint32_t status)
{
	for (size_t i = 0; i < COUNT(rows); i++)
		if (rows[i].status == status)
			return &rows[i];
	return NULL;
}

enum handling handling_of(uint32_t status, enum handling_stage stage)
{
	const struct handling_row *row = handling_find(status);
	return row ? row->handling[stage] : HANDLING_OWNER;
}

enum handling_loss handling_loss(uint32_t status)
{
	const struct handling_row *row = handling_find(status);
	return row ? row->loss : HANDLING_UNUSABLE;
}

uint32_t handling_flags(uint32_t flags, enum handling_of_flag handling)
{
	uint32_t found = 0;
	for (size_t i = 0; i < COUNT(flags_of_sequence); i++)
		if (flags_of_sequence[i].handling == handling)
			found |= flags & flags_of_sequence[i].flag;
	return found;
}

const struct handling_row *handling_row(unsigned i)
{
	return i < COUNT(rows) ? &rows[i] : NULL;
}

const struct handling_flag *handling_flag(unsigned i)
{
	return i < COUNT(flags_of_sequence) ? &flags_of_sequence[i] : NULL;
}
