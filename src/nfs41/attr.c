/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "nfs41/attr.h"

#include <stddef.h>

#include "nfs41/idmap.h"
#include "nfs41/proto.h"

#define BITMAP_WORDS_MAX 16 /* words of a peer's bitmap4 looked at */
#define NSEC_PER_SEC	 1000000000

enum { SET_TO_SERVER_TIME4 = 0, SET_TO_CLIENT_TIME4 = 1 };

/* How a field is on the wire, and where it goes. */
enum field_kind {
	FIELD_NONE, /* not an attribute that this client can hold */
	FIELD_U32,
	FIELD_U64,
	FIELD_BOOL,
	FIELD_TYPE,
	FIELD_MODE,
	FIELD_TIME,
	FIELD_FSID,
	FIELD_SPECDATA, /* two uint32_t */
	FIELD_FH,
	FIELD_OWNER,
	FIELD_GROUP,
	FIELD_BITMAP,
	FIELD_OPEN_ARGUMENTS,
};

struct field {
	uint8_t kind;
	uint16_t offset;
};

#define FIELDS (32 * NFS_BITMAP_WORDS)

#define ATTR(field_kind, member)                              \
	{                                                     \
		field_kind, offsetof(struct nfs_attr, member) \
	}
static const struct field attr_fields[FIELDS] = {
	[FATTR4_TYPE] = ATTR(FIELD_TYPE, type),
	[FATTR4_CHANGE] = ATTR(FIELD_U64, change),
	[FATTR4_SIZE] = ATTR(FIELD_U64, size),
	[FATTR4_FSID] = ATTR(FIELD_FSID, fsid),
	[FATTR4_RDATTR_ERROR] = ATTR(FIELD_U32, rdattr_error),
	[FATTR4_FILEHANDLE] = ATTR(FIELD_FH, fh),
	[FATTR4_FILEID] = ATTR(FIELD_U64, fileid),
	[FATTR4_MODE] = ATTR(FIELD_MODE, mode),
	[FATTR4_NUMLINKS] = ATTR(FIELD_U32, nlink),
	[FATTR4_OWNER] = ATTR(FIELD_OWNER, uid),
	[FATTR4_OWNER_GROUP] = ATTR(FIELD_GROUP, gid),
	[FATTR4_RAWDEV] = ATTR(FIELD_SPECDATA, rdev_major),
	[FATTR4_SPACE_USED] = ATTR(FIELD_U64, space_used),
	[FATTR4_TIME_ACCESS] = ATTR(FIELD_TIME, atime),
	[FATTR4_TIME_CREATE] = ATTR(FIELD_TIME, btime),
	[FATTR4_TIME_METADATA] = ATTR(FIELD_TIME, ctime),
	[FATTR4_TIME_MODIFY] = ATTR(FIELD_TIME, mtime),
	[FATTR4_MOUNTED_ON_FILEID] = ATTR(FIELD_U64, mounted_on_fileid),
};
_Static_assert(offsetof(struct nfs_attr, rdev_minor) == offsetof(struct nfs_attr, rdev_major) + 4,
	"FIELD_SPECDATA stores both");

#define FSATTR(field_kind, member)                              \
	{                                                       \
		field_kind, offsetof(struct nfs_fsattr, member) \
	}
