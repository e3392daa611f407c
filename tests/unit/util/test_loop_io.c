/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Receives and polls of the loop. */
#include "loop_fixture.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

struct io {
	struct fixture *f;
	struct loop_recv recv;
	struct loop_poll poll;
	struct loop_timer timer;
	int fd[2];
	uint8_t data[64];
	ssize_t result;
	unsigned done, steps;
	bool again;
};

static void io_recv_done(struct loop_recv *op, ssize_t result)
{
	struct io *io = OF(op, struct io, recv);

	io->result = result;
	io->done++;
	if (io->again) {
		io->again = false;
		loop_recv_start(io->f->loop, op);
	} else {
		loop_stop(io->f->loop);
	}
}

static void io_poll_done(struct loop_poll *op, int result)
{
	struct io *io = OF(op, struct io, poll);

	io->result = result;
	io->done++;
	loop_stop(io->f->loop);
}

static struct io *io_new(void **state)
{
	struct fixture *f = fixture_get(state);
	struct io *io = calloc(1, sizeof(*io));

	io->f = f;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, io->fd), 0);
	io->recv.fd = io->fd[0];
	io->recv.data = io->data;
	io->recv.len = sizeof(io->data);
	io->recv.done = io_recv_done;
	io->poll.fd = io->fd[0];
	io->poll.events = POLLIN;
	io->poll.done = io_poll_done;
	return io;
}

static void io_free(struct io *io)
{
	close(io->fd[0]);
	if (io->fd[1] >= 0)
		close(io->fd[1]);
	free(io);
}

static void io_write(struct io *io, const char *text)
{
	assert_int_equal(write(io->fd[1], text, strlen(text)), strlen(text));
}

static void io_shut(struct io *io)
{
	close(io->fd[1]);
	io->fd[1] = -1;
}

static void test_recv_takes_what_is_there(void **state)
{
	struct io *io = io_new(state);

	io_write(io, "hello");
	loop_recv_start(io->f->loop, &io->recv);
	assert_int_equal(io->done, 0);
	fixture_run(io->f);
	assert_int_equal(io->done, 1);
	assert_int_equal(io->result, 5);
	assert_memory_equal(io->data, "hello", 5);
	io_free(io);
}

static void io_write_later(struct loop_timer *timer)
{
	struct io *io = OF(timer, struct io, timer);

	io_write(io, "0123456789");
	if (++io->steps < 4)
		loop_timer_set(io->f->loop, timer, loop_now(io->f->loop) + 2 * MS);
}

static void io_start_writing(struct io *io)
{
	io->timer.fire = io_write_later;
	loop_timer_set(io->f->loop, &io->timer, loop_clock() + 2 * MS);
}

static void test_recv_waits(void **state)
{
	struct io *io = io_new(state);

	io->steps = 3;
	io_start_writing(io);
	loop_recv_start(io->f->loop, &io->recv);
	fixture_run(io->f);
	assert_int_equal(io->result, 10);
	io_free(io);
}

static void test_recv_waits_for_all(void **state)
{
	struct io *io = io_new(state);

	io->recv.wait_all = true;
	io->recv.len = 33;
	io_start_writing(io);
	loop_recv_start(io->f->loop, &io->recv);
	fixture_run(io->f);
	assert_int_equal(io->done, 1);
	assert_int_equal(io->steps, 4);
	assert_int_equal(io->result, 33);
	assert_memory_equal(io->data, "012345678901234567890123456789012", 33);
	io_free(io);
}

static void test_recv_of_all_on_a_blocking_socket(void **state)
{
	struct io *io = io_new(state);

	assert_int_equal(fcntl(io->fd[0], F_SETFL, 0), 0);
	io->recv.wait_all = true;
	io->recv.len = 40;
	io_start_writing(io);
	loop_recv_start(io->f->loop, &io->recv);
	fixture_run(io->f);
	assert_int_equal(io->result, 40);
	io_free(io);
}

static void test_recv_leaves_the_rest(void **state)
{
	struct io *io = io_new(state);

	io_write(io, "abcdefgh");
	io->recv.len = 3;
	io->recv.wait_all = true;
	io->again = true;
	loop_recv_start(io->f->loop, &io->recv);
	fixture_run(io->f);
	assert_int_equal(io->done, 2);
	assert_int_equal(io->result, 3);
	assert_memory_equal(io->data, "def", 3);
	io_free(io);
}

