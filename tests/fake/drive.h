/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_FAKE_DRIVE_H
#define VSOCKFS_FAKE_DRIVE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "fake.h"
#include "nfs41/client.h"
#include "nfs41/op.h"

/* A client and a fake server on one loop, in one thread, and the compounds of a test. */

#define DRIVE_MS       UINT64_C(1000000)
#define DRIVE_CONNS    4
#define DRIVE_PATIENCE (10000 * DRIVE_MS) /* a test that waits longer has failed */

/* What becomes of compounds whose last operation is `op`. */
struct drive_plan {
	uint32_t op;
	unsigned times; /* UINT_MAX: always */
	enum fake_verdict verdict;
	uint32_t status; /* of SEQUENCE or the only operation */
	bool mute;	 /* and nothing else is heard on the connection */
	unsigned seen;
};

struct drive {
	struct loop *loop;
	struct fake fake;
	struct drive_plan plan;
	struct rpc_cred *cred;
	struct nfs_client_config config;
	struct nfs_client *client;
	struct nfs_conn *conn[DRIVE_CONNS];
	unsigned nconns;
	bool ready, stopped;
	int ready_err;
	char why[700];
	unsigned flag;	    /* for scripts and handlers of the test */
	unsigned reclaims;  /* that drive_reclaims was asked for */
	bool reclaim_grace; /* in the last of them */
};

/* One compound, its results and its end. */
struct job {
	struct drive *d;
	struct nfs_compound *c;
	bool done, keep; /* keep: the test frees the compound */
	int status;
	unsigned ops_ok;
	bool replayed;
	struct nfs_fsattr attr;
	struct nfs_change_info cinfo;
	struct nfs_read_res read;
	uint8_t data[4096];
};

/* cmocka's setup and teardown; *state is the struct drive. The client is not started yet. */
int drive_setup(void **state);
int drive_teardown(void **state);

/* Asks for the start, and does not wait. */
void drive_begin(struct drive *d, unsigned nconns);
/* With the configuration of d->config, which setup has filled with defaults. */
void drive_start(struct drive *d, unsigned nconns);
/* The same, and waits for a failure. */
void drive_start_failing(struct drive *d);
/* Both also for a second time. */
void drive_stop(struct drive *d);

/* From now on it holds state, and has it back as soon as it is asked to reclaim it. */
void drive_reclaims(struct drive *d);

/* From now on, for the next `times` of them. d->plan may be changed then. */
void drive_expect(struct drive *d, uint32_t op, enum fake_verdict verdict, unsigned times);

/* Runs the loop until *flag; the test fails if that takes too long. */
void drive_until(struct drive *d, const bool *flag);
void drive_until_count(struct drive *d, const unsigned *count, unsigned at_least);
void drive_for(struct drive *d, uint64_t ns);

struct nfs_compound *job_new(struct job *job, struct drive *d, unsigned conn, uint32_t label);
void job_send(struct job *job);
/* PUTROOTFH and GETATTR, REMOVE, or READ; sent. */
void job_getattr(struct job *job, struct drive *d, unsigned conn);
void job_remove(struct job *job, struct drive *d, unsigned conn);
void job_read(struct job *job, struct drive *d, unsigned conn);
/* Waits for its end and expects NFS4_OK. */
void job_succeeds(struct job *job);
void job_ends(struct job *job, int status);

static inline const struct nfs_op_stats *drive_stats(struct drive *d, unsigned conn, uint32_t op)
{
	return &nfs_conn_stats(d->conn[conn])->op[op];
}

#endif
