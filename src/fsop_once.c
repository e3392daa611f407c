/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <time.h>

#include "fsop.h"
#include "takeover.h"

/* Part of a mark that is a client's own. */
#define MARK_TURN_NS 1000000

/*
 * Exactly once. A session's reply cache answers a request that is repeated after a cut. When
 * the session itself has gone, nobody but the directory can tell whether the request was executed,
 * so what makes, moves or removes a name is not repeated blindly (nfs_compound.once): the face
 * looks, and then either takes what it sees for the answer or sends the request again.
 *
 * mkdir, mknod, O_CREAT: the name is there. Ours if it carries the mark of this request, else
 * EEXIST (without O_EXCL: it is opened as any other). The mark is the access time that it was made
 * with, the guest's clock to the nanosecond, turned within its millisecond by a number of this
 * client's: no other client's has the same, nor a clone's, whatever its type, mode and owner.
 * EXCLUSIVE4_1 (RFC 8881, 18.16.3) does not serve better: servers keep its verifier in both times,
 * which another SETATTR must put right after the reply has come, at the price of a second round
 * trip (and another commit to the server's disk). An access time may stay, and CREATE, which has no
 * verifier, takes it too.
 *
 * symlink: ours if it is a symbolic link to the same target. No program could tell, and those which
 * make one as a lock put their own name into it.
 *
 * link: ours if the name is the object's.
 *
 * rename: done if the new name is the object's that the old one was when the kernel looked; or, of
 * what it knows by neither name, if there is nothing by the old one.
 *
 * unlink, rmdir: done if the name is gone, or is that of an object which the kernel has never seen:
 * somebody else has used it again.
 *
 * An extended attribute that is made: ours if it has the value; that is removed: done if it is
 * gone.
 *
 * O_APPEND: ours if what was written is found where it should be.
 *
 * In every other case the request is sent again, and its errors are true.
 *
 * The same goes for a request that the kernel sends again to a daemon that has taken over. An OPEN
 * is repeated there by the same owner, which leads to the same open.
 */

void fsop_send_once(struct fsop_request *req, void (*done)(struct nfs_compound *c))
{
	/* Another daemon had it under way when it died. */
	if (req->resent) {
		req->resent = false;
		req->compound->status = -EALREADY;
		req->compound->arg = req;
		done(req->compound);
		return;
	}
	/* WRITE does not, by itself: an append does. */
	req->compound->modifies = req->compound->once = true;
	fsop_send(req, done);
}

bool fsop_unsure(const struct nfs_compound *c)
{
	return c->status == -EALREADY;
}

static void look_done(struct nfs_compound *c)
{
	struct fsop_request *req = c->arg;
	int err = nfs_compound_errno(c);
	/* PUTFH, LOOKUP, GETFH, GETATTR: another than LOOKUP says ENOENT when it is removed now. */
	if (err == -ENOENT)
		req->fh.len = 0;
	else if (err) {
		fsop_reply_err(req, err);
		return;
	}
	req->looked(req);
}

void fsop_look(struct fsop_request *req, struct node *dir, const char *name,
	void (*looked)(struct fsop_request *req))
{
	if (!fsop_compound(req, OP_LOOKUP, dir))
		return;
	req->looked = looked;
	req->fh.len = 0;
	nfs_op_lookup(req->compound, name, strlen(name));
	nfs_op_getfh(req->compound, &req->fh);
	nfs_op_getattr(req->compound, &req->share->want, &req->attr);
	fsop_send(req, look_done);
}

bool fsop_found(const struct fsop_request *req, const struct node *node)
{
	struct nfs_fh fh;
	node_fh(node, &fh);
	return req->fh.len > 0 && nfs_fh_equal(&req->fh, &fh);
}

/* What another daemon has noted of the request. An open file that was to be its answer did not get
 * there: the kernel cannot name it. */
