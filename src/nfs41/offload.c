/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "nfs41/offload.h"

#include <string.h>

void offload_init(struct offload_table *table)
{
	*table = (struct offload_table){0};
	pthread_mutex_init(&table->mutex, NULL);
	LIST_INIT(&table->waits);
}

void offload_deinit(struct offload_table *table)
{
	pthread_mutex_destroy(&table->mutex);
}

void offload_ask(struct offload_table *table)
{
	pthread_mutex_lock(&table->mutex);
	table->asked++;
	pthread_mutex_unlock(&table->mutex);
}

static void wait_run(struct loop_task *task)
{
	struct offload_wait *wait =
		(struct offload_wait *)((char *)task - offsetof(struct offload_wait, task));
	struct offload_table *table = wait->table;
	pthread_mutex_lock(&table->mutex);
	bool told = wait->told;
	wait->posted = false;
	pthread_mutex_unlock(&table->mutex);
	if (told)
		wait->done(wait);
	else
		wait->hint(wait);
}

/* Under the mutex. */
static void wait_post(struct offload_wait *wait)
{
	wait->task.run = wait_run;
	if (!wait->posted)
		loop_post(wait->loop, &wait->task);
	wait->posted = true;
}

/* Under the mutex: true, if the call is about what `wait`, which is in the list, waits for. */
static bool wait_tell(struct offload_wait *wait, const struct offload_call *call)
{
	/* The seqid says nothing about which copy it is. */
	if (memcmp(wait->stateid.other, call->stateid.other, NFS4_OTHER_SIZE) == 0) {
		LIST_REMOVE(wait, entry);
		wait->result = call->result;
		wait->told = true;
	} else if (memcmp(&call->stateid, &nfs_stateid_anonymous, sizeof(call->stateid)) != 0 ||
		   !nfs_fh_equal(&wait->fh, &call->fh)) {
		return false;
	}
	wait_post(wait);
	return true;
}

/* Under the mutex: what came before the reply. */
static void early_take(struct offload_table *table, struct offload_wait *wait)
{
	for (unsigned i = 0; i < table->nearly && !wait->told; i++)
		if (wait_tell(wait, &table->early[i]))
			table->early[i--] = table->early[--table->nearly];
}

void offload_begin(struct offload_table *table, struct offload_wait *wait)
{
	pthread_mutex_lock(&table->mutex);
	if (wait) {
		wait->table = table;
		LIST_INSERT_HEAD(&table->waits, wait, entry);
		early_take(table, wait);
	}
	/* No reply is on its way: what is left is nobody's. */
	if (--table->asked == 0)
		table->nearly = 0;
	pthread_mutex_unlock(&table->mutex);
}

bool offload_end(struct offload_table *table, struct offload_wait *wait)
{
	pthread_mutex_lock(&table->mutex);
	bool ends = !wait->told && !wait->posted;
	if (ends)
		LIST_REMOVE(wait, entry);
	pthread_mutex_unlock(&table->mutex);
	return ends;
}

/* Under the mutex: for a COPY whose reply is still to come. */
static uint32_t early_keep(struct offload_table *table, const struct offload_call *call)
{
	if (table->asked == 0)
		return NFS4ERR_BAD_STATEID;
	if (table->nearly < OFFLOAD_EARLY_MAX)
		table->early[table->nearly++] = *call;
	return NFS4_OK;
}

uint32_t offload_told(struct offload_table *table, const struct nfs_fh *fh,
	const struct nfs_stateid *stateid, const struct callback_offload *result)
{
	const struct offload_call call = {.stateid = *stateid, .fh = *fh, .result = *result};
	struct offload_wait *wait;
	uint32_t status = NFS4_OK;
	pthread_mutex_lock(&table->mutex);
	LIST_FOREACH (wait, &table->waits, entry)
		if (wait_tell(wait, &call))
			break;
	if (!wait)
		status = early_keep(table, &call);
	pthread_mutex_unlock(&table->mutex);
	return status;
}
