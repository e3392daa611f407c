/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_NFS41_OP_H
#define VSOCKFS_NFS41_OP_H

#include <stddef.h>
#include <stdint.h>

#include "nfs41/compound.h"
#include "nfs41/types.h"
#include "util/buf.h"

/*
 * One function per operation (RFC 8881, 18): it appends the operation with its arguments to the
 * compound, and names where its result goes when the reply is decoded. The place stays valid
 * until the compound is done; it is written only if the operation returned NFS4_OK (what is
 * marked "also on error" excepted). A result may be NULL where the caller does not want it.
 * Arguments are copied at the call, except WRITE's data. Each encoder has its decoder beside it.
 */

/* op_fh.c: current and saved filehandle, names */
void nfs_op_putfh(struct nfs_compound *c, const struct nfs_fh *fh);
void nfs_op_putrootfh(struct nfs_compound *c);
void nfs_op_savefh(struct nfs_compound *c);
void nfs_op_restorefh(struct nfs_compound *c);
void nfs_op_getfh(struct nfs_compound *c, struct nfs_fh *fh);
void nfs_op_lookup(struct nfs_compound *c, const char *name, size_t len);

/* op_attr.c */
void nfs_op_getattr(struct nfs_compound *c, const struct nfs_bitmap *want, struct nfs_attr *attr);
void nfs_op_getfsattr(
	struct nfs_compound *c, const struct nfs_bitmap *want, struct nfs_fsattr *attr);
/* `done`: what was set, also on error. */
void nfs_op_setattr(struct nfs_compound *c, const struct nfs_stateid *stateid,
	const struct nfs_setattr *set, struct nfs_bitmap *done);
/* VERIFY: the compound ends here with NFS4ERR_NOT_SAME unless the file has `size` bytes. */
void nfs_op_verify_size(struct nfs_compound *c, uint64_t size);
/* `want` and the results are ACCESS4_* bits. */
struct nfs_access_res {
	uint32_t supported, granted;
};
void nfs_op_access(struct nfs_compound *c, uint32_t want, struct nfs_access_res *res);

/* op_xattr.c: extended attributes (RFC 8276). Their names are on the wire without "user.". */
#define NFS_XATTR_USER	   "user."
#define NFS_XATTR_USER_LEN 5
#define NFS_XATTR_NAME_MAX (255 - NFS_XATTR_USER_LEN) /* what a program can name, bytes */
/* Longest value that a server may have, bytes. */
#define NFS_BYTES_WIRE_MAX (1 << 20)
/* `len` bytes at `data`, or none when there are more of them than `cap`. */
struct nfs_bytes_res {
	uint8_t *data;
	size_t cap;
	size_t len; /* out */
};
void nfs_op_getxattr(
	struct nfs_compound *c, const char *name, size_t len, struct nfs_bytes_res *res);
enum nfs_setxattr_option {
	NFS_SETXATTR_EITHER = 0,
	NFS_SETXATTR_CREATE = 1,
	NFS_SETXATTR_REPLACE = 2
};
/* The value as WRITE's data: they count as one of these per compound. */
void nfs_op_setxattr(struct nfs_compound *c, enum nfs_setxattr_option option, const char *name,
	size_t len, struct buf *buf, const uint8_t *value, uint32_t value_len,
	struct nfs_change_info *cinfo);
void nfs_op_removexattr(
	struct nfs_compound *c, const char *name, size_t len, struct nfs_change_info *cinfo);
/*
 * Names are put behind the `len` bytes that are at `data` already, each as "user.NAME" with a NUL;
 * those that no program could use are left out, and so are those for which there is no room
 * (`full`). `maxcount` bounds the encoded result in bytes.
 */
struct nfs_listxattrs_res {
	char *data;
	size_t cap, len;
	uint64_t cookie; /* to go on with */
	bool eof, full;
};
void nfs_op_listxattrs(
	struct nfs_compound *c, uint64_t cookie, uint32_t maxcount, struct nfs_listxattrs_res *res);
/*
 * GETATTR and SETATTR of one attribute that programs get and set as bytes: access control lists as
 * encoded (good as nfs_acl_good, or nfs_posix_acl_good, says); of FATTR4_SEC_LABEL, the label
 * alone. And GETATTR of FATTR4_FS_LOCATIONS, for nfs_locations_get. `len` is NFS_BYTES_NONE where
 * the server gives none.
 */
#define NFS_BYTES_NONE	  SIZE_MAX
#define NFS_SEC_LABEL_MAX 2048 /* bytes */
void nfs_op_getattr_bytes(struct nfs_compound *c, unsigned attr, struct nfs_bytes_res *res);
void nfs_op_setattr_bytes(
	struct nfs_compound *c, unsigned attr, struct buf *buf, const uint8_t *data, uint32_t len);