static const struct takeover_mark *mark_past(const struct fsop_request *req)
{
	const struct takeover_mark *past =
		req->resent ? takeover_find_mark(req->share, req->unique) : NULL;
	struct file *file = past && past->handle ? file_find(req->share, past->handle) : NULL;
	if (file)
		file_withdraw(file);
	return past;
}

/* Clones may read the same time. */
static void mark_make(struct timespec *mark, uint64_t salt)
{
	clock_gettime(CLOCK_REALTIME, mark);
	long within = mark->tv_nsec % MARK_TURN_NS;
	mark->tv_nsec += (within + (long)(salt % MARK_TURN_NS)) % MARK_TURN_NS - within;
}

void fsop_mark(struct fsop_request *req, struct nfs_setattr *set, uint64_t *owner)
{
	struct share *share = req->share;
	const struct takeover_mark *past = mark_past(req);
	bool marked = set && share->marks;
	struct timespec mark = {0};
	req->mark_salt = nfs_client_salt(share->client);
	if (past)
		mark = past->mark;
	else if (marked || share->keep)
		mark_make(&mark, req->mark_salt);
	if (marked) {
		set->set |= NFS_SET_ATIME;
		set->atime = mark;
	}
	if (owner)
		*owner = past && past->owner ? past->owner : nfs_client_owner(share->client);
	if (owner || marked)
		req->mark = takeover_put_mark(
			share, past ? past->record : 0, req->unique, &mark, owner ? *owner : 0);
}

void fsop_mark_done(struct fsop_request *req)
{
	struct timespec now = {0};
	if (!req->share->keep || req->mark)
		return;
	clock_gettime(CLOCK_REALTIME, &now);
	req->mark = takeover_put_mark(req->share, 0, req->unique, &now, 0);
}

bool fsop_marked_done(struct fsop_request *req)
{
	const struct takeover_mark *past = takeover_find_mark(req->share, req->unique);
	if (past)
		req->mark = past->record;
	return past != NULL;
}

/* File systems keep times in units of their own. */
static bool mark_kept(long made, long found)
{
	static const long units[] = {1, 100, 1000, 1000000, 1000000000};
	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++)
		if (found == made - made % units[i])
			return true;
	return false;
}

bool fsop_marked(const struct fsop_request *req, uint32_t type, const struct nfs_setattr *set)
{
	const struct nfs_attr *attr = &req->attr;
	/* What was under way when this guest was cloned is in the original's hands as well. */
	if (req->mark_salt != nfs_client_salt(req->share->client))
		return false;
	return req->fh.len > 0 && (set->set & NFS_SET_ATIME) && attr->type == type &&
	       nfs_bitmap_has(&attr->have, FATTR4_TIME_ACCESS) &&
	       attr->atime.tv_sec == set->atime.tv_sec &&
	       mark_kept(set->atime.tv_nsec, attr->atime.tv_nsec);
}

bool fsop_put_open_marked(struct fsop_request *req, uint32_t access, uint64_t owner)
{
	struct nfs_compound *c = fsop_compound_bare(req, OP_OPEN);
	if (!c)
		return false;
	const struct nfs_open_args args = {
		.access = access,
		.owner = owner,
		.how = NFS_OPEN_NOCREATE,
		.claim = NFS_CLAIM_FH,
	};
	/* Who makes a file may write it, whatever its mode; who opens it may not. */
	const struct nfs_setattr mode = {.set = NFS_SET_MODE, .mode = req->attr.mode};
	const struct nfs_setattr open_mode = {.set = NFS_SET_MODE, .mode = mode.mode | 0600};
	nfs_op_putfh(c, &req->fh);
	nfs_op_setattr(c, &nfs_stateid_anonymous, &open_mode, NULL);
	nfs_op_open(c, &args, &req->made);
	nfs_op_setattr(c, &nfs_stateid_anonymous, &mode, NULL);
	nfs_op_getattr(c, &req->share->want, &req->attr);
	return true;
}
