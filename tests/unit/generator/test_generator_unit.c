/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "generator/unit.h"

#define ORIGIN "/run/credentials/@system/vsockfs.fstab"
#define HEAD                                                      \
	"# Written by vsockfs-generator.\n[Unit]\n"               \
	"Documentation=man:vsockfs-generator(8) man:vsockfs(1)\n" \
	"SourcePath=" ORIGIN "\n"
#define MODULES "modprobe@fuse.service modprobe@vmw_vsock_virtio_transport.service\n"

static char directory[] = "/tmp/vsockfs-unit-XXXXXX";
static int dir_fd;

static int set_up(void **state)
{
	strcpy(directory + strlen(directory) - 6, "XXXXXX");
	if (!mkdtemp(directory))
		return -1;
	dir_fd = open(directory, O_RDONLY | O_DIRECTORY);
	return dir_fd < 0 ? -1 : 0;
}

static void empty(int fd)
{
	DIR *dir = fdopendir(fd);
	struct dirent *found;
	assert_non_null(dir);
	while ((found = readdir(dir))) {
		if (found->d_name[0] == '.' &&
			(!found->d_name[1] || (found->d_name[1] == '.' && !found->d_name[2])))
			continue;
		if (unlinkat(fd, found->d_name, 0) < 0) {
			empty(openat(fd, found->d_name, O_RDONLY | O_DIRECTORY));
			assert_int_equal(unlinkat(fd, found->d_name, AT_REMOVEDIR), 0);
		}
	}
	closedir(dir);
}

static int tear_down(void **state)
{
	empty(dir_fd);
	return rmdir(directory);
}

static void assert_file(const char *name, const char *expected)
{
	char text[4096];
	int fd = openat(dir_fd, name, O_RDONLY);
	assert_true(fd >= 0);
	ssize_t n = read(fd, text, sizeof(text) - 1);
	close(fd);
	assert_true(n >= 0);
	text[n] = '\0';
	assert_string_equal(text, expected);
}

static void assert_link(const char *name, const char *expected)
{
	char target[512];
	ssize_t n = readlinkat(dir_fd, name, target, sizeof(target) - 1);
	assert_true(n > 0);
	target[n] = '\0';
	assert_string_equal(target, expected);
}

static void assert_absent(const char *name)
{
	assert_int_equal(faccessat(dir_fd, name, F_OK, AT_SYMLINK_NOFOLLOW), -1);
}

/* As `systemd-escape -p --suffix=mount` says. */
static void test_names(void **state)
{
	static const struct {
		const char *where, *name;
	} cases[] = {{"/mnt", "mnt.mount"}, {"/srv/a b", "srv-a\\x20b.mount"},
		{"/a-b/c_d:e.f", "a\\x2db-c_d:e.f.mount"}, {"/.hidden/.x", "\\x2ehidden-.x.mount"},
		{"/\xc3\xa4", "\\xc3\\xa4.mount"}, {"/a\\b%c", "a\\x5cb\\x25c.mount"}};
	char name[UNIT_NAME_MAX], where[512];
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_int_equal(unit_name(cases[i].where, ".mount", name), 0);
		assert_string_equal(name, cases[i].name);
	}
	memset(where, 'a', sizeof(where));
	where[0] = '/';
	where[249] = '\0';
	assert_int_equal(unit_name(where, ".mount", name), 0);
	assert_int_equal(strlen(name), 254);
	where[249] = 'a';
	where[256] = '\0';
	assert_int_equal(unit_name(where, ".mount", name), -ENAMETOOLONG);
	memset(where + 1, '-', 100);
	where[101] = '\0';
	assert_int_equal(unit_name(where, ".mount", name), -ENAMETOOLONG);
}

static void test_mount(void **state)
{
	const struct entry entry = {.source = "2:/export", .where = "/mnt", .options = "ro"};
	assert_int_equal(unit_write(dir_fd, &entry, ORIGIN), 0);
	assert_file("mnt.mount",
		HEAD "Before=local-fs.target\nWants=" MODULES "After=" MODULES
		     "\n[Mount]\nWhat=2:/export\nWhere=/mnt\nType=fuse.vsockfs\nOptions=ro\n");
	assert_link("local-fs.target.requires/mnt.mount", "../mnt.mount");
	assert_int_equal(unit_write(dir_fd, &entry, ORIGIN), -EEXIST);
}

static void test_nofail(void **state)
{
	const struct entry entry = {
		.source = "unix:/s:/e", .where = "/a b", .nofail = true, .mount_timeout = "60s"};
	assert_int_equal(unit_write(dir_fd, &entry, ORIGIN), 0);
	assert_file("a\\x20b.mount",
		HEAD "\n[Mount]\nWhat=unix:/s:/e\nWhere=/a b\nType=fuse.vsockfs\nTimeoutSec=60s\n");
	assert_link("local-fs.target.wants/a\\x20b.mount", "../a\\x20b.mount");
	assert_absent("local-fs.target.requires");
}

static void test_automount(void **state)
{
	const struct entry entry = {.source = "2:/e",
		.where = "/mnt",
		.nofail = true,
		.automount = true,
		.idle_timeout = "1min"};
	assert_int_equal(unit_write(dir_fd, &entry, ORIGIN), 0);
	assert_file("mnt.automount", HEAD "\n[Automount]\nWhere=/mnt\nTimeoutIdleSec=1min\n");
	assert_link("local-fs.target.wants/mnt.automount", "../mnt.automount");
	assert_absent("local-fs.target.wants/mnt.mount");
}

static void test_noauto(void **state)
{
	const struct entry entry = {.source = "2:/e", .where = "/mnt", .noauto = true};
	assert_int_equal(unit_write(dir_fd, &entry, ORIGIN), 0);
	assert_int_equal(faccessat(dir_fd, "mnt.mount", F_OK, 0), 0);
	assert_absent("local-fs.target.requires");
	assert_absent("local-fs.target.wants");
}

static void test_specifiers(void **state)
{
	const struct entry entry = {
		.source = "2:/100%u", .where = "/%i", .options = "fsname=%%", .noauto = true};
	assert_int_equal(unit_write(dir_fd, &entry, "/proc/cmdline"), 0);
	char text[4096];
	int fd = openat(dir_fd, "\\x25i.mount", O_RDONLY);
	ssize_t n = read(fd, text, sizeof(text) - 1);
	close(fd);
	assert_true(n > 0);
	text[n] = '\0';
	assert_non_null(strstr(text, "\nWhat=2:/100%%u\nWhere=/%%i\n"));
	assert_non_null(strstr(text, "\nOptions=fsname=%%%%\n"));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_names),
		TEST(test_mount),
		TEST(test_nofail),
		TEST(test_automount),
		TEST(test_noauto),
		TEST(test_specifiers),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
