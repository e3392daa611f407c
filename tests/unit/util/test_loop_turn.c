/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a turn of the loop consists of: timers, tasks, hooks; stopping; the choice of back end. */
#include "loop_fixture.h"

#include <linux/filter.h>
#include <linux/io_uring.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static struct fixture *current;
static unsigned fired;

static void test_loop_sleeps_until_the_timer(void **state)
{
	struct fixture *f = fixture_get(state);
	uint64_t start = loop_clock();

	fixture_run_for(f, 30 * MS);
	assert_true(loop_clock() - start >= 30 * MS);
	assert_true(loop_clock() - start < 5000 * MS);
	assert_true(loop_now(f->loop) >= start + 30 * MS);
	assert_true(loop_now(f->loop) <= loop_clock());
}

#define TIMERS 500

static struct loop_timer timers[TIMERS];
static uint64_t last_deadline;

static void timer_in_order(struct loop_timer *timer)
{
	assert_true(timer->deadline >= last_deadline);
	assert_true(loop_now(current->loop) >= timer->deadline);
	last_deadline = timer->deadline;
	fired++;
}

/* Sets, sets anew and cancels at random; what is left fires once and in order. */
static void test_timers_fire_in_order(void **state)
{
	struct fixture *f = current = fixture_get(state);
	uint64_t base = loop_clock();
	unsigned expected = 0;

	memset(timers, 0, sizeof(timers));
	fired = 0;
	last_deadline = 0;
	srandom(7);
	for (unsigned i = 0; i < TIMERS * 8; i++) {
		struct loop_timer *timer = &timers[random() % TIMERS];
		timer->fire = timer_in_order;
		if (random() % 3 == 0)
			loop_timer_cancel(f->loop, timer);
		else
			loop_timer_set(f->loop, timer, base + (uint64_t)random() % (20 * MS));
	}
	for (unsigned i = 0; i < TIMERS; i++)
		expected += timers[i].set;
	assert_true(expected > TIMERS / 4);
	fixture_run_for(f, 40 * MS);
	assert_int_equal(fired, expected);
}

static void timer_cancels_the_next(struct loop_timer *timer)
{
	fired++;
	loop_timer_cancel(current->loop, timer == &timers[0] ? &timers[1] : &timers[0]);
}

static void test_a_timer_cancels_one_due_at_the_same_time(void **state)
{
	struct fixture *f = current = fixture_get(state);
	uint64_t deadline = loop_clock() + 2 * MS;

	memset(timers, 0, sizeof(timers));
	fired = 0;
	timers[0].fire = timers[1].fire = timer_cancels_the_next;
	loop_timer_set(f->loop, &timers[0], deadline);
	loop_timer_set(f->loop, &timers[1], deadline);
	fixture_run_for(f, 6 * MS);
	assert_int_equal(fired, 1);
}

static void timer_sets_itself_to_the_past(struct loop_timer *timer)
{
	fired++;
	loop_timer_set(current->loop, timer, 1);
}

static void test_an_eager_timer_starves_nothing(void **state)
{
	struct fixture *f = current = fixture_get(state);

	memset(timers, 0, sizeof(timers));
	fired = 0;
	timers[0].fire = timer_sets_itself_to_the_past;
	loop_timer_set(f->loop, &timers[0], 1);
	fixture_run_for(f, 3 * MS);
	assert_true(fired > 1);
	loop_timer_cancel(f->loop, &timers[0]);
}

struct numbered {
	struct loop_task task;
	unsigned number;
	struct loop_task *next;
};

static void task_in_order(struct loop_task *task)
{
	struct numbered *numbered = OF(task, struct numbered, task);

	assert_int_equal(numbered->number, fired++);
	if (numbered->next)
		loop_post(current->loop, numbered->next);
}

static void task_stops(struct loop_task *task)
{
	loop_stop(current->loop);
}

static void test_tasks_run_in_order(void **state)
{
	struct fixture *f = current = fixture_get(state);
	struct numbered tasks[4] = {0};
	struct loop_task last = {.run = task_stops};

	fired = 0;
	for (unsigned i = 0; i < 4; i++) {
		tasks[i].task.run = task_in_order;
		tasks[i].number = i;
	}
	/* the third is posted by a task on the loop's own thread, and wakes it without a system
	 * call */
	tasks[2].next = &tasks[3].task;
	tasks[3].next = &last;
	for (unsigned i = 0; i < 3; i++)
		loop_post(f->loop, &tasks[i].task);
	assert_int_equal(fired, 0);
	fixture_run(f);
	assert_int_equal(fired, 4);
}

#define POSTERS 4
#define POSTS	2000

struct poster {
	pthread_t thread;
	struct counted {
		struct loop_task task;
		struct poster *poster;
		unsigned number;
	} tasks[POSTS];
	unsigned ran;
};

static struct poster *posters;

static void task_counts(struct loop_task *task)
{
	struct counted *counted = OF(task, struct counted, task);

	assert_int_equal(counted->number, counted->poster->ran++);
	if (++fired == POSTERS * POSTS)
		loop_stop(current->loop);
}

