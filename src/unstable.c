/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "unstable.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "share.h"
#include "takeover.h"
#include "unstable_priv.h"
#include "util/log.h"

/* Up to this size data is copied; beyond it, the megabyte buffer that it came in is kept instead.
 */
#define UNSTABLE_COPY_MAX (64u << 10)

int unstable_pool_new(struct share *share, struct unstable_pool **pool)
{
	struct unstable_pool *p = calloc(1, sizeof(*p));
	if (!p)
		return -ENOMEM;
	p->share = share;
	pthread_mutex_init(&p->mutex, NULL);
	LIST_INIT(&p->nodes);
	*pool = p;
	return 0;
}

void unstable_pool_free(struct unstable_pool *pool)
{
	if (!pool)
		return;
	struct unstable *unstable;
	size_t lost = 0;
	while ((unstable = LIST_FIRST(&pool->nodes))) {
		struct unstable_write *write;
		while ((write = STAILQ_FIRST(&unstable->writes))) {
			STAILQ_REMOVE_HEAD(&unstable->writes, entry);
			lost += write->len;
			unstable_write_free(write);
		}
		LIST_REMOVE(unstable, entry);
		free(unstable);
	}
	if (lost)
		log_warn("%zu bytes are with the server but were never committed", lost);
	pthread_mutex_destroy(&pool->mutex);
	free(pool);
}

static struct buf *write_buf(
	const struct unstable_pool *pool, struct buf *buf, const uint8_t *data, uint32_t len)
{
	if (len <= UNSTABLE_COPY_MAX || !buf)
		nfs_conn_count_copied(worker_self()->conn, len);
	if (len <= UNSTABLE_COPY_MAX)
		return buf_copy(data, len);
	if (buf)
		return buf_ref(buf);
	buf = buf_get(pool->share->bufs);
	if (buf)
		memcpy(buf->data, data, len);
	return buf;
}

struct unstable_write *unstable_write_new(struct unstable_pool *pool, struct file *file,
	struct buf *buf, const uint8_t *data, uint32_t len, uint64_t offset)
{
	struct unstable_write *write = malloc(sizeof(*write));
	struct buf *held = write_buf(pool, buf, data, len);
	if (!write || !held) {
		free(write);
		buf_unref(held);
		return NULL;
	}
	*write = (struct unstable_write){.file = file_ref(file),
		.buf = held,
		.data = held == buf ? data : held->data,
		.offset = offset,
		.len = len,
		.epoch = pool->epoch};
	return write;
}

struct unstable_write *unstable_write_of(struct unstable_pool *pool, struct file *file,
	struct buf *buf, uint32_t len, uint64_t offset)
{
	struct unstable_write *write = malloc(sizeof(*write));
	if (write)
		*write = (struct unstable_write){.file = file_ref(file),
			.buf = buf ? buf_ref(buf) : NULL,
			.data = buf ? buf->data : NULL,
			.offset = offset,
			.len = len,
			.epoch = pool->epoch};
	return write;
}

void unstable_write_free(struct unstable_write *write)
{
	if (!write)
		return;
	buf_unref(write->buf);
	file_unref(write->file);
	free(write);
}

size_t unstable_write_memory(const struct unstable_write *write)
{
	return sizeof(*write) + write->buf->size;
}

/* Under the mutex: the lists of a node that has a file, made if need be. */
static struct unstable *unstable_need(struct unstable_pool *pool, struct node *node)
{
	struct unstable *unstable = unstable_of(node);
	if (!unstable && (unstable = calloc(1, sizeof(*unstable)))) {
		STAILQ_INIT(&unstable->writes);
		STAILQ_INIT(&unstable->waiting);
		LIST_INSERT_HEAD(&pool->nodes, unstable, entry);
		node->file->unstable = unstable;
	}
	return unstable;
}

