/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <linux/limits.h>
#include <stdlib.h>
#include <string.h>

#include "fsop_xattr.h"
#include "nfs41/acl.h"
#include "nfs41/posix_acl.h"
#include "support.h"
#include "xattrs.h"

/*
 * Extended attributes. "user.*" is the server's where it has RFC 8276; labels and access control
 * lists are attributes of NFS. Everything else is refused as the kernel's client does, and without
 * asking the server: the kernel wants to know security.capability of each file that is written.
 */

/* More than a server needs for 64 KiB of names, however little it tells at a time. */
#define XATTR_ROUNDS_MAX 256

/* What is an attribute of another kind to the server. */
static const struct {
	const char *name;
	unsigned kind, attr;
} kinds[] = {
	{"security.selinux", SUPPORT_LABEL, FATTR4_SEC_LABEL},
	{"system.nfs4_acl", SUPPORT_ACL, FATTR4_ACL},
	{"system.nfs4_dacl", SUPPORT_DACL, FATTR4_DACL},
	{"system.nfs4_sacl", SUPPORT_SACL, FATTR4_SACL},
	{"system.posix_acl_default", SUPPORT_POSIX, FATTR4_POSIX_DEFAULT_ACL},
	{"system.posix_acl_access", SUPPORT_POSIX, FATTR4_POSIX_ACCESS_ACL},
};
#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

const char *xattr_key(const struct fsop_request *req)
{
	return req->u.xattr.name + NFS_XATTR_USER_LEN;
}

unsigned xattr_kind(const char *name)
{
	if (strncmp(name, NFS_XATTR_USER, NFS_XATTR_USER_LEN) == 0)
		return SUPPORT_XATTR;
	for (size_t i = 0; i < KINDS; i++)
		if (strcmp(name, kinds[i].name) == 0)
			return kinds[i].kind;
	return 0;
}

unsigned xattr_attr(const struct fsop_request *req)
{
	for (size_t i = 0; i < KINDS; i++)
		if (strcmp(req->u.xattr.name, kinds[i].name) == 0)
			return kinds[i].attr;
	return 0;
}

bool xattr_is_posix(const struct fsop_request *req)
{
	return xattr_kind(req->u.xattr.name) == SUPPORT_POSIX;
}

/* Only labels are on symbolic links. */
static unsigned has_of(const struct fsop_request *req, unsigned kind)
{
	unsigned has = req->u.xattr.has & kind;
	return req->node->type == NF4LNK ? has & (SUPPORT_XATTR | SUPPORT_LABEL) : has;
}

int xattr_errno(const struct nfs_compound *c)
{
	if (c->status == NFS4ERR_REP_TOO_BIG || c->status == NFS4ERR_REQ_TOO_BIG)
		return -E2BIG;
	return nfs_compound_errno(c);
}

static void xattr_learned(struct nfs_compound *c)
{
	struct fsop_request *req = c->arg;
	int err = nfs_compound_errno(c);
	if (err) {
		fsop_reply_err(req, err);
		return;
	}
	support_put(req->share->support, req->node->fsid, &req->u.xattr.fs);
	xattr_ask(req);
}

static void xattr_learn(struct fsop_request *req)
{
	struct nfs_bitmap want = {0};
	if (!fsop_compound(req, OP_GETATTR, req->node))
		return;
	support_want(&want);
	nfs_op_getfsattr(req->compound, &want, &req->u.xattr.fs);
	fsop_send(req, xattr_learned);
}

void xattr_ask(struct fsop_request *req)
{
	unsigned has;
	if (!support_get(req->share->support, req->node->fsid, &has)) {
		xattr_learn(req);
		return;
	}
	req->u.xattr.has = has & req->share->possible;
	if (has_of(req, xattr_kind(req->u.xattr.name)) || !req->u.xattr.name[0])
		req->then(req);
	else
		fsop_reply_err(req, -EOPNOTSUPP);
}

/* 0, or the errno of what can be answered by anybody. The kernel does not ask again after ENOSYS.
 */
static int xattr_refuse(const struct share *share, const char *name)
{
	if (share->possible == 0)
		return ENOSYS;
	if (!name)
		return 0;
	if (!(xattr_kind(name) & share->possible))
		return EOPNOTSUPP;
	return strcmp(name, NFS_XATTR_USER) == 0 ? EINVAL : 0;
}

struct fsop_request *xattr_begin(fuse_req_t fuse, fuse_ino_t ino, const char *name)
{
	int err = xattr_refuse(worker_self()->share, name);
	if (err) {
		fuse_reply_err(fuse, err);
		return NULL;
	}
	struct fsop_request *req = fsop_begin(fuse, ino);
	if (!name)
		name = XATTRS_LIST;
	if (req)
		memcpy(req->u.xattr.name, name, strnlen(name, XATTR_NAME_MAX) + 1);
	return req;
}

bool xattr_room(struct fsop_request *req, size_t size)
{
	req->value = buf_alloc(size);
	if (req->value)
		return true;
	fsop_reply_err(req, -ENOMEM);
	return false;
}

