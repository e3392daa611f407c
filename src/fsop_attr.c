/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>

#include "fresh.h"
#include "fsop.h"
#include "moved.h"
#include "nfs41/idmap.h"
#include "owner.h"
#include "recall.h"
#include "referral.h"

/* What stdio and cp(1) take as a good unit: few round trips, without a megabyte per open FILE. */
#define FSOP_BLKSIZE (128 * 1024)

mode_t fsop_type_mode(uint32_t type)
{
	switch (type) {
	case NF4DIR: return S_IFDIR;
	case NF4BLK: return S_IFBLK;
	case NF4CHR: return S_IFCHR;
	case NF4LNK: return S_IFLNK;
	case NF4SOCK: return S_IFSOCK;
	case NF4FIFO: return S_IFIFO;
	default: return S_IFREG;
	}
}

bool fsop_attr_complete(const struct nfs_attr *attr)
{
	return nfs_bitmap_has(&attr->have, FATTR4_TYPE) &&
	       nfs_bitmap_has(&attr->have, FATTR4_CHANGE) &&
	       nfs_bitmap_has(&attr->have, FATTR4_SIZE) &&
	       nfs_bitmap_has(&attr->have, FATTR4_FSID) &&
	       nfs_bitmap_has(&attr->have, FATTR4_FILEID) &&
	       nfs_bitmap_has(&attr->have, FATTR4_MODE);
}

int fsop_attr_check(const struct node *node, const struct nfs_attr *attr)
{
	if (!fsop_attr_complete(attr))
		return -EIO;
	return fsop_type_mode(attr->type) == fsop_type_mode(node->type) ? 0 : -ESTALE;
}

void fsop_fill_stat(
	struct share *share, struct node *node, const struct nfs_attr *attr, struct stat *st)
{
	memset(st, 0, sizeof(*st));
	st->st_ino = node->ino;
	st->st_mode = fsop_type_mode(attr->type) | attr->mode;
	st->st_nlink = nfs_bitmap_has(&attr->have, FATTR4_NUMLINKS) ? attr->nlink : 1;
	if (st->st_nlink > 0 && node_is_silly(share->nodes, node))
		st->st_nlink--;
	st->st_uid = nfs_bitmap_has(&attr->have, FATTR4_OWNER) ? attr->uid : IDMAP_NOBODY;
	st->st_gid = nfs_bitmap_has(&attr->have, FATTR4_OWNER_GROUP) ? attr->gid : IDMAP_NOBODY;
	if (attr->type == NF4BLK || attr->type == NF4CHR)
		st->st_rdev = makedev(attr->rdev_major, attr->rdev_minor);
	st->st_size = attr->size > INT64_MAX ? INT64_MAX : (off_t)attr->size;
	st->st_blksize = FSOP_BLKSIZE;
	uint64_t used =
		nfs_bitmap_has(&attr->have, FATTR4_SPACE_USED) ? attr->space_used : attr->size;
	st->st_blocks = (blkcnt_t)(used / 512 + (used % 512 != 0));
	st->st_atim = attr->atime;
	st->st_mtim = attr->mtime;
	st->st_ctim = attr->ctime;
	owner_show(share, st);
}

double fsop_attr_timeout(struct share *share, struct node *node)
{
	const struct cache_policy *cache = &share->cache;
	bool dir = node->type == NF4DIR;
	/* Whoever comes to a referral shall be seen. */
	if (dir && moved_is_standin(node) && referral_is_on(share))
		return 0;
	uint32_t min = dir ? cache->dir_min_ms : cache->reg_min_ms;
	uint32_t max = dir ? cache->dir_max_ms : cache->reg_max_ms;
	if (max > 0 && node_is_delegated(share->nodes, node))
		min = max = max > RECALL_TRUST_MS ? max : RECALL_TRUST_MS;
	return node_hold_ms(share->nodes, node, min, max) / 1000.0;
}

