/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fresh.h"
#include "fsop_dir.h"
#include "listing.h"
#include "siblings.h"

/* Reading directories: their blocks, from the server. */

/* Blocks without a usable name, after which the server is not believed to come to an end. */
#define DIR_SKIP_MAX 16
/* How often one block is asked for while its entries vanish. */
#define DIR_VANISHED_MAX 100

static void readdir_fetch(struct fsop_request *req, uint64_t cookie);

/* Before the answer: the next request may come on another worker at once. */
static void readdir_leave(struct fsop_request *req)
{
	struct fsop_dir *dir = req->u.readdir.dir;
	atomic_store(&dir->busy, false);
	fsop_dir_unref(dir);
}

static void readdir_fail(struct fsop_request *req, int err)
{
	readdir_leave(req);
	fsop_reply_err(req, err);
}

static uint64_t readdir_start(const struct fsop_request *req)
{
	uint64_t offset = req->u.readdir.offset;
	return offset < DIR_AFTER_DOTDOT ? DIR_AFTER_DOTDOT : offset;
}

/* Passes over a block of which no name, or no name that a program may see, is left. */
static void readdir_skip(struct fsop_request *req)
{
	if (++req->u.readdir.skipped > DIR_SKIP_MAX)
		readdir_fail(req, -EIO);
	else
		readdir_fetch(req, req->u.readdir.dir->res.last_cookie);
}

/* seekdir(3): has the block at hand what is behind the cookie? Then it goes on there. */
static bool readdir_seek(struct fsop_dir *dir, uint64_t cookie)
{
	struct nfs_dirent dirent;
	size_t pos = 0;
	bool there = cookie == dir->first;
	while (!there && nfs_dir_next(&dir->res, &pos, &dirent))
		there = dirent.cookie == cookie;
	if (there) {
		dir->pos = pos;
		dir->next = cookie;
	}
	return there;
}

/* From where the last answer ended, or from elsewhere in the block while it is young. Otherwise the
 * next block is as large as suits what is being done. */
static bool readdir_has(const struct fsop_request *req, uint64_t cookie)
{
	struct fsop_dir *dir = req->u.readdir.dir;
	uint64_t trust_ns = req->share->cache.dir_min_ms * UINT64_C(1000000);
	if (!dir->valid)
		return false;
	if (cookie == dir->next)
		return true;
	if (readdir_seek(dir, cookie))
		return loop_clock() - dir->fetched_at < trust_ns;
	dir->block = DIR_BLOCK_FIRST;
	return false;
}

/* Answers from the block at hand, or fetches the next one when it has nothing left. */
static void readdir_serve(struct fsop_request *req)
{
	struct fsop_dir *dir = req->u.readdir.dir;
	if (!req->fuse) {
		readdir_fail(req, -EINTR);
		return;
	}
	if (!readdir_has(req, readdir_start(req))) {
		readdir_fetch(req, readdir_start(req));
		return;
	}
	struct fsop_dir_fill fill = {
		.req = req, .buf = buf_get(req->share->bufs), .size = req->u.readdir.size};
	if (!fill.buf) {
		readdir_fail(req, -ENOMEM);
		return;
	}
	if (fill.size > fill.buf->size)
		fill.size = fill.buf->size;
	bool room = fsop_dir_fill(&fill);
	if (fill.len == 0 && room && !dir->res.eof) {
		buf_unref(fill.buf);
		readdir_skip(req);
		return;
	}
	readdir_leave(req);
	if (fuse_reply_buf(req->fuse, (const char *)fill.buf->data, fill.len) != 0 &&
		req->u.readdir.plus)
		fsop_dir_fill_forget(&fill);
	buf_unref(fill.buf);
	fsop_end(req);
}

/* A directory that is read from its beginning to its end is known whole; `held`: all in one block,
 * under a delegation. */
static void readdir_note_names(struct fsop_request *req, bool held)
{
	struct fsop_dir *dir = req->u.readdir.dir;
	struct nfs_dirent dirent;
	size_t pos = 0;
	while ((dir->names || dir->began_at) && nfs_dir_next(&dir->res, &pos, &dirent)) {
		if (dir->names && !whole_read_name(dir->names, dirent.name, dirent.name_len))
			dir->names = NULL;
		/* The kernel forgets their attributes when it reads them, and gets those of all
		 * back when this one is read again. */
		if (dirent.attr.type == NF4DIR)
			dir->began_at = 0;
	}
	if (dir->names && dir->res.eof) {
		whole_read_end(req->share->whole, req->node, dir->names, held);
		dir->names = NULL;
	}
	if (dir->began_at && dir->res.eof)
		node_note_listed(req->share->nodes, req->node, dir->began_at);
	dir->names_next = dir->res.last_cookie;
}