static const struct field fsattr_fields[FIELDS] = {
	[FATTR4_SUPPORTED_ATTRS] = FSATTR(FIELD_BITMAP, supported),
	[FATTR4_FH_EXPIRE_TYPE] = FSATTR(FIELD_U32, fh_expire_type),
	[FATTR4_LINK_SUPPORT] = FSATTR(FIELD_BOOL, link_support),
	[FATTR4_SYMLINK_SUPPORT] = FSATTR(FIELD_BOOL, symlink_support),
	[FATTR4_FSID] = FSATTR(FIELD_FSID, fsid),
	[FATTR4_LEASE_TIME] = FSATTR(FIELD_U32, lease_time),
	[FATTR4_CASE_INSENSITIVE] = FSATTR(FIELD_BOOL, case_insensitive),
	[FATTR4_CASE_PRESERVING] = FSATTR(FIELD_BOOL, case_preserving),
	[FATTR4_CLONE_BLKSIZE] = FSATTR(FIELD_U32, clone_blksize),
	[FATTR4_FILES_AVAIL] = FSATTR(FIELD_U64, files_avail),
	[FATTR4_FILES_FREE] = FSATTR(FIELD_U64, files_free),
	[FATTR4_FILES_TOTAL] = FSATTR(FIELD_U64, files_total),
	[FATTR4_MAXFILESIZE] = FSATTR(FIELD_U64, maxfilesize),
	[FATTR4_MAXLINK] = FSATTR(FIELD_U32, maxlink),
	[FATTR4_MAXNAME] = FSATTR(FIELD_U32, maxname),
	[FATTR4_MAXREAD] = FSATTR(FIELD_U64, maxread),
	[FATTR4_MAXWRITE] = FSATTR(FIELD_U64, maxwrite),
	[FATTR4_NO_TRUNC] = FSATTR(FIELD_BOOL, no_trunc),
	[FATTR4_OPEN_ARGUMENTS] = FSATTR(FIELD_OPEN_ARGUMENTS, open_want),
	[FATTR4_ACLSUPPORT] = FSATTR(FIELD_U32, aclsupport),
	[FATTR4_XATTR_SUPPORT] = FSATTR(FIELD_BOOL, xattr_support),
	[FATTR4_QUOTA_AVAIL_HARD] = FSATTR(FIELD_U64, quota_avail_hard),
	[FATTR4_QUOTA_AVAIL_SOFT] = FSATTR(FIELD_U64, quota_avail_soft),
	[FATTR4_QUOTA_USED] = FSATTR(FIELD_U64, quota_used),
	[FATTR4_SPACE_AVAIL] = FSATTR(FIELD_U64, space_avail),
	[FATTR4_SPACE_FREE] = FSATTR(FIELD_U64, space_free),
	[FATTR4_SPACE_TOTAL] = FSATTR(FIELD_U64, space_total),
};

void nfs_attr_put_bitmap(struct wire_out *out, const struct nfs_bitmap *map)
{
	uint32_t words = NFS_BITMAP_WORDS;

	while (words > 0 && map->word[words - 1] == 0)
		words--;
	wire_put_u32(out, words);
	for (uint32_t i = 0; i < words; i++)
		wire_put_u32(out, map->word[i]);
}

/* Returns the words that do not fit `map`, or'ed. */
static uint32_t get_bitmap(struct wire_in *in, struct nfs_bitmap *map)
{
	uint32_t words = wire_get_u32(in), rest = 0;

	*map = (struct nfs_bitmap){0};
	if (words > BITMAP_WORDS_MAX)
		in->bad = true;
	for (uint32_t i = 0; i < words && !in->bad; i++) {
		uint32_t word = wire_get_u32(in);

		if (i < NFS_BITMAP_WORDS)
			map->word[i] = word;
		else
			rest |= word;
	}
	return rest;
}

void nfs_attr_get_bitmap(struct wire_in *in, struct nfs_bitmap *map)
{
	if (get_bitmap(in, map) != 0)
		in->bad = true;
}

static void put_time(struct wire_out *out, const struct timespec *time)
{
	wire_put_u64(out, (uint64_t)time->tv_sec);
	wire_put_u32(out, (uint32_t)time->tv_nsec);
}

static void get_time(struct wire_in *in, struct timespec *time)
{
	uint64_t sec = wire_get_u64(in);
	uint32_t nsec = wire_get_u32(in);

	if (nsec >= NSEC_PER_SEC)
		in->bad = true;
	time->tv_sec = (time_t)(int64_t)sec;
	time->tv_nsec = nsec;
}