void fsop_note_attr(struct share *share, struct node *node, const struct nfs_attr *attr)
{
	if (node_note_attr(share->nodes, node, attr) && !share->cache.always)
		notify_inval_inode(share->notify, node->id, NULL, NULL);
}

static void entry_fill(struct share *share, struct node *node, const struct nfs_attr *attr,
	struct fuse_entry_param *entry)
{
	memset(entry, 0, sizeof(*entry));
	entry->ino = node->id;
	fsop_fill_stat(share, node, attr, &entry->attr);
	entry->attr_timeout = fsop_attr_timeout(share, node);
	/* A name is as good as its directory's attributes are fresh. */
	entry->entry_timeout = share->cache.positive ? share->cache.dir_min_ms / 1000.0 : 0;
}

int fsop_fill_entry(struct share *share, const struct nfs_fh *fh, const struct nfs_attr *attr,
	uint64_t parent_id, const char *name, struct fuse_entry_param *entry)
{
	if (!fsop_attr_complete(attr) || fh->len == 0)
		return -EIO;
	struct node *node = node_get(share->nodes, fh, attr, true);
	if (!node)
		return -ENOMEM;
	node_set_name(share->nodes, node, parent_id, name, strlen(name));
	fsop_note_attr(share, node, attr);
	entry_fill(share, node, attr, entry);
	return 0;
}

int fsop_fill_listed(struct share *share, const struct nfs_attr *attr, uint64_t parent_id,
	const char *name, struct fuse_entry_param *entry)
{
	struct node_table *nodes = share->nodes;
	struct node *known = node_find_fh(nodes, &attr->fh);
	bool same = known && node_is_as(nodes, known, attr);
	struct node *node = same ? node_get(nodes, &attr->fh, attr, true) : NULL;
	node_unpin(nodes, known);
	if (!known)
		return fsop_fill_entry(share, &attr->fh, attr, parent_id, name, entry);
	if (!node)
		return same ? -ENOMEM : -ESTALE;
	node_set_name(nodes, node, parent_id, name, strlen(name));
	entry_fill(share, node, attr, entry);
	return 0;
}

bool fsop_attr_outdated(
	struct share *share, const struct nfs_fh *fh, const struct nfs_attr *attr, uint64_t since)
{
	const struct changes *changes = share->changes;
	struct node *node = node_find_fh(share->nodes, fh);
	bool outdated = node && behind_is_unsettled(node, since);
	node_unpin(share->nodes, node);
	return outdated || !changes_none(changes, changes_object(fh->data, fh->len), since) ||
	       (attr->type != NF4DIR && attr->nlink > 1 &&
		       !changes_none(changes, CHANGES_LINKS, since));
}

static void getattr_done(struct nfs_compound *c)
{
	struct fsop_request *req = c->arg;
	int err = nfs_compound_errno(c);
	if (!err)
		err = fsop_attr_check(req->node, &req->attr);
	if (err)
		fsop_reply_err(req, err);
	else
		fsop_reply_attr(req, &req->attr);
}

/* What came with OPEN, if nothing was changed here since. */
static bool getattr_fresh_file(struct fsop_request *req, double *left)
{
	struct share *share = req->share;
	struct node *node = req->node;
	uint64_t since, until, now = loop_clock();
	if (!fresh_get_file(share->fresh, node, &req->attr, &since, &until) || until <= now)
		return false;
	node_fh(node, &req->fh);
	*left = (double)(until - now) / 1e9;
	return node_is_as(share->nodes, node, &req->attr) &&
	       !fsop_attr_outdated(share, &req->fh, &req->attr, since) &&
	       changes_none(share->changes, node_name_mark(share->nodes, node), since);
}

/* Answered with what is known already? */
static bool getattr_fresh(struct fsop_request *req)
{
	struct stat st;
	double left;
	bool known = req->node->type == NF4DIR
			     ? fresh_get(req->share->fresh, req->node, &req->attr, &left)
			     : getattr_fresh_file(req, &left);
	if (!known)
		return false;
	fsop_fill_stat(req->share, req->node, &req->attr, &st);
	fuse_reply_attr(req->fuse, &st, left);
	fsop_end(req);
	return true;
}

