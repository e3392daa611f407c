/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cases.h"

/* Client ids and sessions. */

#define CLIENTID 0x00c11e4700000001

static void build_exchange_id(struct nfs_compound *c)
{
	struct nfs_exchange_id_args args = {.owner = "vsockfs me",
		.owner_len = 10,
		.flags = EXCHGID4_FLAG_SUPP_MOVED_REFER | EXCHGID4_FLAG_USE_NON_PNFS,
		.impl = "vsockfs 0"};

	memcpy(args.verifier, case_verifier, sizeof(args.verifier));
	nfs_op_exchange_id(c, &args, &got.exchange_id);
}

static void put_exchange_id(struct wire_out *out)
{
	wire_put_u64(out, CLIENTID);
	wire_put_u32(out, 5); /* sequenceid */
	wire_put_u32(out, EXCHGID4_FLAG_USE_NON_PNFS | EXCHGID4_FLAG_CONFIRMED_R);
	wire_put_u32(out, 0); /* SP4_NONE */
	wire_put_u64(out, 1); /* so_minor_id */
	wire_put_opaque(out, "server.one", 10);
	wire_put_opaque(out, "scope", 5);
}

static void reply_exchange_id(struct wire_out *out)
{
	put_exchange_id(out);
	wire_put_u32(out, 1);
	wire_put_opaque(out, "example.org", 11);
	wire_put_opaque(out, "server 1.0", 10);
	wire_put_u64(out, 1700000000);
	wire_put_u32(out, 5);
}

static void reply_exchange_id_short(struct wire_out *out)
{
	put_exchange_id(out);
	wire_put_u32(out, 0);
}

static void check_exchange_id_short(void)
{
	assert_int_equal(got.exchange_id.clientid, CLIENTID);
	assert_int_equal(got.exchange_id.sequenceid, 5);
	assert_int_equal(got.exchange_id.flags, 0x80010000);
	assert_string_equal(got.exchange_id.server_owner, "server.one");
}

static void check_exchange_id(void)
{
	check_exchange_id_short();
	assert_string_equal(got.exchange_id.server_impl, "server 1.0");
}

static void build_create_session(struct nfs_compound *c)
{
	nfs_op_create_session(c,
		&(struct nfs_create_session_args){.clientid = CLIENTID,
			.sequence = 5,
			.flags = CREATE_SESSION4_FLAG_CONN_BACK_CHAN,
			.fore = {0, 1049620, 1049480, 3428, 16, 64},
			.back = {0, 4096, 4097, 0, 2, 17},
			.cb_program = 0x40000001},
		&got.session);
}

static void reply_create_session(struct wire_out *out)
{
	wire_put_fixed(out, case_sessionid, NFS4_SESSIONID_SIZE);
	wire_put_u32(out, 5);
	wire_put_u32(out, CREATE_SESSION4_FLAG_CONN_BACK_CHAN);
	for (uint32_t i = 1; i <= 6; i++)
		wire_put_u32(out, i);
	wire_put_u32(out, 1); /* ca_rdma_ird<1> */
	wire_put_u32(out, 99);
	for (uint32_t i = 11; i <= 16; i++)
		wire_put_u32(out, i);
	wire_put_u32(out, 0);
}

static void check_create_session(void)
{
	const struct nfs_channel_attrs fore = {1, 2, 3, 4, 5, 6}, back = {11, 12, 13, 14, 15, 16};

	assert_memory_equal(got.session.sessionid, case_sessionid, NFS4_SESSIONID_SIZE);
	assert_int_equal(got.session.sequence, 5);
	assert_int_equal(got.session.flags, CREATE_SESSION4_FLAG_CONN_BACK_CHAN);
	assert_memory_equal(&got.session.fore, &fore, sizeof(fore));
	assert_memory_equal(&got.session.back, &back, sizeof(back));
}

static void build_bind(struct nfs_compound *c)
{
	nfs_op_bind_conn_to_session(c, case_sessionid, CDFC4_FORE_OR_BOTH, &got.word);
}

static void reply_bind(struct wire_out *out)
{
	wire_put_fixed(out, case_sessionid, NFS4_SESSIONID_SIZE);
	wire_put_u32(out, CDFS4_BOTH);
	wire_put_u32(out, 0);
}

