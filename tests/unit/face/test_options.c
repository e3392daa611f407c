/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "options_fixture.h"

static void test_defaults(void **state)
{
	bool root = geteuid() == 0;

	assert_int_equal(PARSE("vsockfs", "2:/export", directory), 0);
	assert_int_equal(options.action, OPTIONS_MOUNT);
	assert_string_equal(options.source, "2:/export");
	assert_int_equal(options.server.proto, ADDRESS_VSOCK);
	assert_int_equal(options.server.cid, 2);
	assert_int_equal(options.server.port, 2049);
	assert_string_equal(options.export_path, "/export");
	assert_string_equal(options.mountpoint, mount_directory);
	assert_false(options.foreground);
	assert_false(options.debug);
	assert_false(options.read_only);
	assert_false(options.allow_root);
	assert_false(options.access_server);
	assert_int_equal(options.minor, -1);
	assert_false(options.soft);
	assert_false(options.softerr);
	assert_int_equal(options.sec, RPC_SEC_SYS);
	assert_null(options.gsshost);
	assert_int_equal(options.timeo_ds, 600);
	assert_int_equal(options.retrans, 2);
	assert_int_equal(options.retry_s, 0);
	assert_int_equal(options.nconnect, 0);
	assert_int_equal(options.rsize, 1048576);
	assert_int_equal(options.wsize, 1048576);
	assert_int_equal(options.socket_buffer, 8388608);
	assert_int_equal(options.max_readahead, 1048576);
	assert_int_equal(options.busy_poll_us, 50);
	assert_int_equal(options.io, LOOP_AUTO);
	assert_null(options.clientaddr);
	assert_int_equal(options.cache, OPTIONS_CACHE_AUTO);
	assert_int_equal(options.lookupcache, OPTIONS_LOOKUPCACHE_ALL);
	assert_false(options.noac);
	assert_true(options.acregmin == 1 && options.acregmax == 1);
	assert_true(options.acdirmin == 1 && options.acdirmax == 1);
	assert_false(options.nolock);
	assert_true(options.cto);
	assert_int_equal(options.allow_other, root);
	assert_int_equal(options.reserved_port, root);
	assert_string_equal(options.fuse_options,
		root ? "fsname=2:/"
		       "export,subtype=vsockfs,rw,suid,dev,allow_other,default_permissions"
		     : "fsname=2:/export,subtype=vsockfs,rw");
}

static void test_ordinary_user(void **state)
{
	if (geteuid() != 0) {
		print_message("only root can become another user here\n");
		skip();
	}
	assert_int_equal(chmod(directory, 0755), 0);
	assert_int_equal(seteuid(65534), 0);
	int r = parse_words("suid,dev");
	char *fuse_options = options.fuse_options ? strdup(options.fuse_options) : NULL;
	bool shared = options.allow_other, reserved = options.reserved_port;
	int r2 = parse_words("allow_other,resvport,nosuid,nodev");
	assert_int_equal(seteuid(0), 0);
	assert_int_equal(r, 0);
	assert_string_equal(fuse_options, "fsname=2:/export,subtype=vsockfs,rw");
	free(fuse_options);
	assert_false(shared);
	assert_false(reserved);
	assert_int_equal(r2, 0);
	assert_true(options.allow_other);
	assert_true(options.reserved_port);
	assert_string_equal(options.fuse_options,
		"fsname=2:/export,subtype=vsockfs,rw,nosuid,nodev,allow_other,default_permissions");
}

static void test_flags(void **state)
{
	assert_int_equal(PARSE("vsockfs", "-f", "2:/export", "-o", "ro", directory, "-n", "-v"), 0);
	assert_true(options.foreground);
	assert_false(options.debug);
	assert_true(options.read_only);
	assert_int_equal(PARSE("vsockfs", "2:/export", directory, "-d"), 0);
	assert_true(options.foreground);
	assert_true(options.debug);
	assert_int_equal(PARSE("vsockfs", "-s", "2:/export", directory), 0);
	assert_int_equal(options.nconnect, 1);
	assert_int_equal(PARSE("vsockfs", "-oro,soft", "-o", "rw", "2:/export", directory), 0);
	assert_false(options.read_only);
	assert_true(options.soft);
	assert_int_equal(PARSE("vsockfs", "-fd", "--", "2:/export", directory), 0);
	assert_true(options.foreground);
}

