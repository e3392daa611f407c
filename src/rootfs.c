/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "rootfs.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <time.h>
#include <unistd.h>

#include "behind.h"
#include "share.h"

/* Half of the second that data may stay uncommitted, so that a slow server has the other half. */
#define ROOTFS_COMMIT_NS UINT64_C(500000000)
#define ROOTFS_PUSH_MS	 200
#define ROOTFS_STACK	 (64 << 10)

/*
 * Two of them: a SIGSTOP takes away a SIGCONT that was sent and not yet noticed, and that timer
 * would not go off again.
 */
static const unsigned rootfs_wake_ms[] = {500, 800};
#define ROOTFS_TIMERS (sizeof(rootfs_wake_ms) / sizeof(rootfs_wake_ms[0]))
static timer_t rootfs_timers[ROOTFS_TIMERS];
static bool rootfs_leads; /* a group of its own processes */

void rootfs_mark(char **argv)
{
	argv[0][0] = '@';
}

enum log_target rootfs_log_target(const struct options *options)
{
	return options->rootfs ? LOG_TARGET_KMSG : LOG_TARGET_SYSLOG;
}

int rootfs_lookup_error(int err, bool known)
{
	return !known || err == -ENOENT || err == -ENOMEM ? err : -EINTR;
}

static void rootfs_continued(int signal_number)
{
	(void)signal_number;
}

static struct timespec rootfs_timespec(unsigned ms)
{
	return (struct timespec){.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L};
}

static void *rootfs_watch(void *arg)
{
	const struct timespec pause = rootfs_timespec(ROOTFS_PUSH_MS);
	uint64_t before = loop_clock(), now;
	(void)arg;
	for (;; before = now) {
		for (size_t i = 0; i < ROOTFS_TIMERS; i++) {
			struct timespec wake = rootfs_timespec(rootfs_wake_ms[i]);
			struct itimerspec when = {.it_value = wake, .it_interval = wake};
			timer_settime(rootfs_timers[i], 0, &when, NULL);
		}
		clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
		now = loop_clock();
		/* This process was stopped, so the others of its group may be. */
		if (rootfs_leads && now - before >= rootfs_wake_ms[0] * UINT64_C(1000000))
			kill(0, SIGCONT);
	}
	return NULL;
}

/* The handler is the main thread's. */
static int rootfs_start_thread(void)
{
	pthread_attr_t attr;
	pthread_t thread;
	sigset_t all, before;
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, ROOTFS_STACK);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	int err = -pthread_create(&thread, &attr, rootfs_watch, NULL);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attr);
	return err;
}

static int rootfs_start_watch(void)
{
	/* Ignored it would wake the process as well, but only once. */
	struct sigaction action = {.sa_handler = rootfs_continued, .sa_flags = SA_RESTART};
	struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGCONT};
	rootfs_leads = getpgrp() == getpid();
	sigemptyset(&action.sa_mask);
	if (sigaction(SIGCONT, &action, NULL) < 0)
		return -errno;
	for (size_t i = 0; i < ROOTFS_TIMERS; i++)
		if (timer_create(CLOCK_MONOTONIC, &event, &rootfs_timers[i]) < 0)
			return -errno;
	return rootfs_start_thread();
}

static void rootfs_committed(void *arg, int err)
{
	struct share *share = arg;
	(void)err; /* whoever has the file open is told */
	share->committing = false;
}

static void rootfs_tick(struct loop_timer *timer)
{
	struct share *share =
		(struct share *)((char *)timer - offsetof(struct share, commit_timer));
	struct worker *worker = share->workers[0];
	if (!share->committing) {
		share->committing = true;
		unstable_flush(share->unstable, worker, rootfs_committed, share);
	}
	loop_timer_set(worker->loop, timer, loop_clock() + ROOTFS_COMMIT_NS);
}

static void rootfs_start_commits(void *arg)
{
	struct share *share = arg;
	share->commit_timer.fire = rootfs_tick;
	rootfs_tick(&share->commit_timer);
}

int rootfs_start(struct share *share)
{
	if (!share->options->foreground)
		log_init(LOG_TARGET_KMSG, share->options->debug);
	/* With sync(2) unheard, write(2) may not return before the server has it. */
	behind_pool_stop(share->behind);
	worker_call(share->workers[0], rootfs_start_commits, share);
	return rootfs_start_watch();
}
