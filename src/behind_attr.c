/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <stdlib.h>
#include <time.h>

#include "behind_priv.h"
#include "rpc/cred.h"
#include "share.h"

/* Changes of mode, owner and times that wait with a new file's data. */

static struct file *node_maker(const struct node *node)
{
	const struct node_file *file = atomic_load(&node->file);
	return file ? file->maker : NULL;
}

void behind_made(
	struct behind_pool *pool, struct file *file, pid_t pid, const struct nfs_attr *attr)
{
	struct file_made *made = behind_wants(pool, file) ? malloc(sizeof(*made)) : NULL;
	if (!made)
		return;
	struct behind_shard *shard = behind_shard(pool, file->node);
	*made = (struct file_made){.pid = pid, .attr = *attr};
	pthread_mutex_lock(&shard->mutex);
	bool first = !file->node->file->maker;
	if (first) {
		file->made = made;
		file->node->file->maker = file;
	}
	pthread_mutex_unlock(&shard->mutex);
	if (!first)
		free(made);
}

void behind_unmake(struct node *node)
{
	struct file *file = node_maker(node);
	if (!file)
		return;
	free(file->made);
	file->made = NULL;
	node->file->maker = NULL;
}

void behind_forget_made(struct behind_pool *pool, struct file *file)
{
	struct behind_shard *shard = behind_shard(pool, file->node);
	pthread_mutex_lock(&shard->mutex);
	if (file->made)
		behind_unmake(file->node);
	pthread_mutex_unlock(&shard->mutex);
}

void behind_changes(struct behind_pool *pool, struct node *node)
{
	struct behind_shard *shard = behind_shard(pool, node);
	pthread_mutex_lock(&shard->mutex);
	behind_unmake(node);
	pthread_mutex_unlock(&shard->mutex);
}

static bool owner_equal(const struct behind_owner *a, const struct behind_owner *b)
{
	return a->caller == b->caller && a->set == b->set && a->uid == b->uid && a->gid == b->gid;
}

static struct behind_owner owner_of(const struct rpc_cred *cred, const struct nfs_setattr *set)
{
	return (struct behind_owner){.caller = rpc_cred_uid(cred),
		.set = set->set & (NFS_SET_UID | NFS_SET_GID),
		.uid = set->set & NFS_SET_UID ? set->uid : 0,
		.gid = set->set & NFS_SET_GID ? set->gid : 0};
}

/* Under the pool's mutex. */
static bool owner_is_noted(const struct behind_pool *pool, const struct behind_owner *owner)
{
	for (unsigned i = 0; i < BEHIND_OWNERS && i < pool->nowners; i++)
		if (owner_equal(&pool->owners[i], owner))
			return true;
	return false;
}

static bool owner_is_known(struct behind_pool *pool, const struct behind_owner *owner)
{
	pthread_mutex_lock(&pool->mutex);
	bool known = owner_is_noted(pool, owner);
	pthread_mutex_unlock(&pool->mutex);
	return known;
}

void behind_owner_changed(
	struct behind_pool *pool, const struct rpc_cred *cred, const struct nfs_setattr *set)
{
	const struct behind_owner owner = owner_of(cred, set);
	if (owner.set == 0)
		return;
	pthread_mutex_lock(&pool->mutex);
	if (!owner_is_noted(pool, &owner))
		pool->owners[pool->nowners++ % BEHIND_OWNERS] = owner;
	pthread_mutex_unlock(&pool->mutex);
}

/*
 * Under the shard's mutex: may it wait? The times must be given, since the server's clock would be
 * read later. A change of the owner takes away what a change of the mode before it gave
 * (set-user-id), so it does not follow one.
 */
static bool setattr_may_wait(struct behind_pool *pool, const struct behind *behind,
	const struct file *file, const struct behind_change *change)
{
	const unsigned may =
		NFS_SET_MODE | NFS_SET_UID | NFS_SET_GID | NFS_SET_ATIME | NFS_SET_MTIME;
	const struct nfs_setattr *set = change->set;
	const struct behind_owner owner = owner_of(change->cred, set);
	if (set->set == 0 || (set->set & ~may) || (file->flags & O_APPEND) || change->pid == 0 ||
		file->made->pid != change->pid ||
		rpc_cred_uid(change->cred) != rpc_cred_uid(file->open->cred))
		return false;
	if (node_behind(file->node) && (!behind || behind->file != file))
		return false;
	if (owner.set == 0)
		return true;
	bool after_mode = (behind && (behind->others.set & NFS_SET_MODE)) ||
			  (set->set & NFS_SET_MODE) || (file->made->attr.mode & 06000);
	return !after_mode && owner_is_known(pool, &owner);
}

static void setattr_put(struct behind *behind, const struct nfs_setattr *set)
{
	struct nfs_setattr *owner = &behind->owner, *others = &behind->others;
	owner->set |= set->set & (NFS_SET_UID | NFS_SET_GID);
	others->set |= set->set & (NFS_SET_MODE | NFS_SET_ATIME | NFS_SET_MTIME);
	if (set->set & NFS_SET_UID)
		owner->uid = set->uid;
	if (set->set & NFS_SET_GID)
		owner->gid = set->gid;
	if (set->set & NFS_SET_MODE)
		others->mode = set->mode;
	if (set->set & NFS_SET_ATIME)
		others->atime = set->atime;
	if (set->set & NFS_SET_MTIME)
		others->mtime = set->mtime;
}

/* What the file's attributes will be. */
static void setattr_foresee(const struct behind *behind, struct nfs_attr *attr)
{
	const struct nfs_setattr *owner = &behind->owner, *others = &behind->others;
	if (behind->offset + behind->len > attr->size)
		attr->size = attr->space_used = behind->offset + behind->len;
	clock_gettime(CLOCK_REALTIME, &attr->ctime);
	if (others->set & NFS_SET_MTIME)
		attr->mtime = others->mtime;
	else if (behind->len > 0)
		attr->mtime = attr->ctime;
	if (others->set & NFS_SET_ATIME)
		attr->atime = others->atime;
	if (others->set & NFS_SET_MODE)
		attr->mode = others->mode;
	if (owner->set & NFS_SET_UID)
		attr->uid = owner->uid;
	if (owner->set & NFS_SET_GID)
		attr->gid = owner->gid;
}

bool behind_setattr(struct behind_pool *pool, struct node *node, const struct behind_change *change,
	struct nfs_attr *attr)
{
	struct behind_shard *shard = behind_shard(pool, node);
	bool taken = false;
	pthread_mutex_lock(&shard->mutex);
	struct behind *behind = behind_open_end(node);
	struct file *file = node_maker(node);
	if (file && !pool->stopped && setattr_may_wait(pool, behind, file, change)) {
		if (!behind)
			behind = behind_begin(pool, file);
		if (behind) {
			setattr_put(behind, change->set);
			*attr = file->made->attr;
			setattr_foresee(behind, attr);
			taken = true;
		}
	}
	if (!taken)
		behind_unmake(node);
	pthread_mutex_unlock(&shard->mutex);
	return taken;
}