static void xattr_reply(struct fsop_request *req, const void *data, size_t len)
{
	size_t size = req->u.xattr.size;
	if (len == 0 && xattr_is_posix(req)) {
		fsop_reply_err(req, -ENODATA);
		return;
	}
	if (size > 0 && len > size) {
		fsop_reply_err(req, -ERANGE);
		return;
	}
	if (req->fuse && size == 0)
		fuse_reply_xattr(req->fuse, len);
	else if (req->fuse)
		fuse_reply_buf(req->fuse, data, len);
	fsop_end(req);
}

/* Answered with what was told before? */
static bool xattr_cached(struct fsop_request *req)
{
	size_t len;
	req->value = xattrs_get(req->share->xattrs, req->node, req->cred, req->u.xattr.name, &len);
	if (!req->value)
		return false;
	xattr_reply(req, req->value->data, len);
	return true;
}

/* The server has told, and the attributes in front of it. */
static void xattr_told(struct fsop_request *req, const void *data, size_t len)
{
	if (fsop_attr_check(req->node, &req->attr) == 0) {
		fsop_note_attr(req->share, req->node, &req->attr);
		xattrs_put(req->share->xattrs, req->node, req->cred, req->u.xattr.name,
			req->attr.change, req->begun_at, data, len);
	}
	xattr_reply(req, data, len);
}

/* A list that says what the mode says is none, as on a local disk. */
static bool posix_is_there(unsigned attr, size_t len)
{
	if (len == NFS_BYTES_NONE)
		return false;
	return len > (attr == FATTR4_POSIX_ACCESS_ACL ? NFS_POSIX_ACL_MODE_SIZE : sizeof(uint32_t));
}

/* An access control list names users as the guest knows them. */
static int getxattr_convert(struct fsop_request *req)
{
	unsigned attr = xattr_attr(req);
	struct nfs_bytes_res *res = &req->u.xattr.res;
	struct buf *buf = buf_alloc(XATTR_SIZE_MAX);
	struct wire_out out;
	if (!buf)
		return -ENOMEM;
	wire_out_init(&out, buf->data, buf->size);
	int err;
	if (xattr_is_posix(req)) {
		err = posix_is_there(attr, res->len) ? nfs_posix_acl_show(res->data, res->len,
							       buf->data, buf->size, &out.len)
						     : 0;
	} else {
		err = nfs_acl_convert(attr, res->data, res->len, false, &out);
	}
	buf_unref(req->value);
	req->value = buf;
	res->data = buf->data;
	res->len = out.len;
	return err == -EOVERFLOW ? -E2BIG : err;
}

static void getxattr_done(struct nfs_compound *c)
{
	struct fsop_request *req = c->arg;
	const struct nfs_bytes_res *res = &req->u.xattr.res;
	int err = xattr_errno(c);
	if (!err && res->len == NFS_BYTES_NONE)
		err = -EOPNOTSUPP;
	else if (!err && res->len > res->cap)
		err = -E2BIG;
	else if (!err && xattr_attr(req) && xattr_attr(req) != FATTR4_SEC_LABEL)
		err = getxattr_convert(req);
	if (err)
		fsop_reply_err(req, err);
	else
		xattr_told(req, res->data, res->len);
}

void xattr_put_get(struct fsop_request *req, uint8_t *data, size_t cap)
{
	const char *key = xattr_key(req);
	unsigned attr = xattr_attr(req);
	req->u.xattr.res = (struct nfs_bytes_res){.data = data, .cap = cap};
	if (attr)
		nfs_op_getattr_bytes(req->compound, attr, &req->u.xattr.res);
	else
		nfs_op_getxattr(req->compound, key, strlen(key), &req->u.xattr.res);
}

static void getxattr_send(struct fsop_request *req)
{
	uint32_t label = xattr_attr(req) ? OP_GETATTR : OP_GETXATTR;
	if (!xattr_room(req, XATTR_SIZE_MAX) || !fsop_compound(req, label, req->node))
		return;
	nfs_op_getattr(req->compound, &req->share->want, &req->attr);
	xattr_put_get(req, req->value->data, req->value->size);
	fsop_send(req, getxattr_done);
}

static void getxattr_begin(struct fsop_request *req)
{
	/* Who may read it may be among what is gathered. */
	if (!xattr_cached(req))
		fsop_settle(req, req->node, getxattr_send);
}

void fsop_getxattr(fuse_req_t fuse, fuse_ino_t ino, const char *name, size_t size)
{
	struct fsop_request *req = xattr_begin(fuse, ino, name);
	if (!req)
		return;
	req->u.xattr.size = size;
	req->then = getxattr_begin;
	xattr_ask(req);
}