/* Before a block is asked for: does it go on where the last one ended? */
static void readdir_begin_names(struct fsop_request *req, uint64_t cookie)
{
	struct fsop_dir *dir = req->u.readdir.dir;
	if (cookie == DIR_AFTER_DOTDOT)
		dir->began_at = dir->fetched_at;
	else if (cookie != dir->names_next)
		dir->began_at = 0;
	if (dir->names && cookie == dir->names_next)
		return;
	whole_reading_free(dir->names);
	dir->names = cookie == DIR_AFTER_DOTDOT
			     ? whole_read_begin(req->share->whole, req->node, dir->fetched_at)
			     : NULL;
}

/* Reading has moved the access time, so the kernel asks for the attributes again. */
static void readdir_note_attr(struct fsop_request *req)
{
	if (fsop_attr_check(req->node, &req->dir) != 0)
		return;
	fsop_note_attr(req->share, req->node, &req->dir);
	fresh_put(req->share->fresh, req->node, &req->dir, req->u.readdir.dir->fetched_at);
}

/* The first block was asked for; names that are kept for longer are there before a delegation is on
 * record. True: once more. */
static bool readdir_began(struct fsop_request *req, struct nfs_compound *c)
{
	struct share *share = req->share;
	struct fsop_dir *dir = req->u.readdir.dir;
	struct dirhold *hold = &req->u.readdir.hold;
	bool again = dirhold_unload(share, req->node, hold, c);
	siblings_unload(share->siblings, req->u.readdir.along, c);
	if (c->status == 0) {
		bool held = dirhold_covers(hold) && dir->res.eof;
		struct nfs_fh fh;
		node_fh(req->node, &fh);
		readdir_note_attr(req);
		readdir_note_names(req, held);
		if (req->u.readdir.plus && dir->res.eof)
			listing_keep_read(share->listing, &fh, &dir->res, dir->fetched_at, held);
	}
	dirhold_end(share, req->node, req->cred, hold);
	return again;
}

static void readdir_done(struct nfs_compound *c)
{
	struct fsop_request *req = c->arg;
	struct fsop_dir *dir = req->u.readdir.dir;
	static const uint8_t none[NFS4_VERIFIER_SIZE];
	bool first = req->u.readdir.cookie == DIR_AFTER_DOTDOT;
	if (first && readdir_began(req, c)) {
		readdir_fetch(req, req->u.readdir.cookie);
		return;
	}
	if (c->status == NFS4ERR_NOT_SAME && memcmp(dir->res.verifier, none, sizeof(none)) != 0) {
		/* The directory was rebuilt; its cookies may still be good without the verifier. */
		memcpy(dir->res.verifier, none, sizeof(none));
		readdir_fetch(req, req->u.readdir.cookie);
		return;
	}
	/*
	 * An entry was removed while the server read the directory (nfs-ganesha says so). ENOENT
	 * would be the directory's end to readdir(3), and names would be missing without an error.
	 */
	if (c->status == NFS4ERR_NOENT && ++req->u.readdir.vanished < DIR_VANISHED_MAX) {
		readdir_fetch(req, req->u.readdir.cookie);
		return;
	}
	int err = c->status == NFS4ERR_NOENT ? -EIO : nfs_compound_errno(c);
	if (err) {
		readdir_fail(req, err);
		return;
	}
	if (!first)
		readdir_note_names(req, false);
	dir->valid = true;
	dir->pos = 0;
	dir->first = dir->next = readdir_start(req);
	readdir_serve(req);
}

static void readdir_want(const struct fsop_request *req, struct nfs_bitmap *want)
{
	*want = (struct nfs_bitmap){0};
	if (req->u.readdir.plus) {
		*want = req->share->want;
		nfs_bitmap_set(want, FATTR4_FILEHANDLE);
	}
	nfs_bitmap_set(want, FATTR4_TYPE);
	nfs_bitmap_set(want, FATTR4_RDATTR_ERROR);
	nfs_bitmap_set(want, FATTR4_FILEID);
	nfs_bitmap_set(want, FATTR4_MOUNTED_ON_FILEID);
}

