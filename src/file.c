/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "file.h"

#include <errno.h>
#include <stdlib.h>

#include "ahead.h"
#include "behind.h"
#include "closing.h"
#include "handle.h"
#include "lead.h"
#include "nfs41/op.h"
#include "share.h"
#include "takeover.h"

/* Lock-owners of one open that are looked after when the mount ends. */
#define FILE_UNLOCKS_MAX 8

struct file *file_new(struct share *share, struct node *node, struct nfs_open *open_take, int flags)
{
	struct file *file = calloc(1, sizeof(*file));
	if (!file || node_opened(share->nodes, node)) {
		free(file);
		file_close(share, open_take);
		return NULL;
	}
	file->open = open_take;
	file->share = share;
	file->node = node_pin(node);
	file->flags = flags;
	file->errors_seen = node_error_mark(share->nodes, node);
	atomic_init(&file->refs, 1);
	return file;
}

struct file *file_ref(struct file *file)
{
	atomic_fetch_add_explicit(&file->refs, 1, memory_order_relaxed);
	return file;
}

int file_publish(struct file *file, uint64_t *fh)
{
	file->handle = handle_new(file->share->files, file);
	if (!file->handle)
		return -ENOMEM;
	file->record = takeover_put_file(file->share, file);
	file_ref(file);
	*fh = file->handle;
	return 0;
}

int file_restore(struct share *share, struct node *node, const struct file_past *past)
{
	struct file *file = calloc(1, sizeof(*file));
	if (!file)
		return -ENOMEM;
	*file = (struct file){.share = share,
		.open = past->open,
		.flags = past->flags,
		.errors_seen = past->errors_seen,
		.handle = past->handle,
		.record = past->record};
	atomic_init(&file->refs, 1);
	int err = node_need_file(share->nodes, node);
	if (!err)
		err = handle_restore(share->files, past->handle, file);
	if (err) {
		free(file);
		return err;
	}
	file->node = node_pin(node);
	node_opened(share->nodes, node);
	return 0;
}

void file_drop_caches(struct share *share)
{
	size_t count;
	uint64_t *ids = node_open_ids(share->nodes, &count);
	for (size_t i = 0; i < count; i++)
		notify_inval_inode(share->notify, ids[i], NULL, NULL);
	free(ids);
}

struct file *file_find(const struct share *share, uint64_t fh)
{
	return handle_find(share->files, fh);
}

void file_forget_record(struct file *file)
{
	takeover_drop(file->share, file->record);
	file->record = 0;
}

void file_withdraw(struct file *file)
{
	file_forget_record(file);
	handle_drop(file->share->files, file->handle);
	file_unref(file);
}

static void file_dropped(void *object)
{
	struct file *file = object;
	file_unref(file);
}

void file_drop_all(struct share *share)
{
	handle_drop_all(share->files, file_dropped);
}

int file_take_error(struct file *file)
{
	int err = node_error_since(file->share->nodes, file->node, &file->errors_seen);
	if (file->share->keep)
		state_file_set(
			file->share->keep, file->record, RECORD_FILE_SEEN, file->errors_seen);
	return err;
}

/* Nobody waits for these: what could be done about a failure the server does itself, with the
 * lease. */
static void file_sent(struct nfs_compound *c)
{
	nfs_compound_free(c);
}

/* What is being removed: another daemon finds it on record until that is answered. */
struct file_ending {
	struct share *share;
	struct node_silly *silly;
};

static void silly_free(struct share *share, struct node_silly *silly)
{
	takeover_drop(share, silly->record);
	node_unpin(share->nodes, silly->dir);
	rpc_cred_unref(silly->cred);
	free(silly);
}

static void file_ended(struct nfs_compound *c)
{
	struct file_ending *ending = c->arg;
	nfs_compound_free(c);
	/* of which the kernel hears nothing */
	struct share *share = ending->share;
	node_note_unknown(share->nodes, ending->silly->dir);
	/* The kernel does not hear of this change, and trusts what is delegated for long. */
	if (node_is_delegated(share->nodes, ending->silly->dir))
		notify_inval_inode(share->notify, ending->silly->dir->id, NULL, NULL);
	silly_free(ending->share, ending->silly);
	free(ending);
}

