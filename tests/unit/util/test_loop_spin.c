/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the loop does before it sleeps when it is asked to look for events first. */
#include "loop_fixture.h"

#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

struct looker {
	struct fixture *f;
	struct loop_spin spin;
	struct loop_recv recv;
	struct loop_task task;
	int fd[2];
	char byte;
	uint64_t limit, away;
	unsigned begun, ended, found, received, posted;
};

static uint64_t looker_begin(struct loop_spin *spin)
{
	struct looker *looker = OF(spin, struct looker, spin);

	looker->begun++;
	return looker->limit;
}

static void looker_end(struct loop_spin *spin, bool found, uint64_t away)
{
	struct looker *looker = OF(spin, struct looker, spin);

	looker->ended++;
	looker->found += found;
	looker->away = away;
}

static void looker_received(struct loop_recv *op, ssize_t result)
{
	struct looker *looker = OF(op, struct looker, recv);

	assert_int_equal(result, 1);
	looker->received++;
	loop_stop(looker->f->loop);
}

static void looker_posted(struct loop_task *task)
{
	struct looker *looker = OF(task, struct looker, task);

	looker->posted++;
	loop_stop(looker->f->loop);
}

static struct looker *looker_new(void **state, uint64_t limit)
{
	struct fixture *f = fixture_get(state);
	struct looker *looker = calloc(1, sizeof(*looker));

	looker->f = f;
	looker->limit = limit;
	looker->spin = (struct loop_spin){.begin = looker_begin, .end = looker_end};
	looker->task.run = looker_posted;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, looker->fd), 0);
	looker->recv = (struct loop_recv){
		.fd = looker->fd[0], .data = &looker->byte, .len = 1, .done = looker_received};
	loop_spin_set(f->loop, &looker->spin);
	return looker;
}

static void looker_free(struct looker *looker)
{
	close(looker->fd[0]);
	close(looker->fd[1]);
	free(looker);
}

static void *write_later(void *arg)
{
	const struct looker *looker = arg;

	usleep(20000);
	assert_int_equal(write(looker->fd[1], "x", 1), 1);
	return NULL;
}

static void *post_later(void *arg)
{
	struct looker *looker = arg;

	usleep(20000);
	loop_post(looker->f->loop, &looker->task);
	return NULL;
}

static void looker_run(struct looker *looker, void *(*later)(void *))
{
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, later, looker), 0);
	fixture_run(looker->f);
	pthread_join(thread, NULL);
}

/* As long as the limit allows the loop does not sleep at all. */
static void test_finds_what_is_received(void **state)
{
	struct looker *looker = looker_new(state, 10000 * MS);

	loop_recv_start(looker->f->loop, &looker->recv);
	looker_run(looker, write_later);
	assert_int_equal(looker->received, 1);
	assert_true(looker->begun > 0);
	assert_int_equal(looker->found, looker->begun);
	assert_int_equal(looker->ended, looker->begun);
	looker_free(looker);
}

static void test_finds_tasks(void **state)
{
	struct looker *looker = looker_new(state, 10000 * MS);

	looker_run(looker, post_later);
	assert_int_equal(looker->posted, 1);
	assert_true(looker->begun > 0);
	assert_int_equal(looker->found, looker->begun);
	looker_free(looker);
}

/* Then it sleeps, and wakes as ever. */
static void test_sleeps_after_the_limit(void **state)
{
	struct looker *looker = looker_new(state, MS / 100);

	loop_recv_start(looker->f->loop, &looker->recv);
	looker_run(looker, write_later);
	assert_int_equal(looker->received, 1);
	assert_true(looker->ended > 0);
	assert_true(looker->found < looker->ended);
	looker_free(looker);
}

static void test_looks_no_longer_than_to_the_timer(void **state)
{
	struct looker *looker = looker_new(state, 10000 * MS);
	uint64_t start = loop_clock();

	loop_timer_set(looker->f->loop, &looker->f->alarm, start + 20 * MS);
	fixture_run(looker->f);
	assert_true(loop_clock() - start >= 20 * MS);
	assert_true(loop_clock() - start < 5000 * MS);
	assert_true(looker->ended > 0);
	looker_free(looker);
}

static void test_does_not_look_when_not_told_to(void **state)
{
	struct looker *looker = looker_new(state, 0);

	loop_recv_start(looker->f->loop, &looker->recv);
	looker_run(looker, write_later);
	assert_int_equal(looker->received, 1);
	assert_true(looker->begun > 0);
	assert_int_equal(looker->ended, 0);
	looker_free(looker);
}

/* poll(2) sees nothing without being called. */
static void test_poll_never_looks(void **state)
{
	struct looker *looker = looker_new(state, 10000 * MS);

	loop_recv_start(looker->f->loop, &looker->recv);
	looker_run(looker, write_later);
	assert_int_equal(looker->received, 1);
	assert_int_equal(looker->begun, 0);
	looker_free(looker);
}

#define ON_URING(test)                                                   \
	{                                                                \
#test, test, fixture_setup_uring, fixture_teardown, NULL \
	}

int main(void)
{
	const struct CMUnitTest tests[] = {
		ON_URING(test_finds_what_is_received),
		ON_URING(test_finds_tasks),
		ON_URING(test_sleeps_after_the_limit),
		ON_URING(test_looks_no_longer_than_to_the_timer),
		ON_URING(test_does_not_look_when_not_told_to),
		{"poll: test_poll_never_looks", test_poll_never_looks, fixture_setup_poll,
			fixture_teardown, NULL},
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
