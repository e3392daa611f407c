/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_NFS41_RECLAIM_PRIV_H
#define VSOCKFS_NFS41_RECLAIM_PRIV_H

#include <pthread.h>

#include "nfs41/op.h"
#include "nfs41/range.h"
#include "nfs41/reclaim.h"

/*
 * What reclaim.c (which opens are made anew, and who waits for that) and reclaim_job.c (how one is)
 * share. A job belongs to the thread of its connection.
 */

/* Opens that are made anew at the same time. */
#define RECLAIM_JOBS 8

enum reclaim_step {
	JOB_TEST_OPEN,
	JOB_FREE_OPEN,
	JOB_OPEN,
	JOB_CLOSE,
	JOB_TEST_LOCK,
	JOB_FREE_LOCK,
	JOB_LOCK,
};

/* One open and its locks. */
struct reclaim_job {
	struct reclaim *reclaim;
	struct nfs_conn *conn;
	bool of_round; /* recovery waits for it; else requests do */
	bool grace;
	enum reclaim_step step;
	struct nfs_open *open; /* referenced */
	struct nfs_lock *lock; /* referenced, or NULL */
	/* of `lock` */
	struct range range;
	bool have_lock;
	struct nfs_stateid lock_stateid;
	/* results */
	bool asked; /* deleg_reclaim_ask */
	struct nfs_open_res opened;
	struct nfs_stateid locked;
	uint32_t tested;
	/* not of_round */
	LIST_HEAD(, reclaim_use) waiting;
	LIST_ENTRY(reclaim_job) entry;
};

struct reclaim {
	struct reclaim_config config;
	pthread_mutex_t mutex;
	LIST_HEAD(, reclaim_job) jobs; /* those that requests wait for, and whom */
	/* the round: the first worker's */
	struct reclaim_job round[RECLAIM_JOBS];
	unsigned running, opened;
	bool grace, grace_over, interrupted;
	struct nfs_conn *conn;
	void (*done)(void *done_arg, int err);
	void *done_arg;
};

/* reclaim_job.c: makes it anew; `open` with a reference that becomes the job's. */
void reclaim_job_begin(struct reclaim_job *job, struct nfs_open *open_take);
/* Lets go of the open. */
void reclaim_job_release(struct reclaim_job *job);

/* reclaim.c: nothing is left to do for the job's open. */
void reclaim_job_end(struct reclaim_job *job);

#endif