static void test_recv_at_end_of_stream(void **state)
{
	struct io *io = io_new(state);

	io_shut(io);
	loop_recv_start(io->f->loop, &io->recv);
	fixture_run(io->f);
	assert_int_equal(io->result, 0);
	io_free(io);
}

static void test_recv_of_all_is_short_at_end_of_stream(void **state)
{
	struct io *io = io_new(state);

	io_write(io, "abc");
	io_shut(io);
	io->recv.wait_all = true;
	loop_recv_start(io->f->loop, &io->recv);
	fixture_run(io->f);
	assert_int_equal(io->result, 3);
	io_free(io);
}

static void test_recv_reports_errors(void **state)
{
	struct io *io = io_new(state);

	io->recv.fd = 1 << 20;
	loop_recv_start(io->f->loop, &io->recv);
	fixture_run(io->f);
	assert_int_equal(io->result, -EBADF);
	io_free(io);
}

static void test_recv_cancelled_before_the_loop_ran(void **state)
{
	struct io *io = io_new(state);

	io_write(io, "abc");
	loop_recv_start(io->f->loop, &io->recv);
	loop_recv_cancel(io->f->loop, &io->recv);
	loop_recv_cancel(io->f->loop, &io->recv);
	assert_int_equal(io->done, 0);
	fixture_run(io->f);
	assert_int_equal(io->done, 1);
	assert_int_equal(io->result, -ECANCELED);
	io_free(io);
}

static void io_cancel_recv(struct loop_timer *timer)
{
	struct io *io = OF(timer, struct io, timer);

	loop_recv_cancel(io->f->loop, &io->recv);
	loop_recv_cancel(io->f->loop, &io->recv);
	assert_int_equal(io->done, 0);
}

/* What is written after `done` must not land in the buffer. */
static void test_recv_cancelled_in_the_kernel(void **state)
{
	struct io *io = io_new(state);

	io->timer.fire = io_cancel_recv;
	io->recv.wait_all = true;
	loop_recv_start(io->f->loop, &io->recv);
	loop_timer_set(io->f->loop, &io->timer, loop_clock() + 5 * MS);
	fixture_run(io->f);
	assert_int_equal(io->done, 1);
	assert_int_equal(io->result, -ECANCELED);
	io_write(io, "late");
	fixture_run_for(io->f, 5 * MS);
	assert_int_equal(io->done, 1);
	assert_int_equal(io->data[0], 0);
	io_free(io);
}

static void test_recv_starts_again_after_cancel(void **state)
{
	struct io *io = io_new(state);

	io->timer.fire = io_cancel_recv;
	io->again = true;
	loop_recv_start(io->f->loop, &io->recv);
	loop_timer_set(io->f->loop, &io->timer, loop_clock() + 2 * MS);
	fixture_run_for(io->f, 10 * MS);
	assert_int_equal(io->done, 1);
	assert_int_equal(io->result, -ECANCELED);
	io_write(io, "xy");
	fixture_run(io->f);
	assert_int_equal(io->done, 2);
	assert_int_equal(io->result, 2);
	io_free(io);
}

static unsigned turns;

static bool count_turn(struct loop_hook *hook)
{
	turns++;
	return false;
}

static void test_cancel_of_an_idle_operation_does_nothing(void **state)
{
	struct io *io = io_new(state);
	struct loop_hook hook = {.run = count_turn};

	turns = 0;
	loop_hook_add(io->f->loop, &hook);
	loop_recv_cancel(io->f->loop, &io->recv);
	loop_poll_cancel(io->f->loop, &io->poll);
	fixture_run_for(io->f, 3 * MS);
	assert_int_equal(io->done, 0);
	assert_in_range(turns, 1, 10);
	loop_hook_remove(io->f->loop, &hook);
	io_free(io);
}

static void test_poll_for_input(void **state)
{
	struct io *io = io_new(state);

	io->steps = 3;
	io_start_writing(io);
	loop_poll_start(io->f->loop, &io->poll);
	fixture_run(io->f);
	assert_int_equal(io->done, 1);
	assert_int_equal(io->result, POLLIN);
	/* one shot: the input is still there, and nothing more is reported */
	fixture_run_for(io->f, 5 * MS);
	assert_int_equal(io->done, 1);
	io_free(io);
}

