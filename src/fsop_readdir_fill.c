/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <linux/fuse.h>
#include <string.h>

#include "fresh.h"
#include "fsop_dir.h"
#include "siblings.h"
#include "upcoming.h"

/* The entries of a block as the kernel wants them, and what they tell who remembers directories. */

/* d_ino of what the server does not number, as FUSE_UNKNOWN_INO of libfuse. */
#define DIR_UNKNOWN_INO UINT64_C(0xffffffff)

void fsop_dir_fill_forget(const struct fsop_dir_fill *fill)
{
	size_t at = 0;
	while (at + FUSE_NAME_OFFSET_DIRENTPLUS <= fill->len) {
		struct fuse_direntplus entry;
		memcpy(&entry, fill->buf->data + at, FUSE_NAME_OFFSET_DIRENTPLUS);
		if (entry.entry_out.nodeid != 0)
			node_forget(fill->req->share->nodes, entry.entry_out.nodeid, 1);
		at += FUSE_DIRENTPLUS_SIZE(&entry);
	}
}

/* Adds one entry; false when there is no room for it. */
static bool fill_add(struct fsop_dir_fill *fill, const char *name, struct fuse_entry_param *entry,
	uint64_t offset)
{
	fuse_req_t fuse = fill->req->fuse;
	char *at = (char *)fill->buf->data + fill->len;
	size_t left = fill->size - fill->len;
	size_t need =
		fill->req->u.readdir.plus
			? fuse_add_direntry_plus(fuse, at, left, name, entry, (off_t)offset)
			: fuse_add_direntry(fuse, at, left, name, &entry->attr, (off_t)offset);
	if (need > left)
		return false;
	fill->len += need;
	return true;
}

static bool fill_dots(struct fsop_dir_fill *fill, uint64_t *offset)
{
	struct share *share = fill->req->share;
	struct node *node = fill->req->node;
	struct fuse_entry_param entry = {.attr.st_mode = S_IFDIR, .attr.st_ino = node->ino};
	if (*offset == 0) {
		upcoming_begin(share->upcoming, node->id);
		if (!fill_add(fill, ".", &entry, DIR_AFTER_DOT))
			return false;
		*offset = DIR_AFTER_DOT;
	}
	if (*offset == DIR_AFTER_DOT) {
		entry.attr.st_ino = node_parent_ino(share->nodes, node);
		if (!fill_add(fill, "..", &entry, DIR_AFTER_DOTDOT))
			return false;
		*offset = DIR_AFTER_DOTDOT;
	}
	return true;
}

/* Who reads a directory may look into what is there next. */
static void fill_tell(const struct fsop_dir_fill *fill, const struct nfs_dirent *dirent,
	const struct fuse_entry_param *entry)
{
	struct share *share = fill->req->share;
	const struct nfs_attr *attr = &dirent->attr;
	uint64_t dir_id = fill->req->node->id;
	const struct upcoming_name name = {.id = entry->ino,
		.ino = entry->attr.st_ino,
		.name = dirent->name,
		.len = dirent->name_len};
	if (attr->type == NF4DIR && attr->fh.len > 0)
		siblings_add(share->siblings, dir_id, &attr->fh);
	if (attr->type == NF4REG && entry->ino != 0 && attr->size > 0 &&
		attr->size <= AHEAD_FILE_MAX)
		upcoming_add(share->upcoming, dir_id, &name);
}

/* Once a program reads the directory that this is, the kernel asks for them again. */
static void fill_keep(struct share *share, const struct fuse_entry_param *entry,
	const struct nfs_attr *attr, uint64_t fetched_at)
{
	struct node *node = attr->type == NF4DIR ? node_find(share->nodes, entry->ino) : NULL;
	if (node && fsop_attr_check(node, attr) == 0)
		fresh_put_listed(share->fresh, node, attr, fetched_at);
	node_unpin(share->nodes, node);
}

static bool fill_entry(struct fsop_dir_fill *fill, const struct nfs_dirent *dirent)
{
	struct share *share = fill->req->share;
	const struct nfs_attr *attr = &dirent->attr;
	struct node *dir = fill->req->node;
	struct fuse_entry_param entry = {0};
	char name[FSOP_NAME_MAX];
	memcpy(name, dirent->name, dirent->name_len);
	name[dirent->name_len] = '\0';
	/* Without a handle (an object that could not be read, say) it is a name only. */
	uint64_t fetched_at = fill->req->u.readdir.dir->fetched_at;
	if (fill->req->u.readdir.plus && !fsop_attr_outdated(share, &attr->fh, attr, fetched_at) &&
		fsop_fill_entry(share, &attr->fh, attr, dir->id, name, &entry) == 0)
		fill_keep(share, &entry, attr, fetched_at);
	/* A directory names what a mount on the server covers by the number underneath it. What has
	 * an error instead of attributes (the server could not reach whom it is delegated to in
	 * time) is there all the same, and programs take the number 0 for a gap. */
	bool covered = nfs_bitmap_has(&attr->have, FATTR4_MOUNTED_ON_FILEID);
	bool known = covered || nfs_bitmap_has(&attr->have, FATTR4_FILEID);
	entry.attr.st_ino = known ? node_ino(share->nodes, dir,
					    covered ? attr->mounted_on_fileid : attr->fileid)
				  : DIR_UNKNOWN_INO;
	if (entry.ino == 0 && nfs_bitmap_has(&attr->have, FATTR4_TYPE))
		entry.attr.st_mode = fsop_type_mode(attr->type);
	if (fill_add(fill, name, &entry, dirent->cookie)) {
		fill_tell(fill, dirent, &entry);
		return true;
	}
	if (entry.ino != 0)
		node_forget(share->nodes, entry.ino, 1);
	return false;
}

bool fsop_dir_fill(struct fsop_dir_fill *fill)
{
	struct fsop_dir *dir = fill->req->u.readdir.dir;
	uint64_t offset = fill->req->u.readdir.offset;
	struct nfs_dirent dirent;
	size_t pos = dir->pos;
	if (!fill_dots(fill, &offset))
		return false;
	while (nfs_dir_next(&dir->res, &pos, &dirent)) {
		if (!fill_entry(fill, &dirent))
			return false;
		dir->pos = pos;
		dir->next = dirent.cookie;
	}
	return true;
}