void file_close(struct share *share, struct nfs_open *open_take)
{
	struct nfs_stateid stateid;
	const struct closing_what what = {.fh = &open_take->fh,
		.cred = open_take->cred,
		.stateid = &stateid,
		.soon = !nfs_open_lacks(share->state, open_take, OPEN4_SHARE_ACCESS_WRITE)};
	if (nfs_open_close_later(share->state, open_take))
		return;
	/* Without a worker the share is being taken down, and its state goes with the client id. */
	if (nfs_open_close(share->state, open_take, &stateid) && worker_self())
		closing_add(share->closing, &what, open_take);
	else
		nfs_open_forget(share->state, open_take);
}

/* Without a worker, as above. */
void file_remove_silly(struct share *share, struct node_silly *silly_take)
{
	struct worker *worker = worker_self();
	struct file_ending *ending = worker ? malloc(sizeof(*ending)) : NULL;
	struct nfs_compound *c =
		ending ? nfs_compound_new(worker->conn, silly_take->cred, OP_REMOVE) : NULL;
	if (!c) {
		free(ending);
		silly_free(share, silly_take);
		return;
	}
	struct nfs_fh fh;
	*ending = (struct file_ending){.share = share, .silly = silly_take};
	node_fh(silly_take->dir, &fh);
	nfs_op_putfh(c, &fh);
	nfs_op_remove(c, silly_take->name, strlen(silly_take->name), NULL);
	nfs_compound_send(c, file_ended, ending);
}

void file_unref(struct file *file)
{
	if (!file || atomic_fetch_sub_explicit(&file->refs, 1, memory_order_acq_rel) != 1)
		return;
	struct share *share = file->share;
	behind_forget_made(share->behind, file);
	ahead_forget(share->ahead, file);
	lead_forget(share->lead, file);
	file_close(share, file->open);
	struct node_silly *silly = node_closed(share->nodes, file->node);
	if (silly)
		file_remove_silly(share, silly);
	node_unpin(share->nodes, file->node);
	free(file);
}

struct node_silly *file_new_silly(struct share *share, struct node *dir, const char *name,
	struct rpc_cred *cred, uint32_t record)
{
	struct node_silly *silly = calloc(1, sizeof(*silly) + strlen(name) + 1);
	if (!silly)
		return NULL;
	silly->dir = node_pin(dir);
	silly->cred = rpc_cred_ref(cred);
	memcpy(silly->name, name, strlen(name) + 1);
	silly->record = record;
	return silly;
}

void file_set_silly(struct share *share, struct node *node, struct node_silly *silly_take)
{
	/* Closed meanwhile, or there was another name before: that one goes now. */
	struct node_silly *silly = node_set_silly(share->nodes, node, silly_take);
	if (silly)
		file_remove_silly(share, silly);
}

void file_unset_silly(struct share *share, struct node *node)
{
	struct node_silly *silly = node_set_silly(share->nodes, node, NULL);
	if (silly)
		silly_free(share, silly);
}

/* Servers do not close what has locks. */
static void file_put_unlocks(struct share *share, struct nfs_compound *c, struct nfs_open *open)
{
	const struct nfs_lock_range all = {.type = WRITE_LT, .offset = 0, .length = UINT64_MAX};
	struct nfs_lock *lock;
	nfs_open_rewind_locks(share->state, open);
	for (unsigned i = 0; i < FILE_UNLOCKS_MAX; i++) {
		struct nfs_stateid stateid;
		lock = nfs_open_next_lock(share->state, open);
		if (!lock)
			return;
		if (nfs_lock_stateid(share->state, lock, &stateid))
			nfs_op_locku(c, &all, &stateid, NULL);
		nfs_lock_unref(share->state, lock);
	}
}

static void file_return(struct share *share, struct nfs_open *open)
{
	struct nfs_stateid stateid = nfs_open_stateid(share->state, open);
	struct nfs_compound *c = nfs_compound_new(worker_self()->conn, open->cred, OP_CLOSE);
	if (!c)
		return;
	nfs_op_putfh(c, &open->fh);
	file_put_unlocks(share, c, open);
	nfs_op_close(c, &stateid);
	nfs_compound_send(c, file_sent, NULL);
}

void file_return_all(struct share *share)
{
	struct node_silly *silly;
	struct nfs_open *open;
	nfs_state_rewind(share->state, false);
	while ((open = nfs_state_next(share->state))) {
		if (!nfs_open_is_local(share->state, open))
			file_return(share, open);
		nfs_open_unref(share->state, open);
	}
	while ((silly = node_take_silly(share->nodes)))
		file_remove_silly(share, silly);
}
