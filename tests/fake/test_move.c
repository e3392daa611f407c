/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The server says that a file system is elsewhere, and there is another server. */
#include <errno.h>

#include "drive.h"

static struct {
	struct drive *d;
	struct fake there;
	bool gone;	  /* PUTFH is refused here */
	unsigned refused; /* so often */
	unsigned until;	  /* and no more after that */
	unsigned asked, moved;
	bool same, late; /* late: the answer waits for answer() */
	enum nfs_move move;
	void (*done)(void *done_arg, enum nfs_move move, const struct address *to);
	void *done_arg;
	uint8_t verifier[NFS4_VERIFIER_SIZE]; /* last seen there */
	unsigned exchanges;		      /* there */
} world;

static enum fake_verdict here(struct fake *fake, struct fake_call *call)
{
	for (uint32_t i = 0; world.gone && i < call->nops && i < FAKE_OPS; i++)
		if (call->op[i] == OP_PUTFH) {
			call->fail_at = i;
			call->fail_status = NFS4ERR_MOVED;
			world.gone = ++world.refused != world.until;
			break;
		}
	return FAKE_NORMAL;
}

static enum fake_verdict there(struct fake *fake, struct fake_call *call)
{
	if (call->op[0] != OP_EXCHANGE_ID)
		return FAKE_NORMAL;
	/* a client that has forgotten what it had */
	if (world.exchanges++ > 0 &&
		memcmp(world.verifier, call->verifier, sizeof(world.verifier)) != 0) {
		fake->clientid++;
		fake->clientid_confirmed = fake->reclaim_completed = false;
	}
	memcpy(world.verifier, call->verifier, sizeof(world.verifier));
	return FAKE_NORMAL;
}

static void answer(void)
{
	struct address to = {.proto = ADDRESS_UNIX};
	memcpy(to.host, world.there.path, sizeof(world.there.path));
	world.done(world.done_arg, world.move, &to);
}

static void on_ask(void *arg, struct nfs_conn *conn,
	void (*done)(void *done_arg, enum nfs_move move, const struct address *to), void *done_arg)
{
	assert_ptr_equal(conn, world.d->conn[0]);
	world.asked++;
	world.done = done;
	world.done_arg = done_arg;
	if (!world.late)
		answer();
}

static void on_moved(void *arg, bool same)
{
	world.moved++;
	world.same = same;
}

static void begin(struct drive *d, unsigned nconns, enum nfs_move move)
{
	static const struct nfs_move_ops ops = {.ask = on_ask, .moved = on_moved};
	memset(&world, 0, sizeof(world));
	world.d = d;
	world.move = move;
	assert_int_equal(fake_start(&world.there, d->loop), 0);
	world.there.script = there;
	world.there.clientid = 7000;
	d->fake.script = here;
	drive_start(d, nconns);
	nfs_client_set_move(d->client, &ops, NULL);
	drive_reclaims(d);
}

static void end(struct drive *d)
{
	drive_stop(d);
	fake_stop(&world.there);
}

static void send_remove(struct job *job, struct drive *d, unsigned conn)
{
	static const struct nfs_fh fh = {.len = 4, .data = {1, 2, 3, 4}};
	struct nfs_compound *c = job_new(job, d, conn, OP_REMOVE);
	nfs_op_putfh(c, &fh);
	nfs_op_remove(c, "name", 4, &job->cinfo);
	job_send(job);
}

static void expect_address(struct drive *d, const struct fake *fake)
{
	struct address address;
	nfs_client_address(d->client, &address);
	assert_string_equal(address.host, fake->path);
}

