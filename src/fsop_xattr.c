/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <linux/limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>

#include "fresh.h"
#include "fsop.h"
#include "support.h"
#include "xattrs.h"

/*
 * Extended attributes. "user.*" is the server's where it has RFC 8276; everything else is refused
 * as the kernel's client does, and without asking the server: the kernel wants to know
 * security.capability of each file that is written, and ls(1) system.posix_acl_access of all.
 */

/* More than a server needs for 64 KiB of names, however little it tells at a time. */
#define XATTR_ROUNDS_MAX 256
/* Around a value in its request, bytes. */
#define XATTR_OVERHEAD 1024

/* The name as the server has it. */
static const char *xattr_key(const struct fsop_request *req)
{
	return req->u.xattr.name + NFS_XATTR_USER_LEN;
}

/* SUPPORT_* that a name asks for, or 0. */
static unsigned xattr_kind(const char *name)
{
	return strncmp(name, NFS_XATTR_USER, NFS_XATTR_USER_LEN) == 0 ? SUPPORT_XATTR : 0;
}

/* 0, or the errno of what can be answered by anybody. The kernel does not ask again after ENOSYS.
 */
static int xattr_refuse(const struct share *share, const char *name)
{
	if (share->possible == 0)
		return ENOSYS;
	if (!(xattr_kind(name) & share->possible))
		return EOPNOTSUPP;
	return name[NFS_XATTR_USER_LEN] ? 0 : EINVAL;
}

static int xattr_errno(const struct nfs_compound *c)
{
	if (c->status == NFS4ERR_REP_TOO_BIG || c->status == NFS4ERR_REQ_TOO_BIG)
		return -E2BIG;
	return nfs_compound_errno(c);
}

static void xattr_ask(struct fsop_request *req);

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

/* req->then, where the file system has what is asked for. */
static void xattr_ask(struct fsop_request *req)
{
	unsigned has;
	if (!support_get(req->share->support, req->node->fsid, &has)) {
		xattr_learn(req);
		return;
	}
	req->u.xattr.has = has & req->share->possible;
	if (req->u.xattr.has & xattr_kind(req->u.xattr.name) || !req->u.xattr.name[0])
		req->then(req);
	else
		fsop_reply_err(req, -EOPNOTSUPP);
}

/* `name` XATTRS_LIST: all of them. NULL: answered. */
static struct fsop_request *xattr_begin(fuse_req_t fuse, fuse_ino_t ino, const char *name)
{
	struct fsop_request *req = fsop_begin(fuse, ino);
	if (req)
		memcpy(req->u.xattr.name, name, strnlen(name, XATTR_NAME_MAX) + 1);
	return req;
}

/* A place for what the server tells. False: answered. */
static bool xattr_room(struct fsop_request *req, size_t size)
{
	req->value = buf_alloc(size);
	if (!req->value)
		fsop_reply_err(req, -ENOMEM);
	return req->value;
}

