/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "daemonize.h"

/*
 * Each test is a process that goes to the background; its daemon writes what it found to a pipe
 * that the test reads to the end.
 */

struct outcome {
	int result;	  /* of waitpid */
	char stderr[512]; /* of the process and its daemon */
	char found[512];  /* what the daemon wrote to the pipe */
};

static int found_fd; /* in the daemon: where to write */

static void read_all(int fd, char *out, size_t size)
{
	size_t len = 0;
	ssize_t n;

	while (len < size - 1 && (n = read(fd, out + len, size - 1 - len)) > 0)
		len += (size_t)n;
	out[len] = '\0';
}

static void found(const char *text)
{
	if (write(found_fd, text, strlen(text)) < 0)
		_exit(99);
}

static pid_t launch(void (*child)(void), bool foreground, int err_fd, int fd)
{
	pid_t pid = fork();
	int status;

	if (pid != 0)
		return pid;
	found_fd = fd;
	dup2(err_fd, STDERR_FILENO);
	close(err_fd);
	if (daemonize_start(foreground, &status) != 0)
		_exit(status);
	child();
	_exit(0);
}

static struct outcome run(void (*child)(void), bool foreground, int sig)
{
	struct outcome o;
	int err[2], pipes[2];

	assert_int_equal(pipe(err), 0);
	assert_int_equal(pipe(pipes), 0);
	pid_t pid = launch(child, foreground, err[1], pipes[1]);
	close(err[1]);
	close(pipes[1]);
	if (sig) {
		char started;
		assert_int_equal(read(pipes[0], &started, 1), 1);
		assert_int_equal(kill(pid, sig), 0);
	}
	assert_int_equal(waitpid(pid, &o.result, 0), pid);
	read_all(err[0], o.stderr, sizeof(o.stderr));
	read_all(pipes[0], o.found, sizeof(o.found));
	close(err[0]);
	close(pipes[0]);
	return o;
}

static void child_ready(void)
{
	char cwd[64], text[160], link[64] = "";

	daemonize_ready(LOG_TARGET_SYSLOG, false);
	/* The parent has been told: what comes now cannot change its status. */
	if (!getcwd(cwd, sizeof(cwd)) || readlink("/proc/self/fd/2", link, sizeof(link) - 1) < 0)
		_exit(1);
	snprintf(
		text, sizeof(text), "cwd %s stderr %s leader %d", cwd, link, getsid(0) == getpid());
	fputs("not seen\n", stderr);
	found(text);
	_exit(7);
}

static void test_ready(void **state)
{
	struct outcome o = run(child_ready, false, 0);

	assert_true(WIFEXITED(o.result));
	assert_int_equal(WEXITSTATUS(o.result), 0);
	assert_string_equal(o.stderr, "");
	assert_string_equal(o.found, "cwd / stderr /dev/null leader 1");
}

static void child_fail(void)
{
	fputs("vsockfs: because\n", stderr);
	daemonize_fail(32);
	_exit(5);
}

static void test_fail(void **state)
{
	struct outcome o = run(child_fail, false, 0);

	assert_int_equal(WEXITSTATUS(o.result), 32);
	assert_string_equal(o.stderr, "vsockfs: because\n");
}

static void child_usage(void)
{
	daemonize_fail(1);
}

static void test_fail_status(void **state)
{
	assert_int_equal(WEXITSTATUS(run(child_usage, false, 0).result), 1);
}

static void child_killed(void)
{
	kill(getpid(), SIGKILL);
}

static void test_death(void **state)
{
	struct outcome o = run(child_killed, false, 0);

	assert_int_equal(WEXITSTATUS(o.result), 32);
	assert_string_equal(o.stderr, "vsockfs: the daemon died before it had mounted: Killed\n");
}

static void child_exits(void)
{
	_exit(3);
}