static void check_bind(void)
{
	assert_int_equal(got.word, CDFS4_BOTH);
}

static void build_destroy_session(struct nfs_compound *c)
{
	nfs_op_destroy_session(c, case_sessionid);
}

static void build_destroy_clientid(struct nfs_compound *c)
{
	nfs_op_destroy_clientid(c, CLIENTID);
}

static void build_reclaim_complete(struct nfs_compound *c)
{
	nfs_op_reclaim_complete(c, true);
}

static void build_secinfo(struct nfs_compound *c)
{
	nfs_op_secinfo_no_name(c, 1, &got.secs);
}

static void build_secinfo_name(struct nfs_compound *c)
{
	nfs_op_secinfo(c, "name", 4, &got.secs);
}

static void reply_secinfo(struct wire_out *out)
{
	wire_put_u32(out, 3);
	wire_put_u32(out, 6); /* RPCSEC_GSS */
	wire_put_opaque(out, "\x2a\x86\x48\x86\xf7\x12\x01\x02\x02", 9);
	wire_put_u32(out, 0);
	wire_put_u32(out, 1);
	wire_put_u32(out, 1); /* AUTH_SYS */
	wire_put_u32(out, 0); /* AUTH_NONE */
}

static void check_secinfo(void)
{
	assert_int_equal(got.secs.count, 3);
	assert_int_equal(got.secs.secs[0], RPC_SEC_KRB5);
	assert_int_equal(got.secs.secs[1], RPC_SEC_SYS);
	assert_int_equal(got.secs.secs[2], RPC_SEC_NONE);
}

const struct op_case session_cases[] = {
	{"exchange_id", NFS4_OK, build_exchange_id, reply_exchange_id, check_exchange_id, NULL,
		"nfs.verifier4=0x0807060504030201 "
		"nfs.exchange_id.call_flags=0x00010001 nfs.exchange_id.state_protect=0 "
		"nfs.nii_name4=vsockfs_0",
		"nfs.clientid=0x00c11e4700000001 nfs.seqid=0x0000000b,0x00000005 "
		"nfs.exchange_id.reply_flags=0x80010000 nfs.nii_name4=server_1.0"},
	{"exchange_id, no implementation", NFS4_OK, build_exchange_id, reply_exchange_id_short,
		check_exchange_id_short, NULL, NULL, NULL},
	{"create_session", NFS4_OK, build_create_session, reply_create_session,
		check_create_session, NULL,
		"nfs.clientid=0x00c11e4700000001 nfs.padsize4=0,0 "
		"nfs.maxreqsize4=1049620,4096 nfs.maxrespsize4=1049480,4097 "
		"nfs.maxrespsizecached4=3428,0 nfs.maxops4=16,2 nfs.maxreqs4=64,17 "
		"nfs.cb_program=0x40000001 nfs.flavor4=1,0 nfs.uid4=0 nfs.gid4=0 "
		"nfs.create_session_flags=0x00000002",
		"nfs.maxreqsize4=2,12 nfs.rdmachanattrs4=99"},
	{"bind_conn_to_session", NFS4_OK, build_bind, reply_bind, check_bind, NULL,
		"nfs.bctsa_dir=0x00000003 nfs.bctsa_use_conn_in_rdma_mode=0",
		"nfs.bctsr_dir=0x00000003"},
	{"destroy_session", NFS4_OK, build_destroy_session, NULL, NULL, NULL, NULL, NULL},
	{"destroy_clientid", NFS4_OK, build_destroy_clientid, NULL, NULL, NULL,
		"nfs.clientid=0x00c11e4700000001", NULL},
	{"reclaim_complete", NFS4_OK, build_reclaim_complete, NULL, NULL, NULL,
		"nfs.reclaim_one_fs4=1", NULL},
	{"secinfo_no_name", NFS4_OK, build_secinfo, reply_secinfo, check_secinfo, NULL,
		"nfs.secinfo.style=1", "nfs.secinfo.flavor=6,1,0"},
	{"secinfo", NFS4_OK, build_secinfo_name, reply_secinfo, check_secinfo, NULL,
		"nfs.pathname.component=name", "nfs.secinfo.flavor=6,1,0"},
};
const size_t session_cases_count = sizeof(session_cases) / sizeof(session_cases[0]);
