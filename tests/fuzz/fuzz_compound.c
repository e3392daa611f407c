/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fuzz.h"

#include <errno.h>
#include <limits.h>

#include "../unit/nfs41/cases.h"

/*
 * Results of compounds. The input: how, up to eight operations of the table in cases.h, and the
 * reply to them. With HOW_FRAMED the fuzzer supplies the bodies alone, and their status: a frame
 * that fits is put around them, so that the bodies need not be found behind one another.
 */

#define OPS_MAX	   8
#define LINK_CAP   16
#define DIR_CAP	   512
#define READ_CAP   GOT_DATA
#define VALUE_CAP  24
#define NAMES_CAP  40
#define REPLY_ROOM 20000

enum how {
	HOW_SEQUENCED = 1,
	HOW_FRAMED = 2,
	HOW_STRIPPED = 4,
	HOW_ABANDONED = 8,
	HOW_SINK = 16, /* a last READ's data are received directly */
};

/* Results that have memory of their own, with nothing behind it. */
struct places {
	char *link;
	uint8_t *dir, *data, *value;
	char *names;
};

static const struct op_case *case_at(size_t i)
{
	size_t n = fs_cases_count + state_cases_count + session_cases_count + xattr_cases_count +
		   space_cases_count;

	i %= n;
	if (i < fs_cases_count)
		return &fs_cases[i];
	i -= fs_cases_count;
	if (i < state_cases_count)
		return &state_cases[i];
	i -= state_cases_count;
	if (i < session_cases_count)
		return &session_cases[i];
	i -= session_cases_count;
	return i < xattr_cases_count ? &xattr_cases[i] : &space_cases[i - xattr_cases_count];
}

static void places_init(struct places *p)
{
	p->link = fuzz_alloc(LINK_CAP);
	p->dir = fuzz_alloc(DIR_CAP);
	p->data = fuzz_alloc(READ_CAP);
	p->value = fuzz_alloc(VALUE_CAP);
	p->names = fuzz_alloc(NAMES_CAP);
}

static void places_free(const struct places *p)
{
	free(p->link);
	free(p->dir);
	free(p->data);
	free(p->value);
	free(p->names);
}

static void build(struct exchange *x, struct fuzz_input *in, unsigned nops, const struct places *p)
{
	got.readlink = (struct nfs_readlink_res){.target = p->link, .cap = LINK_CAP};
	got.readdir = (struct nfs_readdir_res){.data = p->dir, .cap = DIR_CAP};
	got.bytes = (struct nfs_bytes_res){.data = p->value, .cap = VALUE_CAP};
	got.xattrs = (struct nfs_listxattrs_res){.data = p->names, .cap = NAMES_CAP};
	for (unsigned i = 0; i < nops; i++)
		case_at(fuzz_u8(in))->build(x->c);
	for (unsigned i = 0; i < x->c->nops; i++)
		if (x->c->ops[i].data) {
			fuzz_check(x->c->ops[i].limit <= READ_CAP);
			x->c->ops[i].data = p->data;
		}
}

/* The frame of a reply around bodies, up to and with the first operation that failed. */
static size_t frame(const struct nfs_compound *c, struct fuzz_input *in, uint8_t *reply)
{
	static const uint32_t statuses[] = {NFS4_OK, NFS4ERR_DENIED, NFS4ERR_NOENT, NFS4ERR_DELAY,
		NFS4ERR_ATTRNOTSUPP, NFS4ERR_OP_ILLEGAL, 0x7fffffff, 0xffffffff};
	uint32_t status = NFS4_OK, count = c->sequenced;
	struct wire_out out;

	wire_out_init(&out, reply, REPLY_ROOM);
	wire_put_u32(&out, 0);
	wire_put_opaque(&out, "tag", fuzz_u8(in) % 4);
	uint8_t *count_at = wire_put_raw(&out, 4);
	if (c->sequenced) {
		wire_put_u32(&out, OP_SEQUENCE);
		wire_put_u32(&out, NFS4_OK);
		wire_put_fixed(&out, c->head + NFS_COMPOUND_SEQUENCE_AT + 4, 24);
		wire_put_fixed(&out, "\0\0\0\x0f\0\0\0\x1f\0\0\0", 12);
	}
	for (unsigned i = 0; i < c->nops && status == NFS4_OK; i++, count++) {
		uint8_t choice = fuzz_u8(in);
		size_t len = fuzz_u8(in);
		const uint8_t *body;

		/* mostly good */
		status = choice < 8 ? statuses[choice] : NFS4_OK;
		wire_put_u32(&out, status == NFS4ERR_OP_ILLEGAL ? OP_ILLEGAL : c->ops[i].op);
		wire_put_u32(&out, status);
		body = fuzz_take(in, 4 * len, &len);
		if (len > 0)
			memcpy(wire_put_raw(&out, len), body, len);
	}
	wire_store_u32(reply, status);
	wire_store_u32(count_at, count);
	return out.len;
}

