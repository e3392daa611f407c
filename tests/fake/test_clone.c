/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Another guest, restored from the same snapshot, uses our session. */
#include <errno.h>

#include "drive.h"
#include "vsock/machine.h"

/* Instead of machine.c. */
static bool other_machine;

struct machine *machine_new(bool vsock)
{
	other_machine = false;
	return (struct machine *)&other_machine;
}

void machine_free(struct machine *machine)
{
	assert_ptr_equal(machine, &other_machine);
}

bool machine_has_changed(struct machine *machine)
{
	bool changed = other_machine;
	other_machine = false;
	return changed;
}

/* The owner of opens and locks. */
static struct {
	struct drive *d;
	unsigned cloned, reclaims;
	bool grace;
	uint64_t clientid; /* when it was told */
} holder;

static void on_cloned(void *arg)
{
	holder.cloned++;
	assert_int_equal(holder.reclaims, 0);
}

static void on_reclaim(void *arg, struct nfs_conn *conn, bool grace,
	void (*done)(void *done_arg, int err), void *done_arg)
{
	holder.reclaims++;
	holder.grace = grace;
	holder.clientid = nfs_client_id(holder.d->client);
	/* ordinary opens: not before RECLAIM_COMPLETE */
	assert_true(holder.d->fake.reclaim_completed);
	done(done_arg, 0);
}

static char owner[2][512];
static uint8_t verifier[2][NFS4_VERIFIER_SIZE];
static unsigned owners;

static enum fake_verdict note_owner(struct fake *fake, struct fake_call *call)
{
	if (call->op[0] == OP_EXCHANGE_ID && owners < 2) {
		memcpy(owner[owners], call->owner, sizeof(owner[0]));
		memcpy(verifier[owners], call->verifier, NFS4_VERIFIER_SIZE);
		/* somebody else, for this server */
		if (++owners == 2) {
			fake->clientid += 1000;
			fake->clientid_known = fake->clientid_confirmed = false;
			fake->reclaim_completed = false;
		}
	}
	return FAKE_NORMAL;
}

static uint64_t salt;

static void begin(struct drive *d, unsigned nconns)
{
	static const struct nfs_reclaim_ops ops = {.reclaim = on_reclaim, .cloned = on_cloned};
	memset(&holder, 0, sizeof(holder));
	holder.d = d;
	owners = 0;
	d->fake.script = note_owner;
	drive_start(d, nconns);
	salt = nfs_client_salt(d->client);
	nfs_client_set_reclaim(d->client, &ops, NULL);
}

/* All of what has to happen, and not to happen, once the twin was noticed. */
static void expect_another_client(struct drive *d)
{
	struct job job;
	drive_until_count(d, &holder.reclaims, 1);
	job_remove(&job, d, 0);
	job_succeeds(&job);
	assert_int_equal(owners, 2);
	assert_string_not_equal(owner[0], owner[1]);
	assert_true(salt != nfs_client_salt(d->client));
	assert_memory_not_equal(verifier[0], verifier[1], NFS4_VERIFIER_SIZE);
	assert_int_equal(nfs_client_id(d->client), d->fake.clientid);
	assert_int_equal(holder.clientid, d->fake.clientid);
	assert_int_equal(holder.cloned, 1);
	assert_int_equal(holder.reclaims, 1);
	assert_false(holder.grace);
	assert_int_equal(d->fake.sessions, 2);
	assert_int_equal(d->fake.executed[OP_DESTROY_SESSION], 0);
	assert_int_equal(d->fake.executed[OP_DESTROY_CLIENTID], 0);
}

static void test_twin_was_here(void **state)
{
	struct drive *d = *state;
	struct job job[2];
	begin(d, 2);
	job_remove(&job[0], d, 0);
	job_succeeds(&job[0]);
	/* its own connections, its lease */
	fake_advance(&d->fake, 0, 3, NULL, 0);
	fake_cut(&d->fake);
	for (unsigned i = 0; i < 2; i++)
		job_remove(&job[i], d, i);
	for (unsigned i = 0; i < 2; i++)
		job_succeeds(&job[i]);
	expect_another_client(d);
}

/* Its next step was the same as ours. */
static void test_twin_sent_the_same_probe(void **state)
{
	struct drive *d = *state;
	begin(d, 2);
	fake_advance(&d->fake, 0, 1, NULL, 0);
	fake_cut(&d->fake);
	expect_another_client(d);
}

