/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fsop.h"
#include "handle.h"
#include "share.h"
#include "takeover.h"
#include "util/log.h"

/*
 * The other way: records become nodes, opens, locks and files again. Nothing in them is trusted:
 * what does not fit is left out, and its record goes.
 */

/* How long a request may take. */
#define TAKEOVER_MARK_S 86400
/* Owners and node ids of one daemon; 2^40 of each are enough for it. */
#define TAKEOVER_EPOCH_SHIFT 40

/* A whole copy, since another process might still write to the file. */
static int load_copy(struct takeover *takeover, size_t *len)
{
	struct stat st;
	if (fstat(takeover->fds.state, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode) || st.st_size < 0 || (uint64_t)st.st_size > STATE_FILE_MAX)
		return -EINVAL;
	*len = (size_t)st.st_size;
	takeover->copy = malloc(*len ? *len : 1);
	if (!takeover->copy)
		return -ENOMEM;
	for (size_t got = 0; got < *len;) {
		ssize_t n = pread(
			takeover->fds.state, (char *)takeover->copy + got, *len - got, (off_t)got);
		if (n < 0 && errno != EINTR)
			return -errno;
		if (n == 0)
			return -EINVAL;
		got += n > 0 ? (size_t)n : 0;
	}
	return 0;
}

static const struct state_record *load_find(
	const struct takeover *takeover, uint32_t kind, uint64_t key)
{
	const struct state_record *record =
		state_file_find(takeover->records, takeover->count, kind, key);
	return record && record->key == key ? record : NULL;
}

static int load_setup(struct takeover *takeover)
{
	const struct state_record *setup = load_find(takeover, RECORD_SETUP, 0);
	const struct state_record *client = load_find(takeover, RECORD_CLIENT, 0);
	const struct state_record *server = load_find(takeover, RECORD_SERVER, 0);
	const struct state_record *root = load_find(takeover, RECORD_NODE, NODE_ROOT_ID);
	if (server && server->len != sizeof(takeover->server))
		return -EINVAL;
	if (!setup || setup->len != sizeof(takeover->setup) || !client ||
		client->len != sizeof(takeover->identity) || !root)
		return -EINVAL;
	memcpy(&takeover->setup, setup->data, sizeof(takeover->setup));
	memcpy(&takeover->identity, client->data, sizeof(takeover->identity));
	if (takeover->setup.init_len > RECORD_INIT_MAX || takeover->setup.rsize == 0 ||
		takeover->setup.wsize == 0)
		return -EINVAL;
	takeover->identity.owner[sizeof(takeover->identity.owner) - 1] = '\0';
	takeover->setup_at = setup->at;
	takeover->client_at = client->at;
	if (server)
		memcpy(&takeover->server, server->data, sizeof(takeover->server));
	takeover->server_at = server ? server->at : 0;
	/* Numbers of another daemon would come again. */
	if (setup->words[RECORD_SETUP_EPOCH] >= UINT16_MAX)
		return -EOVERFLOW;
	takeover->epoch = (uint16_t)(setup->words[RECORD_SETUP_EPOCH] + 1);
	return 0;
}

/* A device whose mount is gone, or was aborted, reports an error. */
static bool load_device_lives(const struct takeover *takeover)
{
	struct pollfd pfd = {.fd = takeover->fds.fuse[0]};
	return poll(&pfd, 1, 0) >= 0 && !(pfd.revents & (POLLERR | POLLNVAL));
}

static int load(const struct options *options, struct takeover *takeover, const char **why)
{
	size_t len = 0;
	*why = "its device is gone";
	if (!load_device_lives(takeover))
		return -ENODEV;
	*why = "its state cannot be read";
	int err = load_copy(takeover, &len);
	if (!err)
		err = state_file_parse(takeover->copy, len, &takeover->records, &takeover->count);
	if (!err)
		err = load_setup(takeover);
	if (err)
		return err;
	*why = "its options were others";
	if (takeover->setup.options != takeover_hash_options(options))
		return -EINVAL;
	*why = "its state cannot be kept on";
	err = state_file_open(
		takeover->fds.state, takeover->records, takeover->count, &takeover->file);
	if (err)
		return err;
	takeover->fds.state = -1;
	takeover->resumed = true;
	return 0;
}

int takeover_load(const struct options *options, struct service_fds *fds_take,
	struct takeover **out, char *why, size_t why_size)
{
	const char *reason = "no memory";
	struct takeover *takeover = calloc(1, sizeof(*takeover));
	if (!takeover) {
		service_close_fds(fds_take);
		snprintf(why, why_size, "%s", reason);
		return -ENOMEM;
	}
	takeover->fds = *fds_take;
	*fds_take = (struct service_fds){.state = -1};
	int err = load(options, takeover, &reason);
	if (err) {
		snprintf(why, why_size, "%s (%s)", reason, strerror(-err));
		takeover_free(takeover);
		return err;
	}
	*out = takeover;
	return 0;
}