static void getattr_send(struct fsop_request *req)
{
	if (!fsop_compound(req, OP_GETATTR, req->node))
		return;
	nfs_op_getattr(req->compound, &req->share->want, &req->attr);
	fsop_send(req, fsop_carry(req, getattr_done));
}

void fsop_getattr(fuse_req_t fuse, fuse_ino_t ino, struct fuse_file_info *fi)
{
	(void)fi;
	struct fsop_request *req = fsop_begin(fuse, ino);
	if (req && moved_is_standin(req->node)) {
		moved_standin_attr(&req->attr);
		fsop_reply_attr(req, &req->attr);
	} else if (req && !getattr_fresh(req)) {
		fsop_settle(req, req->node, getattr_send);
	}
}

static void setattr_send(struct fsop_request *req);

static void setattr_done(struct nfs_compound *c)
{
	struct fsop_request *req = c->arg;
	struct node_table *nodes = req->share->nodes;
	if (fsop_refused(req, setattr_send))
		return;
	if (req->node->type == NF4DIR)
		fresh_drop(req->share->fresh, req->node);
	/* A server that takes no numbers for owners. */
	if (c->status == NFS4ERR_BADOWNER && idmap_use_names()) {
		setattr_send(req);
		return;
	}
	int err = nfs_compound_errno(c);
	if (!err)
		err = fsop_attr_check(req->node, &req->attr);
	if (err) {
		node_note_unknown(nodes, req->node);
		fsop_reply_err(req, err);
		return;
	}
	node_note_write(nodes, req->node, req->before.change, &req->attr);
	if (req->u.setattr.set.set & (NFS_SET_MODE | NFS_SET_UID | NFS_SET_GID))
		recall_forget_access(req->share, req->node);
	behind_owner_changed(req->share->behind, req->cred, &req->u.setattr.set);
	fsop_reply_attr(req, &req->attr);
}

static void setattr_set(struct nfs_setattr *set, const struct stat *attr, int to_set)
{
	*set = (struct nfs_setattr){0};
	if (to_set & FUSE_SET_ATTR_MODE) {
		set->set |= NFS_SET_MODE;
		set->mode = attr->st_mode & 07777;
	}
	if (to_set & FUSE_SET_ATTR_UID) {
		set->set |= NFS_SET_UID;
		set->uid = attr->st_uid;
	}
	if (to_set & FUSE_SET_ATTR_GID) {
		set->set |= NFS_SET_GID;
		set->gid = attr->st_gid;
	}
	if (to_set & FUSE_SET_ATTR_SIZE) {
		set->set |= NFS_SET_SIZE;
		set->size = (uint64_t)attr->st_size;
	}
	if (to_set & FUSE_SET_ATTR_ATIME_NOW) {
		set->set |= NFS_SET_ATIME_NOW;
	} else if (to_set & FUSE_SET_ATTR_ATIME) {
		set->set |= NFS_SET_ATIME;
		set->atime = attr->st_atim;
	}
	if (to_set & FUSE_SET_ATTR_MTIME_NOW) {
		set->set |= NFS_SET_MTIME_NOW;
	} else if (to_set & FUSE_SET_ATTR_MTIME) {
		set->set |= NFS_SET_MTIME;
		set->mtime = attr->st_mtim;
	}
}

static void setattr_send(struct fsop_request *req)
{
	struct nfs_stateid stateid = nfs_stateid_anonymous;
	struct nfs_bitmap change = {0};
	const struct nfs_setattr *set = &req->u.setattr.set;
	/* ftruncate(2) is allowed by the open file, whatever its mode has become. */
	if (req->file && (set->set & NFS_SET_SIZE) &&
		(req->file->open->access & OPEN4_SHARE_ACCESS_WRITE)) {
		int err = fsop_use_open(req);
		if (err) {
			fsop_reply_err(req, err);
			return;
		}
		stateid = req->use.stateid;
	}
	if (!fsop_compound(req, OP_SETATTR, req->node))
		return;
	nfs_bitmap_set(&change, FATTR4_CHANGE);
	nfs_op_getattr(req->compound, &change, &req->before);
	if (set->set)
		nfs_op_setattr(req->compound, &stateid, set, NULL);
	nfs_op_getattr(req->compound, &req->share->want, &req->attr);
	fsop_send(req, fsop_carry(req, setattr_done));
}