/* op_dir.c: names come and go */
/* mkdir, mknod, symlink. `type` is NF4DIR, NF4LNK, NF4BLK, ...; `link` a NUL-terminated target for
 * NF4LNK. */
struct nfs_create_args {
	uint32_t type;
	const char *name;
	size_t name_len;
	const char *link;
	uint32_t rdev_major, rdev_minor;
	const struct nfs_setattr *set;
};
void nfs_op_create(
	struct nfs_compound *c, const struct nfs_create_args *args, struct nfs_change_info *cinfo);
void nfs_op_remove(
	struct nfs_compound *c, const char *name, size_t len, struct nfs_change_info *cinfo);
struct nfs_rename_res {
	struct nfs_change_info source, target;
};
/* Saved filehandle: the source directory; current: the target directory. */
void nfs_op_rename(struct nfs_compound *c, const char *from, size_t from_len, const char *to,
	size_t to_len, struct nfs_rename_res *res);
/* Saved filehandle: the object; current: the directory. */
void nfs_op_link(
	struct nfs_compound *c, const char *name, size_t len, struct nfs_change_info *cinfo);
/* Target copied to `target` with a NUL, at most `cap - 1` bytes; a longer one is garbage. */
struct nfs_readlink_res {
	char *target;
	size_t cap;
	size_t len; /* out */
};
void nfs_op_readlink(struct nfs_compound *c, struct nfs_readlink_res *res);

/* The reply's entries are validated as a whole, then copied to data[0..len) for nfs_dir_next. */
struct nfs_readdir_res {
	uint8_t *data; /* room for `cap` bytes, from the caller */
	size_t cap;
	size_t len; /* out: bytes of encoded entries, without the closing words */
	uint8_t verifier[NFS4_VERIFIER_SIZE];
	struct nfs_bitmap want; /* as asked, for nfs_dir_next */
	uint64_t last_cookie;	/* of the last entry, even one left out; 0 without entries */
	bool eof;
};
/* `maxcount` bounds the encoded result in bytes and is at most res->cap. */
void nfs_op_readdir(struct nfs_compound *c, uint64_t cookie,
	const uint8_t verifier[NFS4_VERIFIER_SIZE], uint32_t dircount, uint32_t maxcount,
	const struct nfs_bitmap *want, struct nfs_readdir_res *res);
struct nfs_dirent {
	uint64_t cookie;
	const char *name; /* within `data`; no NUL, '/' or empty name; not "." or ".." */
	uint32_t name_len;
	struct nfs_attr attr;
};
/*
 * Steps through `res->data` from *pos. 1: *entry was filled; 0: no more. Entries whose name
 * no program could use are left out: go on reading from res->last_cookie.
 */
int nfs_dir_next(const struct nfs_readdir_res *res, size_t *pos, struct nfs_dirent *entry);

/* op_io.c */
/*
 * READ of up to `count` bytes. `data` has room for them and lies in `buf`, of which the compound
 * takes a reference; as the last operation of its compound the bytes are received there directly,
 * elsewhere they are copied. NULL: where `buf`, which is one of buf_reserve, begins when they come;
 * only for the last operation. A second READ, or one after READDIR or READLINK, makes the compound
 * fail with -EOVERFLOW: knfsd since Linux 6.3 answers it with bytes of some other page.
 */
struct nfs_read_res {
	uint32_t len; /* bytes at `data` */
	bool eof;
};
void nfs_op_read(struct nfs_compound *c, const struct nfs_stateid *stateid, uint64_t offset,
	uint32_t count, struct buf *buf, uint8_t *data, struct nfs_read_res *res);
/*
 * WRITE of `len` bytes at `data`, which lie in `buf` (referenced, not copied; NULL: the memory
 * outlives the compound). At most one WRITE per compound. `stable` is UNSTABLE4, DATA_SYNC4 or
 * FILE_SYNC4.
 */
struct nfs_write_res {
	uint32_t count; /* bytes written */
	uint32_t committed;
	uint8_t verifier[NFS4_VERIFIER_SIZE];
};
void nfs_op_write(struct nfs_compound *c, const struct nfs_stateid *stateid, uint64_t offset,
	uint32_t stable, struct buf *buf, const uint8_t *data, uint32_t len,
	struct nfs_write_res *res);
/* count 0: to the end of the file. */
void nfs_op_commit(struct nfs_compound *c, uint64_t offset, uint32_t count,
	uint8_t verifier[NFS4_VERIFIER_SIZE]);

/* op_space.c: space and holes, NFSv4.2 */
void nfs_op_allocate(struct nfs_compound *c, const struct nfs_stateid *stateid, uint64_t offset,
	uint64_t length);