static bool load_fh(const uint8_t *data, uint32_t len, struct nfs_fh *fh)
{
	if (len == 0 || len > NFS4_FHSIZE)
		return false;
	fh->len = (uint8_t)len;
	memcpy(fh->data, data, len);
	return true;
}

/* `len` bytes of a record, a credential at their beginning. NULL: they are not. */
static struct rpc_cred *load_cred(const uint8_t *data, size_t len)
{
	struct record_cred record = {0};
	struct rpc_cred *cred;
	if (len < offsetof(struct record_cred, wire) || len > sizeof(record))
		return NULL;
	memcpy(&record, data, len);
	if (record.len != len - offsetof(struct record_cred, wire))
		return NULL;
	return rpc_cred_new_wire(record.uid, record.wire, record.len, &cred) == 0 ? cred : NULL;
}

static bool load_node_past(const struct state_record *from, struct node_past *past)
{
	struct record_node record = {0};
	if (from->len < offsetof(struct record_node, fh) || from->len > sizeof(record) ||
		from->key == 0)
		return false;
	memcpy(&record, from->data, from->len);
	if (record.fh_len != from->len - offsetof(struct record_node, fh))
		return false;
	*past = (struct node_past){.id = from->key,
		.ino = record.ino,
		.lookups = from->words[RECORD_NODE_LOOKUPS],
		.parent_id = from->words[RECORD_NODE_PARENT],
		.fsid = {.major = record.fsid_major, .minor = record.fsid_minor},
		.type = record.type,
		.name_hash = (uint32_t)from->words[RECORD_NODE_NAME],
		.record = from->at};
	uint64_t error = from->words[RECORD_NODE_ERROR];
	past->errors = (uint32_t)(error >> 32);
	past->error_told = error >> 31 & 1;
	past->error = -(int)(error & 4095);
	/* What the kernel has not heard of it cannot name. */
	return (past->lookups > 0 || past->id == NODE_ROOT_ID) &&
	       load_fh(record.fh, record.fh_len, &past->fh);
}

static int load_node(
	struct takeover *takeover, struct share *share, const struct state_record *from)
{
	struct node_past past;
	if (!load_node_past(from, &past))
		return -EINVAL;
	struct node *node = node_restore(share->nodes, &past);
	if (!node)
		return -ENOMEM;
	node_unpin(share->nodes, node);
	return 0;
}

/* The server has another idea of the sequence number, but takes 0 for the latest. */
static struct nfs_stateid load_stateid(struct nfs_stateid stateid)
{
	stateid.seqid = 0;
	return stateid;
}

static int load_open(
	struct takeover *takeover, struct share *share, const struct state_record *from)
{
	struct record_open record = {0};
	const size_t head = offsetof(struct record_open, cred);
	struct nfs_fh fh;
	if (from->len < head || from->len > sizeof(record))
		return -EINVAL;
	memcpy(&record, from->data, head);
	struct rpc_cred *cred = load_cred(from->data + head, from->len - head);
	if (!cred)
		return -EINVAL;
	const struct nfs_stateid stateid = load_stateid(record.stateid);
	struct nfs_open *open = NULL;
	if (load_fh(record.fh, record.fh_len, &fh))
		open = nfs_open_new(share->state, &fh, record.access & OPEN4_SHARE_ACCESS_BOTH,
			from->key, cred, &stateid);
	rpc_cred_unref(cred);
	if (!open)
		return -EINVAL;
	open->record = from->at;
	open->err = record.err < 0 ? record.err : 0;
	open->granted |= record.access >> RECORD_OPEN_GRANTED & OPEN4_SHARE_ACCESS_BOTH;
	takeover->opens[from - takeover->records] = open;
	return 0;
}

/* An open that no file has been given yet: where it is noted, or NULL. */
static struct nfs_open **load_find_open(struct takeover *takeover, uint64_t owner)
{
	const struct state_record *record = load_find(takeover, RECORD_OPEN, owner);
	struct nfs_open **open = record ? &takeover->opens[record - takeover->records] : NULL;
	return open && *open ? open : NULL;
}

static bool load_range(const struct record_range *from, struct range *range)
{
	*range = (struct range){
		.first = from->first, .last = from->last, .kind = (enum range_kind)from->kind};
	return from->first <= from->last && (from->kind == RANGE_READ || from->kind == RANGE_WRITE);
}

