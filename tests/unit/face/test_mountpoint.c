/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "control.h"
#include "mountinfo.h"
#include "mountpoint.h"

static char directory[PATH_MAX];
static char resolved[PATH_MAX], why[PATH_MAX * 2 + 128];

static int setup(void **state)
{
	char template[] = "/tmp/vsockfs-mountpoint-XXXXXX";

	assert_non_null(mkdtemp(template));
	assert_non_null(realpath(template, directory));
	return 0;
}

static int teardown(void **state)
{
	umount2(directory, MNT_DETACH);
	return rmdir(directory);
}

static int resolve(const char *path)
{
	why[0] = '\0';
	return mountpoint_resolve(path, "2:/export", resolved, why, sizeof(why));
}

/* A FUSE mount whose daemon is this process and answers nothing; -1 where that cannot be. */
static int mount_mute(const char *source)
{
	char data[128];
	int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);

	if (fd < 0)
		return -1;
	snprintf(data, sizeof(data), "fd=%d,rootmode=40000,user_id=0,group_id=0", fd);
	if (mount(source, directory, MOUNTINFO_VSOCKFS, 0, data) < 0) {
		close(fd);
		return -1;
	}
	return fd;
}

/* In a mount namespace of its own, with an empty /run. */
static bool enter_namespace(void)
{
	return unshare(CLONE_NEWNS) == 0 &&
	       mount("none", "/", "none", MS_REC | MS_PRIVATE, NULL) == 0 &&
	       mount("tmpfs", "/run", "tmpfs", 0, NULL) == 0;
}

static void test_directories(void **state)
{
	char path[PATH_MAX + 16];

	assert_int_equal(resolve(directory), 0);
	assert_string_equal(resolved, directory);
	assert_int_equal(resolve("/"), 0);
	assert_string_equal(resolved, "/");
	snprintf(path, sizeof(path), "%s/none", directory);
	assert_int_equal(resolve(path), -ENOENT);
	assert_string_equal(why, "no such directory: create it first");
	snprintf(path, sizeof(path), "%s/none/x", directory);
	assert_int_equal(resolve(path), -ENOENT);
	assert_int_equal(resolve("/dev/null"), -ENOTDIR);
	assert_string_equal(why, "not a directory");
	assert_int_equal(resolve("/dev/null/x"), -ENOTDIR);
}

static bool answer_nothing(void *arg, const char *request, int *fd, FILE *out)
{
	return true;
}

/* A living daemon is found by its control socket: stat(2) of this mount would never return. */
static void test_mounts(void **state)
{
	static const struct control_ops ops = {.answer = answer_nothing};
	struct mountinfo info;
	struct control *control;

	if (geteuid() != 0 || !enter_namespace()) {
		print_message("mounting needs root\n");
		skip();
	}
	int fd = mount_mute("2:/export");
	if (fd < 0) {
		print_message("FUSE cannot be mounted: %s\n", strerror(errno));
		skip();
	}
	assert_int_equal(mountinfo_find_self(directory, &info), 0);
	assert_string_equal(info.source, "2:/export");
	assert_int_equal(control_new(info.major, info.minor, &ops, NULL, &control), 0);
	assert_int_equal(resolve(directory), -EBUSY);
	assert_string_equal(why, "2:/export is already mounted there");
	why[0] = '\0';
	assert_int_equal(
		mountpoint_resolve(directory, "vsock:2://export/./", resolved, why, sizeof(why)),
		-EBUSY);
	control_free(control);

	close(fd);
	assert_int_equal(resolve(directory), -ENOTCONN);
	assert_non_null(strstr(why, "fusermount3 -u /"));
	char below[PATH_MAX + 16];
	snprintf(below, sizeof(below), "%s/some/where", directory);
	memset(why, 'x', sizeof(why));
	assert_int_equal(resolve(below), -ENOTCONN);
	assert_non_null(strstr(why, "daemon has died"));
	assert_int_equal(umount2(directory, MNT_DETACH), 0);
	assert_int_equal(resolve(directory), 0);

	/* Over something else one may mount. */
	assert_int_equal(mount("2:/export", directory, "tmpfs", 0, NULL), 0);
	assert_int_equal(resolve(directory), 0);
	fd = mount_mute("2:/other");
	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(resolve(directory), -ENOTCONN);
	assert_int_equal(umount2(directory, MNT_DETACH), 0);
	assert_int_equal(umount2(directory, MNT_DETACH), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_directories),
		cmocka_unit_test(test_mounts),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