void nfs_op_deallocate(struct nfs_compound *c, const struct nfs_stateid *stateid, uint64_t offset,
	uint64_t length);
/* The next byte of `what` (NFS4_CONTENT_*) from `offset` on. `res` is as the server has it. */
struct nfs_seek_res {
	uint64_t offset;
	bool eof; /* there is no more of it; with holes, the one behind the end is meant */
};
void nfs_op_seek(struct nfs_compound *c, const struct nfs_stateid *stateid, uint64_t offset,
	uint32_t what, struct nfs_seek_res *res);

/* op_copy.c: the server copies, NFSv4.2. Saved filehandle: the source; current: the destination. */
/* write_response4 */
struct nfs_write_response {
	bool async; /* it goes on: OFFLOAD_STATUS and CB_OFFLOAD tell of it under this stateid */
	struct nfs_stateid stateid;
	uint64_t count; /* bytes */
	uint32_t committed;
	uint8_t verifier[NFS4_VERIFIER_SIZE];
};
#define NFS_OP_WRITE_RESPONSE_MAX (4 + 16 + 8 + 4 + NFS4_VERIFIER_SIZE)
void nfs_op_get_write_response(struct wire_in *in, struct nfs_write_response *res);
struct nfs_copy_args {
	struct nfs_stateid from_stateid, to_stateid;
	uint64_t from, to; /* offsets */
	uint32_t count;	   /* bytes; no server copies more for one question */
	bool synchronous;  /* COPY: nothing but that is of use */
};
struct nfs_copy_res {
	struct nfs_write_response write;
	bool synchronous; /* how it is done, or (NFS4ERR_OFFLOAD_NO_REQS) could be */
};
/* `res` also on error: NFS4ERR_OFFLOAD_NO_REQS. */
void nfs_op_copy(
	struct nfs_compound *c, const struct nfs_copy_args *args, struct nfs_copy_res *res);
void nfs_op_clone(struct nfs_compound *c, const struct nfs_copy_args *args);
struct nfs_offload_status_res {
	uint64_t count;
	bool complete;
	uint32_t status; /* nfsstat4 of what is complete */
};
void nfs_op_offload_status(struct nfs_compound *c, const struct nfs_stateid *stateid,
	struct nfs_offload_status_res *res);
void nfs_op_offload_cancel(struct nfs_compound *c, const struct nfs_stateid *stateid);

struct nfs_dir_delegation_res {
	bool granted;
	bool notifies; /* the server means to tell of changes rather than to recall it */
	struct nfs_stateid stateid;
};
/*
 * Of the current filehandle, to be recalled whatever changes. *res is to be zero; a delegation in
 * it is not written over, since the server refuses a second one to who sends the compound again.
 */
void nfs_op_get_dir_delegation(struct nfs_compound *c, struct nfs_dir_delegation_res *res);

/* op_state.c: opens and locks */
enum nfs_open_claim {
	NFS_CLAIM_NAME,
	NFS_CLAIM_FH,
	NFS_CLAIM_PREVIOUS,
	NFS_CLAIM_DELEGATION /* the current filehandle, delegated to us: CLAIM_DELEG_CUR_FH */
};
enum nfs_open_how { NFS_OPEN_NOCREATE, NFS_OPEN_UNCHECKED, NFS_OPEN_GUARDED, NFS_OPEN_EXCLUSIVE };
struct nfs_open_args {
	uint32_t access; /* OPEN4_SHARE_ACCESS_* with WANT bits */
	uint32_t deny;
	uint64_t owner; /* the open-owner's number within this client id */
	enum nfs_open_how how;
	const struct nfs_setattr *set;	      /* initial attributes, when creating */
	uint8_t verifier[NFS4_VERIFIER_SIZE]; /* NFS_OPEN_EXCLUSIVE: EXCLUSIVE4_1 with `set` */
	enum nfs_open_claim claim;
	const char *name; /* NFS_CLAIM_NAME */
	size_t name_len;
	uint32_t delegate_type;	       /* NFS_CLAIM_PREVIOUS */
	struct nfs_stateid delegation; /* NFS_CLAIM_DELEGATION */
};
struct nfs_open_res {
	struct nfs_stateid stateid;
	struct nfs_change_info cinfo;
	uint32_t rflags; /* OPEN4_RESULT_* */
	struct nfs_bitmap attrset;
	uint32_t delegation_type; /* OPEN_DELEGATE_* */
	struct nfs_stateid delegation;
	bool delegation_recall;
};
void nfs_op_open(
	struct nfs_compound *c, const struct nfs_open_args *args, struct nfs_open_res *res);
