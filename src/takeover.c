/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "takeover.h"

#include <errno.h>
#include <linux/fuse.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "share.h"
#include "util/log.h"

/* Linux 6.9; in flags2, and missing from older headers. */
#define TAKEOVER_HAS_RESEND (UINT32_C(1) << (39 - 32))

int takeover_new(struct takeover **takeover)
{
	struct takeover *t = calloc(1, sizeof(*t));
	if (!t)
		return -ENOMEM;
	t->fds.state = -1;
	int err = state_file_new(&t->file);
	if (err) {
		free(t);
		return err;
	}
	*takeover = t;
	return 0;
}

void takeover_free(struct takeover *takeover)
{
	if (!takeover)
		return;
	if (takeover->file) {
		close(state_file_fd(takeover->file));
		state_file_free(takeover->file);
	}
	service_close_fds(&takeover->fds);
	free(takeover->records);
	free(takeover->opens);
	free(takeover->marks);
	free(takeover->silly);
	free(takeover->copy);
	free(takeover);
}

static size_t put_cred(struct record_cred *to, const struct rpc_cred *cred)
{
	size_t len;
	const uint8_t *wire = rpc_cred_wire(cred, &len);
	to->uid = rpc_cred_uid(cred);
	to->len = (uint32_t)len;
	memcpy(to->wire, wire, len);
	return offsetof(struct record_cred, wire) + len;
}

static void keep_open(void *arg, struct nfs_open *open, bool gone)
{
	struct takeover *takeover = arg;
	struct record_open record = {.stateid = open->stateid,
		.access = open->access | open->granted << RECORD_OPEN_GRANTED,
		.err = open->err,
		.fh_len = open->fh.len};
	if (gone) {
		state_file_drop(takeover->file, open->record);
		open->record = 0;
		return;
	}
	memcpy(record.fh, open->fh.data, open->fh.len);
	size_t len = offsetof(struct record_open, cred) + put_cred(&record.cred, open->cred);
	open->record = state_file_put(
		takeover->file, open->record, RECORD_OPEN, open->owner, NULL, &record, len);
}

/* Of what is too much for a record, or for memory, the next daemon hears that it is not complete.
 */
static void keep_lock(void *arg, struct nfs_lock *lock, bool gone)
{
	struct takeover *takeover = arg;
	const struct range_set *set = &lock->ranges;
	size_t len = sizeof(struct record_lock) + set->count * sizeof(struct record_range);
	if (gone) {
		state_file_drop(takeover->file, lock->record);
		lock->record = 0;
		return;
	}
	struct record_lock *record = calloc(1, len);
	if (record) {
		*record = (struct record_lock){.open_owner = lock->open->owner,
			.fuse_owner = lock->fuse_owner,
			.stateid = lock->stateid,
			.established = lock->established,
			.lost = lock->lost,
			.count = set->count};
		for (unsigned i = 0; i < set->count; i++)
			record->ranges[i] = (struct record_range){.first = set->at[i].first,
				.last = set->at[i].last,
				.kind = set->at[i].kind};
	}
	lock->record = state_file_put(takeover->file, lock->record, RECORD_LOCK, lock->owner, NULL,
		record, record ? len : SIZE_MAX);
	free(record);
}

static const struct nfs_state_journal takeover_journal = {.open = keep_open, .lock = keep_lock};

void takeover_keep(struct takeover *takeover, struct share *share)
{
	share->keep = takeover->file;
	nfs_state_set_journal(share->state, &takeover_journal, takeover);
}

static uint64_t hash_text(uint64_t hash, const char *text)
{
	/* FNV-1a: tells options apart that were not made to look alike. */
	for (const unsigned char *p = (const unsigned char *)text; *p; p++)
		hash = (hash ^ *p) * UINT64_C(1099511628211);
	return (hash ^ 0xff) * UINT64_C(1099511628211);
}

uint64_t takeover_hash_options(const struct options *options)
{
	uint64_t hash = hash_text(UINT64_C(14695981039346656037), options->source);
	hash = hash_text(hash, options->export_path);
	hash = hash_text(hash, options->mountpoint);
	hash = hash_text(hash, options->fuse_options);
	/* The kernel has been told whose locks are. */
	return hash_text(hash, options->nolock ? "nolock" : "");
}

static int keep_setup(
	struct takeover *takeover, const struct share *share, const struct guard_mount_id *id)
{
	struct record_setup *setup = &takeover->setup;
	*setup = (struct record_setup){.options = takeover_hash_options(share->options),
		.mount_id = id->id,
		.major = id->major,
		.minor = id->minor,
		.unique = id->unique,
		.rsize = share->rsize,
		.wsize = share->wsize,
		.init_len = share->init_len};
	memcpy(setup->init, share->init, share->init_len);
	takeover->setup_at = state_file_put(
		takeover->file, takeover->setup_at, RECORD_SETUP, 0, NULL, setup, sizeof(*setup));
	return takeover->setup_at ? 0 : -ENOSPC;
}

