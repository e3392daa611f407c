/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "nfs41/error.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>

#include "nfs41/proto.h"

/*
 * Every nfsstat4 with its errno. As the Linux client's tables have it, but for its kernel-internal
 * numbers above 511, which FUSE refuses, and which become the errno of the system call's manual.
 * What recovery deals with (sessions, stateids, grace, delay) is EIO if it gets here all the same.
 */
#define STATUS_TABLE(X)                         \
	X(PERM, EPERM)                          \
	X(NOENT, ENOENT)                        \
	X(IO, EIO)                              \
	X(NXIO, ENXIO)                          \
	X(ACCESS, EACCES)                       \
	X(EXIST, EEXIST)                        \
	X(XDEV, EXDEV)                          \
	X(NOTDIR, ENOTDIR)                      \
	X(ISDIR, EISDIR)                        \
	X(INVAL, EINVAL)                        \
	X(FBIG, EFBIG)                          \
	X(NOSPC, ENOSPC)                        \
	X(ROFS, EROFS)                          \
	X(MLINK, EMLINK)                        \
	X(NAMETOOLONG, ENAMETOOLONG)            \
	X(NOTEMPTY, ENOTEMPTY)                  \
	X(DQUOT, EDQUOT)                        \
	X(STALE, ESTALE)                        \
	X(BADHANDLE, ESTALE)                    \
	X(BAD_COOKIE, EINVAL)                   \
	X(NOTSUPP, EOPNOTSUPP)                  \
	X(TOOSMALL, EINVAL)                     \
	X(SERVERFAULT, EREMOTEIO)               \
	X(BADTYPE, EPERM)                       \
	X(DELAY, EIO)                           \
	X(SAME, EIO)                            \
	X(DENIED, EAGAIN)                       \
	X(EXPIRED, EIO)                         \
	X(LOCKED, EAGAIN)                       \
	X(GRACE, EIO)                           \
	X(FHEXPIRED, ESTALE)                    \
	X(SHARE_DENIED, EACCES)                 \
	X(WRONGSEC, EPERM)                      \
	X(CLID_INUSE, EIO)                      \
	X(RESOURCE, EREMOTEIO)                  \
	X(MOVED, EREMOTE)                       \
	X(NOFILEHANDLE, EIO)                    \
	X(MINOR_VERS_MISMATCH, EPROTONOSUPPORT) \
	X(STALE_CLIENTID, EIO)                  \
	X(STALE_STATEID, EIO)                   \
	X(OLD_STATEID, EIO)                     \
	X(BAD_STATEID, EIO)                     \
	X(BAD_SEQID, EIO)                       \
	X(NOT_SAME, EIO)                        \
	X(LOCK_RANGE, EINVAL)                   \
	X(SYMLINK, ELOOP)                       \
	X(RESTOREFH, EIO)                       \
	X(LEASE_MOVED, EIO)                     \
	X(ATTRNOTSUPP, EOPNOTSUPP)              \
	X(NO_GRACE, EIO)                        \
	X(RECLAIM_BAD, EIO)                     \
	X(RECLAIM_CONFLICT, EIO)                \
	X(BADXDR, EIO)                          \
	X(LOCKS_HELD, EIO)                      \
	X(OPENMODE, EBADF)                      \
	X(BADOWNER, EINVAL)                     \
	X(BADCHAR, EINVAL)                      \
	X(BADNAME, EINVAL)                      \
	X(BAD_RANGE, EINVAL)                    \
	X(LOCK_NOTSUPP, ENOLCK)                 \
	X(OP_ILLEGAL, EOPNOTSUPP)               \
	X(DEADLOCK, EDEADLK)                    \
	X(FILE_OPEN, EBUSY)                     \
	X(ADMIN_REVOKED, EIO)                   \
	X(CB_PATH_DOWN, EIO)                    \
	X(BADIOMODE, EIO)                       \
	X(BADLAYOUT, EIO)                       \
	X(BAD_SESSION_DIGEST, EIO)              \
	X(BADSESSION, EIO)                      \
	X(BADSLOT, EIO)                         \
	X(COMPLETE_ALREADY, EIO)                \
	X(CONN_NOT_BOUND_TO_SESSION, EIO)       \
	X(DELEG_ALREADY_WANTED, EIO)            \
	X(BACK_CHAN_BUSY, EIO)                  \
	X(LAYOUTTRYLATER, EREMOTEIO)            \
	X(LAYOUTUNAVAILABLE, EIO)               \
	X(NOMATCHING_LAYOUT, EIO)               \
	X(RECALLCONFLICT, EREMOTEIO)            \
	X(UNKNOWN_LAYOUTTYPE, EIO)              \
	X(SEQ_MISORDERED, EIO)                  \
	X(SEQUENCE_POS, EIO)                    \
	X(REQ_TOO_BIG, EIO)                     \
	X(REP_TOO_BIG, EIO)                     \
	X(REP_TOO_BIG_TO_CACHE, EIO)            \
	X(RETRY_UNCACHED_REP, EIO)              \
	X(UNSAFE_COMPOUND, EIO)                 \
	X(TOO_MANY_OPS, EIO)                    \
	X(OP_NOT_IN_SESSION, EIO)               \
	X(HASH_ALG_UNSUPP, EIO)                 \
	X(CLIENTID_BUSY, EIO)                   \
	X(PNFS_IO_HOLE, EIO)                    \
	X(SEQ_FALSE_RETRY, EIO)                 \
	X(BAD_HIGH_SLOT, EIO)                   \
	X(DEADSESSION, EIO)                     \
	X(ENCR_ALG_UNSUPP, EIO)                 \
	X(PNFS_NO_LAYOUT, EIO)                  \
	X(NOT_ONLY_OP, EIO)                     \
	X(WRONG_CRED, EPERM)                    \
	X(WRONG_TYPE, EIO)                      \
	X(DIRDELEG_UNAVAIL, EIO)                \
	X(REJECT_DELEG, EIO)                    \
	X(RETURNCONFLICT, EIO)                  \
	X(DELEG_REVOKED, EIO)                   \
	X(PARTNER_NOTSUPP, EOPNOTSUPP)          \
	X(PARTNER_NO_AUTH, EIO)                 \
	X(UNION_NOTSUPP, EOPNOTSUPP)            \
	X(OFFLOAD_DENIED, EOPNOTSUPP)           \
	X(WRONG_LFS, EIO)                       \
	X(BADLABEL, EINVAL)                     \
	X(OFFLOAD_NO_REQS, EOPNOTSUPP)          \
	X(NOXATTR, ENODATA)                     \
	X(XATTR2BIG, E2BIG)

