/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "moved.h"

#include <errno.h>
#include <linux/fuse.h>
#include <stdlib.h>
#include <string.h>

#include "fsop.h"
#include "nfs41/op.h"
#include "referral.h"
#include "util/log.h"

#define MOVED_DATA_MAX 16384

/* Linux 6.6; older headers lack it. */
#define MOVED_FUSE_STATX 52

/* In the place of a handle. */
struct standin {
	char word[16];
	uint64_t dir;	/* node id */
	uint64_t mark;	/* of the name, */
	char begin[64]; /* and how that begins */
};
static const char standin_words[][16] = {
	[STANDIN_REFERRAL] = "vsockfs-referral", [STANDIN_SECURITY] = "vsockfs-security"};
_Static_assert(sizeof(struct standin) <= NFS4_FHSIZE, "the room for a handle");

struct moved_asking {
	struct fsop_request *req;
	int err;
	struct nfs_bytes_res res;
	uint8_t data[MOVED_DATA_MAX];
	struct nfs_location list[NFS_LOCATIONS_MAX];
};

/* How many places the server tells. */
static size_t moved_where(struct moved_asking *a)
{
	return a->res.len <= a->res.cap ? nfs_locations_get(a->data, a->res.len, a->list) : 0;
}

/* A compound that asks for the locations of req->node, or of `name` in it. False: answered. */
static bool moved_put(struct moved_asking *a, struct fsop_request *req, const char *name)
{
	a->req = req;
	a->res = (struct nfs_bytes_res){.data = a->data, .cap = sizeof(a->data)};
	if (!fsop_compound(req, OP_GETATTR, req->node)) {
		free(a);
		return false;
	}
	if (name)
		nfs_op_lookup(req->compound, name, strlen(name));
	nfs_op_getattr_bytes(req->compound, FATTR4_FS_LOCATIONS, &a->res);
	return true;
}

void moved_standin_fh(
	struct nfs_fh *fh, enum standin_kind kind, const struct node *dir, const char *name)
{
	size_t len = strlen(name);
	struct standin standin = {.dir = dir->id, .mark = node_mark_of(dir->id, name, len)};
	memcpy(standin.word, standin_words[kind], sizeof(standin.word));
	memcpy(standin.begin, name, len < sizeof(standin.begin) ? len : sizeof(standin.begin));
	fh->len = sizeof(standin);
	memcpy(fh->data, &standin, sizeof(standin));
}

static bool standin_is(const struct node *node, enum standin_kind kind)
{
	return node->fh_len == sizeof(struct standin) &&
	       memcmp(node->fh_data, standin_words[kind], sizeof(standin_words[kind])) == 0;
}

bool moved_is_standin(const struct node *node)
{
	return standin_is(node, STANDIN_REFERRAL) || standin_is(node, STANDIN_SECURITY);
}

void moved_standin_attr(struct nfs_attr *attr)
{
	static const unsigned have[] = {FATTR4_TYPE, FATTR4_CHANGE, FATTR4_SIZE, FATTR4_FSID,
		FATTR4_FILEID, FATTR4_MODE, FATTR4_NUMLINKS};
	*attr = (struct nfs_attr){.type = NF4DIR,
		.mode = 0555,
		.nlink = 2,
		.fsid = attr->fsid,
		.fileid = attr->mounted_on_fileid};
	for (size_t i = 0; i < sizeof(have) / sizeof(have[0]); i++)
		nfs_bitmap_set(&attr->have, have[i]);
}

static void moved_tell(const struct moved_asking *a, size_t count, const char *why_not)
{
	char where[1024];
	log_warn("\"%s\" in the directory with inode %llu is a referral to %s, which is not "
		 "followed: %s",
		a->req->u.names.name, (unsigned long long)a->req->node->ino,
		nfs_locations_describe(a->list, count, where, sizeof(where)), why_not);
}