static void xattr_reply(struct fsop_request *req, const void *data, size_t len)
{
	size_t size = req->u.xattr.size;
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
	if (req->value)
		xattr_reply(req, req->value->data, len);
	return req->value;
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

static void getxattr_done(struct nfs_compound *c)
{
	struct fsop_request *req = c->arg;
	const struct nfs_bytes_res *res = &req->u.xattr.res;
	int err = xattr_errno(c);
	if (!err && res->len > res->cap)
		err = -E2BIG;
	if (err)
		fsop_reply_err(req, err);
	else
		xattr_told(req, res->data, res->len);
}

static void getxattr_put(struct fsop_request *req, uint8_t *data, size_t cap)
{
	const char *key = xattr_key(req);
	req->u.xattr.res = (struct nfs_bytes_res){.data = data, .cap = cap};
	nfs_op_getxattr(req->compound, key, strlen(key), &req->u.xattr.res);
}

static void getxattr_send(struct fsop_request *req)
{
	if (!xattr_room(req, XATTR_SIZE_MAX) || !fsop_compound(req, OP_GETXATTR, req->node))
		return;
	nfs_op_getattr(req->compound, &req->share->want, &req->attr);
	getxattr_put(req, req->value->data, req->value->size);
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
	int err = xattr_refuse(worker_self()->share, name);
	if (err) {
		fuse_reply_err(fuse, err);
		return;
	}
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

static void listxattr_finish(struct fsop_request *req)
{
	struct nfs_listxattrs_res *list = &req->u.xattr.list;
	int err = names_sort(list->data, &list->len);
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
	if (req->u.xattr.rounds == 0)
		nfs_op_getattr(req->compound, &req->share->want, &req->attr);
	nfs_op_listxattrs(req->compound, list->cookie, maxcount, list);
	fsop_send(req, listxattr_done);
}

static void listxattr_begin(struct fsop_request *req)
{
	if (!(req->u.xattr.has & SUPPORT_XATTR)) {
		xattr_reply(req, NULL, 0);
		return;
	}
	if (xattr_cached(req) || !xattr_room(req, XATTR_LIST_MAX))
		return;
	req->u.xattr.rounds = 0;
	req->u.xattr.list = (struct nfs_listxattrs_res){
		.data = (char *)req->value->data, .cap = req->value->size};
	fsop_settle(req, req->node, listxattr_send);
}

void fsop_listxattr(fuse_req_t fuse, fuse_ino_t ino, size_t size)
{
	if (worker_self()->share->possible == 0) {
		fuse_reply_err(fuse, ENOSYS);
		return;
	}
	struct fsop_request *req = xattr_begin(fuse, ino, XATTRS_LIST);
	if (!req)
		return;
	req->u.xattr.size = size;
	req->then = listxattr_begin;
	xattr_ask(req);
}

/* The server has changed them, or `err`. `sure`: the attributes are those behind the change. */
static void xattr_changed(struct fsop_request *req, bool sure, int err)
{
	struct share *share = req->share;
	const struct nfs_change_info *cinfo = &req->cinfo;
	if (req->node->type == NF4DIR)
		fresh_drop(share->fresh, req->node);
	if (sure && fsop_attr_check(req->node, &req->attr) == 0)
		node_note_write(share->nodes, req->node,
			cinfo->atomic ? cinfo->before : req->before.change, &req->attr);
	else
		node_note_unknown(share->nodes, req->node);
	fsop_reply_err(req, err);
}

/* What to look for when nobody knows whether it was done. */
static void xattr_look(
	struct fsop_request *req, uint8_t *data, size_t cap, void (*looked)(struct nfs_compound *c))
{
	if (!fsop_compound(req, OP_GETXATTR, req->node))
		return;
	getxattr_put(req, data, cap);
	fsop_send(req, looked);
}

static void setxattr_send(struct fsop_request *req);

static void setxattr_looked(struct nfs_compound *c)
{
	struct fsop_request *req = c->arg;
	const struct nfs_bytes_res *res = &req->u.xattr.res;
	int err = xattr_errno(c);
	if (err == -ENODATA)
		setxattr_send(req);
	else if (!err && (res->len != req->u.xattr.size ||
				 memcmp(res->data, req->value->data, res->len) != 0))
		xattr_changed(req, false, -EEXIST);
	else
		xattr_changed(req, false, err);
}

static void setxattr_done(struct nfs_compound *c)
{
	struct fsop_request *req = c->arg;
	size_t size = req->u.xattr.size;
	if (fsop_unsure(c))
		xattr_look(req, req->value->data + size, size, setxattr_looked);
	else
		xattr_changed(req, c->status == 0, xattr_errno(c));
}

static void setxattr_send(struct fsop_request *req)
{
	static const enum nfs_setxattr_option options[] = {
		[0] = NFS_SETXATTR_EITHER,
		[XATTR_CREATE] = NFS_SETXATTR_CREATE,
		[XATTR_REPLACE] = NFS_SETXATTR_REPLACE,
	};
	const char *key = xattr_key(req);
	struct nfs_bitmap change = {0};
	if (!fsop_compound(req, OP_SETXATTR, req->node))
		return;
	nfs_bitmap_set(&change, FATTR4_CHANGE);
	nfs_op_getattr(req->compound, &change, &req->before);
	nfs_op_setxattr(req->compound, options[req->u.xattr.flags], key, strlen(key), req->value,
		req->value->data, (uint32_t)req->u.xattr.size, &req->cinfo);
	nfs_op_getattr(req->compound, &req->share->want, &req->attr);
	if (req->u.xattr.flags == XATTR_CREATE)
		fsop_send_once(req, setxattr_done);
	else
		fsop_send(req, setxattr_done);
}

static void setxattr_begin(struct fsop_request *req)
{
	fsop_settle(req, req->node, setxattr_send);
}

/* Not all values that there can be fit a session. */
static bool setxattr_fits(const struct share *share, size_t size)
{
	return size <= XATTR_SIZE_MAX &&
	       size + XATTR_OVERHEAD <= nfs_client_limits(share->client)->max_request;
}

void fsop_setxattr(fuse_req_t fuse, fuse_ino_t ino, const char *name, const char *value,
	size_t size, int flags)
{
	const struct share *share = worker_self()->share;
	int err = xattr_refuse(share, name);
	if (!err && flags != 0 && flags != XATTR_CREATE && flags != XATTR_REPLACE)
		err = EINVAL;
	else if (!err && !setxattr_fits(share, size))
		err = E2BIG;
	if (err) {
		fuse_reply_err(fuse, err);
		return;
	}
	struct fsop_request *req = xattr_begin(fuse, ino, name);
	/* Behind it is room for one that is found in its place. */
	if (!req || !xattr_room(req, 2 * size))
		return;
	memcpy(req->value->data, value, size);
	req->u.xattr.size = size;
	req->u.xattr.flags = (unsigned)flags;
	req->then = setxattr_begin;
	fsop_hold(req, req->node);
	xattr_ask(req);
}

static void removexattr_send(struct fsop_request *req);

static void removexattr_looked(struct nfs_compound *c)
{
	struct fsop_request *req = c->arg;
	int err = xattr_errno(c);
	if (!err)
		removexattr_send(req);
	else
		xattr_changed(req, false, err == -ENODATA ? 0 : err);
}

static void removexattr_done(struct nfs_compound *c)
{
	struct fsop_request *req = c->arg;
	if (fsop_unsure(c))
		xattr_look(req, NULL, 0, removexattr_looked);
	else
		xattr_changed(req, c->status == 0, xattr_errno(c));
}

static void removexattr_send(struct fsop_request *req)
{
	const char *key = xattr_key(req);
	struct nfs_bitmap change = {0};
	if (!fsop_compound(req, OP_REMOVEXATTR, req->node))
		return;
	nfs_bitmap_set(&change, FATTR4_CHANGE);
	nfs_op_getattr(req->compound, &change, &req->before);
	nfs_op_removexattr(req->compound, key, strlen(key), &req->cinfo);
	nfs_op_getattr(req->compound, &req->share->want, &req->attr);
	fsop_send_once(req, removexattr_done);
}

static void removexattr_begin(struct fsop_request *req)
{
	fsop_settle(req, req->node, removexattr_send);
}

void fsop_removexattr(fuse_req_t fuse, fuse_ino_t ino, const char *name)
{
	int err = xattr_refuse(worker_self()->share, name);
	if (err) {
		fuse_reply_err(fuse, err);
		return;
	}
	struct fsop_request *req = xattr_begin(fuse, ino, name);
	if (!req)
		return;
	req->then = removexattr_begin;
	fsop_hold(req, req->node);
	xattr_ask(req);
}