#define OP_TABLE(X)             \
	X(ACCESS)               \
	X(CLOSE)                \
	X(COMMIT)               \
	X(CREATE)               \
	X(DELEGPURGE)           \
	X(DELEGRETURN)          \
	X(GETATTR)              \
	X(GETFH)                \
	X(LINK)                 \
	X(LOCK)                 \
	X(LOCKT)                \
	X(LOCKU)                \
	X(LOOKUP)               \
	X(LOOKUPP)              \
	X(NVERIFY)              \
	X(OPEN)                 \
	X(OPENATTR)             \
	X(OPEN_CONFIRM)         \
	X(OPEN_DOWNGRADE)       \
	X(PUTFH)                \
	X(PUTPUBFH)             \
	X(PUTROOTFH)            \
	X(READ)                 \
	X(READDIR)              \
	X(READLINK)             \
	X(REMOVE)               \
	X(RENAME)               \
	X(RENEW)                \
	X(RESTOREFH)            \
	X(SAVEFH)               \
	X(SECINFO)              \
	X(SETATTR)              \
	X(SETCLIENTID)          \
	X(SETCLIENTID_CONFIRM)  \
	X(VERIFY)               \
	X(WRITE)                \
	X(RELEASE_LOCKOWNER)    \
	X(BACKCHANNEL_CTL)      \
	X(BIND_CONN_TO_SESSION) \
	X(EXCHANGE_ID)          \
	X(CREATE_SESSION)       \
	X(DESTROY_SESSION)      \
	X(FREE_STATEID)         \
	X(GET_DIR_DELEGATION)   \
	X(GETDEVICEINFO)        \
	X(GETDEVICELIST)        \
	X(LAYOUTCOMMIT)         \
	X(LAYOUTGET)            \
	X(LAYOUTRETURN)         \
	X(SECINFO_NO_NAME)      \
	X(SEQUENCE)             \
	X(SET_SSV)              \
	X(TEST_STATEID)         \
	X(WANT_DELEGATION)      \
	X(DESTROY_CLIENTID)     \
	X(RECLAIM_COMPLETE)     \
	X(ALLOCATE)             \
	X(COPY)                 \
	X(COPY_NOTIFY)          \
	X(DEALLOCATE)           \
	X(IO_ADVISE)            \
	X(LAYOUTERROR)          \
	X(LAYOUTSTATS)          \
	X(OFFLOAD_CANCEL)       \
	X(OFFLOAD_STATUS)       \
	X(READ_PLUS)            \
	X(SEEK)                 \
	X(WRITE_SAME)           \
	X(CLONE)                \
	X(GETXATTR)             \
	X(SETXATTR)             \
	X(LISTXATTRS)           \
	X(REMOVEXATTR)          \
	X(ILLEGAL)

int nfs_error_errno(uint32_t status)
{
	switch (status) {
	case NFS4_OK: return 0;
#define X(name, number) \
	case NFS4ERR_##name: return -number;
		STATUS_TABLE(X)
#undef X
	}
	return -EIO;
}

const char *nfs_error_name(uint32_t status)
{
	static _Thread_local char unknown[32];

	switch (status) {
	case NFS4_OK: return "NFS4_OK";
#define X(name, number) \
	case NFS4ERR_##name: return "NFS4ERR_" #name;
		STATUS_TABLE(X)
#undef X
	}
	snprintf(unknown, sizeof(unknown), "nfsstat4 %u", status);
	return unknown;
}

const char *nfs_op_name(uint32_t op)
{
	static _Thread_local char unknown[32];

	switch (op) {
#define X(name) \
	case OP_##name: return #name;
		OP_TABLE(X)
#undef X
	}
	snprintf(unknown, sizeof(unknown), "op %u", op);
	return unknown;
}
