/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "control.h"
#include "util/loop.h"

#define MAJOR 0
#define MINOR 4000000000u

struct fixture {
	char directory[PATH_MAX]; /* made by control_new_in, in `base` */
	char base[64];
	char socket[PATH_MAX + 64];
	size_t length; /* bytes of an answer */
};

/* "say TEXT" is answered by TEXT, "write" by writing into what came along. */
static bool answer_request(void *arg, const char *request, int *fd, FILE *out)
{
	const struct fixture *f = arg;

	if (strncmp(request, "say ", 4) == 0) {
		fprintf(out, "%s\n", request + 4);
		for (size_t i = strlen(request) - 3; i < f->length; i++)
			fputc('a' + (int)(i % 26), out);
		return true;
	}
	if (strcmp(request, "write") == 0 && *fd >= 0)
		return write(*fd, "written", 7) == 7;
	fputs(*fd >= 0 ? "what is this file for\n" : "unknown request\n", out);
	return false;
}

static const struct control_ops ops = {.answer = answer_request};

static int setup(void **state)
{
	static struct fixture f;

	f = (struct fixture){.base = "/tmp/vsockfs-control-XXXXXX"};
	assert_non_null(mkdtemp(f.base));
	assert_int_equal(chmod(f.base, 0755), 0);
	snprintf(f.directory, sizeof(f.directory), "%s/run", f.base);
	snprintf(f.socket, sizeof(f.socket), "%s/%u:%u.sock", f.directory, MAJOR, MINOR);
	*state = &f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	unlink(f->socket);
	rmdir(f->directory);
	return rmdir(f->base);
}

static struct control *start(struct fixture *f)
{
	struct control *control;

	assert_int_equal(control_new_in(f->directory, MAJOR, MINOR, &ops, f, &control), 0);
	return control;
}

static int ask(struct fixture *f, const char *request, char **text, size_t *len, char *why)
{
	FILE *out = open_memstream(text, len);
	int fd = control_connect_in(f->directory, MAJOR, MINOR);

	assert_non_null(out);
	assert_true(fd >= 0);
	int r = control_request(fd, request, -1, out, why, 600);
	fclose(out);
	return r;
}

static void expect_answer(struct fixture *f, const char *request, const char *answer)
{
	char *text, why[600];
	size_t len;

	assert_int_equal(ask(f, request, &text, &len, why), 0);
	assert_string_equal(text, answer);
	free(text);
}

static void test_round_trip(void **state)
{
	struct fixture *f = *state;
	struct control *control = start(f);
	struct stat st;

	assert_int_equal(stat(f->socket, &st), 0);
	assert_true(S_ISSOCK(st.st_mode));
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(stat(f->directory, &st), 0);
	assert_int_equal(st.st_mode & 07777 & ~0755, 0);
	expect_answer(f, "say something", "something\n");
	expect_answer(f, "say  ", " \n");
	control_free(control);
	assert_int_equal(lstat(f->socket, &st), 0);
	assert_int_equal(control_connect_in(f->directory, MAJOR, MINOR), -ECONNREFUSED);
}

/* More than the socket's buffers hold. */
static void test_long_answer(void **state)
{
	struct fixture *f = *state;
	struct control *control = start(f);
	char *text, why[600];
	size_t len;

	f->length = 3000000;
	assert_int_equal(ask(f, "say long", &text, &len, why), 0);
	assert_int_equal(len, f->length);
	assert_memory_equal(text, "long\n", 5);
	for (size_t i = 5; i < len; i++)
		if (text[i] != 'a' + (int)(i % 26))
			fail_msg("byte %zu", i);
	free(text);
	control_free(control);
}

static void test_unknown_request(void **state)
{
	struct fixture *f = *state;
	struct control *control = start(f);
	char *text, why[600];
	size_t len;

	assert_int_equal(ask(f, "stats xml", &text, &len, why), -EREMOTEIO);
	assert_string_equal(why, "unknown request");
	assert_int_equal(len, 0);
	free(text);
	control_free(control);
}

