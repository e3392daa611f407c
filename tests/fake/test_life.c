/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Start, compounds, slots, connections, lease, stop. */
#include <errno.h>

#include "drive.h"

static void test_start_and_stop(void **state)
{
	struct drive *d = *state;
	drive_start(d, 1);
	const struct nfs_limits *limits = nfs_client_limits(d->client);
	assert_int_equal(limits->minor, 2);
	assert_int_equal(limits->rsize, 65536);
	assert_int_equal(limits->wsize, 65536);
	assert_int_equal(limits->lease_time, 90);
	assert_int_equal(nfs_client_id(d->client), d->fake.clientid);
	assert_int_equal(d->fake.executed[OP_EXCHANGE_ID], 1);
	assert_int_equal(d->fake.executed[OP_CREATE_SESSION], 1);
	assert_int_equal(d->fake.executed[OP_RECLAIM_COMPLETE], 1);
	assert_int_equal(d->fake.ncalls, 4);
	drive_stop(d);
	assert_int_equal(d->fake.executed[OP_DESTROY_SESSION], 1);
	assert_int_equal(d->fake.executed[OP_DESTROY_CLIENTID], 1);
	assert_false(d->fake.clientid_known);
	drive_for(d, 5 * DRIVE_MS);
	assert_int_equal(d->fake.nconns, 0);
}

static char first_owner[512];

static enum fake_verdict note_owner(struct fake *fake, struct fake_call *call)
{
	if (call->op[0] == OP_EXCHANGE_ID)
		memcpy(first_owner, call->owner, sizeof(first_owner));
	return FAKE_NORMAL;
}

static void test_owner_cannot_be_guessed(void **state)
{
	struct drive *d = *state;
	char before[512];
	d->config.clientaddr = "vsock:5";
	d->fake.script = note_owner;
	drive_start(d, 1);
	assert_memory_equal(first_owner, "vsockfs vsock:5 ", 16);
	assert_int_equal(strlen(first_owner), 16 + 32);
	memcpy(before, first_owner, sizeof(before));
	drive_stop(d);
	nfs_client_free(d->client);
	d->client = NULL;
	drive_start(d, 1);
	assert_string_not_equal(before, first_owner);
}

static void test_starts_again_after_a_stop(void **state)
{
	struct drive *d = *state;
	struct job job;
	drive_start(d, 2);
	drive_stop(d);
	drive_start(d, 2);
	job_getattr(&job, d, 1);
	job_succeeds(&job);
	assert_int_equal(d->fake.sessions, 2);
}

static void test_minor_version_one(void **state)
{
	struct drive *d = *state;
	struct job job;
	d->fake.minor_max = 1;
	drive_start(d, 1);
	assert_int_equal(nfs_client_limits(d->client)->minor, 1);
	job_getattr(&job, d, 0);
	job_succeeds(&job);
	assert_int_equal(d->fake.last.minor, 1);
}

static void test_limits_are_obeyed(void **state)
{
	struct drive *d = *state;
	d->fake.max_request = 32768 + 3000;
	d->fake.max_response = 16384 + 2048;
	drive_start(d, 1);
	assert_int_equal(nfs_client_limits(d->client)->wsize, 32768);
	assert_int_equal(nfs_client_limits(d->client)->rsize, 16384);
	nfs_client_limit_io(d->client, 8192, 0);
	assert_int_equal(nfs_client_limits(d->client)->wsize, 32768);
	assert_int_equal(nfs_client_limits(d->client)->rsize, 8192);
	nfs_client_limit_io(d->client, 1, 5000);
	assert_int_equal(nfs_client_limits(d->client)->wsize, 4096);
	assert_int_equal(nfs_client_limits(d->client)->rsize, 4096);
}

static void test_compounds_and_their_results(void **state)
{
	struct drive *d = *state;
	struct job a, b, c;
	drive_start(d, 1);
	job_getattr(&a, d, 0);
	job_remove(&b, d, 0);
	job_read(&c, d, 0);
	job_succeeds(&a);
	job_succeeds(&b);
	job_succeeds(&c);
	assert_int_equal(a.attr.lease_time, 90);
	assert_int_equal(a.ops_ok, 2);
	assert_int_equal(b.cinfo.after, 2);
	assert_int_equal(c.read.len, 1000);
	assert_int_equal(c.data[999], 'r');
	/* only what must not be executed twice is to be cached, and nothing long */
	struct fake_call_note *note = d->fake.calls + d->fake.nsequenced - 3;
	assert_false(note[0].cachethis);
	assert_true(note[1].cachethis);
	assert_false(note[2].cachethis);
	assert_int_equal(note[0].slot, 1);
	assert_int_equal(note[1].slot, 2);
	assert_int_equal(note[2].slot, 3);
	assert_int_equal(note[2].highest, 3);
}

