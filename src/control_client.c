/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "control.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "util/passfd.h"

#define ANSWER_TIMEOUT_S 10

int control_directory(uid_t uid, char out[CONTROL_PATH_MAX])
{
	const char *runtime = getenv("XDG_RUNTIME_DIR");
	int n;

	if (uid == 0)
		n = snprintf(out, CONTROL_PATH_MAX, "/run/vsockfs");
	else if (uid == geteuid() && runtime && runtime[0] == '/')
		n = snprintf(out, CONTROL_PATH_MAX, "%s/vsockfs", runtime);
	else
		n = snprintf(out, CONTROL_PATH_MAX, "/run/user/%u/vsockfs", uid);
	return n < (int)CONTROL_PATH_MAX ? 0 : -ENAMETOOLONG;
}

bool control_path(const char *directory, uint32_t major, uint32_t minor, char *out, size_t size)
{
	int n = snprintf(out, size, "%s/%" PRIu32 ":%" PRIu32 ".sock", directory, major, minor);
	return n < (int)size;
}

int control_connect_in(const char *directory, uint32_t major, uint32_t minor)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	struct timeval timeout = {.tv_sec = ANSWER_TIMEOUT_S};

	if (!control_path(directory, major, minor, sa.sun_path, sizeof(sa.sun_path)))
		return -ENAMETOOLONG;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout)) < 0 ||
		setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout)) < 0 ||
		connect(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0) {
		int r = -errno;
		close(fd);
		return r;
	}
	return fd;
}

int control_connect(uint32_t major, uint32_t minor, uid_t uid)
{
	/* A daemon that has no XDG_RUNTIME_DIR uses /run/user, whatever this process has. */
	char directories[3][CONTROL_PATH_MAX];
	int result = -ENOENT;
	unsigned n = 0;

	if (control_directory(uid, directories[n]) == 0)
		n++;
	if (uid != 0)
		snprintf(directories[n++], CONTROL_PATH_MAX, "/run/user/%u/vsockfs", uid);
	for (unsigned i = 0; i < n; i++) {
		int fd = control_connect_in(directories[i], major, minor);
		if (fd >= 0)
			return fd;
		if (fd != -ENOENT)
			result = fd;
	}
	return result;
}

static bool send_all(int fd, const char *data, size_t len)
{
	while (len > 0) {
		ssize_t n = send(fd, data, len, MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		data += n;
		len -= (size_t)n;
	}
	return true;
}

/* The first byte takes the descriptor along. */
static bool send_with(int fd, char first, int with)
{
	struct iovec iov = {.iov_base = &first, .iov_len = 1};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

	return passfd_send(fd, &msg, with) == 1;
}

static bool send_request(int fd, const char *request, int with)
{
	if (with >= 0 && !send_with(fd, *request++, with))
		return false;
	return send_all(fd, request, strlen(request)) && send_all(fd, "\n", 1);
}

/* Reads the answer of the daemon: 0, or -errno with a sentence. */
static int copy_answer(FILE *in, FILE *out, char *why, size_t why_size)
{
	char line[512], buffer[4096];
	unsigned version;
	uint64_t left;
	int at = 0;

	if (!fgets(line, sizeof(line), in)) {
		snprintf(why, why_size, "the daemon does not answer");
		return -ETIMEDOUT;
	}
	line[strcspn(line, "\n")] = '\0';
	if (sscanf(line, "vsockfs-control %u %n", &version, &at) != 1 || at == 0) {
		snprintf(why, why_size, "this is not the control socket of vsockfs");
		return -EPROTO;
	}
	if (version == 1 && strncmp(line + at, "error ", 6) == 0) {
		const char *text = line + at + 6;
		snprintf(
			why, why_size, "%s", *text ? text : "the daemon refuses, without a reason");
		return -EREMOTEIO;
	}
	if (version != 1 || sscanf(line + at, "ok %" SCNu64, &left) != 1) {
		snprintf(why, why_size, "the daemon answers: %s", line + at);
		return -EPROTO;
	}
	while (left > 0) {
		size_t n = fread(buffer, 1, left < sizeof(buffer) ? left : sizeof(buffer), in);
		if (n == 0) {
			snprintf(why, why_size, "the daemon's answer is cut short");
			return -EPROTO;
		}
		if (fwrite(buffer, 1, n, out) != n) {
			int r = -errno;
			snprintf(why, why_size, "cannot write: %s", strerror(-r));
			return r;
		}
		left -= n;
	}
	return 0;
}

int control_request(
	int fd_take, const char *request, int with, FILE *out, char *why, size_t why_size)
{
	FILE *in = fdopen(fd_take, "r");

	if (!in) {
		int r = -errno;
		snprintf(why, why_size, "%s", strerror(-r));
		close(fd_take);
		return r;
	}
	if (!send_request(fd_take, request, with)) {
		int r = -errno;
		snprintf(why, why_size, "cannot ask the daemon: %s", strerror(-r));
		fclose(in);
		return r;
	}
	int r = copy_answer(in, out, why, why_size);
	fclose(in);
	return r;
}