static void setattr_committed(void *arg, int err)
{
	struct fsop_request *req = arg;
	if (err)
		fsop_reply_err(req, err);
	else
		setattr_send(req);
}

/* True: answered, it goes to the server with the file's data. */
static bool setattr_gather(struct fsop_request *req)
{
	struct nfs_attr attr;
	struct stat st;
	const struct behind_change change = {
		.pid = req->pid, .cred = req->cred, .set = &req->u.setattr.set};
	if (!behind_setattr(req->share->behind, req->node, &change, &attr))
		return false;
	fsop_fill_stat(req->share, req->node, &attr, &st);
	/* Who wants to know them has to ask. */
	fuse_reply_attr(req->fuse, &st, 0);
	fsop_end(req);
	return true;
}

void fsop_setattr(
	fuse_req_t fuse, fuse_ino_t ino, struct stat *attr, int to_set, struct fuse_file_info *fi)
{
	struct fsop_request *req = fsop_begin(fuse, ino);
	if (!req)
		return;
	struct file *file = fi ? file_find(req->share, fi->fh) : NULL;
	if (file)
		req->file = file_ref(file);
	setattr_set(&req->u.setattr.set, attr, to_set);
	int err = owner_settle(req->share, &req->u.setattr.set);
	if (err) {
		fsop_reply_err(req, err);
		return;
	}
	/* Data written before a truncation must not come back after it, should it be rewritten. */
	if (to_set & FUSE_SET_ATTR_SIZE) {
		behind_changes(req->share->behind, req->node);
		fsop_commit(req, setattr_committed);
	} else if (!setattr_gather(req)) {
		fsop_settle(req, req->node, setattr_send);
	}
}

static void access_done(struct nfs_compound *c)
{
	struct fsop_request *req = c->arg;
	int err = nfs_compound_errno(c);
	uint32_t granted = req->u.access.res.granted;
	int mask = req->u.access.mask;
	bool dir = req->node->type == NF4DIR;
	uint32_t write = dir ? ACCESS4_MODIFY | ACCESS4_EXTEND | ACCESS4_DELETE
			     : ACCESS4_MODIFY | ACCESS4_EXTEND;
	uint32_t execute = dir ? ACCESS4_LOOKUP : ACCESS4_EXECUTE;
	if (!err && (((mask & R_OK) && !(granted & ACCESS4_READ)) ||
			    ((mask & W_OK) && !(granted & write)) ||
			    ((mask & X_OK) && !(granted & execute))))
		err = -EACCES;
	fsop_reply_err(req, err);
}

void fsop_access(fuse_req_t fuse, fuse_ino_t ino, int mask)
{
	struct fsop_request *req = fsop_begin(fuse, ino);
	if (req && moved_is_standin(req->node)) {
		fsop_reply_err(req, mask & W_OK ? -EACCES : 0);
		return;
	}
	if (!req || !fsop_compound(req, OP_ACCESS, req->node))
		return;
	req->u.access.mask = mask;
	nfs_op_access(req->compound,
		ACCESS4_READ | ACCESS4_LOOKUP | ACCESS4_MODIFY | ACCESS4_EXTEND | ACCESS4_DELETE |
			ACCESS4_EXECUTE,
		&req->u.access.res);
	fsop_send(req, access_done);
}

