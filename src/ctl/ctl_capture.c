/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "ctl.h"

/*
 * The file is opened here, with the rights of who asks, and handed to the daemon, which may open
 * nothing.
 */

#define PAUSE_MS 300

/* Whether one is under way: 1, 0, or -1 after an error was told. */
static int is_running(const char *path)
{
	char *text;

	if (ctl_ask_text(path, "capture", -1, &text) != 0)
		return -1;
	int running = strncmp(text, "capturing", strlen("capturing")) == 0;
	free(text);
	return running;
}

static int begin(const char *path, int fd, const struct ctl_options *options)
{
	char request[96], *text;

	snprintf(request, sizeof(request), "capture start %" PRIu32 " %d %" PRIu64,
		options->snaplen, options->data, options->limit);
	int status = ctl_ask_text(path, request, fd, &text);
	free(text);
	return status;
}

static int end(const char *path)
{
	char *text;
	int status = ctl_ask_text(path, "capture stop", -1, &text);

	if (status == 0)
		fputs(text, stderr);
	free(text);
	return status;
}

/* Until a signal comes, or the reader has gone. */
static int capture_to_stdout(const char *path, const struct ctl_options *options)
{
	struct pollfd pfd = {.events = POLLIN};
	sigset_t set;
	int running;

	if (isatty(STDOUT_FILENO))
		return ctl_fail(CTL_USAGE, "a capture is not for a terminal");
	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, NULL);
	pfd.fd = signalfd(-1, &set, SFD_CLOEXEC);
	if (pfd.fd < 0)
		return ctl_fail(CTL_FAILURE, "%s", strerror(errno));
	int status = begin(path, STDOUT_FILENO, options);
	if (status != 0)
		return status;
	/* the reader sees the end when the daemon has closed its copy */
	close(STDOUT_FILENO);
	while ((running = is_running(path)) == 1)
		if (poll(&pfd, 1, PAUSE_MS) > 0)
			return end(path);
	return running < 0 ? CTL_FAILURE : 0;
}

static int capture_to_file(const char *path, const char *file, const struct ctl_options *options)
{
	/* What is being written is not cut off. */
	int running = is_running(path);
	if (running < 0)
		return CTL_FAILURE;
	if (running)
		return ctl_fail(CTL_FAILURE, "%s: a capture is under way already", path);
	int fd = open(file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOCTTY, 0600);
	if (fd < 0)
		return ctl_fail(CTL_FAILURE, "%s: %s", file, strerror(errno));
	int status = begin(path, fd, options);
	close(fd);
	return status;
}

int ctl_capture(const char *path, const char *file, const struct ctl_options *options)
{
	if (strcmp(file, "stop") == 0)
		return end(path);
	if (strcmp(file, "status") == 0)
		return ctl_ask(path, "capture", -1, stdout) == 0 ? ctl_flush() : CTL_FAILURE;
	return strcmp(file, "-") == 0 ? capture_to_stdout(path, options)
				      : capture_to_file(path, file, options);
}