static unsigned open_fds(void)
{
	unsigned n = 0;

	for (int fd = 0; fd < 256; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

static int send_file(struct fixture *f, const char *request, int with)
{
	char why[600];
	FILE *out = fopen("/dev/null", "w");
	int fd = control_connect_in(f->directory, MAJOR, MINOR);

	assert_true(fd >= 0);
	int r = control_request(fd, request, with, out, why, sizeof(why));
	fclose(out);
	return r;
}

/* Once the thread that serves has opened and closed what it does at its start. */
static unsigned settled_fds(void)
{
	const struct timespec pause = {.tv_nsec = 20000000};
	unsigned before, now = open_fds();
	do {
		before = now;
		nanosleep(&pause, NULL);
		now = open_fds();
	} while (now != before);
	return now;
}

/* A descriptor comes with a request, and is closed if nobody keeps it. */
static void test_descriptor(void **state)
{
	struct fixture *f = *state;
	struct control *control = start(f);
	unsigned before = settled_fds();
	char got[8] = "";
	int fds[2];

	assert_int_equal(pipe(fds), 0);
	assert_int_equal(send_file(f, "write", fds[1]), 0);
	assert_int_equal(read(fds[0], got, sizeof(got)), 7);
	assert_string_equal(got, "written");
	assert_int_equal(send_file(f, "frob", fds[1]), -EREMOTEIO);
	assert_int_equal(send_file(f, "write", -1), -EREMOTEIO);
	close(fds[1]);
	close(fds[0]);
	/* the answer comes before the daemon closes what is its own */
	expect_answer(f, "say last", "last\n");
	control_free(control);
	assert_int_equal(open_fds() + 2, before);
}

/* More of them than anybody asked for, and no request: all are closed. */
static void test_descriptors_for_nothing(void **state)
{
	struct fixture *f = *state;
	struct control *control = start(f);
	unsigned before = settled_fds();
	union {
		char buffer[CMSG_SPACE(16 * sizeof(int))];
		struct cmsghdr align;
	} ancillary = {0};
	struct iovec iov = {.iov_base = "x", .iov_len = 1};
	struct msghdr msg = {.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = ancillary.buffer,
		.msg_controllen = sizeof(ancillary.buffer)};
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
	int null = open("/dev/null", O_RDONLY), fd = control_connect_in(f->directory, MAJOR, MINOR);

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(16 * sizeof(int));
	for (size_t i = 0; i < 16; i++)
		memcpy(CMSG_DATA(c) + i * sizeof(int), &null, sizeof(null));
	assert_int_equal(sendmsg(fd, &msg, 0), 1);
	close(fd);
	close(null);
	expect_answer(f, "say last", "last\n");
	control_free(control);
	assert_int_equal(open_fds() + 2, before);
}

static void test_bad_clients(void **state)
{
	struct fixture *f = *state;
	struct control *control = start(f);
	char junk[200];

	memset(junk, 'x', sizeof(junk));
	int fd = control_connect_in(f->directory, MAJOR, MINOR);
	assert_true(fd >= 0);
	assert_true(send(fd, junk, sizeof(junk), MSG_NOSIGNAL) > 0);
	assert_true(recv(fd, junk, 1, 0) <= 0);
	close(fd);

	fd = control_connect_in(f->directory, MAJOR, MINOR);
	assert_true(fd >= 0);
	assert_int_equal(send(fd, "sta", 3, MSG_NOSIGNAL), 3);
	close(fd);
	expect_answer(f, "say hello", "hello\n");
	control_free(control);
}

/* A client that says nothing delays the end not at all, and other clients for 2 seconds at most. */
static void test_silent_client(void **state)
{
	struct fixture *f = *state;
	struct control *control = start(f);
	uint64_t before = loop_clock();
	int fd = control_connect_in(f->directory, MAJOR, MINOR);

	assert_true(fd >= 0);
	expect_answer(f, "say hello", "hello\n");
	assert_true(loop_clock() - before < UINT64_C(6000000000));
	close(fd);

	fd = control_connect_in(f->directory, MAJOR, MINOR);
	assert_true(fd >= 0);
	nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
	before = loop_clock();
	control_free(control);
	assert_true(loop_clock() - before < UINT64_C(1000000000));
	close(fd);
}

/* A child that exits without control_free is a daemon that died. */
static void test_stale_socket(void **state)
{
	struct fixture *f = *state;
	struct stat st;
	int result;
	pid_t pid = fork();

	if (pid == 0) {
		struct control *control;
		_exit(control_new_in(f->directory, MAJOR, MINOR, &ops, f, &control) == 0 ? 0 : 1);
	}
	assert_int_equal(waitpid(pid, &result, 0), pid);
	assert_int_equal(result, 0);
	assert_int_equal(lstat(f->socket, &st), 0);
	assert_int_equal(control_connect_in(f->directory, MAJOR, MINOR), -ECONNREFUSED);

	struct control *control = start(f);
	expect_answer(f, "say hello", "hello\n");
	control_free(control);
}

/* As daemons that died leave it. */
static void leave_socket(const char *path)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_true(
		snprintf(sa.sun_path, sizeof(sa.sun_path), "%s", path) < (int)sizeof(sa.sun_path));
	assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	assert_int_equal(listen(fd, 1), 0);
	close(fd);
}

static void test_others_sockets(void **state)
{
	struct fixture *f = *state;
	struct stat root;
	struct control *neighbour;
	char names[4][PATH_MAX + 128];
	const bool goes[4] = {true, false, false, false};

	assert_int_equal(stat("/", &root), 0);
	assert_int_equal(mkdir(f->directory, 0700), 0);
	snprintf(names[0], sizeof(names[0]), "%s/0:%u.sock", f->directory, MINOR - 1);
	/* its daemon is dead, and vsockfsctl says so as long as it is mounted */
	snprintf(names[1], sizeof(names[1]), "%s/%u:%u.sock", f->directory, major(root.st_dev),
		minor(root.st_dev));
	snprintf(names[2], sizeof(names[2]), "%s/0:%u.sock.old", f->directory, MINOR - 1);
	for (size_t i = 0; i < 3; i++)
		leave_socket(names[i]);
	assert_int_equal(control_new_in(f->directory, MAJOR, MINOR - 2, &ops, f, &neighbour), 0);
	snprintf(names[3], sizeof(names[3]), "%s/0:%u.sock", f->directory, MINOR - 2);

	control_free(start(f));
	for (size_t i = 0; i < 4; i++) {
		assert_int_equal(access(names[i], F_OK), goes[i] ? -1 : 0);
		unlink(names[i]);
	}
	control_free(neighbour);
}

/* Its mount has gone, or ours would not have the number. */
static void test_living_socket(void **state)
{
	struct fixture *f = *state;
	struct control *first = start(f), *second = start(f);
	struct stat st;

	expect_answer(f, "say hello", "hello\n");
	control_remove_in(f->directory, MAJOR, MINOR, control_inode(first));
	control_free(first);
	expect_answer(f, "say hello", "hello\n");

	control_remove_in(f->directory, MAJOR, MINOR, control_inode(second));
	assert_int_equal(lstat(f->socket, &st), -1);
	control_free(second);
}

static void expect_refused(struct fixture *f, int err)
{
	struct control *control = NULL;

	assert_int_equal(control_new_in(f->directory, MAJOR, MINOR, &ops, f, &control), err);
	assert_null(control);
}

static void test_bad_directory(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(symlink("/tmp", f->directory), 0);
	expect_refused(f, -ENOTDIR);
	assert_int_equal(unlink(f->directory), 0);

	assert_int_equal(mkdir(f->directory, 0700), 0);
	assert_int_equal(chmod(f->directory, 0777), 0);
	expect_refused(f, -EPERM);
	assert_int_equal(chmod(f->directory, 0720), 0);
	expect_refused(f, -EPERM);
	assert_int_equal(chmod(f->directory, 0700), 0);
	if (geteuid() == 0) {
		assert_int_equal(chown(f->directory, 1, 0), 0);
		expect_refused(f, -EPERM);
	}
	assert_int_equal(rmdir(f->directory), 0);
}

static void test_file_in_the_way(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(mkdir(f->directory, 0700), 0);
	assert_int_equal(symlink("/etc/passwd", f->socket), 0);
	expect_refused(f, -EEXIST);
}

static void test_long_directory(void **state)
{
	struct fixture *f = *state;
	char directory[200];

	memset(directory, 'x', sizeof(directory) - 1);
	memcpy(directory, "/tmp/", 5);
	directory[sizeof(directory) - 1] = '\0';
	assert_int_equal(control_connect_in(directory, MAJOR, MINOR), -ENAMETOOLONG);
	struct control *control;
	assert_int_equal(control_new_in(directory, MAJOR, MINOR, &ops, f, &control), -ENAMETOOLONG);
	rmdir(directory);
}

/* Another user gets an answer, but not the numbers. */
static void test_foreign_user(void **state)
{
	struct fixture *f = *state;
	int result;

	if (geteuid() != 0) {
		print_message("only root can become another user here\n");
		skip();
	}
	/* static, so that valgrind finds it in the child as well */
	static struct control *control;
	control = start(f);
	assert_int_equal(chmod(f->socket, 0666), 0);
	pid_t pid = fork();
	if (pid == 0) {
		char why[600];
		if (setuid(65534) < 0)
			_exit(1);
		int fd = control_connect_in(f->directory, MAJOR, MINOR);
		if (fd < 0)
			_exit(2);
		if (control_request(fd, "say x", -1, stderr, why, sizeof(why)) != -EREMOTEIO)
			_exit(3);
		_exit(strcmp(why, "permission denied") == 0 ? 0 : 4);
	}
	assert_int_equal(waitpid(pid, &result, 0), pid);
	assert_int_equal(WEXITSTATUS(result), 0);
	control_free(control);
}

static int answer(const char *text, char *why)
{
	int fds[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	assert_int_equal(send(fds[1], text, strlen(text), 0), (int)strlen(text));
	assert_int_equal(shutdown(fds[1], SHUT_WR), 0);
	FILE *out = fopen("/dev/null", "w");
	int r = control_request(fds[0], "stats", -1, out, why, 600);
	fclose(out);
	close(fds[1]);
	return r;
}

static void test_bad_answers(void **state)
{
	char why[600];

	assert_int_equal(answer("vsockfs-control 1 ok 3\nabc", why), 0);
	assert_int_equal(answer("vsockfs-control 1 ok 4\nabc", why), -EPROTO);
	assert_string_equal(why, "the daemon's answer is cut short");
	assert_int_equal(answer("", why), -ETIMEDOUT);
	assert_int_equal(answer("HTTP/1.1 400\n", why), -EPROTO);
	assert_int_equal(answer("vsockfs-control\n", why), -EPROTO);
	assert_int_equal(answer("vsockfs-control 2 ok 0\n", why), -EPROTO);
	assert_string_equal(why, "the daemon answers: ok 0");
	assert_int_equal(answer("vsockfs-control 1 error it is so\n", why), -EREMOTEIO);
	assert_string_equal(why, "it is so");
}

static void test_directory(void **state)
{
	char out[CONTROL_PATH_MAX], want[CONTROL_PATH_MAX], longer[200];

	assert_int_equal(control_directory(0, out), 0);
	assert_string_equal(out, "/run/vsockfs");
	setenv("XDG_RUNTIME_DIR", "/somewhere", 1);
	assert_int_equal(control_directory(4242, out), 0);
	assert_string_equal(out, "/run/user/4242/vsockfs");
	if (geteuid() == 0)
		assert_int_equal(seteuid(4242), 0);
	assert_int_equal(control_directory(geteuid(), out), 0);
	assert_string_equal(out, "/somewhere/vsockfs");
	setenv("XDG_RUNTIME_DIR", "relative", 1);
	assert_int_equal(control_directory(geteuid(), out), 0);
	snprintf(want, sizeof(want), "/run/user/%u/vsockfs", geteuid());
	assert_string_equal(out, want);
	memset(longer, '/', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = '\0';
	setenv("XDG_RUNTIME_DIR", longer, 1);
	assert_int_equal(control_directory(geteuid(), out), -ENAMETOOLONG);
	unsetenv("XDG_RUNTIME_DIR");
	if (getuid() == 0)
		assert_int_equal(seteuid(0), 0);
}

int main(void)
{
#define WITH_FIXTURE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
	const struct CMUnitTest tests[] = {
		WITH_FIXTURE(test_round_trip),
		WITH_FIXTURE(test_long_answer),
		WITH_FIXTURE(test_unknown_request),
		WITH_FIXTURE(test_descriptor),
		WITH_FIXTURE(test_descriptors_for_nothing),
		WITH_FIXTURE(test_bad_clients),
		WITH_FIXTURE(test_silent_client),
		WITH_FIXTURE(test_stale_socket),
		WITH_FIXTURE(test_others_sockets),
		WITH_FIXTURE(test_living_socket),
		WITH_FIXTURE(test_bad_directory),
		WITH_FIXTURE(test_file_in_the_way),
		WITH_FIXTURE(test_long_directory),
		WITH_FIXTURE(test_foreign_user),
		cmocka_unit_test(test_bad_answers),
		cmocka_unit_test(test_directory),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
