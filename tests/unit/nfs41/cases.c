/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cases.h"

struct got got;

const struct nfs_fh case_fh = {.len = 5, .data = {0xde, 0xad, 0xbe, 0xef, 0x05}};
const struct nfs_stateid case_stateid = {.seqid = 7, .other = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}};
const uint8_t case_verifier[NFS4_VERIFIER_SIZE] = {8, 7, 6, 5, 4, 3, 2, 1};
const uint8_t case_sessionid[NFS4_SESSIONID_SIZE] = {0x5e, 0x55, [15] = 0x1d};
const struct nfs_bitmap case_want = {
	.word = {1u << FATTR4_TYPE | 1u << FATTR4_CHANGE | 1u << FATTR4_SIZE | 1u << FATTR4_FSID |
			 1u << FATTR4_FILEHANDLE | 1u << FATTR4_FILEID,
		1u << (FATTR4_MODE - 32) | 1u << (FATTR4_NUMLINKS - 32) |
			1u << (FATTR4_OWNER - 32) | 1u << (FATTR4_OWNER_GROUP - 32) |
			1u << (FATTR4_RAWDEV - 32) | 1u << (FATTR4_SPACE_USED - 32) |
			1u << (FATTR4_TIME_ACCESS - 32) | 1u << (FATTR4_TIME_CREATE - 32) |
			1u << (FATTR4_TIME_METADATA - 32) | 1u << (FATTR4_TIME_MODIFY - 32) |
			1u << (FATTR4_MOUNTED_ON_FILEID - 32)}};

void case_put_stateid(struct wire_out *out)
{
	wire_put_u32(out, case_stateid.seqid);
	wire_put_fixed(out, case_stateid.other, sizeof(case_stateid.other));
}

void case_put_cinfo(struct wire_out *out, uint64_t before)
{
	wire_put_u32(out, 1);
	wire_put_u64(out, before);
	wire_put_u64(out, before + 1);
}

static void put_time(struct wire_out *out, int64_t sec, uint32_t nsec)
{
	wire_put_u64(out, (uint64_t)sec);
	wire_put_u32(out, nsec);
}

void case_put_fattr(struct wire_out *out)
{
	wire_put_u32(out, 2);
	wire_put_u32(out, case_want.word[0]);
	wire_put_u32(out, case_want.word[1]);

	uint8_t *len_at = wire_put_raw(out, 4);
	size_t start = out->len;
	wire_put_u32(out, NF4CHR);
	wire_put_u64(out, 0x1122334455667788); /* change */
	wire_put_u64(out, 5000000000);	       /* size */
	wire_put_u64(out, 3);		       /* fsid */
	wire_put_u64(out, 4);
	wire_put_opaque(out, case_fh.data, case_fh.len);
	wire_put_u64(out, 42); /* fileid */
	wire_put_u32(out, 04755);
	wire_put_u32(out, 2); /* numlinks */
	wire_put_opaque(out, "1000", 4);
	wire_put_opaque(out, "100", 3);
	wire_put_u32(out, 8); /* rawdev */
	wire_put_u32(out, 1);
	wire_put_u64(out, 4096); /* space_used */
	put_time(out, -1, 999999999);
	put_time(out, 1000, 1);
	put_time(out, 2000, 2);
	put_time(out, 5000000000, 3);
	wire_put_u64(out, 43); /* mounted_on_fileid */
	wire_store_u32(len_at, (uint32_t)(out->len - start));
}

void case_check_attr(const struct nfs_attr *attr)
{
	assert_memory_equal(&attr->have, &case_want, sizeof(case_want));
	assert_int_equal(attr->type, NF4CHR);
	assert_int_equal(attr->change, 0x1122334455667788);
	assert_int_equal(attr->size, 5000000000);
	assert_int_equal(attr->fsid.major, 3);
	assert_int_equal(attr->fsid.minor, 4);
	assert_true(nfs_fh_equal(&attr->fh, &case_fh));
	assert_int_equal(attr->fileid, 42);
	assert_int_equal(attr->mode, 04755);
	assert_int_equal(attr->nlink, 2);
	assert_int_equal(attr->uid, 1000);
	assert_int_equal(attr->gid, 100);
	assert_int_equal(attr->rdev_major, 8);
	assert_int_equal(attr->rdev_minor, 1);
	assert_int_equal(attr->space_used, 4096);
	assert_int_equal(attr->atime.tv_sec, -1);
	assert_int_equal(attr->atime.tv_nsec, 999999999);
	assert_int_equal(attr->btime.tv_sec, 1000);
	assert_int_equal(attr->ctime.tv_sec, 2000);
	assert_int_equal(attr->mtime.tv_sec, 5000000000);
	assert_int_equal(attr->mtime.tv_nsec, 3);
	assert_int_equal(attr->mounted_on_fileid, 43);
}

