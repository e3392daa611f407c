/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "fsop.h"

/* mkdir, mknod, symlink and link: a name is made, once. Files that are opened at the same time are
 * made in fsop_open.c. */

static void make_send(struct fsop_request *req);

static void make_end(struct fsop_request *req, int err)
{
	if (err)
		fsop_reply_err(req, err);
	else
		fsop_reply_entry(req, &req->attr, req->u.make.name);
}

static void make_link_read(struct nfs_compound *c)
{
	struct fsop_request *req = c->arg;
	int err = nfs_compound_errno(c);
	if (!err && strcmp(req->u.make.found, req->u.make.link) != 0)
		err = -EEXIST;
	make_end(req, err);
}

static void make_read_link(struct fsop_request *req)
{
	struct nfs_compound *c = fsop_compound_bare(req, OP_READLINK);
	if (!c)
		return;
	req->u.make.res.target = req->u.make.found;
	req->u.make.res.cap = sizeof(req->u.make.found);
	nfs_op_putfh(c, &req->fh);
	nfs_op_readlink(c, &req->u.make.res);
	fsop_send(req, make_link_read);
}

static void make_looked(struct fsop_request *req)
{
	if (req->fh.len == 0)
		make_send(req);
	else if (req->u.make.type == NF4LNK && req->attr.type == NF4LNK)
		make_read_link(req);
	else
		make_end(req, fsop_marked(req, req->u.make.type, &req->u.make.set) ? 0 : -EEXIST);
}

/* Before the kernel, which may make names in it, hears of it. */
static void make_note_empty(struct fsop_request *req)
{
	struct node_table *nodes = req->share->nodes;
	if (!fsop_attr_complete(&req->attr) || req->attr.type != NF4DIR || req->fh.len == 0)
		return;
	/* Pinned, it has the number that the kernel will be told. */
	req->target = node_get(nodes, &req->fh, &req->attr, false);
	if (req->target)
		whole_made(req->share->whole, req->target, req->begun_at, req->attr.change);
}

static void make_done(struct nfs_compound *c)
{
	struct fsop_request *req = c->arg;
	int err = nfs_compound_errno(c);
	if (fsop_unsure(c)) {
		fsop_look(req, req->node, req->u.make.name, make_looked);
		return;
	}
	if (!err)
		whole_changed(req->share->whole, req->node, req->begun_at, &req->cinfo);
	if (!err && req->u.make.type == NF4DIR)
		make_note_empty(req);
	make_end(req, err);
}

static void make_send(struct fsop_request *req)
{
	if (!fsop_compound(req, OP_CREATE, req->node))
		return;
	const struct nfs_create_args args = {
		.type = req->u.make.type,
		.name = req->u.make.name,
		.name_len = strlen(req->u.make.name),
		.link = req->u.make.link,
		.rdev_major = req->u.make.rdev_major,
		.rdev_minor = req->u.make.rdev_minor,
		.set = &req->u.make.set,
	};
	nfs_op_create(req->compound, &args, &req->cinfo);
	nfs_op_getfh(req->compound, &req->fh);
	nfs_op_getattr(req->compound, &req->share->want, &req->attr);
	fsop_send_once(req, fsop_carry_dir(req, make_done));
}

static struct fsop_request *make_begin(
	fuse_req_t fuse, fuse_ino_t parent, const char *name, uint32_t type, mode_t mode)
{
	struct fsop_request *req = fsop_begin(fuse, parent);
	if (!req)
		return NULL;
	fsop_hold_names(req);
	fsop_keep_name(req->u.make.name, name);
	req->u.make.type = type;
	req->u.make.set = (struct nfs_setattr){.set = NFS_SET_MODE, .mode = mode & 07777};
	req->u.make.link[0] = '\0';
	req->u.make.rdev_major = req->u.make.rdev_minor = 0;
	whole_add(req->share->whole, req->node, name);
	/* Servers leave a new symbolic link's times alone. */
	if (type != NF4LNK)
		fsop_mark(req, &req->u.make.set, type == NF4REG ? &req->u.make.owner : NULL);
	return req;
}

void fsop_mkdir(fuse_req_t fuse, fuse_ino_t parent, const char *name, mode_t mode)
{
	struct fsop_request *req = make_begin(fuse, parent, name, NF4DIR, mode);
	if (req)
		make_send(req);
}

void fsop_symlink(fuse_req_t fuse, const char *link, fuse_ino_t parent, const char *name)
{
	struct fsop_request *req = make_begin(fuse, parent, name, NF4LNK, 0777);
	if (!req)
		return;
	size_t len = strlen(link);
	if (len >= sizeof(req->u.make.link)) {
		fsop_reply_err(req, -ENAMETOOLONG);
		return;
	}
	memcpy(req->u.make.link, link, len + 1);
	make_send(req);
}

/* mknod(2) of a regular file: OPEN is the only operation that makes one. */
static void make_file_send(struct fsop_request *req);