static void test_help_and_version(void **state)
{
	char *text;
	size_t len;

	assert_int_equal(PARSE("vsockfs", "-h"), 0);
	assert_int_equal(options.action, OPTIONS_HELP);
	assert_int_equal(PARSE("vsockfs", "--help"), 0);
	assert_int_equal(options.action, OPTIONS_HELP);
	assert_int_equal(PARSE("vsockfs", "-V", "-o", "nonsense"), 0);
	assert_int_equal(options.action, OPTIONS_VERSION);
	assert_int_equal(PARSE("mount.vsockfs", "--version"), 0);
	assert_int_equal(options.action, OPTIONS_VERSION);

	FILE *out = open_memstream(&text, &len);
	options_print_version(out);
	fclose(out);
	assert_memory_equal(
		text, "vsockfs " VSOCKFS_VERSION "\n", strlen("vsockfs " VSOCKFS_VERSION "\n"));
	assert_non_null(strstr(text, "\nfuse 3."));
	assert_non_null(strstr(text, "\nliburing "));
	assert_non_null(strstr(text, "\nlibtirpc "));
	free(text);
	out = open_memstream(&text, &len);
	options_print_usage(out);
	fclose(out);
	assert_memory_equal(text, "usage: vsockfs ", strlen("usage: vsockfs "));
	free(text);
}

static void test_bad_usage(void **state)
{
#define USAGE " (usage: vsockfs SOURCE MOUNTPOINT [-o OPTIONS])\n"
	assert_int_equal(PARSE("vsockfs"), 1);
	assert_string_equal(message, "vsockfs: mounts an NFSv4.1 export" USAGE);
	assert_int_equal(PARSE("vsockfs", "-f"), 1);
	assert_string_equal(message, "vsockfs: no source given" USAGE);
	assert_int_equal(PARSE("vsockfs", "2:/export"), 1);
	assert_string_equal(message, "vsockfs: no mount point given for 2:/export" USAGE);
	assert_int_equal(PARSE("vsockfs", "2:/export", directory, "more"), 1);
	assert_string_equal(message, "vsockfs: unexpected argument more" USAGE);
	assert_int_equal(PARSE("vsockfs", "-x", "2:/export", directory), 1);
	assert_string_equal(message, "vsockfs: unknown option -x" USAGE);
	assert_int_equal(PARSE("vsockfs", "--frob", "2:/export", directory), 1);
	assert_string_equal(message, "vsockfs: unknown option --frob" USAGE);
	assert_int_equal(PARSE("vsockfs", "2:/export", directory, "-o"), 1);
	assert_string_equal(message, "vsockfs: an argument is missing after -o" USAGE);
	/* flags of a mount helper only */
	assert_int_equal(PARSE("vsockfs", "2:/export", directory, "-t", "x"), 1);
	assert_int_equal(PARSE("vsockfs", "2:/export", directory, "-N", "x"), 1);
	assert_int_equal(options_parse(0, (char *[]){NULL}, NULL, &options), 1);
}

static void test_source(void **state)
{
	assert_int_equal(PARSE("vsockfs", "unix:/run/x.sock:/e", directory), 0);
	assert_int_equal(options.server.proto, ADDRESS_UNIX);
	assert_string_equal(options.server.host, "/run/x.sock");
	assert_string_equal(options.export_path, "/e");
	assert_int_equal(PARSE("vsockfs", "tcp:10.0.0.1:3000:/e", directory), 0);
	assert_int_equal(options.server.proto, ADDRESS_TCP);
	assert_int_equal(options.server.port, 3000);
	assert_int_equal(PARSE("vsockfs", "host:/e", directory), 0);
	assert_int_equal(options.server.cid, 2);
	assert_int_equal(PARSE("vsockfs", "nonsense", directory), 1);
	assert_memory_equal(message, "vsockfs: nonsense: ", strlen("vsockfs: nonsense: "));
}

