/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <nfsc/libnfs-raw-nfs4.h>
#include <string.h>

#include "witness_libnfs.h"

/*
 * Results by their names in libnfs's types, with the values that the replies of the cases have:
 * two fields of one type that were exchanged show here and nowhere else.
 */

static const change_info4 cinfo60 = {1, 60, 61}, cinfo70 = {1, 70, 71}, cinfo80 = {1, 80, 81};
static const stateid4 stateid = {.seqid = 7, .other = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}};
static const stateid4 delegation = {.seqid = 1, .other = "delegation01"};
static const char verifier[] = {8, 7, 6, 5, 4, 3, 2, 1};
static uint32_t set_mode[] = {0, 2}, set_both[] = {0x10, 2};
static char fh[] = {'\xde', '\xad', '\xbe', '\xef', 5};
static char owner13[] = {0, 0, 0, 0, 0, 0, 0, 13};

static const LOCK4denied denied = {
	.offset = 100,
	.length = 200,
	.locktype = WRITE_LT,
	.owner = {.clientid = 0xc11e, .owner = {sizeof(owner13), owner13}},
};

static void name_open(OPEN4resok *ok, open_delegation_type4 type)
{
	nfsace4 ace = {.type = ACE4_ACCESS_ALLOWED_ACE_TYPE,
		.access_mask = ACE4_GENERIC_READ,
		.who = {6, (char *)"OWNER@"}};

	ok->stateid = stateid;
	ok->cinfo = cinfo60;
	ok->rflags = OPEN4_RESULT_LOCKTYPE_POSIX | 0x20;
	ok->attrset = (bitmap4){2, set_mode};
	ok->delegation.delegation_type = type;
	if (type == OPEN_DELEGATE_READ)
		ok->delegation.open_delegation4_u.read = (open_read_delegation4){
			.stateid = delegation, .recall = 1, .permissions = ace};
	else if (type == OPEN_DELEGATE_WRITE)
		ok->delegation.open_delegation4_u.write =
			(open_write_delegation4){.stateid = delegation,
				.space_limit = {.limitby = NFS_LIMIT_SIZE,
					.nfs_space_limit4_u.filesize = 1 << 20},
				.permissions = ace};
}

static bool name_fs_result(const char *name, nfs_resop4 *op)
{
	if (strcmp(name, "getfh") == 0) {
		op->resop = OP_GETFH;
		op->nfs_resop4_u.opgetfh.GETFH4res_u.resok4.object = (nfs_fh4){sizeof(fh), fh};
	} else if (strcmp(name, "setattr") == 0) {
		op->resop = OP_SETATTR;
		op->nfs_resop4_u.opsetattr.attrsset = (bitmap4){2, set_both};
	} else if (strcmp(name, "access") == 0) {
		op->resop = OP_ACCESS;
		op->nfs_resop4_u.opaccess.ACCESS4res_u.resok4 = (ACCESS4resok){
			.supported = ACCESS4_READ | ACCESS4_EXECUTE, .access = ACCESS4_READ};
	} else if (strcmp(name, "mkdir") == 0) {
		op->resop = OP_CREATE;
		op->nfs_resop4_u.opcreate.CREATE4res_u.resok4 =
			(CREATE4resok){.cinfo = cinfo70, .attrset = {2, set_mode}};
	} else if (strcmp(name, "remove") == 0) {
		op->resop = OP_REMOVE;
		op->nfs_resop4_u.opremove.REMOVE4res_u.resok4.cinfo = cinfo80;
	} else if (strcmp(name, "link") == 0) {
		op->resop = OP_LINK;
		op->nfs_resop4_u.oplink.LINK4res_u.resok4.cinfo = cinfo80;
	} else if (strcmp(name, "rename") == 0) {
		op->resop = OP_RENAME;
		op->nfs_resop4_u.oprename.RENAME4res_u.resok4 =
			(RENAME4resok){.source_cinfo = {1, 90, 91}, .target_cinfo = {1, 95, 96}};
	} else if (strcmp(name, "readlink") == 0) {
		op->resop = OP_READLINK;
		op->nfs_resop4_u.opreadlink.READLINK4res_u.resok4.link =
			(linktext4){15, (char *)"target/of/link!"};
	} else if (strcmp(name, "read") == 0) {
		op->resop = OP_READ;
		op->nfs_resop4_u.opread.READ4res_u.resok4 =
			(READ4resok){.eof = 1, .data = {19, (char *)"data that were read"}};
	} else {
		return false;
	}
	return true;
}

static bool name_state_result(const char *name, nfs_resop4 *op)
{
	OPEN4resok *open = &op->nfs_resop4_u.opopen.OPEN4res_u.resok4;

	op->resop = OP_OPEN;
	if (strcmp(name, "open") == 0) {
		name_open(open, OPEN_DELEGATE_NONE);
	} else if (strcmp(name, "open, unchecked, read delegation") == 0) {
		name_open(open, OPEN_DELEGATE_READ);
	} else if (strcmp(name, "open, guarded, write delegation") == 0) {
		name_open(open, OPEN_DELEGATE_WRITE);
	} else if (strcmp(name, "write") == 0) {
		WRITE4resok *ok = &op->nfs_resop4_u.opwrite.WRITE4res_u.resok4;

		op->resop = OP_WRITE;
		ok->count = 6;
		ok->committed = FILE_SYNC4;
		memcpy(ok->writeverf, verifier, sizeof(verifier));
	} else if (strcmp(name, "commit") == 0) {
		op->resop = OP_COMMIT;
		memcpy(op->nfs_resop4_u.opcommit.COMMIT4res_u.resok4.writeverf, verifier,
			sizeof(verifier));
	} else if (strcmp(name, "lock") == 0) {
		op->resop = OP_LOCK;
		op->nfs_resop4_u.oplock.LOCK4res_u.resok4.lock_stateid = stateid;
	} else if (strcmp(name, "lock, denied") == 0) {
		op->resop = OP_LOCK;
		op->nfs_resop4_u.oplock.status = NFS4ERR_DENIED;
		op->nfs_resop4_u.oplock.LOCK4res_u.denied = denied;
	} else if (strcmp(name, "lockt, denied") == 0) {
		op->resop = OP_LOCKT;
		op->nfs_resop4_u.oplockt.status = NFS4ERR_DENIED;
		op->nfs_resop4_u.oplockt.LOCKT4res_u.denied = denied;
	} else if (strcmp(name, "locku") == 0) {
		op->resop = OP_LOCKU;
		op->nfs_resop4_u.oplocku.LOCKU4res_u.lock_stateid = stateid;
	} else {
		return false;
	}
	return true;
}

size_t witness_result(const char *name, uint8_t *data, size_t cap)
{
	nfs_resop4 op;
	size_t len = 0;
	ZDR zdr;

	memset(&op, 0, sizeof(op));
	if (!name_fs_result(name, &op) && !name_state_result(name, &op))
		return 0;
	zdrmem_create(&zdr, (caddr_t)data, (uint32_t)cap, ZDR_ENCODE);
	if (zdr_nfs_resop4(&zdr, &op))
		len = zdr_getpos(&zdr);
	zdr_destroy(&zdr);
	return len;
}