static void *poster_run(void *arg)
{
	struct poster *poster = arg;

	for (unsigned i = 0; i < POSTS; i++) {
		struct counted *counted = &poster->tasks[i];
		counted->task.run = task_counts;
		counted->poster = poster;
		counted->number = i;
		loop_post(current->loop, &counted->task);
		if (i % 100 == 0)
			usleep(100);
	}
	return NULL;
}

/* Every thread's tasks run all, each once and in its order. */
static void test_tasks_from_threads(void **state)
{
	struct fixture *f = current = fixture_get(state);

	fired = 0;
	posters = calloc(POSTERS, sizeof(*posters));
	for (unsigned i = 0; i < POSTERS; i++)
		assert_int_equal(
			pthread_create(&posters[i].thread, NULL, poster_run, &posters[i]), 0);
	fixture_run(f);
	for (unsigned i = 0; i < POSTERS; i++) {
		pthread_join(posters[i].thread, NULL);
		assert_int_equal(posters[i].ran, POSTS);
	}
	free(posters);
}

static void test_stop_before_the_run(void **state)
{
	struct fixture *f = fixture_get(state);

	loop_stop(f->loop);
	fixture_run(f);
	fixture_run_for(f, 2 * MS);
}

static void *stop_run(void *arg)
{
	usleep(10000);
	loop_stop(arg);
	return NULL;
}

static void test_stop_from_a_thread(void **state)
{
	struct fixture *f = fixture_get(state);
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, stop_run, f->loop), 0);
	fixture_run(f);
	pthread_join(thread, NULL);
}

static void *thread_runs_loop(void *arg)
{
	return loop_run(arg) ? arg : NULL;
}

/* Made and freed here, run elsewhere. */
static void test_loop_runs_in_another_thread(void **state)
{
	struct fixture *f = current = fixture_get(state);
	struct loop_task task = {.run = task_stops};
	pthread_t thread;
	void *failed;

	assert_int_equal(pthread_create(&thread, NULL, thread_runs_loop, f->loop), 0);
	usleep(5000);
	loop_post(f->loop, &task);
	pthread_join(thread, &failed);
	assert_null(failed);
}

struct counter {
	struct loop_hook hook;
	struct loop_hook *remove;
	unsigned ran, busy;
	char name;
};

static char order[16];

static bool counter_run(struct loop_hook *hook)
{
	struct counter *counter = OF(hook, struct counter, hook);
	size_t len = strlen(order);

	counter->ran++;
	if (len + 1 < sizeof(order))
		order[len] = counter->name;
	if (counter->remove) {
		loop_hook_remove(current->loop, counter->remove);
		counter->remove = NULL;
	}
	if (counter->busy == 0)
		return false;
	counter->busy--;
	return true;
}

static void test_hooks_keep_the_loop_awake(void **state)
{
	struct fixture *f = current = fixture_get(state);
	struct counter a = {{counter_run}, .name = 'a'},
		       b = {{counter_run}, .busy = 3, .name = 'b'};

	memset(order, 0, sizeof(order));
	loop_hook_add(f->loop, &a.hook);
	loop_hook_add(f->loop, &b.hook);
	fixture_run_for(f, 10 * MS);
	assert_memory_equal(order, "abababab", 8);
	/* four turns for the work, and one or two around the timer */
	assert_in_range(a.ran, 4, 7);
	assert_int_equal(a.ran, b.ran);
	loop_hook_remove(f->loop, &a.hook);
	loop_hook_remove(f->loop, &b.hook);
	fixture_run_for(f, 2 * MS);
	assert_in_range(a.ran, 4, 7);
}

static void test_hooks_remove_hooks(void **state)
{
	struct fixture *f = current = fixture_get(state);
	struct counter a = {{counter_run}, .name = 'a'}, b = {{counter_run}, .name = 'b'},
		       c = {{counter_run}, .name = 'c'};

	memset(order, 0, sizeof(order));
	a.remove = &b.hook;
	c.remove = &c.hook;
	loop_hook_add(f->loop, &a.hook);
	loop_hook_add(f->loop, &b.hook);
	loop_hook_add(f->loop, &c.hook);
	fixture_run_for(f, 3 * MS);
	assert_memory_equal(order, "aca", 3);
	assert_int_equal(b.ran, 0);
	assert_int_equal(c.ran, 1);
	loop_hook_remove(f->loop, &a.hook);
}

/* A busy hook does not keep the loop from posted tasks. */
static void test_hooks_and_tasks(void **state)
{
	struct fixture *f = current = fixture_get(state);
	struct counter spin = {{counter_run}, .busy = 1 << 30, .name = 's'};
	pthread_t thread;

	loop_hook_add(f->loop, &spin.hook);
	assert_int_equal(pthread_create(&thread, NULL, stop_run, f->loop), 0);
	fixture_run(f);
	pthread_join(thread, NULL);
	assert_true(spin.ran > 100);
	loop_hook_remove(f->loop, &spin.hook);
}

/* As container sandboxes do it. */
static int forbid_io_uring(int err)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_setup, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned)err),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {sizeof(filter) / sizeof(filter[0]), filter};

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return -1;
	return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
}

