/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <linux/limits.h>
#include <string.h>
#include <sys/xattr.h>

#include "fresh.h"
#include "fsop_xattr.h"
#include "nfs41/acl.h"
#include "nfs41/posix_acl.h"
#include "recall.h"
#include "support.h"

/* Extended attributes are set and removed. */

/* Around a value in its request, bytes. */
#define XATTR_OVERHEAD 1024

/* The server has changed them, or `err`. `sure`: the attributes are those behind the change. */
static void xattr_changed(struct fsop_request *req, bool sure, int err)
{
	struct share *share = req->share;
	const struct nfs_change_info *cinfo = &req->cinfo;
	if (req->node->type == NF4DIR)
		fresh_drop(share->fresh, req->node);
	if (xattr_attr(req) && xattr_attr(req) != FATTR4_SEC_LABEL)
		recall_forget_access(share, req->node);
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
	xattr_put_get(req, data, cap);
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

static void setxattr_put(struct fsop_request *req)
{
	static const enum nfs_setxattr_option options[] = {
		[0] = NFS_SETXATTR_EITHER,
		[XATTR_CREATE] = NFS_SETXATTR_CREATE,
		[XATTR_REPLACE] = NFS_SETXATTR_REPLACE,
	};
	const char *key = xattr_key(req);
	nfs_op_setxattr(req->compound, options[req->u.xattr.flags], key, strlen(key), req->value,
		req->value->data, (uint32_t)req->u.xattr.size, &req->cinfo);
}

static void setxattr_send(struct fsop_request *req)
{
	unsigned attr = xattr_attr(req);
	struct nfs_bitmap change = {0};
	if (!fsop_compound(req, attr ? OP_SETATTR : OP_SETXATTR, req->node))
		return;
	nfs_bitmap_set(&change, FATTR4_CHANGE);
	nfs_op_getattr(req->compound, &change, &req->before);
	req->cinfo.atomic = false;
	if (attr)
		nfs_op_setattr_bytes(req->compound, attr, req->value, req->value->data,
			(uint32_t)req->u.xattr.size);
	else
		setxattr_put(req);
	if (!fsop_data_is_last(req))
		nfs_op_getattr(req->compound, &req->share->want, &req->attr);
	if (!attr && req->u.xattr.flags == XATTR_CREATE)
		fsop_send_once(req, setxattr_done);
	else
		fsop_send(req, setxattr_done);
}

static void setxattr_begin(struct fsop_request *req)
{
	/* As on a local disk: what is made in a file inherits nothing. */
	if (xattr_attr(req) == FATTR4_POSIX_DEFAULT_ACL && req->node->type != NF4DIR) {
		fsop_reply_err(req, -EACCES);
		return;
	}
	fsop_settle(req, req->node, setxattr_send);
}

/* Not all values that there can be fit a session. */
static bool setxattr_fits(const struct share *share, size_t size)
{
	return size <= XATTR_SIZE_MAX &&
	       size + XATTR_OVERHEAD <= nfs_client_limits(share->client)->max_request;
}

/* The value in its place. 0 or -errno. */
static int setxattr_take(struct fsop_request *req, const char *value, size_t size)
{
	unsigned attr = xattr_attr(req);
	struct wire_out out;
	req->u.xattr.size = size;
	if (!attr || attr == FATTR4_SEC_LABEL) {
		memcpy(req->value->data, value, size);
		return attr && size > NFS_SEC_LABEL_MAX ? -E2BIG : 0;
	}
	wire_out_init(&out, req->value->data, req->value->size);
	int err = -EINVAL;
	if (xattr_is_posix(req))
		err = nfs_posix_acl_take((const uint8_t *)value, size, &out);
	else if (nfs_acl_good(attr, (const uint8_t *)value, size))
		err = nfs_acl_convert(attr, (const uint8_t *)value, size, true, &out);
	req->u.xattr.size = out.len;
	if (!err && !setxattr_fits(req->share, out.len))
		err = -E2BIG;
	return err == -EOVERFLOW ? -E2BIG : err;
}

/* 0 or -errno. */
static int setxattr_check(const struct share *share, size_t size, int flags)
{
	if (flags != 0 && flags != XATTR_CREATE && flags != XATTR_REPLACE)
		return -EINVAL;
	return setxattr_fits(share, size) ? 0 : -E2BIG;
}

void fsop_setxattr(fuse_req_t fuse, fuse_ino_t ino, const char *name, const char *value,
	size_t size, int flags)
{
	struct fsop_request *req = xattr_begin(fuse, ino, name);
	if (!req)
		return;
	int err = setxattr_check(req->share, size, flags);
	/* Behind it is room for one that is found in its place, and for longer names. */
	if (!err && !xattr_room(req, xattr_is_posix(req) ? XATTR_SIZE_MAX : 2 * size))
		return;
	if (!err)
		err = setxattr_take(req, value, size);
	if (err) {
		fsop_reply_err(req, err);
		return;
	}
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

/* A list without entries. */
static void removexattr_empty(struct fsop_request *req)
{
	if (!xattr_room(req, sizeof(uint32_t)))
		return;
	memset(req->value->data, 0, sizeof(uint32_t));
	req->u.xattr.size = sizeof(uint32_t);
	fsop_settle(req, req->node, setxattr_send);
}

static void removexattr_begin(struct fsop_request *req)
{
	/* No file is without the others, as SELinux and the kernel's client have it. */
	unsigned attr = xattr_attr(req);
	if (attr == FATTR4_POSIX_DEFAULT_ACL && req->node->type != NF4DIR)
		fsop_reply_err(req, 0);
	else if (xattr_is_posix(req))
		removexattr_empty(req);
	else if (attr)
		fsop_reply_err(req, attr == FATTR4_SEC_LABEL ? -EACCES : -EINVAL);
	else
		fsop_settle(req, req->node, removexattr_send);
}

void fsop_removexattr(fuse_req_t fuse, fuse_ino_t ino, const char *name)
{
	struct fsop_request *req = xattr_begin(fuse, ino, name);
	if (!req)
		return;
	req->then = removexattr_begin;
	fsop_hold(req, req->node);
	xattr_ask(req);
}