/* Takes the directory as it was read for a LOOKUP, if it was. */
static bool readdir_listed(struct fsop_request *req, uint64_t cookie)
{
	struct fsop_dir *dir = req->u.readdir.dir;
	struct nfs_fh fh;
	node_fh(req->node, &fh);
	if (cookie != DIR_AFTER_DOTDOT ||
		!listing_copy(req->share->listing, &fh, &dir->res, &dir->fetched_at))
		return false;
	dir->began_at = dir->fetched_at;
	whole_read_since(dir->names, dir->fetched_at);
	readdir_note_names(req, false);
	dir->valid = true;
	dir->pos = 0;
	dir->first = dir->next = cookie;
	return true;
}

/* Room for a block. 0 or -ENOMEM. */
static int readdir_reserve(struct fsop_dir *dir, uint32_t block)
{
	if (dir->res.cap >= block)
		return 0;
	uint8_t *data = realloc(dir->res.data, block);
	if (!data)
		return -ENOMEM;
	dir->res.data = data;
	dir->res.cap = block;
	return 0;
}

/* The directory's attributes, and its siblings, come with the first block. */
static void readdir_put(struct fsop_request *req, uint64_t cookie, uint32_t block)
{
	struct fsop_dir *dir = req->u.readdir.dir;
	struct share *share = req->share;
	uint8_t verifier[NFS4_VERIFIER_SIZE] = {0};
	struct nfs_bitmap want;
	struct nfs_fh fh;
	node_fh(req->node, &fh);
	nfs_op_putfh(req->compound, &fh);
	readdir_want(req, &want);
	if (cookie == DIR_AFTER_DOTDOT)
		cookie = 0;
	if (cookie != 0) {
		memcpy(verifier, dir->res.verifier, sizeof(verifier));
		nfs_op_readdir(req->compound, cookie, verifier, block, block, &want, &dir->res);
		return;
	}
	dirhold_begin(share, req->node, req->cred, req->compound, &req->u.readdir.hold);
	nfs_op_readdir(req->compound, cookie, verifier, block, block, &want, &dir->res);
	req->dir.have = (struct nfs_bitmap){0};
	nfs_op_getattr(req->compound, &share->want, &req->dir);
	req->u.readdir.along = siblings_load(share->siblings, req->node, req->compound, block);
	dirhold_finish(share, req->node, req->cred, req->compound, &req->u.readdir.hold);
}

/* Asks for the block behind `cookie`. */
static void readdir_fetch(struct fsop_request *req, uint64_t cookie)
{
	struct fsop_dir *dir = req->u.readdir.dir;
	uint32_t most = req->share->rsize;
	uint32_t block = dir->block < most ? dir->block : most;
	dir->valid = false;
	dir->fetched_at = loop_clock();
	int err = readdir_reserve(dir, block);
	if (err) {
		readdir_fail(req, err);
		return;
	}
	readdir_begin_names(req, cookie);
	if (cookie == DIR_AFTER_DOTDOT)
		siblings_begin(req->share->siblings, req->node->id);
	if (readdir_listed(req, cookie)) {
		readdir_serve(req);
		return;
	}
	if (dir->block < most)
		dir->block *= 2;
	nfs_compound_free(req->compound);
	req->compound = nfs_compound_new(req->worker->conn, req->cred, OP_READDIR);
	if (!req->compound) {
		readdir_fail(req, -ENOMEM);
		return;
	}
	req->u.readdir.cookie = cookie;
	readdir_put(req, cookie, block);
	fsop_send(req, readdir_done);
}

static void readdir_begin(fuse_req_t fuse, fuse_ino_t ino, size_t size, off_t offset,
	struct fuse_file_info *fi, bool plus)
{
	struct fsop_request *req = fsop_begin(fuse, ino);
	if (!req)
		return;
	struct fsop_dir *dir = fsop_dir_find(req->share, fi->fh);
	if (!dir || atomic_exchange(&dir->busy, true)) {
		fsop_reply_err(req, dir ? -EBUSY : -EBADF);
		return;
	}
	atomic_fetch_add(&dir->refs, 1);
	req->u.readdir.dir = dir;
	req->u.readdir.offset = (uint64_t)offset;
	req->u.readdir.size = size;
	req->u.readdir.plus = plus;
	req->u.readdir.skipped = req->u.readdir.vanished = 0;
	/* rewinddir(3) wants to see what has changed. */
	if (offset == 0)
		dir->valid = false;
	readdir_serve(req);
}

void fsop_readdir(
	fuse_req_t fuse, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi)
{
	readdir_begin(fuse, ino, size, offset, fi, false);
}

void fsop_readdirplus(
	fuse_req_t fuse, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi)
{
	readdir_begin(fuse, ino, size, offset, fi, true);
}