/* With a single slot, the server has another's reply for us. */
static void test_twin_left_a_reply(void **state)
{
	struct drive *d = *state;
	uint8_t reply[256];
	struct wire_out out;
	d->fake.granted_slots = 1;
	begin(d, 1);
	wire_out_init(&out, reply, sizeof(reply));
	wire_put_u32(&out, NFS4_OK);
	wire_put_u32(&out, 0);
	wire_put_u32(&out, 3);
	wire_put_u32(&out, OP_SEQUENCE);
	wire_put_u32(&out, NFS4_OK);
	wire_put_fixed(&out, d->fake.sessionid, NFS4_SESSIONID_SIZE);
	wire_put_u32(&out, d->fake.slot[0].sequence + 1);
	for (unsigned i = 0; i < 4; i++)
		wire_put_u32(&out, 0);
	wire_put_u32(&out, OP_PUTFH);
	wire_put_u32(&out, NFS4_OK);
	wire_put_u32(&out, OP_LOOKUP);
	wire_put_u32(&out, NFS4_OK);
	fake_advance(&d->fake, 0, 1, reply, out.len);
	fake_cut(&d->fake);
	expect_another_client(d);
}

/* We were there first, and have no reason to connect. */
static void test_renewal_meets_the_twin(void **state)
{
	struct drive *d = *state;
	d->fake.lease = 1;
	begin(d, 1);
	fake_advance(&d->fake, 0, 1, NULL, 0);
	expect_another_client(d);
	/* not on a connection that the twin's session knows */
	assert_int_equal(d->fake.accepted, 2);
}

static struct plan {
	enum fake_verdict verdict;
	uint32_t status;
	unsigned times, seen;
	uint32_t sequence[8];
} plan;

static enum fake_verdict meddle(struct fake *fake, struct fake_call *call)
{
	if (!fake_is_probe(call))
		return note_owner(fake, call);
	if (plan.seen < 8)
		plan.sequence[plan.seen] = call->sequence;
	plan.seen++;
	if (plan.times == 0)
		return FAKE_NORMAL;
	plan.times--;
	call->fail_at = 0;
	call->fail_status = plan.status;
	return plan.verdict;
}

static void expect(struct drive *d, enum fake_verdict verdict, uint32_t status, unsigned times)
{
	plan = (struct plan){.verdict = verdict, .status = status, .times = times};
	d->fake.script = meddle;
}

static void expect_the_same_client(struct drive *d)
{
	struct job job;
	job_remove(&job, d, 0);
	job_succeeds(&job);
	assert_int_equal(holder.cloned, 0);
	assert_int_equal(owners, 1);
	assert_int_equal(d->fake.sessions, 1);
}

static void test_own_probe_was_cut(void **state)
{
	struct drive *d = *state;
	begin(d, 1);
	expect(d, FAKE_CLOSE, 0, 2);
	fake_cut(&d->fake);
	expect_the_same_client(d);
	assert_int_equal(plan.seen, 3);
	assert_int_equal(plan.sequence[1], plan.sequence[0]);
	assert_int_equal(plan.sequence[2], plan.sequence[0]);
}

static void test_own_probe_was_executed_and_cut(void **state)
{
	struct drive *d = *state;
	begin(d, 2);
	expect(d, FAKE_EXECUTE_CLOSE, 0, 1);
	fake_cut(&d->fake);
	drive_until_count(d, &plan.seen, 4);
	expect_the_same_client(d);
	assert_int_equal(plan.sequence[1], plan.sequence[0]);
	assert_int_equal(plan.sequence[2], plan.sequence[0] + 1);
	assert_int_equal(plan.sequence[3], plan.sequence[0] + 2);
}

static void test_twin_behind_a_cut_probe(void **state)
{
	struct drive *d = *state;
	begin(d, 1);
	expect(d, FAKE_EXECUTE_CLOSE, 0, 1);
	fake_cut(&d->fake);
	drive_until_count(d, &plan.seen, 1);
	fake_advance(&d->fake, 0, 1, NULL, 0);
	expect_another_client(d);
}

static void test_probe_is_delayed(void **state)
{
	struct drive *d = *state;
	begin(d, 1);
	expect(d, FAKE_NORMAL, NFS4ERR_DELAY, 2);
	fake_cut(&d->fake);
	expect_the_same_client(d);
	assert_int_equal(plan.seen, 3);
}

static void test_probe_is_refused(void **state)
{
	struct drive *d = *state;
	begin(d, 1);
	expect(d, FAKE_NORMAL, NFS4ERR_SERVERFAULT, 1);
	fake_cut(&d->fake);
	expect_the_same_client(d);
}

