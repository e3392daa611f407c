/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "mountinfo.h"

static const char table[] =
	"21 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw,errors=remount-ro\n"
	"30 21 0:44 / /mnt rw,nosuid,nodev shared:7 - fuse.vsockfs 2:/export "
	"rw,user_id=1000,group_id=100,allow_other\n"
	"31 21 0:45 / /with\\040blank\\134 rw shared:8 master:2 - fuse.vsockfs "
	"unix:/run/a\\040b:/x rw,user_id=0,group_id=0\n"
	"32 21 0:46 / /noopt rw - tmpfs tmpfs rw\n"
	"33 21 0:47 / /twice rw - fuse.vsockfs 2:/below rw,user_id=1,group_id=0\n"
	"34 33 1:4294967295 / /twice rw - fuse.vsockfs 2:/above rw,user_id=2,group_id=0\n"
	"35 21 0:48 / /mnt2 rw - fuse.vsockfs 2:/other rw,user_id=3\n"
	"36 21 / /bad rw - fuse.vsockfs 2:/other rw\n"
	"37 21 0:49 / /short rw\n"
	"38 21 0:50 / /nosuper rw - fuse.vsockfs 2:/x\n"
	"39 21 0:51 / /flags ro,nosuid,nodev,noexec,noatime,nodiratime,nosymfollow - fuse.vsockfs "
	"2:/x rw,sync,dirsync,user_id=0,group_id=0\n"
	"40 21 0:52 / /covered rw - fuse.vsockfs 2:/x rw,user_id=0,group_id=0\n"
	"41 40 0:53 / /covered rw - tmpfs none rw\n"
	"\n";

static int find_type(const char *path, const char *type, struct mountinfo *info)
{
	FILE *file = fmemopen((char *)table, sizeof(table) - 1, "r");
	assert_non_null(file);
	int r = mountinfo_find(file, path, type, info);
	fclose(file);
	return r;
}

static int find(const char *path, struct mountinfo *info)
{
	return find_type(path, NULL, info);
}

static void test_find(void **state)
{
	struct mountinfo info;

	assert_int_equal(find("/mnt", &info), 0);
	assert_int_equal(info.major, 0);
	assert_int_equal(info.minor, 44);
	assert_string_equal(info.type, MOUNTINFO_VSOCKFS);
	assert_string_equal(info.source, "2:/export");
	assert_true(info.fuse_user);
	assert_int_equal(info.user, 1000);

	assert_int_equal(find("/", &info), 0);
	assert_int_equal(info.major, 8);
	assert_string_equal(info.type, "ext4");
	assert_false(info.fuse_user);

	assert_int_equal(find("/noopt", &info), 0);
	assert_string_equal(info.source, "tmpfs");
}

static void test_find_type(void **state)
{
	struct mountinfo info;

	assert_int_equal(find("/covered", &info), 0);
	assert_string_equal(info.type, "tmpfs");
	assert_int_equal(info.id, 41);
	assert_int_equal(find_type("/covered", MOUNTINFO_VSOCKFS, &info), 0);
	assert_string_equal(info.type, MOUNTINFO_VSOCKFS);
	assert_int_equal(info.id, 40);
	assert_int_equal(info.minor, 52);
	assert_int_equal(find_type("/noopt", MOUNTINFO_VSOCKFS, &info), -ENOENT);
}

static void test_flags(void **state)
{
	struct mountinfo info;

	assert_int_equal(find("/mnt", &info), 0);
	assert_int_equal(info.flags, MS_NOSUID | MS_NODEV);
	assert_string_equal(info.super, "rw,user_id=1000,group_id=100,allow_other");
	assert_int_equal(find("/", &info), 0);
	assert_int_equal(info.flags, MS_RELATIME);
	assert_int_equal(find("/flags", &info), 0);
	assert_int_equal(info.flags, MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_NOATIME |
					     MS_NODIRATIME | MS_SYNCHRONOUS | MS_DIRSYNC |
					     256 /* nosymfollow */);
}

static void test_has(void **state)
{
	assert_true(mountinfo_has("rw,user_id=0", "rw", 2));
	assert_true(mountinfo_has("rw,user_id=0", "user_id=0", 9));
	assert_true(mountinfo_has("rw", "rwx", 2));
	assert_false(mountinfo_has("rwx,xrw", "rw", 2));
	assert_false(mountinfo_has("", "rw", 2));
	assert_false(mountinfo_has("rw,user_id=0", "user_id", 7));
}

static void test_find_path(void **state)
{
	struct mountinfo info;
	char resolved[PATH_MAX], link[] = "/tmp/vsockfs-mountinfo-XXXXXX", name[64];

	assert_int_equal(mountinfo_find_path("/proc/", resolved, &info), 0);
	assert_string_equal(resolved, "/proc");
	assert_string_equal(info.type, "proc");
	assert_non_null(mkdtemp(link));
	snprintf(name, sizeof(name), "%s/link", link);
	assert_int_equal(symlink("/proc", name), 0);
	assert_int_equal(mountinfo_find_path(name, resolved, &info), 0);
	assert_string_equal(resolved, "/proc");
	assert_int_equal(mountinfo_find_path(link, resolved, &info), -ENOENT);
	assert_int_equal(unlink(name), 0);
	assert_int_equal(rmdir(link), 0);
}

