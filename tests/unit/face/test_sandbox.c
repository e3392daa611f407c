/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pthread.h>
#include <pwd.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define KILLED	 (-1)
#define NO_ENTRY 99 /* the filter could not be set up */

/* The errno that `call` ends with (0: none) in a process of its own behind the filter. */
static int behind(int (*enter)(void), int (*call)(void))
{
	struct rlimit no_core = {0, 0};
	int status;
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		setrlimit(RLIMIT_CORE, &no_core);
		if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || enter() != 0)
			_exit(NO_ENTRY);
		errno = 0;
		_exit(call() < 0 ? errno : 0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (WIFSIGNALED(status)) {
		assert_int_equal(WTERMSIG(status), SIGSYS);
		return KILLED;
	}
	assert_int_not_equal(WEXITSTATUS(status), NO_ENTRY);
	return WEXITSTATUS(status);
}

static int enter_daemon(void)
{
	return sandbox_enter(true);
}

static void assert_daemon(int (*call)(void), int expected)
{
	assert_int_equal(behind(enter_daemon, call), expected);
}

static int run_program(void)
{
	char *words[] = {"/bin/true", NULL};
	return execv(words[0], words);
}

static int fork_process(void)
{
	return (int)syscall(SYS_fork);
}

static int trace(void)
{
	return (int)ptrace(PTRACE_TRACEME, 0, 0, 0);
}

static int mount_tmpfs(void)
{
	return mount("none", "/nonexistent", "tmpfs", 0, NULL);
}

static int unmount(void)
{
	return umount2("/proc/none", MNT_DETACH);
}

static int load_module(void)
{
	return (int)syscall(SYS_init_module, NULL, 0, "");
}

static int become(void)
{
	return setuid(0);
}

static int ring(void)
{
	return (int)syscall(SYS_io_uring_setup, 1, NULL);
}

static void test_deadly(void **state)
{
	int (*const calls[])(void) = {
		run_program, fork_process, trace, mount_tmpfs, unmount, load_module, become, ring};
	for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++)
		assert_daemon(calls[i], KILLED);
}

static int open_to_write(void)
{
	return open("/dev/null", O_WRONLY);
}

static int open_both(void)
{
	return open("/dev/null", O_RDWR | O_CLOEXEC);
}

static int make_file(void)
{
	return open("/tmp/vsockfs-test-sandbox", O_RDONLY | O_CREAT, 0600);
}

static int make_nameless(void)
{
	return open("/tmp", O_RDONLY | __O_TMPFILE | O_DIRECTORY, 0600);
}

static int truncate_file(void)
{
	return open("/dev/null", O_RDONLY | O_TRUNC);
}

static void test_open_to_write(void **state)
{
	int (*const calls[])(void) = {
		open_to_write, open_both, make_file, make_nameless, truncate_file};
	for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++)
		assert_daemon(calls[i], EPERM);
}

static int make_code(void)
{
	void *at = mmap(
		NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	return at == MAP_FAILED ? -1 : 0;
}

static int remove_file(void)
{
	return unlink("/nonexistent");
}

static int raw_socket(void)
{
	return socket(AF_PACKET, SOCK_RAW, 0);
}

static int uevents(void)
{
	return socket(AF_NETLINK, SOCK_RAW, 15);
}

static int raise_limit(void)
{
	struct rlimit limit = {RLIM_INFINITY, RLIM_INFINITY};
	return (int)syscall(SYS_prlimit64, 0, RLIMIT_CORE, &limit, NULL);
}

static int send_signal(void)
{
	return kill(1, 0);
}

static void test_unlisted(void **state)
{
	int (*const calls[])(void) = {
		make_code, remove_file, raw_socket, uevents, raise_limit, send_signal};
	for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++)
		assert_daemon(calls[i], ENOSYS);
}

static int read_file(void)
{
	char byte;
	int fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
	return fd < 0 || read(fd, &byte, 1) != 1 ? -1 : 0;
}

static int connect_out(void)
{
	int tcp = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	int local = socket(AF_UNIX, SOCK_STREAM, 0);
	int on = 1;
	return tcp < 0 || local < 0 ||
			       setsockopt(tcp, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on)) < 0
		       ? -1
		       : 0;
}

static void *idle(void *arg)
{
	return arg;
}

static int start_thread(void)
{
	pthread_t thread;
	errno = pthread_create(&thread, NULL, idle, NULL);
	return errno != 0 || pthread_join(thread, NULL) != 0 ? -1 : 0;
}

static int get_memory(void)
{
	void *big = malloc(64 << 20);
	free(big);
	return big ? 0 : -1;
}

static int look_up(void)
{
	struct passwd *user = getpwnam("root");
	struct group *group = getgrnam("root");
	return user && group && !getpwnam("nobody of this name") ? 0 : -1;
}

static void test_needed(void **state)
{
	int (*const calls[])(void) = {read_file, connect_out, start_thread, get_memory, look_up};
	for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++)
		assert_daemon(calls[i], 0);
}

/* A thread that ran before is confined with the rest. */
static int ready[2], go[2];

static void *try_to_write(void *arg)
{
	char byte = 0;
	if (write(ready[1], &byte, 1) != 1 || read(go[0], &byte, 1) != 1)
		return arg;
	*(int *)arg = open("/dev/null", O_WRONLY) < 0 ? errno : 0;
	return NULL;
}

static int enter_beside(void)
{
	static pthread_t thread;
	static int result = -1;
	char byte = 0;
	if (pipe(ready) < 0 || pipe(go) < 0 ||
		pthread_create(&thread, NULL, try_to_write, &result) != 0 ||
		read(ready[0], &byte, 1) != 1)
		return -1;
	int err = sandbox_enter(true);
	if (err || write(go[1], &byte, 1) != 1 || pthread_join(thread, NULL) != 0)
		return -1;
	return result == EPERM ? 0 : -1;
}

static int nothing(void)
{
	return 0;
}

static void test_all_threads(void **state)
{
	assert_int_equal(behind(enter_beside, nothing), 0);
}

static void test_guard(void **state)
{
	assert_int_equal(behind(sandbox_enter_guard, unmount), ENOENT);
	assert_int_equal(behind(sandbox_enter_guard, read_file), 0);
	assert_int_equal(behind(sandbox_enter_guard, run_program), KILLED);
	assert_int_equal(behind(sandbox_enter_guard, mount_tmpfs), KILLED);
	assert_int_equal(behind(sandbox_enter_guard, connect_out), ENOSYS);
	assert_int_equal(behind(sandbox_enter_guard, open_to_write), EPERM);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_deadly),
		cmocka_unit_test(test_open_to_write),
		cmocka_unit_test(test_unlisted),
		cmocka_unit_test(test_needed),
		cmocka_unit_test(test_all_threads),
		cmocka_unit_test(test_guard),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