static void put_settime(struct wire_out *out, bool now, const struct timespec *time)
{
	if (now) {
		wire_put_u32(out, SET_TO_SERVER_TIME4);
	} else {
		wire_put_u32(out, SET_TO_CLIENT_TIME4);
		put_time(out, time);
	}
}

static void set_bitmap(const struct nfs_setattr *set, struct nfs_bitmap *map)
{
	static const struct {
		unsigned set;
		unsigned attr;
	} bits[] = {
		{NFS_SET_SIZE, FATTR4_SIZE},
		{NFS_SET_MODE, FATTR4_MODE},
		{NFS_SET_UID, FATTR4_OWNER},
		{NFS_SET_GID, FATTR4_OWNER_GROUP},
		{NFS_SET_ATIME | NFS_SET_ATIME_NOW, FATTR4_TIME_ACCESS_SET},
		{NFS_SET_MTIME | NFS_SET_MTIME_NOW, FATTR4_TIME_MODIFY_SET},
	};

	for (size_t i = 0; i < sizeof(bits) / sizeof(bits[0]); i++) {
		if ((set->set & bits[i].set) != 0)
			nfs_bitmap_set(map, bits[i].attr);
	}
}

void nfs_attr_put_set(struct wire_out *out, const struct nfs_setattr *set)
{
	static const struct nfs_setattr none;
	struct nfs_bitmap map = {0};
	char id[IDMAP_STRING_MAX];

	if (!set)
		set = &none;
	set_bitmap(set, &map);
	nfs_attr_put_bitmap(out, &map);

	uint8_t *len_at = wire_put_raw(out, 4);
	size_t start = out->len;
	if ((set->set & NFS_SET_SIZE) != 0)
		wire_put_u64(out, set->size);
	if ((set->set & NFS_SET_MODE) != 0)
		wire_put_u32(out, set->mode & 07777);
	if ((set->set & NFS_SET_UID) != 0)
		wire_put_opaque(out, id, idmap_owner(set->uid, id));
	if ((set->set & NFS_SET_GID) != 0)
		wire_put_opaque(out, id, idmap_group(set->gid, id));
	if (nfs_bitmap_has(&map, FATTR4_TIME_ACCESS_SET))
		put_settime(out, (set->set & NFS_SET_ATIME_NOW) != 0, &set->atime);
	if (nfs_bitmap_has(&map, FATTR4_TIME_MODIFY_SET))
		put_settime(out, (set->set & NFS_SET_MTIME_NOW) != 0, &set->mtime);
	if (len_at)
		wire_store_u32(len_at, (uint32_t)(out->len - start));
}

static void store_u32(void *to, uint32_t v)
{
	memcpy(to, &v, sizeof(v));
}

static void store_u64(void *to, uint64_t v)
{
	memcpy(to, &v, sizeof(v));
}

static void get_fh(struct wire_in *in, struct nfs_fh *fh)
{
	uint32_t len;
	const uint8_t *data = wire_get_opaque(in, NFS4_FHSIZE, &len);

	if (len == 0)
		in->bad = true;
	if (!data || in->bad)
		return;
	fh->len = (uint8_t)len;
	memcpy(fh->data, data, len);
}

static void get_id(struct wire_in *in, bool group, void *to)
{
	uint32_t len;
	const uint8_t *text = wire_get_opaque(in, NFS4_OPAQUE_LIMIT, &len);

	if (text)
		store_u32(to, group ? idmap_gid(text, len) : idmap_uid(text, len));
}

static void get_type(struct wire_in *in, void *to)
{
	uint32_t type = wire_get_u32(in);

	if (type < NF4REG || type > NF4NAMEDATTR)
		in->bad = true;
	store_u32(to, type);
}

static void get_fsid(struct wire_in *in, struct nfs_fsid *fsid)
{
	fsid->major = wire_get_u64(in);
	fsid->minor = wire_get_u64(in);
}