static void test_find_escaped(void **state)
{
	struct mountinfo info;

	assert_int_equal(find("/with blank\\", &info), 0);
	assert_int_equal(info.minor, 45);
	assert_string_equal(info.source, "unix:/run/a b:/x");
	assert_true(info.fuse_user);
	assert_int_equal(info.user, 0);
	assert_int_equal(find("/with\\040blank\\134", &info), -ENOENT);
}

static void test_find_topmost(void **state)
{
	struct mountinfo info;

	assert_int_equal(find("/twice", &info), 0);
	assert_int_equal(info.major, 1);
	assert_int_equal(info.minor, UINT32_MAX);
	assert_string_equal(info.source, "2:/above");
	assert_int_equal(info.user, 2);
}

static void test_find_not(void **state)
{
	static const char *const paths[] = {
		"/mn", "/mnt/", "/mnt/x", "", "/bad", "/short", "/nosuper"};
	struct mountinfo info;

	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++)
		assert_int_equal(find(paths[i], &info), -ENOENT);
}

static void test_find_self(void **state)
{
	struct mountinfo info;

	assert_int_equal(mountinfo_find_self("/proc", &info), 0);
	assert_string_equal(info.type, "proc");
	assert_int_equal(mountinfo_find_self("/proc/self", &info), -ENOENT);
	assert_int_equal(mountinfo_find_device(info.major, info.minor), 0);
	assert_int_equal(mountinfo_find_device(info.major + 1, info.minor), -ENOENT);
	assert_int_equal(mountinfo_find_device(info.major, UINT32_MAX), -ENOENT);
}

static void expect(const char *path, const char *name)
{
	char out[PATH_MAX];

	assert_int_equal(mountinfo_canonical(path, out), 0);
	assert_string_equal(out, name);
}

/* In a directory D with D/real/ and the links D/link -> real and D/loop -> loop. */
static void test_canonical(void **state)
{
	char base[PATH_MAX], dir[] = "/tmp/vsockfs-mountinfo-XXXXXX", want[PATH_MAX + 64];
	char cwd[PATH_MAX], out[PATH_MAX];

	assert_non_null(getcwd(cwd, sizeof(cwd)));
	assert_non_null(mkdtemp(dir));
	assert_non_null(realpath(dir, base));
	assert_int_equal(chdir(base), 0);
	assert_int_equal(mkdir("real", 0700), 0);
	assert_int_equal(symlink("real", "link"), 0);
	assert_int_equal(symlink("loop", "loop"), 0);

	expect("/", "/");
	expect("///", "/");
	expect("/x", "/x");
	expect("/x//", "/x");
	expect(".", base);
	expect("real/..", base);
	snprintf(want, sizeof(want), "%s/real", base);
	expect("real", want);
	expect("./real///", want);
	expect("link/../real", want);
	expect("link/.", want);
	/* What the last component is does not matter, nor whether it exists. */
	snprintf(want, sizeof(want), "%s/real/none", base);
	expect("link/none", want);
	snprintf(want, sizeof(want), "%s/loop", base);
	expect("loop", want);
	snprintf(want, sizeof(want), "%s/link", base);
	expect("link", want);
	snprintf(want, sizeof(want), "%s/.x", base);
	expect(".x", want);
	snprintf(want, sizeof(want), "%s/...", base);
	expect("...", want);

	assert_int_equal(mountinfo_canonical("", out), -ENOENT);
	assert_int_equal(mountinfo_canonical("none/x", out), -ENOENT);
	assert_int_equal(mountinfo_canonical("loop/x", out), -ELOOP);

	assert_int_equal(unlink("link"), 0);
	assert_int_equal(unlink("loop"), 0);
	assert_int_equal(rmdir("real"), 0);
	assert_int_equal(chdir(cwd), 0);
	assert_int_equal(rmdir(base), 0);
}

static void test_canonical_long(void **state)
{
	static char path[PATH_MAX + 2];
	char out[PATH_MAX];

	memset(path, 'x', sizeof(path) - 1);
	path[0] = '/';
	assert_int_equal(mountinfo_canonical(path, out), -ENAMETOOLONG);
	path[PATH_MAX - 1] = '\0';
	assert_int_equal(mountinfo_canonical(path, out), 0);
	assert_string_equal(out, path);
	/* one byte more than fits when the working directory comes in front */
	assert_int_equal(chdir("/usr"), 0);
	assert_int_equal(mountinfo_canonical(path + 1, out), -ENAMETOOLONG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_find),
		cmocka_unit_test(test_find_type),
		cmocka_unit_test(test_flags),
		cmocka_unit_test(test_has),
		cmocka_unit_test(test_find_path),
		cmocka_unit_test(test_find_escaped),
		cmocka_unit_test(test_find_topmost),
		cmocka_unit_test(test_find_not),
		cmocka_unit_test(test_find_self),
		cmocka_unit_test(test_canonical),
		cmocka_unit_test(test_canonical_long),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