/* Nothing goes out before the probe is answered, and nothing that was executed is lost. */
static void test_compounds_wait_for_the_probe(void **state)
{
	struct drive *d = *state;
	struct job job;
	begin(d, 1);
	expect(d, FAKE_SILENT, 0, 1);
	fake_cut(&d->fake);
	unsigned before = d->fake.nsequenced;
	job_remove(&job, d, 0);
	drive_until_count(d, &plan.seen, 1);
	drive_for(d, 50 * DRIVE_MS);
	assert_int_equal(d->fake.nsequenced, before);
	fake_cut(&d->fake);
	job_succeeds(&job);
	expect_the_same_client(d);
}

static enum fake_verdict swallow_remove(struct fake *fake, struct fake_call *call)
{
	if (fake_last_op(call) != OP_REMOVE)
		return note_owner(fake, call);
	if (plan.times == 0)
		return FAKE_NORMAL;
	plan.times--;
	plan.seen++;
	return FAKE_SILENT;
}

/* What was under way when the snapshot was taken, and by which of the two it was executed. */
static void test_under_way_in_the_snapshot(void **state)
{
	struct drive *d = *state;
	struct job changing, reading;
	begin(d, 1);
	plan = (struct plan){.times = 1};
	d->fake.script = swallow_remove;
	job_remove(&changing, d, 0);
	job_read(&reading, d, 0);
	drive_until_count(d, &plan.seen, 1);
	job_succeeds(&reading);
	fake_advance(&d->fake, 0, 2, NULL, 0);
	fake_cut(&d->fake);
	job_succeeds(&changing);
	assert_true(changing.replayed);
	expect_another_client(d);
}

/* The machine says so itself: no probe is needed, nor sent. */
static void test_another_machine(void **state)
{
	struct drive *d = *state;
	begin(d, 2);
	other_machine = true;
	unsigned probes = d->fake.probes;
	fake_cut(&d->fake);
	expect_another_client(d);
	/* those of the new session */
	assert_in_range(d->fake.probes - probes, 1, 2);
}

static void test_another_machine_while_the_server_restarts(void **state)
{
	struct drive *d = *state;
	begin(d, 1);
	other_machine = true;
	fake_restart(&d->fake);
	drive_until_count(d, &holder.reclaims, 1);
	assert_int_equal(holder.cloned, 1);
	assert_false(holder.grace);
}

/* The end of the mount comes first: the twin keeps what it has. */
static void test_stop_next_to_a_twin(void **state)
{
	struct drive *d = *state;
	begin(d, 1);
	fake_advance(&d->fake, 0, 2, NULL, 0);
	d->fake.refuse = true;
	fake_cut(&d->fake);
	drive_stop(d);
	assert_int_equal(d->fake.executed[OP_DESTROY_SESSION], 0);
	assert_int_equal(d->fake.executed[OP_DESTROY_CLIENTID], 0);
	d->fake.refuse = false;
}

static void test_restart_while_becoming_another(void **state)
{
	struct drive *d = *state;
	struct job job;
	begin(d, 1);
	fake_advance(&d->fake, 0, 2, NULL, 0);
	fake_cut(&d->fake);
	drive_until_count(d, &holder.cloned, 1);
	fake_restart(&d->fake);
	job_remove(&job, d, 0);
	job_succeeds(&job);
	assert_int_equal(holder.cloned, 1);
	assert_false(holder.grace);
	assert_int_equal(d->fake.executed[OP_DESTROY_SESSION], 0);
}

#define CLONE(name) cmocka_unit_test_setup_teardown(test_##name, drive_setup, drive_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CLONE(twin_was_here),
		CLONE(twin_sent_the_same_probe),
		CLONE(twin_left_a_reply),
		CLONE(renewal_meets_the_twin),
		CLONE(own_probe_was_cut),
		CLONE(own_probe_was_executed_and_cut),
		CLONE(twin_behind_a_cut_probe),
		CLONE(probe_is_delayed),
		CLONE(probe_is_refused),
		CLONE(compounds_wait_for_the_probe),
		CLONE(under_way_in_the_snapshot),
		CLONE(another_machine),
		CLONE(another_machine_while_the_server_restarts),
		CLONE(stop_next_to_a_twin),
		CLONE(restart_while_becoming_another),
	};
	return cmocka_run_group_tests_name("clone", tests, NULL, NULL);
}
