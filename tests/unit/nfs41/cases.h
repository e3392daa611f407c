/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_TESTS_NFS41_CASES_H
#define VSOCKFS_TESTS_NFS41_CASES_H

#include "nfs41/compound.h"
#include "nfs41/op.h"

/*
 * One case for each operation and variant: how it is asked, a reply written down by hand, and
 * what must come out of that reply. Several test programs go through the same table.
 */

struct op_case {
	const char *name;
	uint32_t status;		       /* the reply's */
	void (*build)(struct nfs_compound *c); /* appends the operation; results go to `got` */
	void (*reply)(struct wire_out *out);   /* the result's body */
	void (*check)(void);		       /* asserts on `got`; NULL: nothing to see */
	const char *witness;		       /* libnfs's words for the arguments, or NULL */
	/* what tshark must show in call and reply, as "field=value field=value", or NULL */
	const char *shark_call, *shark_reply;
#define CASE_SHARK_BLIND "" /* tshark gets it wrong */
};

extern const struct op_case fs_cases[], state_cases[], session_cases[], xattr_cases[],
	space_cases[];
extern const size_t fs_cases_count, state_cases_count, session_cases_count, xattr_cases_count,
	space_cases_count;

/* Where every case's results go. */
#define GOT_DATA 64
struct got {
	struct nfs_fh fh;
	struct nfs_attr attr;
	struct nfs_fsattr fsattr;
	struct nfs_bitmap bitmap;
	struct nfs_access_res access;
	struct nfs_change_info cinfo;
	struct nfs_rename_res rename;
	struct nfs_readlink_res readlink;
	struct nfs_readdir_res readdir;
	struct nfs_dir_delegation_res dir_delegation;
	struct nfs_read_res read;
	struct nfs_write_res write;
	struct nfs_seek_res seek;
	struct nfs_copy_res copy;
	struct nfs_offload_status_res offload;
	uint8_t verifier[NFS4_VERIFIER_SIZE];
	struct nfs_open_res open;
	struct nfs_stateid stateid;
	struct nfs_lock_denied denied;
	uint32_t word;
	struct rpc_sec_list secs;
	struct nfs_exchange_id_res exchange_id;
	struct nfs_create_session_res session;
	struct nfs_bytes_res bytes;
	struct nfs_listxattrs_res xattrs;
	char link[16], names[64];
	uint8_t data[GOT_DATA], dir[512];
};
extern struct got got;

/* Values used throughout. */
extern const struct nfs_fh case_fh;
extern const struct nfs_stateid case_stateid;
extern const uint8_t case_verifier[NFS4_VERIFIER_SIZE];
extern const uint8_t case_sessionid[NFS4_SESSIONID_SIZE];
extern const struct nfs_bitmap case_want; /* every attribute of nfs_attr but rdattr_error */

/* Encoders of the replies' parts. */
void case_put_stateid(struct wire_out *out);
void case_put_cinfo(struct wire_out *out, uint64_t before);
void case_put_fattr(struct wire_out *out); /* fattr4 with all of case_want */
void case_check_cinfo(const struct nfs_change_info *cinfo, uint64_t before);
void case_check_attr(const struct nfs_attr *attr);
void case_check_stateid(const struct nfs_stateid *stateid);

/* Calls fn for each case of all tables. */
void case_each(void (*fn)(const struct op_case *op_case));

/*
 * A compound with its results: `c` was finished, `args` are its arguments in one piece and
 * `reply` a COMPOUND4res that answers all of them.
 */
struct exchange {
	struct nfs_compound *c;
	uint8_t args[16384];
	size_t args_len;
	uint8_t reply[16384];
	size_t reply_len;
	size_t last_at; /* where the last operation's result begins in `reply` */
	/* private */
	struct wire_out out;
	uint32_t count;
};
void exchange_init(struct exchange *x, bool sequenced);
/* Appends operation and result. */
void exchange_add(struct exchange *x, const struct op_case *op_case);
void exchange_finish(struct exchange *x);
void exchange_deinit(struct exchange *x);

#endif
