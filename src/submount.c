/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "mounter_priv.h"
#include "mounttree.h"
#include "util/log.h"
#include "util/loop.h"

/* Of all mounts that referrals have led to from one that somebody has made, and how many of them
 * may lie on each other: two servers may refer to each other for ever. */
#define SUBMOUNT_MAX   64
#define SUBMOUNT_DEPTH 8
/* At the same time. */
#define SUBMOUNT_RUNS 8
/* What has not mounted by then, with a while to end in. */
#define SUBMOUNT_LIMIT_NS (MOUNTER_LIMIT_S * UINT64_C(1000000000))
#define SUBMOUNT_END_NS	  UINT64_C(5000000000)

/* How long what it says is listened to once it is known how it went. */
#define SUBMOUNT_SAID_NS UINT64_C(2000000000)

/* One that is being mounted. */
struct submount_run {
	pid_t pid; /* 0: none */
	int said;  /* what it has to say */
	uint64_t node, until;
	bool told; /* to end */
};

/* One that was. */
struct submount {
	uint64_t node;
	uint32_t mount; /* STATX_MNT_ID */
};

struct submounts {
	const struct options *options;
	int fd, signals;
	struct guard_mount_id id; /* id 0: not known yet */
	char program[PATH_MAX];
	struct submount_run runs[SUBMOUNT_RUNS];
	struct submount made[SUBMOUNT_MAX];
	unsigned count;
	uint64_t look_at;
};

/* What nobody has used between two looks, that far apart, goes. */
static uint64_t submount_idle(const struct submounts *s)
{
	return s->options->referral_idle_s * UINT64_C(1000000000);
}

static void submount_reply(
	const struct submounts *s, uint64_t node, enum mounter_result result, const char *why)
{
	struct mounter_reply reply = {.node = node, .result = result};
	snprintf(reply.why, sizeof(reply.why), "%.*s", (int)sizeof(reply.why) - 1, why);
	/* The daemon has room for as many answers as it may have questions. */
	if (send(s->fd, &reply, sizeof(reply), MSG_NOSIGNAL) < 0)
		log_debug("mounter: %s", strerror(errno));
}