static void test_export_path(void **state)
{
	static const char *const paths[][2] = {
		{"2:/", "/"},
		{"2:///", "/"},
		{"2:/.", "/"},
		{"2:/a", "/a"},
		{"2:/a/", "/a"},
		{"2://a//b//", "/a/b"},
		{"2:/./a/././b/.", "/a/b"},
		{"2:/.a/..b/...", "/.a/..b/..."},
		{"2:/a b/\xff:c", "/a b/\xff:c"},
	};
	static const char *const bad[] = {"2:/..", "2:/a/..", "2:/../a", "2:/a/../b"};

	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
		assert_int_equal(PARSE("vsockfs", paths[i][0], directory), 0);
		assert_string_equal(options.export_path, paths[i][1]);
		assert_string_equal(options.source, paths[i][0]);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		char want[128];
		snprintf(want, sizeof(want), "vsockfs: %s: the export may not contain \"..\"\n",
			bad[i]);
		assert_int_equal(PARSE("vsockfs", bad[i], directory), 1);
		assert_string_equal(message, want);
	}
}

static void test_mount_helper(void **state)
{
	assert_int_equal(
		PARSE("/sbin/mount.vsockfs", "2:/export", directory, "-o", "rw,_netdev"), 0);
	assert_int_equal(options.action, OPTIONS_MOUNT);
	assert_false(options.foreground);
	assert_int_equal(PARSE("/sbin/mount.fuse.vsockfs", "2:/export", directory, "-f", "-n", "-v",
				 "-t", "fuse.vsockfs", "-N", "/proc/1/ns/mnt", "-o", "ro"),
		0);
	assert_true(options.fake);
	assert_false(options.foreground);
	assert_true(options.read_only);
	assert_int_equal(PARSE("mount.vsockfs", "2:/export", directory, "-o", "frob"), 1);
	assert_string_equal(
		message, "mount.vsockfs: -o frob: unknown option (vsockfs -h lists them)\n");
	assert_int_equal(PARSE("mount.vsockfs", "2:/export", directory, "-s", "-o", "frob"), 0);
	assert_int_equal(options.nconnect, 0);
	/* a fake mount is checked like a real one */
	assert_int_equal(PARSE("mount.vsockfs", "2:/export", "/none/such", "-f"), 32);
	assert_int_equal(PARSE("vsockfs.mount.", "-f", "2:/export", directory), 0);
	assert_true(options.foreground);
}

static void test_mountpoint(void **state)
{
	char path[PATH_MAX + 16], want[2 * PATH_MAX];

	assert_int_equal(PARSE("vsockfs", "2:/e", "/none/such"), 32);
	assert_string_equal(message, "vsockfs: /none/such: no such directory: create it first\n");
	assert_int_equal(PARSE("vsockfs", "2:/e", ""), 32);
	snprintf(path, sizeof(path), "%s/file", directory);
	int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(PARSE("vsockfs", "2:/e", path), 32);
	snprintf(want, sizeof(want), "vsockfs: %s: not a directory\n", path);
	assert_string_equal(message, want);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(symlink(directory, path), 0);
	assert_int_equal(PARSE("vsockfs", "2:/e", path), 0);
	assert_string_equal(options.mountpoint, mount_directory);
	assert_int_equal(unlink(path), 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_teardown(name, options_forget)
	const struct CMUnitTest tests[] = {
		TEST(test_defaults),
		TEST(test_ordinary_user),
		TEST(test_flags),
		TEST(test_help_and_version),
		TEST(test_bad_usage),
		TEST(test_source),
		TEST(test_export_path),
		TEST(test_mount_helper),
		TEST(test_mountpoint),
	};
	return cmocka_run_group_tests(tests, options_setup, options_teardown);
}
