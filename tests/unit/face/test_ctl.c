/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "control.h"
#include "mountinfo.h"

/* Runs the program vsockfsctl, whose path is in the environment as VSOCKFSCTL. */

static char directory[PATH_MAX];
static char output[4096]; /* of the last run, stderr included */

static int setup(void **state)
{
	char template[] = "/tmp/vsockfs-ctl-XXXXXX";

	assert_non_null(getenv("VSOCKFSCTL"));
	assert_non_null(mkdtemp(template));
	assert_non_null(realpath(template, directory));
	return 0;
}

static int teardown(void **state)
{
	umount2(directory, MNT_DETACH);
	return rmdir(directory);
}

/* The exit status. A run that touches a mute mount would hang: it is killed. */
static int run(const char *args)
{
	char command[2 * PATH_MAX];

	snprintf(command, sizeof(command), "timeout -s KILL 10 \"$VSOCKFSCTL\" %s 2>&1", args);
	FILE *in = popen(command, "r");
	assert_non_null(in);
	output[fread(output, 1, sizeof(output) - 1, in)] = '\0';
	int result = pclose(in);
	assert_true(WIFEXITED(result));
	return WEXITSTATUS(result);
}

static int run_on_directory(const char *args)
{
	char with[PATH_MAX + 512];

	snprintf(with, sizeof(with), "%s %s", args, directory);
	return run(with);
}

static void expect_message(const char *text)
{
	char want[3 * PATH_MAX];

	snprintf(want, sizeof(want), "vsockfsctl: %s: %s\n", directory, text);
	assert_string_equal(output, want);
}

static void test_usage(void **state)
{
	assert_int_equal(run(""), 1);
	assert_memory_equal(
		output, "usage: vsockfsctl COMMAND", strlen("usage: vsockfsctl COMMAND"));
	assert_int_equal(run("-h"), 0);
	assert_memory_equal(
		output, "usage: vsockfsctl COMMAND", strlen("usage: vsockfsctl COMMAND"));
	assert_int_equal(run("--version"), 0);
	assert_string_equal(output, "vsockfsctl " VSOCKFS_VERSION "\n");
	assert_int_equal(run("stats"), 1);
	assert_string_equal(output, "vsockfsctl: stats needs one mount point\n");
	assert_int_equal(run("stats / /"), 1);
	assert_int_equal(run("delegreturn / /"), 1);
	assert_int_equal(run("frob /"), 1);
	assert_string_equal(
		output, "vsockfsctl: unknown command frob (vsockfsctl -h lists them)\n");
	assert_int_equal(run("stats --frob /"), 1);
	assert_int_equal(run("drop --json /"), 1);
	assert_string_equal(
		output, "vsockfsctl: drop has no such option (vsockfsctl -h lists them)\n");
	assert_int_equal(run("capture /"), 1);
	assert_string_equal(output, "vsockfsctl: capture needs a file and one mount point\n");
	assert_int_equal(run("log loud /"), 1);
	assert_string_equal(output, "vsockfsctl: the log's level is debug or info, not loud\n");
	static const char *const wrong[] = {"watch --interval 0 /", "watch --count 1.5 /",
		"watch --count -1 /", "trace --slower x /", "trace --slower nan /",
		"capture --snaplen 39 f /", "capture --limit 0 f /", "capture --snaplen '' f /"};
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		assert_int_equal(run(wrong[i]), 1);
		assert_non_null(strstr(output, "is no value for this option"));
	}
}

static void test_no_mount(void **state)
{
	assert_int_equal(run_on_directory("stats"), 2);
	expect_message("not a mount point");
	assert_int_equal(run("stats /proc"), 2);
	assert_string_equal(output, "vsockfsctl: /proc: a mount of type proc, not of vsockfs\n");
	assert_int_equal(run("delegreturn /proc"), 2);
	assert_int_equal(run("stats /none/such"), 2);
	assert_string_equal(output, "vsockfsctl: /none/such: not a mount point\n");
}

static atomic_bool left; /* not all are returned; read by the control thread */

/* Says what was asked, but for what has an answer that matters. */
static bool answer(void *arg, const char *request, int *fd, FILE *out)
{
	if (strcmp(request, "delegreturn") == 0) {
		fputs(left ? "3 are left\n" : "", out);
	} else if (strncmp(request, "capture start ", 14) == 0) {
		dprintf(*fd, "%s", request);
	} else if (strcmp(request, "log debug") == 0) {
		fputs("not today\n", out);
		return false;
	} else {
		fprintf(out, "%s\n", request);
	}
	return true;
}

static const struct control_ops ops = {.answer = answer};