static void test_silent_exit(void **state)
{
	struct outcome o = run(child_exits, false, 0);

	assert_int_equal(WEXITSTATUS(o.result), 32);
	assert_string_equal(
		o.stderr, "vsockfs: the daemon ended before it had mounted: status 3\n");
}

static void child_waits(void)
{
	sigset_t set;
	int sig;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigprocmask(SIG_BLOCK, &set, NULL);
	found("s");
	if (sigwait(&set, &sig) != 0)
		_exit(1);
	found(sig == SIGINT ? "INT" : "TERM");
	daemonize_fail(sig == SIGINT ? 30 : 31);
}

static void test_signals(void **state)
{
	struct outcome o = run(child_waits, false, SIGINT);

	assert_true(WIFEXITED(o.result));
	assert_int_equal(WEXITSTATUS(o.result), 30);
	assert_string_equal(o.found, "INT");
	o = run(child_waits, false, SIGTERM);
	assert_int_equal(WEXITSTATUS(o.result), 31);
	assert_string_equal(o.found, "TERM");
}

static void child_orphan(void)
{
	pid_t parent = getppid();

	signal(SIGPIPE, SIG_DFL);
	found("s");
	while (getppid() == parent)
		nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
	nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
	daemonize_ready(LOG_TARGET_SYSLOG, false);
	found("alive");
}

/* The daemon starts to work although its parent was killed. */
static void test_parent_gone(void **state)
{
	int err[2], pipes[2];
	char text[16], started;

	assert_int_equal(pipe(err), 0);
	assert_int_equal(pipe(pipes), 0);
	pid_t pid = launch(child_orphan, false, err[1], pipes[1]);
	close(err[1]);
	close(pipes[1]);
	assert_int_equal(read(pipes[0], &started, 1), 1);
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	read_all(pipes[0], text, sizeof(text));
	assert_string_equal(text, "alive");
	close(err[0]);
	close(pipes[0]);
}

static void child_foreground(void)
{
	daemonize_ready(LOG_TARGET_SYSLOG, false);
	daemonize_fail(9);
	fputs("seen\n", stderr);
	found(getsid(0) == getpid() ? "leader" : "same session");
	_exit(4);
}

static void test_foreground(void **state)
{
	struct outcome o = run(child_foreground, true, 0);

	assert_int_equal(WEXITSTATUS(o.result), 4);
	assert_string_equal(o.stderr, "seen\n");
	assert_string_equal(o.found, "same session");
}

static void child_closed(void)
{
	char text[8];

	snprintf(text, sizeof(text), "%d%d%d", fcntl(0, F_GETFD) >= 0, fcntl(1, F_GETFD) >= 0,
		fcntl(2, F_GETFD) >= 0);
	found(text);
	daemonize_ready(LOG_TARGET_SYSLOG, false);
}

/* Started without standard descriptors, it does not hand its own ones to the log or to a child. */
static void test_closed_descriptors(void **state)
{
	int pipes[2], result;
	char text[16];

	assert_int_equal(pipe(pipes), 0);
	pid_t pid = fork();
	if (pid == 0) {
		int status;
		close(0);
		close(1);
		close(2);
		found_fd = pipes[1];
		if (daemonize_start(false, &status) != 0)
			_exit(status);
		child_closed();
		_exit(0);
	}
	close(pipes[1]);
	assert_int_equal(waitpid(pid, &result, 0), pid);
	assert_int_equal(WEXITSTATUS(result), 0);
	read_all(pipes[0], text, sizeof(text));
	assert_string_equal(text, "111");
	close(pipes[0]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ready),
		cmocka_unit_test(test_fail),
		cmocka_unit_test(test_fail_status),
		cmocka_unit_test(test_death),
		cmocka_unit_test(test_silent_exit),
		cmocka_unit_test(test_signals),
		cmocka_unit_test(test_parent_gone),
		cmocka_unit_test(test_foreground),
		cmocka_unit_test(test_closed_descriptors),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