/* The kernel must be able to send again what was under way. */
static bool init_has_resend(const struct share *share)
{
	struct fuse_init_in init;
	if (share->init_len < sizeof(struct fuse_in_header) + sizeof(init))
		return false;
	memcpy(&init, share->init + sizeof(struct fuse_in_header), sizeof(init));
	return (init.flags & FUSE_INIT_EXT) && (init.flags2 & TAKEOVER_HAS_RESEND);
}

int takeover_store(struct takeover *takeover, struct share *share, const struct guard_mount_id *id)
{
	int err = init_has_resend(share) ? 0 : -EOPNOTSUPP;
	if (!err && !takeover->resumed)
		err = keep_setup(takeover, share, id);
	/* What was handed over is in the store still. */
	for (unsigned i = takeover->fds.nfuse; !err && i < share->nworkers; i++)
		err = service_store_fd(share->workers[i]->fuse_fd, SERVICE_FD_FUSE);
	if (!err && !takeover->resumed)
		err = service_store_fd(state_file_fd(takeover->file), SERVICE_FD_STATE);
	if (err == -EOPNOTSUPP)
		log_warn("this kernel cannot send requests again (Linux 6.9 can): a daemon that "
			 "is killed leaves a dead mount");
	else if (err)
		log_warn("the service manager does not keep the mount: %s", strerror(-err));
	return err;
}

void takeover_forget(void)
{
	service_forget_fds(SERVICE_FD_FUSE);
	service_forget_fds(SERVICE_FD_STATE);
}

uint32_t takeover_put_file(struct share *share, const struct file *file)
{
	const struct record_file record = {
		.node_id = file->node->id, .owner = file->open->owner, .flags = file->flags};
	const uint64_t words[STATE_FILE_WORDS] = {[RECORD_FILE_SEEN] = file->errors_seen};
	if (!share->keep)
		return 0;
	return state_file_put(
		share->keep, 0, RECORD_FILE, file->handle, words, &record, sizeof(record));
}

uint32_t takeover_put_silly(struct share *share, uint64_t node_id, uint64_t dir_id,
	const char *name, const struct rpc_cred *cred)
{
	struct record_silly record = {.dir_id = dir_id};
	if (!share->keep)
		return 0;
	strncpy(record.name, name, sizeof(record.name) - 1);
	size_t len = offsetof(struct record_silly, cred) + put_cred(&record.cred, cred);
	return state_file_put(share->keep, 0, RECORD_SILLY, node_id, NULL, &record, len);
}

uint32_t takeover_put_unstable(struct share *share, uint32_t old, uint64_t node_id,
	const uint8_t verifier[NFS4_VERIFIER_SIZE])
{
	if (!share->keep)
		return 0;
	return state_file_put(share->keep, old, RECORD_UNSTABLE, node_id, NULL, verifier,
		verifier ? NFS4_VERIFIER_SIZE : 0);
}

/* A request that is sent again has its highest bit set. */
static uint64_t mark_key(uint64_t unique)
{
	return unique & ~(UINT64_C(1) << 63);
}

uint32_t takeover_put_mark(struct share *share, uint32_t old, uint64_t unique,
	const struct timespec *mark, uint64_t owner)
{
	const struct record_mark record = {
		.seconds = mark->tv_sec, .nanoseconds = mark->tv_nsec, .owner = owner};
	if (!share->keep)
		return 0;
	return state_file_put(
		share->keep, old, RECORD_MARK, mark_key(unique), NULL, &record, sizeof(record));
}

const struct takeover_mark *takeover_find_mark(const struct share *share, uint64_t unique)
{
	const struct takeover *takeover = share->takeover;
	for (size_t i = 0; takeover && i < takeover->nmarks; i++)
		if (takeover->marks[i].unique == mark_key(unique))
			return &takeover->marks[i];
	return NULL;
}

void takeover_drop(struct share *share, uint32_t record)
{
	if (share->keep)
		state_file_drop(share->keep, record);
}

void takeover_identified(void *arg, const struct nfs_client_identity *identity)
{
	struct share *share = arg;
	struct takeover *takeover = share->takeover;
	if (takeover)
		takeover->client_at = state_file_put(takeover->file, takeover->client_at,
			RECORD_CLIENT, 0, NULL, identity, sizeof(*identity));
}

void takeover_put_server(struct share *share, const struct address *address)
{
	struct takeover *takeover = share->takeover;
	const struct record_server record = {.cid = address->cid, .port = address->port};
	if (takeover)
		takeover->server_at = state_file_put(takeover->file, takeover->server_at,
			RECORD_SERVER, 0, NULL, &record, sizeof(record));
}

bool takeover_get_server(const struct takeover *takeover, struct address *address)
{
	if (!takeover || takeover->server_at == 0)
		return false;
	*address = (struct address){
		.proto = ADDRESS_VSOCK, .cid = takeover->server.cid, .port = takeover->server.port};
	return true;
}