/* Under the mutex: the record says under which verifier the node's data is. */
static void unstable_note(
	struct unstable_pool *pool, struct node *node, const uint8_t verifier[NFS4_VERIFIER_SIZE])
{
	struct unstable *unstable = node->file->unstable;
	bool same = memcmp(unstable->verifier, verifier, NFS4_VERIFIER_SIZE) == 0;
	if (!pool->share->keep || (unstable->record && (same || unstable->mixed)))
		return;
	unstable->mixed = unstable->record != 0;
	memcpy(unstable->verifier, verifier, NFS4_VERIFIER_SIZE);
	unstable->record = takeover_put_unstable(
		pool->share, unstable->record, node->id, unstable->mixed ? NULL : verifier);
}

void unstable_note_left(struct unstable_pool *pool, struct node *node)
{
	const struct unstable_write *write;
	struct unstable *unstable = node->file->unstable;
	if (!unstable->record)
		return;
	takeover_drop(pool->share, unstable->record);
	unstable->record = 0;
	STAILQ_FOREACH (write, &unstable->writes, entry)
		unstable_note(pool, node, write->verifier);
}

void unstable_distrust(struct unstable_pool *pool)
{
	atomic_fetch_add(&pool->epoch, 1);
}

/* Under the mutex: may older data of the node have come after `write`? */
static bool unstable_covered(const struct unstable_pool *pool, const struct node *node,
	const struct unstable_write *write)
{
	const struct unstable *unstable = unstable_of(node);
	bool rewriting = unstable && unstable->active && unstable->active->rewriting;
	return rewriting || write->epoch != pool->epoch;
}

bool unstable_keep(struct unstable_pool *pool, struct unstable_write *write_take, bool stable)
{
	struct node *node = write_take->file->node;
	pthread_mutex_lock(&pool->mutex);
	bool covered = unstable_covered(pool, node, write_take);
	bool wanted = !stable || covered || unstable_of(node);
	struct unstable *unstable = wanted ? unstable_need(pool, node) : NULL;
	if (unstable) {
		STAILQ_INSERT_TAIL(&unstable->writes, write_take, entry);
		pool->bytes += unstable_write_memory(write_take);
		unstable_note(pool, node, write_take->verifier);
	}
	pthread_mutex_unlock(&pool->mutex);
	/* Without the copy its loss could not be mended, so it counts as lost. */
	if (wanted && !unstable)
		node_set_error(pool->share->nodes, node, -ENOMEM);
	if (!unstable)
		unstable_write_free(write_take);
	return covered;
}

bool unstable_waits(struct unstable_pool *pool, const struct node *node)
{
	pthread_mutex_lock(&pool->mutex);
	bool waits = unstable_of(node) != NULL;
	pthread_mutex_unlock(&pool->mutex);
	return waits;
}

int unstable_inherit(struct unstable_pool *pool, struct node *node,
	const uint8_t verifier[NFS4_VERIFIER_SIZE], uint32_t record)
{
	if (node_need_file(pool->share->nodes, node))
		return -ENOMEM;
	pthread_mutex_lock(&pool->mutex);
	struct unstable *unstable = unstable_of(node) ? NULL : unstable_need(pool, node);
	if (unstable) {
		unstable->inherited = true;
		unstable->record = record;
		unstable->mixed = verifier == NULL;
		if (verifier)
			memcpy(unstable->verifier, verifier, NFS4_VERIFIER_SIZE);
		unstable->node = node_pin(node);
	}
	pthread_mutex_unlock(&pool->mutex);
	return unstable ? 0 : -ENOMEM;
}

size_t unstable_bytes(struct unstable_pool *pool)
{
	pthread_mutex_lock(&pool->mutex);
	size_t bytes = pool->bytes;
	pthread_mutex_unlock(&pool->mutex);
	return bytes;
}

bool unstable_pressing(struct unstable_pool *pool, const struct node *node)
{
	pthread_mutex_lock(&pool->mutex);
	const struct unstable *unstable = unstable_of(node);
	bool pressing = pool->bytes > UNSTABLE_PRESSING && unstable && !unstable->active;
	pthread_mutex_unlock(&pool->mutex);
	return pressing;
}