static void test_poll_for_output(void **state)
{
	struct io *io = io_new(state);

	io->poll.events = POLLIN | POLLOUT;
	loop_poll_start(io->f->loop, &io->poll);
	fixture_run(io->f);
	assert_int_equal(io->result, POLLOUT);
	io_free(io);
}

static void test_poll_sees_the_end(void **state)
{
	struct io *io = io_new(state);

	io_shut(io);
	io->poll.events = 0;
	loop_poll_start(io->f->loop, &io->poll);
	fixture_run(io->f);
	assert_int_equal(io->result & ~POLLRDHUP, POLLHUP);
	io_free(io);
}

static void test_poll_reports_errors(void **state)
{
	struct io *io = io_new(state);

	io->poll.fd = 1 << 20;
	loop_poll_start(io->f->loop, &io->poll);
	fixture_run(io->f);
	assert_int_equal(io->result, -EBADF);
	io_free(io);
}

static void io_cancel_poll(struct loop_timer *timer)
{
	struct io *io = OF(timer, struct io, timer);

	loop_poll_cancel(io->f->loop, &io->poll);
	assert_int_equal(io->done, 0);
}

static void test_poll_cancelled(void **state)
{
	struct io *io = io_new(state);

	loop_poll_start(io->f->loop, &io->poll);
	loop_poll_cancel(io->f->loop, &io->poll);
	fixture_run(io->f);
	assert_int_equal(io->done, 1);
	assert_int_equal(io->result, -ECANCELED);

	io->timer.fire = io_cancel_poll;
	io->done = 0;
	loop_poll_start(io->f->loop, &io->poll);
	loop_timer_set(io->f->loop, &io->timer, loop_clock() + 3 * MS);
	fixture_run(io->f);
	assert_int_equal(io->done, 1);
	assert_int_equal(io->result, -ECANCELED);
	io_write(io, "late");
	fixture_run_for(io->f, 3 * MS);
	assert_int_equal(io->done, 1);
	io_free(io);
}

/* More operations at once than the rings have entries. */
#define MANY 300

struct many {
	struct fixture *f;
	struct loop_poll op[MANY];
	unsigned done, cancelled;
};

static struct many many;

static void many_done(struct loop_poll *op, int result)
{
	many.done++;
	many.cancelled += result == -ECANCELED;
	if (many.done == MANY)
		loop_stop(many.f->loop);
}

static void test_many_operations_at_once(void **state)
{
	struct io *io = io_new(state);

	memset(&many, 0, sizeof(many));
	many.f = io->f;
	for (unsigned i = 0; i < MANY; i++) {
		many.op[i] =
			(struct loop_poll){.fd = io->fd[0], .events = POLLIN, .done = many_done};
		loop_poll_start(io->f->loop, &many.op[i]);
	}
	fixture_run_for(io->f, 5 * MS);
	assert_int_equal(many.done, 0);
	for (unsigned i = 0; i < MANY; i += 2)
		loop_poll_cancel(io->f->loop, &many.op[i]);
	fixture_run_for(io->f, 5 * MS);
	assert_int_equal(many.done, MANY / 2);
	assert_int_equal(many.cancelled, MANY / 2);
	io_write(io, "x");
	fixture_run(io->f);
	assert_int_equal(many.done, MANY);
	assert_int_equal(many.cancelled, MANY / 2);
	io_free(io);
}

/* One of several operations that are ready together cancels and ends the others. */
static void pair_done(struct loop_poll *op, int result)
{
	if (many.done++ == 0)
		for (unsigned i = 0; i < 3; i++)
			loop_poll_cancel(many.f->loop, &many.op[i]);
	if (many.done == 3)
		loop_stop(many.f->loop);
}

static void test_cancel_of_operations_ready_together(void **state)
{
	struct io *io = io_new(state);

	memset(&many, 0, sizeof(many));
	many.f = io->f;
	io_write(io, "x");
	for (unsigned i = 0; i < 3; i++) {
		many.op[i] =
			(struct loop_poll){.fd = io->fd[0], .events = POLLIN, .done = pair_done};
		loop_poll_start(io->f->loop, &many.op[i]);
	}
	fixture_run(io->f);
	assert_int_equal(many.done, 3);
	fixture_run_for(io->f, 3 * MS);
	assert_int_equal(many.done, 3);
	io_free(io);
}