static void make_file_done(struct nfs_compound *c);

static void make_file_looked(struct fsop_request *req)
{
	const uint32_t access = OPEN4_SHARE_ACCESS_WRITE | OPEN4_SHARE_ACCESS_WANT_NO_DELEG;
	if (req->fh.len == 0)
		make_file_send(req);
	else if (!fsop_marked(req, NF4REG, &req->u.make.set))
		make_end(req, -EEXIST);
	/* It may still be open. */
	else if (fsop_put_open_marked(req, access, req->u.make.owner))
		fsop_send(req, make_file_done);
}

static void make_file_done(struct nfs_compound *c)
{
	struct fsop_request *req = c->arg;
	if (fsop_unsure(c)) {
		fsop_look(req, req->node, req->u.make.name, make_file_looked);
		return;
	}
	/* PUTFH, OPEN, GETFH, GETATTR (or fsop_put_open_marked): once OPEN has worked there is a
	 * stateid to give back. */
	if (c->ops_ok >= 3)
		fsop_close_made(req);
	make_end(req, nfs_compound_errno(c));
}

static void make_file_send(struct fsop_request *req)
{
	if (!fsop_compound(req, OP_OPEN, req->node))
		return;
	const struct nfs_open_args args = {
		.access = OPEN4_SHARE_ACCESS_WRITE | OPEN4_SHARE_ACCESS_WANT_NO_DELEG,
		.owner = req->u.make.owner,
		.how = NFS_OPEN_GUARDED,
		.set = &req->u.make.set,
		.claim = NFS_CLAIM_NAME,
		.name = req->u.make.name,
		.name_len = strlen(req->u.make.name),
	};
	nfs_op_open(req->compound, &args, &req->made);
	nfs_op_getfh(req->compound, &req->fh);
	nfs_op_getattr(req->compound, &req->share->want, &req->attr);
	fsop_send_once(req, fsop_carry_dir(req, make_file_done));
}

static uint32_t make_type(mode_t mode)
{
	switch (mode & S_IFMT) {
	case 0:
	case S_IFREG: return NF4REG;
	case S_IFBLK: return NF4BLK;
	case S_IFCHR: return NF4CHR;
	case S_IFSOCK: return NF4SOCK;
	case S_IFIFO: return NF4FIFO;
	default: return 0;
	}
}

void fsop_mknod(fuse_req_t fuse, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev)
{
	struct fsop_request *req = make_begin(fuse, parent, name, make_type(mode), mode);
	if (!req)
		return;
	req->u.make.rdev_major = major(rdev);
	req->u.make.rdev_minor = minor(rdev);
	if (req->u.make.type == NF4REG)
		make_file_send(req);
	else if (req->u.make.type != 0)
		make_send(req);
	else
		fsop_reply_err(req, -EINVAL);
}

static void link_send(struct fsop_request *req);

static void link_looked(struct fsop_request *req)
{
	if (req->fh.len == 0)
		link_send(req);
	else
		make_end(req, fsop_found(req, req->target) ? 0 : -EEXIST);
}

static void link_end(struct fsop_request *req, int err)
{
	if (!err) {
		whole_changed(req->share->whole, req->node, req->begun_at, &req->cinfo);
		node_note_link(req->share->nodes, req->target);
	}
	make_end(req, err);
}

static void link_done(struct nfs_compound *c)
{
	struct fsop_request *req = c->arg;
	int err = nfs_compound_errno(c);
	if (fsop_unsure(c)) {
		fsop_look(req, req->node, req->u.make.name, link_looked);
		return;
	}
	if (!err)
		fsop_note_renamed(req, req->target);
	link_end(req, err);
}

static void link_send(struct fsop_request *req)
{
	if (!fsop_compound(req, OP_LINK, req->target))
		return;
	struct nfs_fh dir;
	node_fh(req->node, &dir);
	node_fh(req->target, &req->fh);
	fsop_put_change(req);
	nfs_op_savefh(req->compound);
	nfs_op_putfh(req->compound, &dir);
	nfs_op_link(req->compound, req->u.make.name, strlen(req->u.make.name), &req->cinfo);
	nfs_op_restorefh(req->compound);
	nfs_op_getattr(req->compound, &req->share->want, &req->attr);
	fsop_send_once(req, fsop_carry_dir(req, link_done));
}

void fsop_link(fuse_req_t fuse, fuse_ino_t ino, fuse_ino_t parent, const char *name)
{
	struct fsop_request *req = fsop_begin(fuse, parent);
	if (!req)
		return;
	whole_add(req->share->whole, req->node, name);
	fsop_keep_name(req->u.make.name, name);
	req->target = node_find(req->share->nodes, ino);
	fsop_hold_names(req);
	if (req->target)
		fsop_settle(req, req->target, link_send);
	else
		fsop_reply_err(req, -ESTALE);
}