static enum fake_verdict fail_remove(struct fake *fake, struct fake_call *call)
{
	if (fake_last_op(call) == OP_REMOVE) {
		call->fail_at = call->nops - 1;
		call->fail_status = NFS4ERR_NOTEMPTY;
	}
	return FAKE_NORMAL;
}

static void test_error_of_an_operation(void **state)
{
	struct drive *d = *state;
	struct job job;
	drive_start(d, 1);
	d->fake.script = fail_remove;
	job_remove(&job, d, 0);
	job_ends(&job, NFS4ERR_NOTEMPTY);
	assert_int_equal(job.ops_ok, 1);
	assert_int_equal(atomic_load(&drive_stats(d, 0, OP_REMOVE)->errors), 1);
}

static void test_statistics_are_exact(void **state)
{
	struct drive *d = *state;
	struct job job[10];
	uint64_t calls = 0, in = 0, out = 0;
	drive_start(d, 1);
	for (unsigned i = 0; i < 10; i++)
		job_getattr(&job[i], d, 0);
	for (unsigned i = 0; i < 10; i++)
		job_succeeds(&job[i]);
	const struct nfs_op_stats *stats = drive_stats(d, 0, OP_GETATTR);
	assert_int_equal(atomic_load(&stats->calls), 10);
	assert_int_equal(atomic_load(&stats->replies), 10);
	assert_int_equal(atomic_load(&stats->errors), 0);
	assert_int_equal(atomic_load(&stats->retransmits), 0);
	assert_true(atomic_load(&stats->rtt_ns) > 0);
	assert_true(atomic_load(&stats->total_ns) >= atomic_load(&stats->rtt_ns));
	assert_true(atomic_load(&stats->total_ns) < 1000 * DRIVE_MS);
	for (unsigned op = 0; op < NFS_OP_LIMIT; op++) {
		calls += atomic_load(&drive_stats(d, 0, op)->calls);
		in += atomic_load(&drive_stats(d, 0, op)->bytes_in);
		out += atomic_load(&drive_stats(d, 0, op)->bytes_out);
	}
	assert_int_equal(calls, d->fake.ncalls);
	assert_int_equal(in, d->fake.bytes_out);
	assert_int_equal(out, d->fake.bytes_in);
	assert_int_equal(atomic_load(&nfs_conn_stats(d->conn[0])->connects), 1);
	assert_int_equal(atomic_load(&nfs_conn_stats(d->conn[0])->slot_waits), 0);
}

static void test_more_compounds_than_slots(void **state)
{
	struct drive *d = *state;
	static struct job job[2][50];
	d->config.max_requests = 3;
	drive_start(d, 2);
	for (unsigned i = 0; i < 50; i++)
		for (unsigned w = 0; w < 2; w++)
			job_getattr(&job[w][i], d, w);
	for (unsigned i = 0; i < 50; i++)
		for (unsigned w = 0; w < 2; w++)
			job_succeeds(&job[w][i]);
	assert_int_equal(d->fake.highest_used, 3);
	assert_true(atomic_load(&nfs_conn_stats(d->conn[0])->slot_waits) >= 40);
	assert_true(atomic_load(&nfs_conn_stats(d->conn[1])->slot_waits) >= 40);
}

static void test_slots_follow_the_target(void **state)
{
	struct drive *d = *state;
	static struct job job[40];
	drive_start(d, 1);
	d->fake.target = 1;
	job_getattr(&job[0], d, 0);
	job_succeeds(&job[0]);
	d->fake.highest_used = 0;
	for (unsigned i = 0; i < 40; i++)
		job_getattr(&job[i], d, 0);
	for (unsigned i = 0; i < 40; i++)
		job_succeeds(&job[i]);
	assert_int_equal(d->fake.highest_used, 1);
	d->fake.target = UINT32_MAX;
	for (unsigned i = 0; i < 40; i++)
		job_getattr(&job[i], d, 0);
	for (unsigned i = 0; i < 40; i++)
		job_succeeds(&job[i]);
	assert_int_equal(d->fake.highest_used, 16);
}

static void test_several_connections(void **state)
{
	struct drive *d = *state;
	struct job job[4];
	drive_start(d, 4);
	assert_int_equal(d->fake.accepted, 4);
	assert_int_equal(d->fake.executed[OP_BIND_CONN_TO_SESSION], 3);
	for (unsigned i = 0; i < 4; i++)
		job_remove(&job[i], d, i);
	for (unsigned i = 0; i < 4; i++) {
		job_succeeds(&job[i]);
		assert_int_equal(atomic_load(&drive_stats(d, i, OP_REMOVE)->calls), 1);
	}
	assert_int_equal(d->fake.sessions, 1);
}

static void test_binding_is_not_supported(void **state)
{
	struct drive *d = *state;
	struct job job;
	d->fake.no_bind_op = true;
	drive_start(d, 2);
	job_getattr(&job, d, 1);
	job_succeeds(&job);
}