static void readlink_done(struct nfs_compound *c)
{
	struct fsop_request *req = c->arg;
	const struct nfs_readlink_res *res = &req->u.readlink.res;
	int err = nfs_compound_errno(c);
	/* No symlink is empty: the kernel would go on from the directory that it is in. One with a
	 * NUL would lead elsewhere than it says. */
	if (!err && (res->len == 0 || strlen(res->target) != res->len))
		err = -EIO;
	if (err) {
		fsop_reply_err(req, err);
		return;
	}
	if (req->fuse)
		fuse_reply_readlink(req->fuse, req->u.readlink.target);
	fsop_end(req);
}

void fsop_readlink(fuse_req_t fuse, fuse_ino_t ino)
{
	struct fsop_request *req = fsop_begin(fuse, ino);
	if (!req || !fsop_compound(req, OP_READLINK, req->node))
		return;
	req->u.readlink.res.target = req->u.readlink.target;
	req->u.readlink.res.cap = sizeof(req->u.readlink.target);
	nfs_op_readlink(req->compound, &req->u.readlink.res);
	fsop_send(req, readlink_done);
}

static void statfs_limit(uint64_t *space, uint64_t limit)
{
	if (*space > limit)
		*space = limit;
}

/* What a quota leaves of it to whoever asks: the hard limit is where writing ends. */
static void statfs_quota(struct nfs_fsattr *fs)
{
	bool hard = nfs_bitmap_has(&fs->have, FATTR4_QUOTA_AVAIL_HARD);
	uint64_t avail = hard ? fs->quota_avail_hard : fs->quota_avail_soft, used = fs->quota_used;
	if (!hard && !nfs_bitmap_has(&fs->have, FATTR4_QUOTA_AVAIL_SOFT))
		return;
	statfs_limit(&fs->space_avail, avail);
	statfs_limit(&fs->space_free, avail);
	if (nfs_bitmap_has(&fs->have, FATTR4_QUOTA_USED))
		statfs_limit(
			&fs->space_total, avail < UINT64_MAX - used ? avail + used : UINT64_MAX);
}

static void statfs_done(struct nfs_compound *c)
{
	struct fsop_request *req = c->arg;
	struct nfs_fsattr *fs = &req->u.statfs.fs;
	int err = nfs_compound_errno(c);
	if (err) {
		fsop_reply_err(req, err);
		return;
	}
	statfs_quota(fs);
	/* Servers may claim more than fsop_lookup lets through. */
	uint32_t maxname = NFS4_NAME_MAX;
	if (nfs_bitmap_has(&fs->have, FATTR4_MAXNAME) && fs->maxname < maxname)
		maxname = fs->maxname;
	struct statvfs st = {
		.f_bsize = FSOP_BLKSIZE,
		.f_frsize = 4096,
		.f_namemax = maxname,
		.f_files = fs->files_total,
		.f_ffree = fs->files_free,
		.f_favail = fs->files_avail,
	};
	st.f_blocks = fs->space_total / st.f_frsize;
	st.f_bfree = fs->space_free / st.f_frsize;
	st.f_bavail = fs->space_avail / st.f_frsize;
	if (req->fuse)
		fuse_reply_statfs(req->fuse, &st);
	fsop_end(req);
}

void fsop_statfs(fuse_req_t fuse, fuse_ino_t ino)
{
	static const unsigned wanted[] = {FATTR4_SPACE_AVAIL, FATTR4_SPACE_FREE, FATTR4_SPACE_TOTAL,
		FATTR4_FILES_AVAIL, FATTR4_FILES_FREE, FATTR4_FILES_TOTAL, FATTR4_MAXNAME,
		FATTR4_QUOTA_AVAIL_HARD, FATTR4_QUOTA_AVAIL_SOFT, FATTR4_QUOTA_USED};
	struct fsop_request *req = fsop_begin(fuse, ino);
	if (!req || !fsop_compound(req, OP_GETATTR, req->node))
		return;
	struct nfs_bitmap want = {0};
	for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++)
		nfs_bitmap_set(&want, wanted[i]);
	memset(&req->u.statfs.fs, 0, sizeof(req->u.statfs.fs));
	nfs_op_getfsattr(req->compound, &want, &req->u.statfs.fs);
	fsop_send(req, statfs_done);
}