/* A FUSE mount whose daemon is this process and answers nothing; -1 where that cannot be. */
static int mount_mute(const char *type)
{
	char data[128];

	if (geteuid() != 0 || unshare(CLONE_NEWNS) < 0 ||
		mount("none", "/", "none", MS_REC | MS_PRIVATE, NULL) < 0 ||
		mount("tmpfs", "/run", "tmpfs", 0, NULL) < 0)
		return -1;
	int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return -1;
	snprintf(data, sizeof(data), "fd=%d,rootmode=40000,user_id=0,group_id=0", fd);
	if (mount("2:/export", directory, type, 0, data) < 0) {
		close(fd);
		return -1;
	}
	return fd;
}

static void expect_request(const char *args, const char *request)
{
	char want[64];

	assert_int_equal(run_on_directory(args), 0);
	snprintf(want, sizeof(want), "%s\n", request);
	assert_string_equal(output, want);
}

/* The file is handed over, and what was in it is gone. */
static void expect_capture(const char *options, const char *request)
{
	char path[] = "/tmp/vsockfs-ctl-capture-XXXXXX", args[256], got[128] = "";
	int fd = mkstemp(path);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, "what was there before, which is longer", 38), 38);
	snprintf(args, sizeof(args), "capture %s %s", options, path);
	assert_int_equal(run_on_directory(args), 0);
	assert_string_equal(output, "");
	assert_true(pread(fd, got, sizeof(got) - 1, 0) > 0);
	assert_string_equal(got, request);
	close(fd);
	unlink(path);
}

static void test_mount(void **state)
{
	struct mountinfo info;
	struct control *control;
	int fd = mount_mute(MOUNTINFO_VSOCKFS);

	if (fd < 0) {
		print_message("FUSE cannot be mounted here: %s\n", strerror(errno));
		skip();
	}
	assert_int_equal(run_on_directory("stats"), 2);
	expect_message("the daemon has no control socket");

	assert_int_equal(mountinfo_find_self(directory, &info), 0);
	assert_int_equal(control_new(info.major, info.minor, &ops, NULL, &control), 0);
	assert_int_equal(run_on_directory("stats"), 0);
	assert_string_equal(output, "stats\n");
	expect_request("stats --json", "stats json");
	expect_request("--mountstats stats", "stats mountstats");
	expect_request("status", "status");
	expect_request("status --json", "status json");
	expect_request("drop", "drop");
	expect_request("log info", "log info");
	expect_request("capture stop", "capture stop");
	expect_request("capture status", "capture");
	assert_int_equal(run_on_directory("log debug"), 2);
	expect_message("not today");
	expect_capture("", "capture start 0 0 0");
	expect_capture("--data --snaplen 200 --limit 3", "capture start 200 1 3145728");
	assert_int_equal(run_on_directory("delegreturn"), 0);
	assert_string_equal(output, "");
	left = true;
	assert_int_equal(run_on_directory("delegreturn"), 2);
	expect_message("3 are left");

	char link[PATH_MAX + 8];
	snprintf(link, sizeof(link), "%s.link", directory);
	assert_int_equal(symlink(directory, link), 0);
	char args[PATH_MAX + 32];
	snprintf(args, sizeof(args), "stats %s", link);
	int status = run(args);
	unlink(link);
	assert_int_equal(status, 0);
	assert_string_equal(output, "stats\n");
	control_free(control);
	close(fd);
	assert_int_equal(umount2(directory, MNT_DETACH), 0);
}

/* A socket that nobody listens at any more, and a FUSE mount of another kind. */
static void test_dead_and_other(void **state)
{
	struct mountinfo info;
	int result, fd = mount_mute(MOUNTINFO_VSOCKFS);

	if (fd < 0) {
		print_message("FUSE cannot be mounted here: %s\n", strerror(errno));
		skip();
	}
	assert_int_equal(mountinfo_find_self(directory, &info), 0);
	pid_t pid = fork();
	if (pid == 0) {
		/* static, so that valgrind finds it */
		static struct control *control;
		_exit(control_new(info.major, info.minor, &ops, NULL, &control) == 0 ? 0 : 1);
	}
	assert_int_equal(waitpid(pid, &result, 0), pid);
	assert_int_equal(result, 0);
	assert_int_equal(run_on_directory("stats"), 2);
	char text[PATH_MAX + 64];
	snprintf(text, sizeof(text), "the daemon is dead: unmount with 'umount %s'", directory);
	expect_message(text);
	close(fd);
	assert_int_equal(umount2(directory, MNT_DETACH), 0);

	fd = mount_mute("fuse.other");
	assert_true(fd >= 0);
	assert_int_equal(run_on_directory("stats"), 2);
	expect_message("a mount of type fuse.other, not of vsockfs");
	close(fd);
	assert_int_equal(umount2(directory, MNT_DETACH), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_usage),
		cmocka_unit_test(test_no_mount),
		cmocka_unit_test(test_mount),
		cmocka_unit_test(test_dead_and_other),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