static int name_compare(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* In order, and each once: names that came and went while the server told of them may be there
 * twice. 0 or -ENOMEM. */
static int names_sort(char *names, size_t *len)
{
	size_t count = 0, at = 0;
	for (size_t i = 0; i < *len; i++)
		count += names[i] == '\0';
	char *copy = malloc(*len + 1);
	const char **sorted = malloc((count + 1) * sizeof(*sorted));
	for (size_t i = 0; copy && sorted && i < count; i++) {
		sorted[i] = copy + at;
		at += strlen(names + at) + 1;
	}
	int err = copy && sorted ? 0 : -ENOMEM;
	if (!err) {
		memcpy(copy, names, *len);
		qsort(sorted, count, sizeof(*sorted), name_compare);
		*len = 0;
		for (size_t i = 0; i < count; i++)
			if (i == 0 || strcmp(sorted[i - 1], sorted[i]) != 0)
				*len += (size_t)(stpcpy(names + *len, sorted[i]) - (names + *len)) +
					1;
	}
	free(sorted);
	free(copy);
	return err;
}

static int listxattr_add(struct nfs_listxattrs_res *list, const char *name)
{
	size_t size = strlen(name) + 1;
	if (size > list->cap - list->len)
		return -E2BIG;
	memcpy(list->data + list->len, name, size);
	list->len += size;
	return 0;
}

/* Of the lists that may be missing only their length was asked for. */
static bool listxattr_has(const struct fsop_request *req, unsigned attr)
{
	return posix_is_there(attr, req->u.xattr.lists[attr == FATTR4_POSIX_ACCESS_ACL].len);
}

static void listxattr_put_lists(struct fsop_request *req)
{
	static const unsigned attrs[] = {FATTR4_POSIX_DEFAULT_ACL, FATTR4_POSIX_ACCESS_ACL};
	for (size_t i = 0; i < 2; i++) {
		req->u.xattr.lists[i] = (struct nfs_bytes_res){.len = NFS_BYTES_NONE};
		nfs_op_getattr_bytes(req->compound, attrs[i], &req->u.xattr.lists[i]);
	}
}

static void listxattr_finish(struct fsop_request *req)
{
	struct nfs_listxattrs_res *list = &req->u.xattr.list;
	int err = 0;
	for (size_t i = 0; i < KINDS && !err; i++)
		if (has_of(req, kinds[i].kind) &&
			(kinds[i].kind != SUPPORT_POSIX || listxattr_has(req, kinds[i].attr)))
			err = listxattr_add(list, kinds[i].name);
	if (!err)
		err = names_sort(list->data, &list->len);
	if (err)
		fsop_reply_err(req, err);
	else
		xattr_told(req, list->data, list->len);
}

static void listxattr_send(struct fsop_request *req);

static void listxattr_done(struct nfs_compound *c)
{
	struct fsop_request *req = c->arg;
	struct nfs_listxattrs_res *list = &req->u.xattr.list;
	int err = xattr_errno(c);
	if (!err && list->full)
		err = -E2BIG;
	else if (!err && !list->eof && ++req->u.xattr.rounds == XATTR_ROUNDS_MAX)
		err = -EIO;
	/* Local file systems tell it to anybody, and programs expect no such error: who may not
	 * know hears of none, as from the kernel's client. */
	if (err == -EACCES) {
		list->len = 0;
		list->eof = true;
		err = 0;
	}
	if (err)
		fsop_reply_err(req, err);
	else if (list->eof)
		listxattr_finish(req);
	else
		listxattr_send(req);
}

static void listxattr_send(struct fsop_request *req)
{
	struct nfs_listxattrs_res *list = &req->u.xattr.list;
	uint32_t maxcount = XATTR_LIST_MAX;
	if (maxcount > req->share->rsize)
		maxcount = req->share->rsize;
	if (!fsop_compound(req, OP_LISTXATTRS, req->node))
		return;
	/* As it was before any of them was told. */
	if (req->u.xattr.rounds == 0) {
		nfs_op_getattr(req->compound, &req->share->want, &req->attr);
		if (has_of(req, SUPPORT_POSIX))
			listxattr_put_lists(req);
	}
	if (req->u.xattr.has & SUPPORT_XATTR)
		nfs_op_listxattrs(req->compound, list->cookie, maxcount, list);
	else
		list->eof = true;
	fsop_send(req, listxattr_done);
}

static void listxattr_begin(struct fsop_request *req)
{
	if (xattr_cached(req) || !xattr_room(req, XATTR_LIST_MAX))
		return;
	req->u.xattr.rounds = 0;
	req->u.xattr.list = (struct nfs_listxattrs_res){
		.data = (char *)req->value->data, .cap = req->value->size};
	if (has_of(req, SUPPORT_XATTR | SUPPORT_POSIX))
		fsop_settle(req, req->node, listxattr_send);
	else
		listxattr_finish(req);
}

void fsop_listxattr(fuse_req_t fuse, fuse_ino_t ino, size_t size)
{
	struct fsop_request *req = xattr_begin(fuse, ino, NULL);
	if (!req)
		return;
	req->u.xattr.size = size;
	req->then = listxattr_begin;
	xattr_ask(req);
}