static int child_without_io_uring(int err)
{
	struct loop *loop = NULL;

	if (forbid_io_uring(err) < 0)
		return 77;
	if (loop_new(LOOP_URING, &loop) != -err || loop)
		return 1;
	if (loop_new(LOOP_AUTO, &loop) != 0 || loop_backend(loop) != LOOP_POLL)
		return 2;
	loop_stop(loop);
	if (loop_run(loop) != 0)
		return 3;
	loop_free(loop);
	return 0;
}

static void test_auto_falls_back_to_poll(void **state)
{
	const int errors[] = {EPERM, ENOSYS};

	for (unsigned i = 0; i < 2; i++) {
		int status;
		pid_t pid = fork();
		assert_true(pid >= 0);
		if (pid == 0)
			_exit(child_without_io_uring(errors[i]));
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_true(WIFEXITED(status));
		if (WEXITSTATUS(status) == 77) {
			print_message("no seccomp filters here\n");
			skip();
		}
		assert_int_equal(WEXITSTATUS(status), 0);
	}
}

static void test_auto_prefers_io_uring(void **state)
{
	struct fixture *f = fixture_get(state);
	struct loop *loop;

	assert_int_equal(loop_new(LOOP_AUTO, &loop), 0);
	assert_int_equal(loop_backend(loop), loop_backend(f->loop));
	loop_free(loop);
	loop_free(NULL);
}

static int find_ring(void)
{
	char path[32], target[64];
	for (int fd = 0; fd < 64; fd++) {
		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		ssize_t len = readlink(path, target, sizeof(target) - 1);
		target[len < 0 ? 0 : len] = '\0';
		if (strcmp(target, "anon_inode:[io_uring]") == 0)
			return fd;
	}
	return -1;
}

static int probed;

static void task_probes(struct loop_task *task)
{
	struct io_uring_probe probe = {0};
	probed = syscall(SYS_io_uring_register, find_ring(), IORING_REGISTER_PROBE, &probe, 0) < 0
			 ? errno
			 : 0;
	loop_stop(current->loop);
}

static void test_the_ring_takes_no_other_orders(void **state)
{
	struct fixture *f = current = fixture_get(state);
	struct loop_task task = {.run = task_probes};

	loop_post(f->loop, &task);
	assert_int_equal(loop_run(f->loop), 0);
	assert_int_equal(probed, EACCES);
}

/* SOCKET_URING_OP_SIOCINQ: how much there is to read. Any socket's driver knows it (Linux 6.5). */
#define COMMAND_INQ 0

struct commands {
	struct loop *loop;
	struct loop_command command;
	int result;
};

static void command_done(struct loop_command *op, int result)
{
	struct commands *c = OF(op, struct commands, command);

	c->result = result;
	loop_stop(c->loop);
}

/* Poll(2) has none, so this asks io_uring only. */
static void test_command(void **state)
{
	struct fixture *f = fixture_get(state);
	struct commands c = {.command.done = command_done};
	int fds[2];

	assert_false(loop_takes_commands(f->loop));
	assert_int_equal(loop_new_commands(LOOP_URING, &c.loop), 0);
	if (!loop_takes_commands(c.loop)) {
		loop_free(c.loop);
		skip();
	}
	assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM, 0, fds), 0);
	assert_int_equal(write(fds[1], "four", 4), 4);
	c.command.fd = fds[0];
	c.command.number = COMMAND_INQ;
	loop_command_start(c.loop, &c.command);
	assert_int_equal(loop_run(c.loop), 0);
	if (c.result != -EOPNOTSUPP)
		assert_int_equal(c.result, 4);
	/* What the driver does not know is its error, not the loop's. */
	c.command.number = 12345;
	loop_command_start(c.loop, &c.command);
	assert_int_equal(loop_run(c.loop), 0);
	assert_int_equal(c.result, -EOPNOTSUPP);
	close(fds[0]);
	close(fds[1]);
	loop_free(c.loop);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		ON_BOTH(test_loop_sleeps_until_the_timer),
		ON_BOTH(test_timers_fire_in_order),
		ON_BOTH(test_a_timer_cancels_one_due_at_the_same_time),
		ON_BOTH(test_an_eager_timer_starves_nothing),
		ON_BOTH(test_tasks_run_in_order),
		ON_BOTH(test_tasks_from_threads),
		ON_BOTH(test_stop_before_the_run),
		ON_BOTH(test_stop_from_a_thread),
		ON_BOTH(test_loop_runs_in_another_thread),
		ON_BOTH(test_hooks_keep_the_loop_awake),
		ON_BOTH(test_hooks_remove_hooks),
		ON_BOTH(test_hooks_and_tasks),
		cmocka_unit_test(test_auto_falls_back_to_poll),
		cmocka_unit_test_setup_teardown(
			test_auto_prefers_io_uring, fixture_setup_uring, fixture_teardown),
		cmocka_unit_test_setup_teardown(
			test_the_ring_takes_no_other_orders, fixture_setup_uring, fixture_teardown),
		cmocka_unit_test_setup_teardown(
			test_command, fixture_setup_uring, fixture_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
