/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "witness_libnfs.h"

#include <inttypes.h>
#include <nfsc/libnfs-raw-nfs4.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct text {
	char *at;
	size_t left;
};

static void say(struct text *t, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void say(struct text *t, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	int n = vsnprintf(t->at, t->left, format, args);
	va_end(args);
	if (n < 0 || (size_t)n >= t->left)
		abort();
	t->at += n;
	t->left -= (size_t)n;
}

static void say_hex(struct text *t, const char *data, u_int len)
{
	for (u_int i = 0; i < len; i++)
		say(t, "%02x", (uint8_t)data[i]);
}

static void say_name(struct text *t, const utf8string *s)
{
	say(t, " '%.*s'", (int)s->utf8string_len, s->utf8string_val);
}

static void say_bitmap(struct text *t, const bitmap4 *map)
{
	for (u_int i = 0; i < map->bitmap4_len; i++)
		say(t, " %08x", map->bitmap4_val[i]);
}

static void say_stateid(struct text *t, const stateid4 *id)
{
	say(t, " %u:", id->seqid);
	say_hex(t, id->other, sizeof(id->other));
}

static void say_owner(struct text *t, clientid4 clientid, const char *owner, u_int len)
{
	say(t, " %" PRIu64 "/", clientid);
	say_hex(t, owner, len);
}

static void say_time(struct text *t, const char *name, const settime4 *time)
{
	if (time->set_it == SET_TO_SERVER_TIME4)
		say(t, "%s=now", name);
	else
		say(t, "%s=%" PRId64 ".%u", name, time->settime4_u.time.seconds,
			time->settime4_u.time.nseconds);
}

/* One attribute that a client sets, through libnfs's decoder for its type. */
static bool say_attr(struct text *t, ZDR *zdr, u_int attr)
{
	fattr4_size size = 0;
	fattr4_mode mode = 0;
	fattr4_owner owner = {0};
	settime4 time = {0};

	switch (attr) {
	case FATTR4_SIZE:
		if (!zdr_fattr4_size(zdr, &size))
			return false;
		say(t, "size=%" PRIu64, size);
		return true;
	case FATTR4_MODE:
		if (!zdr_fattr4_mode(zdr, &mode))
			return false;
		say(t, "mode=%o", mode);
		return true;
	case FATTR4_OWNER:
	case FATTR4_OWNER_GROUP:
		if (!zdr_fattr4_owner(zdr, &owner))
			return false;
		say(t, "%s=%.*s", attr == FATTR4_OWNER ? "owner" : "group",
			(int)owner.utf8string_len, owner.utf8string_val);
		return true;
	case FATTR4_TIME_ACCESS_SET:
	case FATTR4_TIME_MODIFY_SET:
		if (!zdr_settime4(zdr, &time))
			return false;
		say_time(t, attr == FATTR4_TIME_ACCESS_SET ? "atime" : "mtime", &time);
		return true;
	}
	return false;
}

static bool say_fattr(struct text *t, const fattr4 *attrs)
{
	const char *space = "";
	ZDR zdr;
	bool ok = true;

	zdrmem_create(
		&zdr, attrs->attr_vals.attrlist4_val, attrs->attr_vals.attrlist4_len, ZDR_DECODE);
	say(t, " [");
	for (u_int i = 0; i < 32 * attrs->attrmask.bitmap4_len && ok; i++) {
		if (!(attrs->attrmask.bitmap4_val[i / 32] >> (i % 32) & 1))
			continue;
		say(t, "%s", space);
		ok = say_attr(t, &zdr, i);
		space = " ";
	}
	say(t, "]");
	ok = ok && zdr_getpos(&zdr) == attrs->attr_vals.attrlist4_len;
	zdr_destroy(&zdr);
	return ok;
}

static bool say_create(struct text *t, const CREATE4args *args)
{
	say(t, "CREATE %d", args->objtype.type);
	if (args->objtype.type == NF4LNK)
		say_name(t, &args->objtype.createtype4_u.linkdata);
	else if (args->objtype.type == NF4BLK || args->objtype.type == NF4CHR)
		say(t, " %u,%u", args->objtype.createtype4_u.devdata.specdata1,
			args->objtype.createtype4_u.devdata.specdata2);
	say_name(t, &args->objname);
	return say_fattr(t, &args->createattrs);
}

static bool say_open(struct text *t, const OPEN4args *args)
{
	bool ok = true;

	say(t, "OPEN %u access=%x deny=%x", args->seqid, args->share_access, args->share_deny);
	say_owner(
		t, args->owner.clientid, args->owner.owner.owner_val, args->owner.owner.owner_len);
	if (args->openhow.opentype == OPEN4_NOCREATE) {
		say(t, " nocreate");
	} else {
		const createhow4 *how = &args->openhow.openflag4_u.how;

		say(t, " %s", how->mode == GUARDED4 ? "guarded" : "unchecked");
		ok = say_fattr(t, &how->createhow4_u.createattrs);
	}
	if (args->claim.claim == CLAIM_NULL)
		say_name(t, &args->claim.open_claim4_u.file);
	else if (args->claim.claim == CLAIM_PREVIOUS)
		say(t, " previous=%d", args->claim.open_claim4_u.delegate_type);
	else
		ok = false;
	return ok;
}

static void say_lock(struct text *t, const LOCK4args *args)
{
	const open_to_lock_owner4 *first = &args->locker.locker4_u.open_owner;
	const exist_lock_owner4 *again = &args->locker.locker4_u.lock_owner;

	say(t, "LOCK %d reclaim=%u %" PRIu64 "+%" PRIu64, args->locktype, args->reclaim,
		args->offset, args->length);
	if (args->locker.new_lock_owner) {
		say(t, " new %u", first->open_seqid);
		say_stateid(t, &first->open_stateid);
		say(t, " %u", first->lock_seqid);
		say_owner(t, first->lock_owner.clientid, first->lock_owner.owner.owner_val,
			first->lock_owner.owner.owner_len);
	} else {
		say_stateid(t, &again->lock_stateid);
		say(t, " %u", again->lock_seqid);
	}
}

static void say_lockt(struct text *t, const LOCKT4args *args)
{
	say(t, "LOCKT %d %" PRIu64 "+%" PRIu64, args->locktype, args->offset, args->length);
	say_owner(
		t, args->owner.clientid, args->owner.owner.owner_val, args->owner.owner.owner_len);
}

static void say_locku(struct text *t, const LOCKU4args *args)
{
	say(t, "LOCKU %d %u", args->locktype, args->seqid);
	say_stateid(t, &args->lock_stateid);
	say(t, " %" PRIu64 "+%" PRIu64, args->offset, args->length);
}

static void say_readdir(struct text *t, const READDIR4args *args)
{
	say(t, "READDIR %" PRIu64 " ", args->cookie);
	say_hex(t, args->cookieverf, sizeof(args->cookieverf));
	say(t, " %u %u", args->dircount, args->maxcount);
	say_bitmap(t, &args->attr_request);
}

static void say_read(struct text *t, const READ4args *args)
{
	say(t, "READ");
	say_stateid(t, &args->stateid);
	say(t, " %" PRIu64 " %u", args->offset, args->count);
}

static void say_write(struct text *t, const WRITE4args *args)
{
	say(t, "WRITE");
	say_stateid(t, &args->stateid);
	say(t, " %" PRIu64 " %d '%.*s'", args->offset, args->stable, (int)args->data.data_len,
		args->data.data_val);
}

static void say_named(struct text *t, const char *op, const component4 *name)
{
	say(t, "%s", op);
	say_name(t, name);
}

static void say_stateful(struct text *t, const char *op, const stateid4 *id)
{
	say(t, "%s", op);
	say_stateid(t, id);
}

/* Operations of names, attributes and data. */
static bool say_fs_op(struct text *t, const nfs_argop4 *op)
{
	switch (op->argop) {
	case OP_PUTFH:
		say(t, "PUTFH ");
		say_hex(t, op->nfs_argop4_u.opputfh.object.nfs_fh4_val,
			op->nfs_argop4_u.opputfh.object.nfs_fh4_len);
		return true;
	case OP_PUTROOTFH: say(t, "PUTROOTFH"); return true;
	case OP_SAVEFH: say(t, "SAVEFH"); return true;
	case OP_RESTOREFH: say(t, "RESTOREFH"); return true;
	case OP_GETFH: say(t, "GETFH"); return true;
	case OP_READLINK: say(t, "READLINK"); return true;
	case OP_LOOKUP: say_named(t, "LOOKUP", &op->nfs_argop4_u.oplookup.objname); return true;
	case OP_REMOVE: say_named(t, "REMOVE", &op->nfs_argop4_u.opremove.target); return true;
	case OP_LINK: say_named(t, "LINK", &op->nfs_argop4_u.oplink.newname); return true;
	case OP_RENAME:
		say_named(t, "RENAME", &op->nfs_argop4_u.oprename.oldname);
		say_name(t, &op->nfs_argop4_u.oprename.newname);
		return true;
	case OP_GETATTR:
		say(t, "GETATTR");
		say_bitmap(t, &op->nfs_argop4_u.opgetattr.attr_request);
		return true;
	case OP_SETATTR:
		say_stateful(t, "SETATTR", &op->nfs_argop4_u.opsetattr.stateid);
		return say_fattr(t, &op->nfs_argop4_u.opsetattr.obj_attributes);
	case OP_ACCESS: say(t, "ACCESS %x", op->nfs_argop4_u.opaccess.access); return true;
	case OP_CREATE: return say_create(t, &op->nfs_argop4_u.opcreate);
	case OP_READDIR: say_readdir(t, &op->nfs_argop4_u.opreaddir); return true;
	case OP_READ: say_read(t, &op->nfs_argop4_u.opread); return true;
	case OP_WRITE: say_write(t, &op->nfs_argop4_u.opwrite); return true;
	case OP_COMMIT:
		say(t, "COMMIT %" PRIu64 " %u", op->nfs_argop4_u.opcommit.offset,
			op->nfs_argop4_u.opcommit.count);
		return true;
	default: return false;
	}
}

/* Operations of opens and locks. */
static bool say_state_op(struct text *t, const nfs_argop4 *op)
{
	switch (op->argop) {
	case OP_OPEN: return say_open(t, &op->nfs_argop4_u.opopen);
	case OP_CLOSE:
		say(t, "CLOSE %u", op->nfs_argop4_u.opclose.seqid);
		say_stateid(t, &op->nfs_argop4_u.opclose.open_stateid);
		return true;
	case OP_DELEGRETURN:
		say_stateful(t, "DELEGRETURN", &op->nfs_argop4_u.opdelegreturn.deleg_stateid);
		return true;
	case OP_LOCK: say_lock(t, &op->nfs_argop4_u.oplock); return true;
	case OP_LOCKT: say_lockt(t, &op->nfs_argop4_u.oplockt); return true;
	case OP_LOCKU: say_locku(t, &op->nfs_argop4_u.oplocku); return true;
	default: return false;
	}
}

bool witness_args(const uint8_t *data, size_t len, char *text, size_t cap)
{
	struct text t = {.at = text, .left = cap};
	COMPOUND4args args = {0};
	ZDR zdr;

	zdrmem_create(&zdr, (caddr_t)(uintptr_t)data, (uint32_t)len, ZDR_DECODE);
	bool ok = zdr_COMPOUND4args(&zdr, &args) && zdr_getpos(&zdr) == len &&
		  args.tag.utf8string_len == 0 && args.minorversion == 0;
	text[0] = '\0';
	for (u_int i = 0; ok && i < args.argarray.argarray_len; i++) {
		const nfs_argop4 *op = &args.argarray.argarray_val[i];

		if (i > 0)
			say(&t, "; ");
		ok = say_fs_op(&t, op) || say_state_op(&t, op);
	}
	zdr_destroy(&zdr);
	return ok;
}

bool witness_res(const uint8_t *data, size_t len)
{
	COMPOUND4res res = {0};
	uint8_t *again = calloc(1, len);
	ZDR in, out;

	zdrmem_create(&in, (caddr_t)(uintptr_t)data, (uint32_t)len, ZDR_DECODE);
	bool ok = again && zdr_COMPOUND4res(&in, &res) && zdr_getpos(&in) == len;
	if (ok) {
		zdrmem_create(&out, (caddr_t)again, (uint32_t)len, ZDR_ENCODE);
		ok = zdr_COMPOUND4res(&out, &res) && zdr_getpos(&out) == len &&
		     memcmp(again, data, len) == 0;
		zdr_destroy(&out);
	}
	zdr_destroy(&in);
	free(again);
	return ok;
}

static bool put_attrs(ZDR *zdr)
{
	fattr4_type type = NF4CHR;
	fattr4_change change = 0x1122334455667788;
	fattr4_size size = 5000000000;
	fattr4_fsid fsid = {3, 4};
	fattr4_filehandle fh = {5, (char[]){'\xde', '\xad', '\xbe', '\xef', 5}};
	fattr4_fileid fileid = 42;
	fattr4_mode mode = MODE4_SUID | 0755;
	fattr4_numlinks numlinks = 2;
	fattr4_owner owner = {4, (char[]){'1', '0', '0', '0'}};
	fattr4_owner_group group = {3, (char[]){'1', '0', '0'}};
	fattr4_rawdev rawdev = {8, 1};
	fattr4_space_used used = 4096;
	fattr4_time_access atime = {-1, 999999999};
	fattr4_time_create btime = {1000, 1};
	fattr4_time_metadata ctime = {2000, 2};
	fattr4_time_modify mtime = {5000000000, 3};
	fattr4_mounted_on_fileid mounted_on = 43;

	return zdr_fattr4_type(zdr, &type) && zdr_fattr4_change(zdr, &change) &&
	       zdr_fattr4_size(zdr, &size) && zdr_fattr4_fsid(zdr, &fsid) &&
	       zdr_fattr4_filehandle(zdr, &fh) && zdr_fattr4_fileid(zdr, &fileid) &&
	       zdr_fattr4_mode(zdr, &mode) && zdr_fattr4_numlinks(zdr, &numlinks) &&
	       zdr_fattr4_owner(zdr, &owner) && zdr_fattr4_owner_group(zdr, &group) &&
	       zdr_fattr4_rawdev(zdr, &rawdev) && zdr_fattr4_space_used(zdr, &used) &&
	       zdr_fattr4_time_access(zdr, &atime) && zdr_fattr4_time_create(zdr, &btime) &&
	       zdr_fattr4_time_metadata(zdr, &ctime) && zdr_fattr4_time_modify(zdr, &mtime) &&
	       zdr_fattr4_mounted_on_fileid(zdr, &mounted_on);
}

size_t witness_fattr(uint8_t *data, size_t cap)
{
	uint32_t mask[2] = {0};
	static const unsigned bits[] = {FATTR4_TYPE, FATTR4_CHANGE, FATTR4_SIZE, FATTR4_FSID,
		FATTR4_FILEHANDLE, FATTR4_FILEID, FATTR4_MODE, FATTR4_NUMLINKS, FATTR4_OWNER,
		FATTR4_OWNER_GROUP, FATTR4_RAWDEV, FATTR4_SPACE_USED, FATTR4_TIME_ACCESS,
		FATTR4_TIME_CREATE, FATTR4_TIME_METADATA, FATTR4_TIME_MODIFY,
		FATTR4_MOUNTED_ON_FILEID};
	char list[512];
	fattr4 attrs = {.attrmask = {2, mask}, .attr_vals = {0, list}};
	size_t len = 0;
	ZDR zdr;

	for (size_t i = 0; i < sizeof(bits) / sizeof(bits[0]); i++)
		mask[bits[i] / 32] |= 1u << (bits[i] % 32);
	zdrmem_create(&zdr, list, sizeof(list), ZDR_ENCODE);
	bool ok = put_attrs(&zdr);
	attrs.attr_vals.attrlist4_len = zdr_getpos(&zdr);
	zdr_destroy(&zdr);
	zdrmem_create(&zdr, (caddr_t)data, (uint32_t)cap, ZDR_ENCODE);
	if (ok && zdr_fattr4(&zdr, &attrs))
		len = zdr_getpos(&zdr);
	zdr_destroy(&zdr);
	return len;
}
