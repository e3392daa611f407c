/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemonize.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "util/log.h"

#define STATUS_SYSTEM  2
#define STATUS_FAILURE 32

static const int forwarded[] = {SIGINT, SIGTERM};
#define FORWARDED_COUNT (sizeof(forwarded) / sizeof(forwarded[0]))

static int null_fd = -1; /* opened while files may be opened for writing */
static int word_fd = -1; /* the child's end, until it has said how it went */
static volatile pid_t child_pid;

static void forward_signal(int sig)
{
	int saved = errno;

	kill(child_pid, sig);
	errno = saved;
}

/* A descriptor below 3 that is closed now would be given to a socket and be overwritten later. */
static int open_standard_fds(void)
{
	int fd;

	do {
		fd = open("/dev/null", O_RDWR);
		if (fd < 0)
			return -errno;
	} while (fd <= STDERR_FILENO);
	null_fd = fd;
	return fcntl(fd, F_SETFD, FD_CLOEXEC) < 0 ? -errno : 0;
}

static int report_death(int result)
{
	if (WIFSIGNALED(result))
		fprintf(stderr, "vsockfs: the daemon died before it had mounted: %s\n",
			strsignal(WTERMSIG(result)));
	else
		fprintf(stderr, "vsockfs: the daemon ended before it had mounted: status %d\n",
			WEXITSTATUS(result));
	return STATUS_FAILURE;
}

static int wait_for_child(int fd)
{
	uint8_t word;
	ssize_t n;
	int result = 0;

	do
		n = recv(fd, &word, 1, 0);
	while (n < 0 && errno == EINTR);
	if (n == 1)
		return word;
	while (waitpid(child_pid, &result, 0) < 0 && errno == EINTR)
		;
	return report_death(result);
}

static int fork_failed(const char *what)
{
	fprintf(stderr, "vsockfs: cannot go to the background: %s: %s\n", what, strerror(errno));
	return STATUS_SYSTEM;
}

/* Forks with the forwarded signals blocked, so that none comes before the handlers are set. */
static pid_t fork_child(void)
{
	struct sigaction action = {.sa_handler = forward_signal, .sa_flags = SA_RESTART};
	sigset_t block, before;

	sigemptyset(&block);
	for (size_t i = 0; i < FORWARDED_COUNT; i++)
		sigaddset(&block, forwarded[i]);
	sigprocmask(SIG_BLOCK, &block, &before);
	pid_t pid = fork();
	if (pid > 0) {
		child_pid = pid;
		sigemptyset(&action.sa_mask);
		for (size_t i = 0; i < FORWARDED_COUNT; i++)
			sigaction(forwarded[i], &action, NULL);
	}
	sigprocmask(SIG_SETMASK, &before, NULL);
	return pid;
}

int daemonize_start(bool foreground, int *status)
{
	int fds[2];

	*status = 0;
	if (foreground)
		return 0;
	if (open_standard_fds() < 0) {
		*status = fork_failed("/dev/null");
		return 1;
	}
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0) {
		*status = fork_failed("socketpair");
		return 1;
	}
	fflush(NULL);
	pid_t pid = fork_child();
	if (pid < 0) {
		*status = fork_failed("fork");
		close(fds[0]);
		close(fds[1]);
		return 1;
	}
	if (pid > 0) {
		close(fds[1]);
		*status = wait_for_child(fds[0]);
		close(fds[0]);
		return 1;
	}
	close(fds[0]);
	word_fd = fds[1];
	return 0;
}

/* The parent may be gone (its terminal was closed): that is no reason not to mount. */
static void tell_parent(uint8_t word)
{
	while (send(word_fd, &word, 1, MSG_NOSIGNAL) < 0 && errno == EINTR)
		;
	close(word_fd);
	word_fd = -1;
}

void daemonize_ready(enum log_target target, bool debug)
{
	if (word_fd < 0)
		return;
	log_init(target, debug);
	if (chdir("/") < 0)
		log_warn("cannot change to /: %s", strerror(errno));
	setsid();
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
		dup2(null_fd, fd);
	close(null_fd);
	tell_parent(0);
}

void daemonize_fail(int status)
{
	if (word_fd >= 0)
		tell_parent((uint8_t)status);
}
