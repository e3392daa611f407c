/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fuzz.h"

#include <errno.h>
#include <inttypes.h>
#include <sys/socket.h>
#include <unistd.h>

#include "command.h"
#include "control.h"

/*
 * Both ends of the control socket. The input's first byte is odd for a request, which the daemon
 * gets in two parts, and even for an answer, which the client gets.
 */

#define ANSWER_MAX 30000 /* fits a socket's buffer */

static char directory[] = "/tmp/vsockfs-fuzz-XXXXXX";
static struct control *control;

/* What was understood is what was said, in one way. */
static void check_command(const char *request, const struct command *command)
{
	const struct capture_options *c = &command->capture;
	char again[128] = "";

	if (command->verb == COMMAND_TRACE)
		snprintf(again, sizeof(again), "trace %" PRIu64 " %" PRIu64, command->slower,
			command->after);
	else if (command->verb == COMMAND_CAPTURE_START)
		snprintf(again, sizeof(again), "capture start %" PRIu32 " %d %" PRIu64, c->snaplen,
			c->data, c->limit);
	fuzz_check(c->snaplen == 0 || c->snaplen >= 40);
	/* numbers may have had zeros in front of them */
	fuzz_check(strlen(again) <= strlen(request));
}

static bool answer_request(void *arg, const char *request, int *fd, FILE *out)
{
	struct command command;

	fuzz_check(*fd == -1);
	if (!command_parse(request, &command)) {
		fputs("no\n", out);
		return false;
	}
	check_command(request, &command);
	fputs("some numbers\n", out);
	return true;
}

static const struct control_ops ops = {.answer = answer_request};

static void stop(void)
{
	control_free(control);
	rmdir(directory);
}

static void start(void)
{
	if (!mkdtemp(directory) || control_new_in(directory, 0, 1, &ops, NULL, &control) < 0)
		abort();
	atexit(stop);
}

static void send_some(int fd, const uint8_t *data, size_t size)
{
	/* it may have closed already, having seen enough */
	if (size > 0 && send(fd, data, size, MSG_NOSIGNAL) < 0)
		fuzz_check(errno == EPIPE || errno == ECONNRESET);
}

static void check_request(const uint8_t *data, size_t size)
{
	static const char head[] = "vsockfs-control 1 ";
	char answer[256];
	size_t len = 0;
	ssize_t n;

	if (!control)
		start();
	int fd = control_connect_in(directory, 0, 1);
	fuzz_check(fd >= 0);
	send_some(fd, data, size / 2);
	send_some(fd, data + size / 2, size - size / 2);
	shutdown(fd, SHUT_WR);
	while ((n = read(fd, answer + len, sizeof(answer) - 1 - len)) > 0)
		len += (size_t)n;
	close(fd);
	answer[len] = '\0';
	fuzz_check(len == 0 || (len > strlen(head) && memcmp(answer, head, strlen(head)) == 0));
}

static void check_answer(const uint8_t *data, size_t size)
{
	char why[64], *text;
	size_t len;
	int fds[2];
	FILE *out = open_memstream(&text, &len);

	if (size > ANSWER_MAX)
		size = ANSWER_MAX;
	fuzz_check(out && socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0);
	send_some(fds[1], data, size);
	shutdown(fds[1], SHUT_WR);
	memset(why, 'x', sizeof(why));
	int r = control_request(fds[0], "stats", -1, out, why, sizeof(why));
	close(fds[1]);
	fclose(out);
	fuzz_check(r <= 0 && len <= size);
	if (r < 0)
		fuzz_check(memchr(why, '\0', sizeof(why)) && why[0]);
	free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size == 0)
		return 0;
	if (data[0] % 2)
		check_request(data + 1, size - 1);
	else
		check_answer(data + 1, size - 1);
	return 0;
}