void nfs_op_close(struct nfs_compound *c, const struct nfs_stateid *stateid);
void nfs_op_delegreturn(struct nfs_compound *c, const struct nfs_stateid *stateid);

struct nfs_lock_range {
	uint32_t type;		 /* READ_LT, WRITE_LT, READW_LT, WRITEW_LT */
	uint64_t offset, length; /* length UINT64_MAX: to the end */
};
/*
 * state_owner4 as this client makes them out of numbers. Decoding gives the number, or 0 for an
 * owner of another make; whether it is one of this client's own is for `clientid` to tell.
 */
void nfs_op_put_owner(struct wire_out *out, uint64_t owner);
uint64_t nfs_op_get_owner(struct wire_in *in, uint64_t *clientid);

/* The lock in the way: LOCK4denied. */
struct nfs_lock_denied {
	struct nfs_lock_range range;
	uint64_t owner_clientid;
	uint64_t owner; /* as nfs_op_get_owner */
};
struct nfs_lock_args {
	struct nfs_lock_range range;
	bool reclaim;
	bool new_owner;			 /* first lock of this owner on the file */
	struct nfs_stateid open_stateid; /* new_owner */
	struct nfs_stateid lock_stateid; /* not new_owner */
	uint64_t owner;			 /* the lock-owner's number within this client id */
};
/* `denied` also on error: it is filled when the status is NFS4ERR_DENIED. */
void nfs_op_lock(struct nfs_compound *c, const struct nfs_lock_args *args,
	struct nfs_stateid *stateid, struct nfs_lock_denied *denied);
void nfs_op_lockt(struct nfs_compound *c, const struct nfs_lock_range *range, uint64_t owner,
	struct nfs_lock_denied *denied);
void nfs_op_locku(struct nfs_compound *c, const struct nfs_lock_range *range,
	const struct nfs_stateid *lock_stateid, struct nfs_stateid *stateid);
void nfs_op_test_stateid(
	struct nfs_compound *c, const struct nfs_stateid *stateid, uint32_t *status);
void nfs_op_free_stateid(struct nfs_compound *c, const struct nfs_stateid *stateid);

/* op_session.c: these make up compounds of their own, see client.h */
struct nfs_exchange_id_args {
	uint8_t verifier[NFS4_VERIFIER_SIZE];
	const char *owner;
	size_t owner_len;
	uint32_t flags;	  /* EXCHGID4_FLAG_* */
	const char *impl; /* eia_client_impl_id's name, for the server's administrator; or NULL */
};
struct nfs_exchange_id_res {
	uint64_t clientid;
	uint32_t sequenceid, flags;
	char server_owner[128], server_impl[128]; /* for people, cut to size, NUL-terminated */
};
void nfs_op_exchange_id(struct nfs_compound *c, const struct nfs_exchange_id_args *args,
	struct nfs_exchange_id_res *res);
/* channel_attrs4, without RDMA */
struct nfs_channel_attrs {
	uint32_t headerpad, max_request, max_response, max_response_cached; /* bytes */
	uint32_t max_ops, max_requests;
};
struct nfs_create_session_args {
	uint64_t clientid;
	uint32_t sequence, flags; /* CREATE_SESSION4_FLAG_* */
	struct nfs_channel_attrs fore, back;
	uint32_t cb_program;
	/* callback credentials offered: AUTH_SYS of root, or AUTH_NONE */
};
struct nfs_create_session_res {
	uint8_t sessionid[NFS4_SESSIONID_SIZE];
	uint32_t sequence, flags;
	struct nfs_channel_attrs fore, back;
};
void nfs_op_create_session(struct nfs_compound *c, const struct nfs_create_session_args *args,
	struct nfs_create_session_res *res);
void nfs_op_bind_conn_to_session(struct nfs_compound *c,
	const uint8_t sessionid[NFS4_SESSIONID_SIZE], uint32_t dir, uint32_t *bound_dir);
void nfs_op_destroy_session(struct nfs_compound *c, const uint8_t sessionid[NFS4_SESSIONID_SIZE]);
void nfs_op_destroy_clientid(struct nfs_compound *c, uint64_t clientid);
void nfs_op_reclaim_complete(struct nfs_compound *c, bool one_fs);
/* `style` is SECINFO_STYLE4_CURRENT_FH (0) or _PARENT (1); `flavors` the ones that this client
 * knows, in the server's order. The current filehandle is gone afterwards. */
void nfs_op_secinfo_no_name(struct nfs_compound *c, uint32_t style, struct rpc_sec_list *flavors);
/* The same of a name in the current directory. */
void nfs_op_secinfo(
	struct nfs_compound *c, const char *name, size_t len, struct rpc_sec_list *flavors);

#endif