/* open_arguments4 (RFC 9754, 3): five bitmaps, of which oa_share_access_want is the third. */
static void get_open_arguments(struct wire_in *in, void *to)
{
	struct nfs_bitmap map;
	uint32_t want = 0;

	for (unsigned i = 0; i < 5; i++) {
		get_bitmap(in, &map);
		if (i == 2)
			want = map.word[0];
	}
	store_u32(to, want);
}

static void get_field(struct wire_in *in, enum field_kind kind, char *to)
{
	switch (kind) {
	case FIELD_NONE: in->bad = true; break;
	case FIELD_U32: store_u32(to, wire_get_u32(in)); break;
	case FIELD_U64: store_u64(to, wire_get_u64(in)); break;
	case FIELD_BOOL: *(bool *)to = wire_get_bool(in); break;
	case FIELD_TYPE: get_type(in, to); break;
	case FIELD_MODE: store_u32(to, wire_get_u32(in) & 07777); break;
	case FIELD_TIME: get_time(in, (struct timespec *)(void *)to); break;
	case FIELD_FSID: get_fsid(in, (struct nfs_fsid *)(void *)to); break;
	case FIELD_SPECDATA:
		store_u32(to, wire_get_u32(in));
		store_u32(to + 4, wire_get_u32(in));
		break;
	case FIELD_FH: get_fh(in, (struct nfs_fh *)(void *)to); break;
	case FIELD_OWNER: get_id(in, false, to); break;
	case FIELD_GROUP: get_id(in, true, to); break;
	case FIELD_BITMAP:
		/* attributes newer than this client say nothing to it */
		get_bitmap(in, (struct nfs_bitmap *)(void *)to);
		break;
	case FIELD_OPEN_ARGUMENTS: get_open_arguments(in, to); break;
	}
}

static void get_fields(struct wire_in *in, const struct nfs_bitmap *want,
	const struct field fields[FIELDS], char *base, struct nfs_bitmap *have)
{
	struct wire_in list;
	uint32_t len;

	nfs_attr_get_bitmap(in, have);
	const uint8_t *data = wire_get_opaque(in, NFS_ATTR_WIRE_MAX, &len);
	if (!data)
		return;
	wire_in_init(&list, data, len);
	for (unsigned i = 0; i < NFS_BITMAP_WORDS; i++) {
		uint32_t word = have->word[i];

		if ((word & ~want->word[i]) != 0)
			list.bad = true;
		for (; word != 0 && !list.bad; word &= word - 1) {
			const struct field *field = &fields[32 * i + (unsigned)__builtin_ctz(word)];

			get_field(&list, field->kind, base + field->offset);
		}
	}
	if (list.bad || list.pos != list.len)
		in->bad = true;
}

void nfs_attr_get(struct wire_in *in, const struct nfs_bitmap *want, struct nfs_attr *attr)
{
	memset(attr, 0, sizeof(*attr));
	get_fields(in, want, attr_fields, (char *)attr, &attr->have);
}

void nfs_attr_get_fs(struct wire_in *in, const struct nfs_bitmap *want, struct nfs_fsattr *attr)
{
	memset(attr, 0, sizeof(*attr));
	get_fields(in, want, fsattr_fields, (char *)attr, &attr->have);
}

void nfs_attr_get_change_info(struct wire_in *in, struct nfs_change_info *cinfo)
{
	cinfo->atomic = wire_get_bool(in);
	cinfo->before = wire_get_u64(in);
	cinfo->after = wire_get_u64(in);
}

void nfs_attr_put_stateid(struct wire_out *out, const struct nfs_stateid *stateid)
{
	wire_put_u32(out, stateid->seqid);
	wire_put_fixed(out, stateid->other, NFS4_OTHER_SIZE);
}

void nfs_attr_get_stateid(struct wire_in *in, struct nfs_stateid *stateid)
{
	stateid->seqid = wire_get_u32(in);
	const uint8_t *other = wire_get_fixed(in, NFS4_OTHER_SIZE);
	if (other)
		memcpy(stateid->other, other, NFS4_OTHER_SIZE);
}