#define WAITERS 4

struct waiter {
	struct loop *loop;
	struct loop_poll poll;
	struct loop_task first_turn, second_turn;
	pthread_t thread;
	sem_t waits;
	atomic_int result;
};

static void waiter_done(struct loop_poll *poll, int result)
{
	atomic_store(&OF(poll, struct waiter, poll)->result, result);
}

static void waiter_in_first_turn(struct loop_task *task)
{
	struct waiter *waiter = OF(task, struct waiter, first_turn);

	loop_post(waiter->loop, &waiter->second_turn);
}

/* The first turn ended with handing the poll to the kernel. */
static void waiter_in_second_turn(struct loop_task *task)
{
	sem_post(&OF(task, struct waiter, second_turn)->waits);
}

static void *waiter_run(void *arg)
{
	struct waiter *waiter = arg;

	return loop_run(waiter->loop) ? waiter : NULL;
}

static void waiter_start(struct waiter *w, enum loop_backend backend, int fd)
{
	assert_int_equal(loop_new(backend, &w->loop), 0);
	w->poll = (struct loop_poll){
		.fd = fd, .events = POLLIN, .exclusive = true, .done = waiter_done};
	w->first_turn.run = waiter_in_first_turn;
	w->second_turn.run = waiter_in_second_turn;
	sem_init(&w->waits, 0, 0);
	loop_poll_start(w->loop, &w->poll);
	loop_post(w->loop, &w->first_turn);
	assert_int_equal(pthread_create(&w->thread, NULL, waiter_run, w), 0);
	sem_wait(&w->waits);
}

static unsigned waiters_woken(struct waiter *waiters)
{
	unsigned woken = 0;

	for (unsigned i = 0; i < WAITERS; i++)
		woken += atomic_load(&waiters[i].result) == POLLIN;
	return woken;
}

/* EPOLLEXCLUSIVE has no counterpart in poll(2), so this asks io_uring only. */
static void test_exclusive_poll_wakes_one(void **state)
{
	struct fixture *f = fixture_get(state);
	struct waiter waiters[WAITERS] = {0};
	uint64_t one = 1;
	void *failed;
	int fd = eventfd(0, EFD_NONBLOCK);

	for (unsigned i = 0; i < WAITERS; i++)
		waiter_start(&waiters[i], loop_backend(f->loop), fd);
	assert_int_equal(waiters_woken(waiters), 0);
	assert_int_equal(write(fd, &one, sizeof(one)), sizeof(one));
	for (int ms = 0; ms < 5000 && waiters_woken(waiters) == 0; ms++)
		usleep(1000);
	usleep(20000);
	assert_int_equal(waiters_woken(waiters), 1);
	for (unsigned i = 0; i < WAITERS; i++) {
		loop_stop(waiters[i].loop);
		pthread_join(waiters[i].thread, &failed);
		assert_null(failed);
		loop_free(waiters[i].loop);
		sem_destroy(&waiters[i].waits);
	}
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		ON_BOTH(test_recv_takes_what_is_there),
		ON_BOTH(test_recv_waits),
		ON_BOTH(test_recv_waits_for_all),
		ON_BOTH(test_recv_of_all_on_a_blocking_socket),
		ON_BOTH(test_recv_leaves_the_rest),
		ON_BOTH(test_recv_at_end_of_stream),
		ON_BOTH(test_recv_of_all_is_short_at_end_of_stream),
		ON_BOTH(test_recv_reports_errors),
		ON_BOTH(test_recv_cancelled_before_the_loop_ran),
		ON_BOTH(test_recv_cancelled_in_the_kernel),
		ON_BOTH(test_recv_starts_again_after_cancel),
		ON_BOTH(test_cancel_of_an_idle_operation_does_nothing),
		ON_BOTH(test_poll_for_input),
		ON_BOTH(test_poll_for_output),
		ON_BOTH(test_poll_sees_the_end),
		ON_BOTH(test_poll_reports_errors),
		ON_BOTH(test_poll_cancelled),
		ON_BOTH(test_many_operations_at_once),
		ON_BOTH(test_cancel_of_operations_ready_together),
		cmocka_unit_test_setup_teardown(
			test_exclusive_poll_wakes_one, fixture_setup_uring, fixture_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
