/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "caller.h"

static int proc_fd;

static int status(
	const char *own, const char *shared, const char *blk, const char *ign, const char *cgt)
{
	char text[512];
	int len = snprintf(text, sizeof(text),
		"Name:\tx\\nSigPnd:\t1\nSigQ:\t0/1\nSigPnd:\t%s\nShdPnd:\t%s\nSigBlk:\t%s\n"
		"SigIgn:\t%s\nSigCgt:\t%s\nCapInh:\t0\n",
		own, shared, blk, ign, cgt);
	return caller_parse_status(text, (size_t)len);
}

static void test_fatal_signals(void **state)
{
	const char *none = "0000000000000000", *kill = "0000000000000100";
	const char *term = "0000000000004000", *quit = "0000000000000004";
	assert_int_equal(status(none, none, none, none, none), 0);
	assert_int_equal(status(kill, none, none, none, none), 1);
	assert_int_equal(status(none, kill, none, none, none), 1);
	/* what nobody can refuse is fatal whatever the masks say */
	assert_int_equal(status(kill, none, kill, kill, kill), 1);
	assert_int_equal(status(none, term, none, none, none), 1);
	assert_int_equal(status(none, term, term, none, none), 0);
	assert_int_equal(status(none, term, none, term, none), 0);
	assert_int_equal(status(none, term, none, none, term), 0);
	assert_int_equal(status(quit, none, none, none, none), 1);
	/* a real-time signal */
	assert_int_equal(status("0000000200000000", none, none, none, none), 1);
}

static void test_harmless_signals(void **state)
{
	const char *none = "0000000000000000";
	static const int signals[] = {
		SIGCHLD, SIGCONT, SIGURG, SIGWINCH, SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU};
	char mask[32];
	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++) {
		snprintf(mask, sizeof(mask), "%016llx", 1ULL << (signals[i] - 1));
		assert_int_equal(status(mask, none, none, none, none), 0);
	}
}

static void test_texts_that_say_nothing(void **state)
{
	static const char text[] = "Name:\tx\nSigPnd:\t0000000000000100\nShdPnd:\t0\n";
	assert_int_equal(caller_parse_status(text, sizeof(text) - 1), -1);
	assert_int_equal(caller_parse_status("", 0), -1);
	assert_false(caller_parse_stat("", 0));
	assert_false(caller_parse_stat("1 (x", 4));
	assert_false(caller_parse_stat("1 (x) S 1 1", 11));
}

static void test_exiting(void **state)
{
	static const char alive[] = "1 (a) Z 1 1 1 1 1 4) S 1 1 1 0 -1 4194560 1 2";
	static const char exiting[] = "1 (x) D 1 1 1 0 -1 4194564 1 2";
	static const char zombie[] = "1 (x) Z 1 1 1 0 -1 4194560 1 2";
	assert_false(caller_parse_stat(alive, sizeof(alive) - 1));
	assert_true(caller_parse_stat(exiting, sizeof(exiting) - 1));
	assert_true(caller_parse_stat(zombie, sizeof(zombie) - 1));
}

static void test_processes(void **state)
{
	assert_int_equal(caller_look(proc_fd, getpid()), CALLER_ALIVE);
	assert_int_equal(caller_look(proc_fd, 0), CALLER_UNKNOWN);
	assert_int_equal(caller_look(-1, getpid()), CALLER_UNKNOWN);
	int ends[2];
	assert_int_equal(pipe(ends), 0);
	/* a shell's background jobs ignore it */
	signal(SIGQUIT, SIG_DFL);
	pid_t pid = fork();
	if (pid == 0) {
		char byte;
		close(ends[1]);
		_exit(read(ends[0], &byte, 1) == 0 ? 0 : 1);
	}
	assert_int_equal(caller_look(proc_fd, pid), CALLER_ALIVE);
	assert_int_equal(caller_look(-1, pid), CALLER_UNKNOWN);
	/* stopped, it keeps what it was sent */
	siginfo_t info;
	kill(pid, SIGSTOP);
	assert_int_equal(waitid(P_PID, (id_t)pid, &info, WSTOPPED), 0);
	kill(pid, SIGCHLD);
	assert_int_equal(caller_look(proc_fd, pid), CALLER_ALIVE);
	kill(pid, SIGQUIT);
	assert_int_equal(caller_look(proc_fd, pid), CALLER_ENDING);
	kill(pid, SIGKILL);
	assert_int_equal(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), 0);
	assert_int_equal(caller_look(proc_fd, pid), CALLER_ENDING);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	assert_int_equal(caller_look(proc_fd, pid), CALLER_ENDING);
	assert_int_equal(caller_look(-1, pid), CALLER_ENDING);
	close(ends[0]);
	close(ends[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fatal_signals),
		cmocka_unit_test(test_harmless_signals),
		cmocka_unit_test(test_texts_that_say_nothing),
		cmocka_unit_test(test_exiting),
		cmocka_unit_test(test_processes),
	};
	proc_fd = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (proc_fd < 0)
		return 77;
	return cmocka_run_group_tests_name("caller", tests, NULL, NULL);
}