static int load_lock(
	struct takeover *takeover, struct share *share, const struct state_record *from)
{
	struct record_lock head;
	const size_t each = sizeof(struct record_range);
	if (from->len < sizeof(head))
		return -EINVAL;
	memcpy(&head, from->data, sizeof(head));
	if (head.count > RANGE_SET_MAX || from->len != sizeof(head) + head.count * each)
		return -EINVAL;
	struct nfs_open **open = load_find_open(takeover, head.open_owner);
	struct range *ranges = calloc(head.count + 1, sizeof(*ranges));
	bool good = open && ranges;
	for (uint32_t i = 0; i < head.count && good; i++) {
		struct record_range range;
		memcpy(&range, from->data + sizeof(head) + i * each, each);
		good = load_range(&range, &ranges[i]);
	}
	struct nfs_lock *lock = NULL;
	if (good)
		lock = nfs_lock_restore(
			share->state, *open, head.fuse_owner, from->key, ranges, head.count);
	free(ranges);
	if (!lock)
		return -EINVAL;
	share->readers_lock = true; /* by which kind of file is not on record */
	lock->record = from->at;
	lock->stateid = load_stateid(head.stateid);
	lock->established = head.established;
	if (head.lost)
		nfs_lock_settled(share->state, lock, NULL, true);
	return 0;
}

static int load_file(
	struct takeover *takeover, struct share *share, const struct state_record *from)
{
	struct record_file record;
	if (from->len != sizeof(record))
		return -EINVAL;
	memcpy(&record, from->data, sizeof(record));
	struct node *node = node_find(share->nodes, record.node_id);
	struct nfs_open **open = load_find_open(takeover, record.owner);
	int err = -EINVAL;
	const struct file_past past = {.open = open ? *open : NULL,
		.handle = from->key,
		.flags = record.flags,
		.errors_seen = (uint32_t)from->words[RECORD_FILE_SEEN],
		.record = from->at};
	if (node && open)
		err = file_restore(share, node, &past);
	if (!err)
		*open = NULL;
	node_unpin(share->nodes, node);
	return err;
}

/* To be removed by takeover_sweep. */
static int load_orphan(struct takeover *takeover, struct node_silly *silly_take)
{
	struct node_silly **silly =
		reallocarray(takeover->silly, takeover->nsilly + 1, sizeof(struct node_silly *));
	if (!silly)
		return -ENOMEM;
	takeover->silly = silly;
	silly[takeover->nsilly++] = silly_take;
	return 0;
}

static int load_silly(
	struct takeover *takeover, struct share *share, const struct state_record *from)
{
	struct record_silly record = {0};
	const size_t head = offsetof(struct record_silly, cred);
	if (from->len < head || from->len > sizeof(record))
		return -EINVAL;
	memcpy(&record, from->data, head);
	record.name[sizeof(record.name) - 1] = '\0';
	struct rpc_cred *cred = load_cred(from->data + head, from->len - head);
	struct node *node = node_find(share->nodes, from->key);
	struct node *dir = node_find(share->nodes, record.dir_id);
	struct node_silly *silly = NULL;
	/* Nothing but what silly_name could have made is removed. */
	if (cred && dir && strncmp(record.name, ".nfs", 4) == 0 && !strchr(record.name, '/'))
		silly = file_new_silly(share, dir, record.name, cred, from->at);
	int err = silly ? 0 : -EINVAL;
	if (silly && node)
		silly = node_set_silly(share->nodes, node, silly);
	if (silly)
		err = load_orphan(takeover, silly);
	node_unpin(share->nodes, node);
	node_unpin(share->nodes, dir);
	rpc_cred_unref(cred);
	return err;
}

static int load_unstable(
	struct takeover *takeover, struct share *share, const struct state_record *from)
{
	if (from->len != 0 && from->len != NFS4_VERIFIER_SIZE)
		return -EINVAL;
	struct node *node = node_find(share->nodes, from->key);
	int err = node ? unstable_inherit(
				 share->unstable, node, from->len ? from->data : NULL, from->at)
		       : -EINVAL;
	node_unpin(share->nodes, node);
	return err;
}

/* The open file of that owner, if it was given a number for the kernel. */
static uint64_t load_find_handle(const struct takeover *takeover, uint64_t owner)
{
	const struct state_record *end = takeover->records + takeover->count;
	const struct state_record *from =
		state_file_find(takeover->records, takeover->count, RECORD_FILE, 0);
	for (; from && from < end && from->kind == RECORD_FILE; from++) {
		struct record_file record;
		if (from->len != sizeof(record))
			continue;
		memcpy(&record, from->data, sizeof(record));
		if (record.owner == owner)
			return from->key;
	}
	return 0;
}