void case_check_cinfo(const struct nfs_change_info *cinfo, uint64_t before)
{
	assert_true(cinfo->atomic);
	assert_int_equal(cinfo->before, before);
	assert_int_equal(cinfo->after, before + 1);
}

void case_check_stateid(const struct nfs_stateid *stateid)
{
	assert_int_equal(stateid->seqid, case_stateid.seqid);
	assert_memory_equal(stateid->other, case_stateid.other, sizeof(case_stateid.other));
}

void case_each(void (*fn)(const struct op_case *op_case))
{
	for (size_t i = 0; i < fs_cases_count; i++)
		fn(&fs_cases[i]);
	for (size_t i = 0; i < state_cases_count; i++)
		fn(&state_cases[i]);
	for (size_t i = 0; i < session_cases_count; i++)
		fn(&session_cases[i]);
	for (size_t i = 0; i < xattr_cases_count; i++)
		fn(&xattr_cases[i]);
	for (size_t i = 0; i < space_cases_count; i++)
		fn(&space_cases[i]);
}

void exchange_init(struct exchange *x, bool sequenced)
{
	memset(&got, 0, sizeof(got));
	got.readlink = (struct nfs_readlink_res){.target = got.link, .cap = sizeof(got.link)};
	got.readdir = (struct nfs_readdir_res){.data = got.dir, .cap = sizeof(got.dir)};
	got.bytes = (struct nfs_bytes_res){.data = got.data, .cap = sizeof(got.data)};
	got.xattrs = (struct nfs_listxattrs_res){.data = got.names, .cap = sizeof(got.names)};
	x->c = nfs_compound_new(NULL, NULL, OP_GETATTR);
	assert_non_null(x->c);
	x->count = 0;
	wire_out_init(&x->out, x->reply, sizeof(x->reply));
	wire_put_u32(&x->out, NFS4_OK);
	wire_put_u32(&x->out, 0);
	wire_put_u32(&x->out, 0); /* count, filled in at the end */
	x->last_at = x->out.len;
	if (!sequenced) {
		nfs_compound_unsequenced(x->c);
		return;
	}
	x->count++;
	wire_put_u32(&x->out, OP_SEQUENCE);
	wire_put_u32(&x->out, NFS4_OK);
	wire_put_fixed(&x->out, case_sessionid, NFS4_SESSIONID_SIZE);
	wire_put_u32(&x->out, 11); /* sequence */
	wire_put_u32(&x->out, 3);  /* slot */
	wire_put_u32(&x->out, 15); /* highest */
	wire_put_u32(&x->out, 31); /* target highest */
	wire_put_u32(&x->out, SEQ4_STATUS_CB_PATH_DOWN);
}

void exchange_add(struct exchange *x, const struct op_case *op_case)
{
	op_case->build(x->c);
	x->last_at = x->out.len;
	wire_put_u32(&x->out, x->c->ops[x->c->nops - 1].op);
	wire_put_u32(&x->out, op_case->status);
	if (op_case->reply)
		op_case->reply(&x->out);
	x->count++;
	wire_store_u32(x->reply, op_case->status);
}

void exchange_finish(struct exchange *x)
{
	struct rpc_call *call = &x->c->call;

	assert_int_equal(nfs_compound_finish(x->c), 0);
	nfs_compound_patch_sequence(x->c, x->c->sequenced ? 1 : 0, case_sessionid, 11, 3, 7,
		nfs_compound_cachethis(x->c));
	memcpy(x->args, call->head, call->head_len);
	x->args_len = call->head_len;
	for (unsigned i = 0; i < call->ntail; i++) {
		memcpy(x->args + x->args_len, call->tail[i].iov_base, call->tail[i].iov_len);
		x->args_len += call->tail[i].iov_len;
	}
	assert_false(x->out.bad);
	wire_store_u32(x->reply + 8, x->count);
	x->reply_len = x->out.len;
}

void exchange_deinit(struct exchange *x)
{
	nfs_compound_free(x->c);
}