static void moved_looked(struct nfs_compound *c)
{
	struct moved_asking *a = c->arg;
	struct fsop_request *req = a->req;
	const char *name = req->u.names.name;
	const char *why_not;
	int err = nfs_compound_errno(c);
	if (c->status == NFS4ERR_MOVED && moved_where(a) > 0) {
		/* nfs-ganesha has a number for it only where its locations are asked for as well */
		req->attr = (struct nfs_attr){
			.mounted_on_fileid = node_mark_of(req->node->id, name, strlen(name))};
	} else if (err) {
		free(a);
		fsop_reply_err(req, err);
		return;
	}
	moved_standin_fh(&req->fh, STANDIN_REFERRAL, req->node, name);
	moved_standin_attr(&req->attr);
	const struct referral_way way = {.list = a->list, .count = moved_where(a)};
	bool held = referral_hold(req, &way, &why_not);
	if (why_not && !told_lately(&req->share->told, req->node->id, name))
		moved_tell(a, way.count, why_not);
	free(a);
	if (!held)
		fsop_reply_entry(req, &req->attr, name);
}

/* The name itself was found, but nothing else is told of it. */
static bool moved_is_name(const struct nfs_compound *c)
{
	if (c->status != NFS4ERR_MOVED)
		return false;
	for (unsigned i = 0; i < c->ops_ok; i++)
		if (c->ops[i].op == OP_LOOKUP)
			return true;
	return false;
}

bool moved_lookup(struct fsop_request *req, const char *name)
{
	struct nfs_bitmap want = {0};
	struct moved_asking *a = moved_is_name(req->compound) ? malloc(sizeof(*a)) : NULL;
	if (!a)
		return false;
	if (!moved_put(a, req, name))
		return true;
	nfs_bitmap_set(&want, FATTR4_FSID);
	nfs_bitmap_set(&want, FATTR4_MOUNTED_ON_FILEID);
	req->attr = (struct nfs_attr){0};
	nfs_op_getattr(req->compound, &want, &req->attr);
	nfs_compound_send(req->compound, moved_looked, a);
	return true;
}

bool moved_refuse(struct fsop_request *req)
{
	if (referral_touch(req)) {
		fsop_reply_err(req, -ESTALE);
		return true;
	}
	switch (req->opcode) {
	case FUSE_GETATTR:
	case MOVED_FUSE_STATX:
	case FUSE_ACCESS: return false;
	case FUSE_GETXATTR:
	case FUSE_LISTXATTR: fsop_reply_err(req, -EOPNOTSUPP); return true;
	default:
		fsop_reply_err(req, standin_is(req->node, STANDIN_SECURITY) ? -EPERM : -EREMOTE);
		return true;
	}
}

static void moved_told(struct nfs_compound *c)
{
	struct moved_asking *a = c->arg;
	struct fsop_request *req = a->req;
	char where[1024];
	int err = a->err;
	size_t count = moved_where(a);
	/* Not told, it may as well be about a name in it. */
	if (count > 0)
		log_warn("the file system of inode %llu has moved to %s: mount it again",
			(unsigned long long)req->node->ino,
			nfs_locations_describe(a->list, count, where, sizeof(where)));
	else
		log_warn("the server does not tell where inode %llu, or a name in it, is now",
			(unsigned long long)req->node->ino);
	free(a);
	fsop_reply_err(req, err);
}

bool moved_ask(struct fsop_request *req, int err)
{
	const struct nfs_compound *c = req->compound;
	if (!req->fuse || !req->node || !c || c->status != NFS4ERR_MOVED || err == 0 ||
		told_lately(&req->share->told, req->node->id, ""))
		return false;
	struct moved_asking *a = malloc(sizeof(*a));
	if (!a)
		return false;
	a->err = err;
	if (moved_put(a, req, NULL))
		nfs_compound_send(req->compound, moved_told, a);
	return true;
}

size_t moved_choose(const struct nfs_location *list, size_t count, struct address *address)
{
	size_t i = 0;
	while (i < count && !address_parse_location(list[i].server, address))
		i++;
	return i;
}