/* Of requests that were under way. What became of those that were not sent again nobody tells. */
static int load_mark(
	struct takeover *takeover, struct share *share, const struct state_record *from)
{
	struct record_mark record;
	(void)share;
	if (from->len != sizeof(record))
		return -EINVAL;
	memcpy(&record, from->data, sizeof(record));
	if (record.seconds < time(NULL) - TAKEOVER_MARK_S)
		return -ESTALE;
	struct takeover_mark *marks =
		reallocarray(takeover->marks, takeover->nmarks + 1, sizeof(*takeover->marks));
	if (!marks)
		return -ENOMEM;
	takeover->marks = marks;
	struct takeover_mark *mark = &marks[takeover->nmarks++];
	*mark = (struct takeover_mark){.unique = from->key,
		.mark = {.tv_sec = record.seconds, .tv_nsec = (long)record.nanoseconds},
		.owner = record.owner,
		.record = from->at};
	/* Opened already, and closed again by takeover_sweep, or when it is found that the kernel
	 * has not heard of it. */
	if (load_find(takeover, RECORD_OPEN, record.owner)) {
		mark->handle = load_find_handle(takeover, record.owner);
		mark->owner = 0;
	}
	return 0;
}

/* All of a kind; what cannot be had again is forgotten. */
static void load_each(struct takeover *takeover, struct share *share, uint32_t kind,
	int (*take)(
		struct takeover *takeover, struct share *share, const struct state_record *from))
{
	unsigned left_out = 0;
	const struct state_record *end = takeover->records + takeover->count;
	const struct state_record *from =
		state_file_find(takeover->records, takeover->count, kind, 0);
	for (; from && from < end && from->kind == kind; from++)
		if (take(takeover, share, from) != 0) {
			state_file_drop(takeover->file, from->at);
			left_out++;
		}
	if (left_out)
		log_debug("%u records of kind %u say nothing any more", left_out, kind);
}

static int load_root(struct takeover *takeover, struct share *share)
{
	struct node_past root;
	const struct state_record *from = load_find(takeover, RECORD_NODE, NODE_ROOT_ID);
	if (!load_node_past(from, &root))
		return -EINVAL;
	int err = node_table_new(&root.fsid, &share->nodes);
	if (!err)
		node_table_begin(share->nodes, (uint64_t)takeover->epoch << TAKEOVER_EPOCH_SHIFT);
	return err;
}

int takeover_restore(struct takeover *takeover, struct share *share)
{
	takeover->opens = calloc(takeover->count + 1, sizeof(*takeover->opens));
	int err = takeover->opens ? 0 : -ENOMEM;
	if (!err)
		err = share_new_handles(share, takeover->epoch);
	if (!err)
		err = load_root(takeover, share);
	if (err)
		return err;
	load_each(takeover, share, RECORD_NODE, load_node);
	load_each(takeover, share, RECORD_OPEN, load_open);
	load_each(takeover, share, RECORD_LOCK, load_lock);
	takeover_keep(takeover, share);
	load_each(takeover, share, RECORD_FILE, load_file);
	load_each(takeover, share, RECORD_SILLY, load_silly);
	load_each(takeover, share, RECORD_UNSTABLE, load_unstable);
	load_each(takeover, share, RECORD_MARK, load_mark);
	nfs_client_resume(share->client, &takeover->identity,
		((uint64_t)takeover->epoch << TAKEOVER_EPOCH_SHIFT) + 1);
	node_table_keep(share->nodes, takeover->file);
	return 0;
}

void takeover_begin(struct takeover *takeover)
{
	state_file_set(takeover->file, takeover->setup_at, RECORD_SETUP_EPOCH, takeover->epoch);
}

struct takeover_sweep {
	struct takeover *takeover;
	struct share *share;
};

static void sweep(void *arg)
{
	const struct takeover_sweep *s = arg;
	unstable_commit_inherited(s->share->unstable, worker_self(), s->share->mount_cred);
	for (size_t i = 0; i < s->takeover->count; i++)
		if (s->takeover->opens[i])
			file_close(s->share, s->takeover->opens[i]);
	for (size_t i = 0; i < s->takeover->nsilly; i++)
		file_remove_silly(s->share, s->takeover->silly[i]);
}

void takeover_sweep(struct takeover *takeover, struct share *share)
{
	struct takeover_sweep s = {.takeover = takeover, .share = share};
	file_drop_caches(share);
	worker_call(share->workers[0], sweep, &s);
	free(takeover->copy);
	free(takeover->records);
	free(takeover->opens);
	free(takeover->silly);
	takeover->silly = NULL;
	takeover->nsilly = 0;
	takeover->copy = NULL;
	takeover->records = NULL;
	takeover->opens = NULL;
	takeover->count = 0;
}