static void test_goes_there(void **state)
{
	struct drive *d = *state;
	struct job job[8];
	begin(d, 2, NFS_MOVE_TO);
	world.gone = true;
	for (unsigned i = 0; i < 8; i++)
		send_remove(&job[i], d, i % 2);
	for (unsigned i = 0; i < 8; i++) {
		job_succeeds(&job[i]);
		assert_false(job[i].replayed);
	}
	assert_int_equal(world.there.executed[OP_REMOVE], 8);
	assert_int_equal(d->fake.executed[OP_REMOVE], 0);
	assert_int_equal(world.there.sessions, 1);
	assert_int_equal(d->fake.executed[OP_DESTROY_SESSION], 1);
	assert_int_equal(d->fake.executed[OP_DESTROY_CLIENTID], 0);
	assert_int_equal(world.moved, 1);
	assert_false(world.same);
	assert_int_equal(d->reclaims, 1);
	assert_true(d->reclaim_grace);
	assert_int_equal(nfs_client_id(d->client), 7000);
	expect_address(d, &world.there);
	drive_until_count(d, &world.there.accepted, 2);
	drive_for(d, 20 * DRIVE_MS);
	assert_int_equal(d->fake.nconns, 0);
	/* and that is where it connects again */
	fake_cut(&world.there);
	send_remove(&job[0], d, 1);
	job_succeeds(&job[0]);
	assert_int_equal(world.there.executed[OP_REMOVE], 9);
	end(d);
}

/* A request has found it gone, and where it is has still to be said. */
static void begin_asking(struct drive *d, struct job *job)
{
	begin(d, 1, NFS_MOVE_TO);
	world.gone = world.late = true;
	send_remove(job, d, 0);
	drive_until_count(d, &world.asked, 1);
}

/* The old one neither answers nor ends. */
static void test_silent_server_is_left(void **state)
{
	struct drive *d = *state;
	struct job job;
	begin_asking(d, &job);
	fake_mute(&d->fake);
	answer();
	job_succeeds(&job);
	assert_int_equal(world.there.executed[OP_REMOVE], 1);
	end(d);
}

static void test_same_server(void **state)
{
	struct drive *d = *state;
	struct job job;
	begin(d, 1, NFS_MOVE_TO);
	/* which knows the client id */
	world.there.clientid = d->fake.clientid;
	world.there.clientid_known = world.there.clientid_confirmed = true;
	world.there.reclaim_completed = true;
	world.there.create_sequence = d->fake.create_sequence;
	world.gone = true;
	send_remove(&job, d, 0);
	job_succeeds(&job);
	assert_true(world.same);
	assert_int_equal(world.exchanges, 1);
	assert_int_equal(d->reclaims, 0);
	assert_int_equal(world.there.executed[OP_REMOVE], 1);
	end(d);
}

/* It has been there before: what that server still holds is not what it has now. */
static void test_server_has_to_forget(void **state)
{
	struct drive *d = *state;
	struct job job;
	begin(d, 1, NFS_MOVE_TO);
	world.there.clientid_known = world.there.clientid_confirmed = true;
	world.there.reclaim_completed = true;
	world.gone = true;
	send_remove(&job, d, 0);
	job_succeeds(&job);
	assert_false(world.same);
	assert_int_equal(world.exchanges, 2);
	assert_int_equal(nfs_client_id(d->client), 7001);
	assert_int_equal(d->reclaims, 1);
	end(d);
}

static void test_nowhere(void **state)
{
	struct drive *d = *state;
	struct job job[2];
	begin(d, 2, NFS_MOVE_NONE);
	world.gone = true;
	for (unsigned i = 0; i < 2; i++)
		send_remove(&job[i], d, i);
	for (unsigned i = 0; i < 2; i++)
		job_ends(&job[i], NFS4ERR_MOVED);
	assert_int_equal(d->fake.sessions, 1);
	assert_int_equal(world.refused, 2);
	/* asked anew for each that comes later */
	unsigned asked = world.asked;
	send_remove(&job[0], d, 0);
	job_ends(&job[0], NFS4ERR_MOVED);
	assert_int_equal(world.asked, asked + 1);
	world.gone = false;
	send_remove(&job[0], d, 0);
	job_succeeds(&job[0]);
	end(d);
}