static void check_directory(const struct nfs_readdir_res *dir)
{
	struct nfs_dirent entry;
	size_t pos = 0, before = 0;

	fuzz_check(dir->len <= DIR_CAP);
	while (nfs_dir_next(dir, &pos, &entry) == 1) {
		fuzz_check(pos > before && pos <= dir->len);
		fuzz_check(entry.name_len > 0 && entry.name_len <= NFS4_NAME_MAX);
		fuzz_check(!memchr(entry.name, '\0', entry.name_len));
		fuzz_check(!memchr(entry.name, '/', entry.name_len));
		fuzz_check(!(entry.name[0] == '.' && entry.name_len == 1));
		fuzz_check(!(entry.name_len == 2 && memcmp(entry.name, "..", 2) == 0));
		before = pos;
	}
}

/* Each name has its prefix, something behind it, and its end. */
static void check_names(const struct nfs_listxattrs_res *list)
{
	fuzz_check(list->len <= NAMES_CAP);
	for (size_t at = 0; at < list->len;) {
		size_t len = strnlen(list->data + at, list->len - at);
		fuzz_check(at + len < list->len && len > NFS_XATTR_USER_LEN && len <= 255);
		fuzz_check(memcmp(list->data + at, NFS_XATTR_USER, NFS_XATTR_USER_LEN) == 0);
		at += len + 1;
	}
}

static void check_results(const struct nfs_compound *c, bool written)
{
	fuzz_check(c->ops_ok <= c->nops && c->status >= 0);
	fuzz_check(nfs_compound_errno(c) <= 0 && nfs_compound_errno(c) > -4096);
	fuzz_check(c->status != 0 || c->ops_ok == c->nops);
	nfs_compound_may_repeat(c);
	for (unsigned i = 0; i < c->ops_ok && written; i++) {
		if (c->ops[i].op == OP_READDIR)
			check_directory(&got.readdir);
		if (c->ops[i].op == OP_LISTXATTRS)
			check_names(&got.xattrs);
		if (c->ops[i].op == OP_GETXATTR)
			fuzz_check(got.bytes.len <= NFS_BYTES_WIRE_MAX);
		if (c->ops[i].op == OP_READLINK)
			fuzz_check(got.readlink.len < LINK_CAP &&
				   !got.readlink.target[got.readlink.len]);
		if (c->ops[i].op == OP_READ)
			fuzz_check(got.read.len <= READ_CAP);
		if (c->ops[i].op == OP_WRITE)
			fuzz_check(got.write.count <= c->ops[i].limit);
		if (c->ops[i].op == OP_GETFH)
			fuzz_check(got.fh.len > 0 && got.fh.len <= NFS4_FHSIZE);
	}
}

/* As a connection does it: the call is asked with what is there, then the data is taken out. */
static int decode_sunk(struct nfs_compound *c, uint8_t *reply, size_t len)
{
	struct nfs_sequence_res seq;
	struct rpc_sink sink;
	int found = -EAGAIN;
	size_t asked = 0;

	while (found == -EAGAIN && asked < len) {
		asked += 1 + asked / 4;
		asked = asked < len ? asked : len;
		uint8_t *part = fuzz_alloc(asked);
		memcpy(part, reply, asked);
		found = c->call.sink(&c->call, part, asked, 0, &sink);
		free(part);
	}
	fuzz_check(found == 0 || found == 1 || found == -EAGAIN || found == -EPROTO);
	if (found != 1)
		return found < 0 ? -EPROTO : nfs_compound_decode(c, reply, len, 0, &seq);
	fuzz_check(sink.head <= asked && sink.len > 0 && sink.len <= READ_CAP);
	size_t there = len - sink.head;
	if (there < sink.len || there - sink.len > 3)
		return -EPROTO;
	memcpy(sink.data, reply + sink.head, sink.len);
	return nfs_compound_decode(c, reply, sink.head, sink.len, &seq);
}

static void decode(struct nfs_compound *c, uint8_t how, uint8_t *reply, size_t len)
{
	struct nfs_sequence_res seq;
	int r;

	c->abandoned = (how & HOW_ABANDONED) != 0;
	if ((how & HOW_STRIPPED) && c->sequenced) {
		nfs_compound_strip(c);
		r = nfs_compound_decode_stripped(c, reply, len, &seq);
	} else if ((how & HOW_SINK) && c->call.sink) {
		r = decode_sunk(c, reply, len);
	} else {
		r = nfs_compound_decode(c, reply, len, 0, &seq);
	}
	fuzz_check(r == 0 || r == -EPROTO);
	if (r == 0 && !(how & HOW_STRIPPED))
		check_results(c, !c->abandoned);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t framed[REPLY_ROOM];
	static struct exchange x;
	struct fuzz_input in = {data, size};
	struct places places;
	size_t len;

	uint8_t how = fuzz_u8(&in);
	unsigned nops = fuzz_u8(&in) % (OPS_MAX + 1);
	places_init(&places);
	exchange_init(&x, how & HOW_SEQUENCED);
	build(&x, &in, nops, &places);
	/* a compound that cannot be sent has no reply */
	if (nfs_compound_finish(x.c) == 0) {
		nfs_compound_patch_sequence(x.c, 1, case_sessionid, 11, 3, 7, false);
		len = how & HOW_FRAMED ? frame(x.c, &in, framed) : in.size;
		uint8_t *reply = fuzz_alloc(len);
		if (len > 0)
			memcpy(reply, how & HOW_FRAMED ? framed : in.data, len);
		/* the transport lets no longer one through */
		if (len <= x.c->call.max_reply)
			decode(x.c, how, reply, len);
		free(reply);
	}
	exchange_deinit(&x);
	places_free(&places);
	return 0;
}
