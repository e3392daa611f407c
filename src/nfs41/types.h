/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_NFS41_TYPES_H
#define VSOCKFS_NFS41_TYPES_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/types.h>
#include <time.h>

#include "nfs41/proto.h"

/* Basic data types of RFC 8881, section 3, in host form. */

/* nfs_fh4 */
struct nfs_fh {
	uint8_t len; /* bytes, at most NFS4_FHSIZE */
	uint8_t data[NFS4_FHSIZE];
};

static inline bool nfs_fh_equal(const struct nfs_fh *a, const struct nfs_fh *b)
{
	return a->len == b->len && memcmp(a->data, b->data, a->len) == 0;
}

/* stateid4 */
struct nfs_stateid {
	uint32_t seqid;
	uint8_t other[NFS4_OTHER_SIZE];
};

/* "The current stateid" of a compound (RFC 8881, 16.2.3.1.2). */
extern const struct nfs_stateid nfs_stateid_current;
/* The anonymous stateid: no open, no lock (RFC 8881, 8.2.3). */
extern const struct nfs_stateid nfs_stateid_anonymous;

/* bitmap4, as many words as attributes are known (through FATTR4 number 95) */
#define NFS_BITMAP_WORDS 3
/* Of delegations: RFC 8881, 20.6.3. */
struct deleg_kinds {
	bool read, write, dirs;
};

struct nfs_bitmap {
	uint32_t word[NFS_BITMAP_WORDS];
};

static inline bool nfs_bitmap_has(const struct nfs_bitmap *map, unsigned bit)
{
	return (map->word[bit / 32] >> (bit % 32)) & 1;
}

static inline void nfs_bitmap_set(struct nfs_bitmap *map, unsigned bit)
{
	map->word[bit / 32] |= UINT32_C(1) << (bit % 32);
}

/* fsid4 */
struct nfs_fsid {
	uint64_t major, minor;
};

/* Attributes of an object that this client asks for; `have` says which were given. RFC 8881, 5. */
struct nfs_attr {
	struct nfs_bitmap have;
	uint32_t type; /* enum nfs_ftype4 */
	uint32_t mode; /* permission bits only, 07777 */
	uint32_t nlink;
	uid_t uid;
	gid_t gid;
	uint32_t rdev_major, rdev_minor;
	uint32_t rdattr_error; /* nfsstat4, in READDIR */
	uint64_t change;
	uint64_t size;	     /* bytes */
	uint64_t space_used; /* bytes */
	uint64_t fileid, mounted_on_fileid;
	struct nfs_fsid fsid;
	struct timespec atime, mtime, ctime, btime; /* tv_nsec below 1e9, as decoded */
	struct nfs_fh fh;			    /* FATTR4_FILEHANDLE, in READDIR */
};

/* Attributes of the file system and the server. */
struct nfs_fsattr {
	struct nfs_bitmap have;
	struct nfs_bitmap supported;				 /* FATTR4_SUPPORTED_ATTRS */
	uint64_t space_avail, space_free, space_total;		 /* bytes */
	uint64_t quota_avail_hard, quota_avail_soft, quota_used; /* bytes, of who asks */
	uint64_t files_avail, files_free, files_total;
	uint32_t maxname, maxlink;
	uint64_t maxread, maxwrite, maxfilesize; /* bytes */
	uint32_t lease_time;			 /* seconds */
	struct nfs_fsid fsid;
	uint32_t aclsupport; /* ACL4_SUPPORT_* */
	bool xattr_support;
	bool link_support, symlink_support, case_preserving, case_insensitive, no_trunc;
	uint32_t fh_expire_type;
	uint32_t clone_blksize; /* bytes */
	uint32_t open_want; /* FATTR4_OPEN_ARGUMENTS: the first word of its oa_share_access_want */
};

/* What SETATTR and creation set; `set` is a union of NFS_SET_*. */
#define NFS_SET_SIZE	  0x001
#define NFS_SET_MODE	  0x002
#define NFS_SET_UID	  0x004
#define NFS_SET_GID	  0x008
#define NFS_SET_ATIME	  0x010
#define NFS_SET_ATIME_NOW 0x020 /* the server's clock */
#define NFS_SET_MTIME	  0x040
#define NFS_SET_MTIME_NOW 0x080
struct nfs_setattr {
	unsigned set;
	uint64_t size; /* bytes */
	uint32_t mode; /* 07777 */
	uid_t uid;
	gid_t gid;
	struct timespec atime, mtime;
};

/* change_info4 */
struct nfs_change_info {
	bool atomic;
	uint64_t before, after;
};

#endif
