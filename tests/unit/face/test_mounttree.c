/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>

#include <cmocka.h>

#include "mounter_priv.h"
#include "mounttree.h"

static const char table[] = "21 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n"
			    "30 21 0:44 / /mnt rw - fuse.vsockfs 2:/export rw,user_id=1000\n"
			    "31 30 0:45 / /mnt/a\\040b rw - fuse.vsockfs 2:/a rw,user_id=0\n"
			    "32 31 0:46 / /mnt/a\\040b/t rw - tmpfs tmpfs rw\n"
			    "33 32 0:47 / /mnt/a\\040b/t/c rw - fuse.vsockfs 2:/c rw\n"
			    "34 21 0:48 / /mnt2 rw - fuse.vsockfs 2:/export rw,user_id=0\n"
			    "35 30 0:49 / /mnt/d rw - fuse.vsockfsx 2:/d rw\n"
			    "36 30 0:50 / /mnt/a\\040b rw - tmpfs over rw\n"
			    "40 41 0:51 / /loop1 rw - fuse.vsockfs 2:/x rw\n"
			    "41 40 0:52 / /loop2 rw - fuse.vsockfs 2:/x rw\n"
			    "37 30 / /bad rw - fuse.vsockfs 2:/x rw\n"
			    "38 30 0:49 / /short\n"
			    "\n";

static void load(struct mounttree *tree)
{
	FILE *file = fmemopen((char *)table, sizeof(table) - 1, "r");
	assert_non_null(file);
	assert_int_equal(mounttree_read(tree, file), 0);
	fclose(file);
	assert_int_equal(tree->count, 10);
}

static void test_entries(void **state)
{
	struct mounttree tree;
	(void)state;
	load(&tree);
	const struct mounttree_entry *entry = mounttree_find(&tree, 30);
	assert_non_null(entry);
	assert_true(entry->vsockfs && entry->uid == 1000 && entry->parent == 21);
	assert_true(entry->major == 0 && entry->minor == 44);
	assert_string_equal(entry->path, "/mnt");
	assert_string_equal(mounttree_find(&tree, 31)->path, "/mnt/a b");
	assert_false(mounttree_find(&tree, 35)->vsockfs);
	assert_null(mounttree_find(&tree, 37));
	mounttree_deinit(&tree);
}

/* On a place and on a mount: another mount of the same name is another matter. */
static void test_places(void **state)
{
	struct mounttree tree;
	(void)state;
	load(&tree);
	assert_int_equal(mounttree_find_on(&tree, 30, "/mnt/a b")->id, 36);
	assert_null(mounttree_find_on(&tree, 21, "/mnt/a b"));
	assert_null(mounttree_find_on(&tree, 30, "/mnt/a"));
	assert_true(mounttree_is_below(&tree, mounttree_find(&tree, 33), 30));
	assert_true(mounttree_is_below(&tree, mounttree_find(&tree, 33), 32));
	assert_false(mounttree_is_below(&tree, mounttree_find(&tree, 30), 30));
	assert_false(mounttree_is_below(&tree, mounttree_find(&tree, 34), 30));
	assert_false(mounttree_is_below(&tree, mounttree_find(&tree, 40), 30));
	mounttree_deinit(&tree);
}

static void check_family(const struct mounttree *tree, uint32_t id, unsigned depth, unsigned count)
{
	struct mounttree_family family;
	mounttree_family(tree, id, &family);
	assert_int_equal(family.depth, depth);
	assert_int_equal(family.count, count);
}

static void test_family(void **state)
{
	struct mounttree tree;
	(void)state;
	load(&tree);
	check_family(&tree, 30, 1, 2);
	check_family(&tree, 31, 2, 2);
	check_family(&tree, 33, 3, 2);
	check_family(&tree, 34, 1, 0);
	check_family(&tree, 99, 0, 0);
	mounttree_deinit(&tree);
}

static void check_words(const char *words, unsigned nconnect, unsigned long flags, const char *is)
{
	const struct options options = {.words = (char *)words, .nconnect = nconnect};
	char *text = submount_words(&options, 2050, flags);
	assert_non_null(text);
	assert_string_equal(text, is);
	free(text);
}

#define OWN "port=2050," MOUNTER_WORD

static void test_words(void **state)
{
	(void)state;
	check_words(NULL, 0, 0, OWN);
	check_words("rw,hard,takeover,port=9,fsname=a,retry=3,proto=vsock,acregmin=3,setuid=x,"
		    "remount,subtype=z,rootfs",
		0, 0, "rw,hard,acregmin=3," OWN);
	check_words("nconnect=2,noac," OWN, 2, 0, "noac,nconnect=2," OWN);
	check_words("tls_ca=/a\\,b\\\\c", 0,
		MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_NOATIME,
		"tls_ca=/a\\,b\\\\c,ro,nosuid,nodev,noexec,noatime," OWN);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_entries),
		cmocka_unit_test(test_places),
		cmocka_unit_test(test_family),
		cmocka_unit_test(test_words),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