/* In the child: as the shell would have it, in the directory that is mounted on. */
static void __attribute__((noreturn))
submount_exec(const struct submounts *s, const char *source, char *words, int said)
{
	char *const args[] = {"vsockfs", (char *)source, ".", "-o", words, NULL};
	static const char *const not_ours[] = {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID",
		"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PIDFDID"};
	static const int ignored[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGPIPE};
	sigset_t none;
	for (size_t i = 0; i < sizeof(ignored) / sizeof(ignored[0]); i++)
		signal(ignored[i], SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	/* Nobody would hear what becomes of it. */
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	for (size_t i = 0; i < sizeof(not_ours) / sizeof(not_ours[0]); i++)
		unsetenv(not_ours[i]);
	if (dup2(said, STDERR_FILENO) == STDERR_FILENO) {
		execv(s->program, args);
		/* replaced, by a newer one perhaps */
		execv("/proc/self/exe", args);
		dprintf(STDERR_FILENO, "%s: %s\n", s->program, strerror(errno));
	}
	_exit(127);
}

/* Fit for one that people read. */
static bool submount_is_line(const char *text)
{
	while (*text && (unsigned char)*text >= ' ' && *text != 0x7f)
		text++;
	return *text == '\0';
}

static int submount_fork(const struct submounts *s, struct submount_run *run,
	const struct mounter_request *request, const struct submount_place *place)
{
	int fds[2] = {-1, -1};
	char *source = submount_source(s->options, request, place);
	char *words = submount_words(s->options, request->port, place->flags);
	int err = !source || !words	      ? -ENOMEM
		  : !submount_is_line(source) ? -EINVAL
		  : pipe2(fds, O_CLOEXEC) < 0 ? -errno
					      : 0;
	if (!err) {
		fcntl(fds[0], F_SETFL, O_NONBLOCK);
		run->pid = fork();
		if (run->pid == 0)
			submount_exec(s, source, words, fds[1]);
		run->said = fds[0];
		close(fds[1]);
		if (run->pid < 0) {
			err = -errno;
			close(fds[0]);
			run->pid = 0;
		}
	}
	free(source);
	free(words);
	return err;
}

static struct submount_run *submount_free_run(struct submounts *s, uint64_t node)
{
	struct submount_run *none = NULL;
	for (unsigned i = 0; i < SUBMOUNT_RUNS; i++) {
		if (s->runs[i].pid > 0 && s->runs[i].node == node)
			return NULL;
		if (s->runs[i].pid == 0)
			none = &s->runs[i];
	}
	return none;
}

/* What is on the place: 1, something; 0, nothing, and more is allowed; -errno with `why`. */
static int submount_look(const struct submount_place *place, char *why, size_t why_size)
{
	struct mounttree tree;
	struct mounttree_family family;
	int r = mounttree_read_self(&tree);
	mounttree_family(&tree, place->mount, &family);
	if (!r && mounttree_find_on(&tree, place->mount, place->path))
		r = 1;
	else if (!r && (family.depth > SUBMOUNT_DEPTH || family.count >= SUBMOUNT_MAX))
		r = -ELOOP;
	if (r == -ELOOP)
		snprintf(why, why_size, "too many lie on each other already");
	else if (r < 0)
		snprintf(why, why_size, "%s", strerror(-r));
	mounttree_deinit(&tree);
	return r;
}

/* Bytes of a process that is not trusted. */
static bool submount_is_sound(struct mounter_request *request)
{
	request->path[sizeof(request->path) - 1] = '\0';
	return request->path[0] == '/' && submount_is_line(request->path) &&
	       (request->port != 0 || request->order == MOUNTER_ENTER) &&
	       request->port != UINT32_MAX;
}

static void submount_follow(struct submounts *s, struct mounter_request *request)
{
	struct submount_place place;
	char why[sizeof(((struct mounter_reply *)0)->why)] = "";
	struct submount_run *run = submount_free_run(s, request->node);
	if (s->id.id == 0 || !run || !submount_is_sound(request)) {
		submount_reply(s, request->node, MOUNTER_FAILED,
			run ? "it cannot be asked for" : "others are being mounted");
		return;
	}
	int r = submount_enter(s->options, &s->id, request->node, &place, why, sizeof(why));
	if (!r)
		r = submount_look(&place, why, sizeof(why));
	if (r == 0) {
		*run = (struct submount_run){
			.node = request->node, .until = loop_clock() + SUBMOUNT_LIMIT_NS};
		r = submount_fork(s, run, request, &place);
		if (r < 0)
			snprintf(why, sizeof(why), "%s", strerror(-r));
	}
	submount_leave();
	if (r != 0)
		submount_reply(s, request->node, r > 0 ? MOUNTER_THERE : MOUNTER_FAILED, why);
}

/* What was mounted on this place, `now` or by an earlier daemon's mounter, is remembered, to be
 * unmounted again. */
static void submount_note(struct submounts *s, uint64_t node, bool now)
{
	struct submount_place place;
	struct mounttree tree;
	const struct mounttree_entry *entry = NULL;
	char why[128];
	if (s->count == SUBMOUNT_MAX)
		return;
	int err = submount_enter(s->options, &s->id, node, &place, why, sizeof(why));
	submount_leave();
	if (mounttree_read_self(&tree) == 0 && !err)
		entry = mounttree_find_on(&tree, place.mount, place.path);
	if (entry && (now || mounter_has_made(entry)))
		s->made[s->count++] = (struct submount){.node = node, .mount = entry->id};
	mounttree_deinit(&tree);
	if (s->count == 1)
		s->look_at = loop_clock() + submount_idle(s);
}

/*
 * What it has written, until all of its processes have let go of that: those which do not end with
 * it leave this directory before, where they would keep the mount busy.
 */
static void submount_hear(const struct submount_run *run, char *text, size_t size)
{
	struct pollfd pfd = {.fd = run->said, .events = POLLIN};
	uint64_t deadline = loop_clock() + SUBMOUNT_SAID_NS, now;
	size_t len = 0;
	ssize_t n = 1;
	while (n != 0 && len < size - 1 && (now = loop_clock()) < deadline &&
		poll(&pfd, 1, (int)((deadline - now) / 1000000) + 1) >= 0) {
		n = read(run->said, text + len, size - 1 - len);
		len += n > 0 ? (size_t)n : 0;
	}
	text[len] = '\0';
}

/* The last line of that, without the program's name. */
static const char *submount_last_line(char *text)
{
	size_t len = strlen(text);
	while (len > 0 && text[len - 1] == '\n')
		text[--len] = '\0';
	const char *line = strrchr(text, '\n');
	line = line ? line + 1 : text;
	if (strncmp(line, "vsockfs: ", strlen("vsockfs: ")) == 0)
		line += strlen("vsockfs: ");
	return *line ? line : "it does not say why";
}

static void submount_ended(struct submounts *s, struct submount_run *run, int status)
{
	char said[4096] = {0};
	const char *why = "";
	bool made = WIFEXITED(status) && WEXITSTATUS(status) == 0;
	submount_hear(run, said, sizeof(said));
	if (made)
		submount_note(s, run->node, true);
	else
		why = run->told ? "the server does not answer" : submount_last_line(said);
	close(run->said);
	run->pid = 0;
	submount_reply(s, run->node, made ? MOUNTER_MADE : MOUNTER_FAILED, why);
}

static void submount_reap(struct submounts *s)
{
	int status;
	pid_t pid;
	while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
		for (unsigned i = 0; i < SUBMOUNT_RUNS; i++)
			if (s->runs[i].pid == pid)
				submount_ended(s, &s->runs[i], status);
}

static void submount_end_late(struct submounts *s, uint64_t now)
{
	for (unsigned i = 0; i < SUBMOUNT_RUNS; i++) {
		struct submount_run *run = &s->runs[i];
		if (run->pid <= 0 || now < run->until)
			continue;
		kill(run->pid, run->told ? SIGKILL : SIGTERM);
		run->told = true;
		run->until = now + SUBMOUNT_END_NS;
	}
}

/*
 * From the directory below it, by which the kernel finds what lies on that: no name is looked up,
 * and a descriptor of the mount itself would keep it busy. False: it is gone.
 */
static bool submount_expire(const struct submounts *s, const struct submount *made)
{
	struct submount_place place;
	struct mounttree tree;
	char why[128];
	int err = submount_enter(s->options, &s->id, made->node, &place, why, sizeof(why));
	bool there = false;
	if (mounttree_read_self(&tree) == 0 && !err) {
		const struct mounttree_entry *entry =
			mounttree_find_on(&tree, place.mount, place.path);
		there = entry && entry->id == made->mount;
	}
	mounttree_deinit(&tree);
	/* The first time it is marked, and EAGAIN; whoever uses it takes the mark away. */
	if (there && umount2(".", MNT_EXPIRE) == 0)
		there = false;
	submount_leave();
	return there;
}

static void submount_expire_all(struct submounts *s, uint64_t now)
{
	unsigned left = 0;
	if (s->count == 0 || now < s->look_at)
		return;
	for (unsigned i = 0; i < s->count; i++)
		if (submount_expire(s, &s->made[i]))
			s->made[left++] = s->made[i];
	s->count = left;
	s->look_at = now + submount_idle(s);
}

static void submount_settle(struct submounts *s, const struct mounter_request *request)
{
	s->id = request->id;
	if (!request->background)
		return;
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	for (int fd = STDIN_FILENO; null >= 0 && fd <= STDERR_FILENO; fd++)
		dup2(null, fd);
	if (null > STDERR_FILENO)
		close(null);
	log_init(LOG_TARGET_SYSLOG, s->options->debug);
}

/* False: the daemon has gone. */
static bool submount_serve(struct submounts *s)
{
	struct mounter_request request;
	ssize_t n = recv(s->fd, &request, sizeof(request), MSG_DONTWAIT);
	if (n < 0)
		return errno == EINTR || errno == EAGAIN;
	if (n != sizeof(request))
		return n > 0;
	/* Once: which mount it is remains what it was. */
	if (request.order == MOUNTER_READY && s->id.id == 0)
		submount_settle(s, &request);
	else if (request.order == MOUNTER_ADOPT && s->id.id != 0)
		submount_note(s, request.node, false);
	else if (request.order == MOUNTER_FOLLOW || request.order == MOUNTER_ENTER)
		submount_follow(s, &request);
	return true;
}

/* ms until something is to be done unasked, or -1. */
static int submount_pause(const struct submounts *s, uint64_t now)
{
	uint64_t next = s->count > 0 ? s->look_at : UINT64_MAX;
	for (unsigned i = 0; i < SUBMOUNT_RUNS; i++)
		if (s->runs[i].pid > 0 && s->runs[i].until < next)
			next = s->runs[i].until;
	if (next == UINT64_MAX)
		return -1;
	return next <= now ? 0 : (int)((next - now) / 1000000) + 1;
}

/* The session tells the daemon who is mounting: mounter_is_caller. */
static void submount_begin(struct submounts *s)
{
	static const int ignored[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGPIPE};
	sigset_t child;
	unsigned fd = (unsigned)s->fd;
	if (fd > STDERR_FILENO + 1)
		close_range(STDERR_FILENO + 1, fd - 1, 0);
	close_range(fd + 1, ~0U, 0);
	setsid();
	for (size_t i = 0; i < sizeof(ignored) / sizeof(ignored[0]); i++)
		signal(ignored[i], SIG_IGN);
	sigemptyset(&child);
	sigaddset(&child, SIGCHLD);
	sigprocmask(SIG_BLOCK, &child, NULL);
	s->signals = signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK);
	prctl(PR_SET_NAME, "vsockfs-mounter");
	ssize_t n = readlink("/proc/self/exe", s->program, sizeof(s->program) - 1);
	s->program[n > 0 ? n : 0] = '\0';
}

void submount_main(const struct options *options, int fd)
{
	static struct submounts s;
	struct pollfd first = {.fd = fd, .events = POLLIN};
	s = (struct submounts){.options = options, .fd = fd};
	submount_leave();
	/* Until the mount is there, its processor is for what that waits for. */
	while (poll(&first, 1, -1) < 0 && errno == EINTR)
		;
	submount_begin(&s);
	for (bool on = s.signals >= 0; on;) {
		struct pollfd pfds[] = {
			{.fd = s.fd, .events = POLLIN}, {.fd = s.signals, .events = POLLIN}};
		struct signalfd_siginfo info;
		int n = poll(pfds, 2, submount_pause(&s, loop_clock()));
		uint64_t now = loop_clock();
		if (n > 0 && pfds[1].revents && read(s.signals, &info, sizeof(info)) > 0)
			submount_reap(&s);
		submount_end_late(&s, now);
		submount_expire_all(&s, now);
		if (n > 0 && pfds[0].revents)
			on = submount_serve(&s);
	}
	_exit(0);
}