/* Another file system has moved, or this one for a moment. */
static void test_still_here(void **state)
{
	struct drive *d = *state;
	struct job job;
	begin(d, 1, NFS_MOVE_HERE);
	world.gone = true;
	world.until = 1;
	send_remove(&job, d, 0);
	job_succeeds(&job);
	assert_int_equal(world.asked, 1);
	world.gone = true;
	world.until = 0;
	send_remove(&job, d, 0);
	job_ends(&job, NFS4ERR_MOVED);
	assert_int_equal(world.asked, 3);
	assert_int_equal(d->fake.sessions, 1);
	end(d);
}

static enum fake_verdict away(struct fake *fake, struct fake_call *call)
{
	if (fake_last_op(call) == OP_GETFH) {
		call->fail_at = call->nops - 1;
		call->fail_status = NFS4ERR_MOVED;
	}
	return FAKE_NORMAL;
}

/* A name that leads elsewhere is not ours to follow. */
static void test_referral(void **state)
{
	static const struct nfs_fh fh = {.len = 1};
	struct drive *d = *state;
	struct job job;
	struct nfs_fh found;
	begin(d, 1, NFS_MOVE_TO);
	d->fake.script = away;
	struct nfs_compound *c = job_new(&job, d, 0, OP_LOOKUP);
	nfs_op_putfh(c, &fh);
	nfs_op_lookup(c, "name", 4);
	nfs_op_getfh(c, &found);
	job_send(&job);
	job_ends(&job, NFS4ERR_MOVED);
	assert_int_equal(world.asked, 0);
	end(d);
}

static void test_lease_moved(void **state)
{
	struct drive *d = *state;
	struct job job;
	begin(d, 1, NFS_MOVE_TO);
	d->fake.status_flags = SEQ4_STATUS_LEASE_MOVED;
	job_getattr(&job, d, 0);
	job_succeeds(&job);
	drive_until_count(d, &world.moved, 1);
	drive_until_count(d, &world.there.sessions, 1);
	end(d);
}

/* Who gives up while it is asked does so. */
static void test_soft(void **state)
{
	struct drive *d = *state;
	struct job job[2];
	d->config.soft = true;
	d->config.timeo_ns = 50 * DRIVE_MS;
	begin(d, 1, NFS_MOVE_TO);
	world.gone = world.late = true;
	send_remove(&job[0], d, 0);
	job_ends(&job[0], -EIO);
	/* and who is no longer waited for is not sent */
	send_remove(&job[1], d, 0);
	drive_for(d, 10 * DRIVE_MS);
	nfs_compound_abandon(job[1].c);
	answer();
	drive_until_count(d, &world.there.sessions, 1);
	drive_for(d, 20 * DRIVE_MS);
	assert_int_equal(world.there.executed[OP_REMOVE], 0);
	end(d);
}

/* The session ends while it is asked. */
static void test_session_is_lost(void **state)
{
	struct drive *d = *state;
	struct job job;
	begin_asking(d, &job);
	fake_restart(&d->fake);
	drive_until_count(d, &d->fake.sessions, 2);
	drive_until_count(d, &world.refused, 2);
	answer();
	job_succeeds(&job);
	assert_int_equal(world.there.executed[OP_REMOVE], 1);
	end(d);
}

static void test_ends_while_asking(void **state)
{
	struct drive *d = *state;
	struct job job;
	begin_asking(d, &job);
	d->stopped = false;
	drive_stop(d);
	assert_true(job.done);
	assert_int_equal(job.status, -EIO);
	fake_stop(&world.there);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, drive_setup, drive_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_goes_there),
		TEST(test_silent_server_is_left),
		TEST(test_same_server),
		TEST(test_server_has_to_forget),
		TEST(test_nowhere),
		TEST(test_still_here),
		TEST(test_referral),
		TEST(test_lease_moved),
		TEST(test_soft),
		TEST(test_session_is_lost),
		TEST(test_ends_while_asking),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