static void test_lease_is_renewed_when_idle(void **state)
{
	struct drive *d = *state;
	d->fake.lease = 1;
	drive_start(d, 1);
	unsigned before = d->fake.ncalls;
	drive_for(d, 1800 * DRIVE_MS);
	unsigned renewals = d->fake.ncalls - before;
	assert_in_range(renewals, 2, 4);
	/* and the first one with the connection */
	assert_int_equal(d->fake.probes, 1 + renewals);
	assert_int_equal(d->fake.probe.slot, 0);
	assert_int_equal(d->fake.probe.sequence, 1 + renewals);
	assert_false(d->fake.probe.cachethis);
	assert_int_equal(atomic_load(&drive_stats(d, 0, OP_SEQUENCE)->calls), 1 + renewals);
}

static void test_lease_is_renewed_by_any_compound(void **state)
{
	struct drive *d = *state;
	struct job job;
	d->fake.lease = 1;
	drive_start(d, 2);
	for (unsigned i = 0; i < 12; i++) {
		job_getattr(&job, d, 1);
		job_succeeds(&job);
		drive_for(d, 100 * DRIVE_MS);
	}
	/* those of the connections, and no other */
	assert_int_equal(d->fake.probes, 2);
}

static void test_too_long_arguments(void **state)
{
	struct drive *d = *state;
	struct job job;
	char name[NFS4_NAME_MAX];
	memset(name, 'n', sizeof(name));
	drive_start(d, 1);
	struct nfs_compound *c = job_new(&job, d, 0, OP_LOOKUP);
	for (unsigned i = 0; i < 40; i++)
		nfs_op_lookup(c, name, sizeof(name));
	job_send(&job);
	job_ends(&job, -EOVERFLOW);
	job_getattr(&job, d, 0);
	job_succeeds(&job);
}

static enum fake_verdict swallow(struct fake *fake, struct fake_call *call)
{
	struct drive *d = fake->arg;
	if (fake_last_op(call) != OP_REMOVE)
		return FAKE_NORMAL;
	d->flag++;
	return FAKE_SILENT;
}

static void test_stop_waits_for_what_is_under_way(void **state)
{
	struct drive *d = *state;
	static struct job job[30];
	d->config.max_requests = 2;
	drive_start(d, 2);
	for (unsigned i = 0; i < 30; i++)
		job_getattr(&job[i], d, i % 2);
	drive_stop(d);
	for (unsigned i = 0; i < 30; i++) {
		assert_true(job[i].done);
		assert_int_equal(job[i].status, 0);
	}
	assert_int_equal(d->fake.executed[OP_DESTROY_SESSION], 1);
}

static void test_stop_does_not_wait_for_ever(void **state)
{
	struct drive *d = *state;
	struct job sent, queued, late;
	d->config.max_requests = 1;
	drive_start(d, 1);
	d->fake.script = swallow;
	job_remove(&sent, d, 0);
	job_getattr(&queued, d, 0);
	drive_until_count(d, &d->flag, 1);
	uint64_t start = loop_clock();
	drive_stop(d);
	assert_true(loop_clock() - start < 5000 * DRIVE_MS);
	job_ends(&sent, -EIO);
	job_ends(&queued, -EIO);
	/* and nothing begins any more */
	job_getattr(&late, d, 0);
	job_ends(&late, -EIO);
}

static void test_abandoned_compounds(void **state)
{
	struct drive *d = *state;
	struct job sent, queued, next;
	d->config.max_requests = 1;
	drive_start(d, 1);
	job_read(&sent, d, 0);
	job_getattr(&queued, d, 0);
	nfs_compound_abandon(queued.c);
	nfs_compound_abandon(sent.c);
	job_getattr(&next, d, 0);
	job_succeeds(&next);
	assert_false(sent.done);
	assert_false(queued.done);
	/* what was never sent is not sent for nobody */
	assert_int_equal(d->fake.executed[OP_READ], 1);
	assert_int_equal(atomic_load(&drive_stats(d, 0, OP_GETATTR)->calls), 1);
	assert_int_equal(sent.read.len, 0);
}

#define LIFE(name) cmocka_unit_test_setup_teardown(test_##name, drive_setup, drive_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		LIFE(start_and_stop),
		LIFE(owner_cannot_be_guessed),
		LIFE(starts_again_after_a_stop),
		LIFE(minor_version_one),
		LIFE(limits_are_obeyed),
		LIFE(compounds_and_their_results),
		LIFE(error_of_an_operation),
		LIFE(statistics_are_exact),
		LIFE(more_compounds_than_slots),
		LIFE(slots_follow_the_target),
		LIFE(several_connections),
		LIFE(binding_is_not_supported),
		LIFE(lease_is_renewed_when_idle),
		LIFE(lease_is_renewed_by_any_compound),
		LIFE(too_long_arguments),
		LIFE(stop_waits_for_what_is_under_way),
		LIFE(stop_does_not_wait_for_ever),
		LIFE(abandoned_compounds),
	};
	return cmocka_run_group_tests_name("life", tests, NULL, NULL);
}
