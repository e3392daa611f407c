/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "generator/cmdline.h"
#include "generator/entry.h"

static struct entry entry;
static const char *why;

/* From memory of exactly its length, so that a sanitizer sees what is read beyond it. */
static int parse(int (*function)(const char *, size_t, struct entry *, const char **),
	const char *text, size_t len)
{
	char *copy = malloc(len ? len : 1);
	assert_non_null(copy);
	memcpy(copy, text, len);
	why = NULL;
	int r = function(copy, len, &entry, &why);
	free(copy);
	return r;
}

static int parse_line(const char *text)
{
	return parse(entry_parse_line, text, strlen(text));
}

static int parse_word(const char *text)
{
	return parse(entry_parse_word, text, strlen(text));
}

static void refuse_line(const char *text, const char *reason)
{
	assert_int_equal(parse_line(text), -EINVAL);
	assert_string_equal(why, reason);
}

static void assert_entry(const char *source, const char *where, const char *options)
{
	assert_string_equal(entry.source, source);
	assert_string_equal(entry.where, where);
	assert_string_equal(entry.options, options);
}

static void test_lines(void **state)
{
	assert_int_equal(parse_line("2:/export /mnt"), 0);
	assert_entry("2:/export", "/mnt", "");
	assert_int_equal(parse_line("\t host:/a\t/b//c/ fuse.vsockfs ro,hard 0 0 "), 0);
	assert_entry("host:/a", "/b/c", "ro,hard");
	assert_int_equal(parse_line("unix:/run/s:/x /y vsockfs defaults"), 0);
	assert_entry("unix:/run/s:/x", "/y", "defaults");
	assert_int_equal(parse_line(""), 1);
	assert_int_equal(parse_line(" \t"), 1);
	assert_int_equal(parse_line("# 2:/export /mnt"), 1);
	refuse_line("2:/export", "the mount point is missing");
	refuse_line("2:/export /mnt ext4", "the type is not fuse.vsockfs");
}

static void test_sources(void **state)
{
	assert_int_equal(parse_line("/dev/sda1 /mnt"), -EINVAL);
	assert_int_equal(parse_line("2:export /mnt"), -EINVAL);
	assert_int_equal(parse_line("99999999999:/x /mnt"), -EINVAL);
	assert_int_equal(parse_line("2:/a\\040b /mnt"), 0);
	assert_string_equal(entry.source, "2:/a b");
	refuse_line("2:/a\\012b /mnt", "the source has characters that it may not have");
	refuse_line("2:/a\x7f /mnt", "the source has characters that it may not have");
}

static void test_mount_points(void **state)
{
	static const char *const characters = "the mount point has characters that it may not have";
	assert_int_equal(parse_line("2:/e /a\\040b\\134c"), 0);
	assert_string_equal(entry.where, "/a b\\c");
	assert_int_equal(parse_line("2:/e /\xc3\xa4/\xf0\x9f\x98\x80"), 0);
	assert_string_equal(entry.where, "/\xc3\xa4/\xf0\x9f\x98\x80");
	refuse_line("2:/e mnt", "the mount point is no absolute path");
	refuse_line("2:/e /", "the root is not mounted over");
	refuse_line("2:/e ///", "the root is not mounted over");
	refuse_line("2:/e /a/../b", "the mount point contains \".\" or \"..\"");
	refuse_line("2:/e /.", "the mount point contains \".\" or \"..\"");
	refuse_line("2:/e /a\\012[Service]", characters);
	refuse_line("2:/e /a\\000", characters);
	refuse_line("2:/e /a\\040", characters);
	refuse_line("2:/e /a\\134", characters);
	refuse_line("2:/e /\xff", characters);
	refuse_line("2:/e /\xc0\xaf", characters);
	refuse_line("2:/e /\xed\xa0\x80", characters);
	refuse_line("2:/e /\xc3", characters);
	refuse_line("2:/e /\xf4\x90\x80\x80", characters);
}

static void test_options(void **state)
{
	assert_int_equal(parse_line("2:/e /m fuse.vsockfs "
				    "nofail,ro,x-systemd.automount,x-systemd.idle-timeout=5min,"
				    "x-systemd.mount-timeout=60s,_netdev,x-other=1,,nconnect=2"),
		0);
	assert_entry("2:/e", "/m", "nofail,ro,nconnect=2");
	assert_true(entry.nofail && entry.automount && !entry.noauto);
	assert_string_equal(entry.idle_timeout, "5min");
	assert_string_equal(entry.mount_timeout, "60s");
	assert_int_equal(parse_line("2:/e /m vsockfs noauto,fsname=a\\134\\054b,rw"), 0);
	assert_string_equal(entry.options, "fsname=a\\,b,rw");
	assert_true(entry.noauto && !entry.nofail && !entry.automount);
	assert_int_equal(parse_line("2:/e /m vsockfs noauto,auto"), 0);
	assert_false(entry.noauto);
	refuse_line("2:/e /m vsockfs x-systemd.idle-timeout=12345678901234567890123456789012",
		"an option is too long");
	refuse_line(
		"2:/e /m vsockfs ro\\012", "the options have characters that they may not have");
	refuse_line(
		"2:/e /m vsockfs ro\\134", "the options have characters that they may not have");
}

static void test_words(void **state)
{
	assert_int_equal(parse_word("2:/export,/mnt"), 0);
	assert_entry("2:/export", "/mnt", "");
	assert_int_equal(parse_word("2:/export,/mnt,ro,nofail"), 0);
	assert_entry("2:/export", "/mnt", "ro,nofail");
	assert_true(entry.nofail);
	assert_int_equal(parse_word("2:/a\\054b,/mnt,"), 0);
	assert_entry("2:/a,b", "/mnt", "");
	assert_int_equal(parse_word("2:/export"), -EINVAL);
	assert_int_equal(parse_word(",/mnt"), -EINVAL);
	assert_int_equal(parse_word(",,"), -EINVAL);
	assert_int_equal(parse_word(""), -EINVAL);
}

static void test_long(void **state)
{
	static char line[3 * ENTRY_TEXT_MAX];
	memset(line, 'x', sizeof(line));
	memcpy(line, "2:/e /", 6);
	assert_int_equal(parse(entry_parse_line, line, sizeof(line)), -EINVAL);
	memcpy(line, "2:/e,/", 6);
	assert_int_equal(parse(entry_parse_word, line, sizeof(line)), -EINVAL);
	memcpy(line, "2:/e /m vsockfs ", 16);
	assert_int_equal(parse(entry_parse_line, line, sizeof(line)), -EINVAL);
}

/* Whatever bytes there are, what comes out is fit for a unit. */
static void test_noise(void **state)
{
	static const char pieces[][12] = {"2:/e", " ", "/m", "\\040", "\\", "\n", "..", ",",
		"nofail", "\xc3\xa4", "\xff", "#", "%", "\"", "vsockfs", "\\012", "/",
		"x-systemd."};
	unsigned seed = 1;
	for (unsigned i = 0; i < 20000; i++) {
		char text[256] = "";
		unsigned count = (unsigned)rand_r(&seed) % 16;
		for (unsigned j = 0; j < count; j++)
			strcat(text, pieces[(unsigned)rand_r(&seed) % (sizeof(pieces) / 12)]);
		for (unsigned way = 0; way < 2; way++) {
			if ((way ? parse_line(text) : parse_word(text)) != 0)
				continue;
			assert_true(entry.where[0] == '/' && entry.where[1] != '\0');
			assert_null(strpbrk(entry.where, "\n\xff"));
			assert_null(strpbrk(entry.source, "\n\xff"));
			assert_null(strpbrk(entry.options, "\n\xff"));
		}
	}
}

static void test_cmdline(void **state)
{
	static const char line[] =
		"root=/dev/sda1 xvsockfs.mount=no vsockfs.mount=2:/a,/b "
		"\"vsockfs.mount=2:/c d,/e\" vsockfs.mount=\"2:/f g,/h\" quiet\n";
	static const char *const expected[] = {"2:/a,/b", "2:/c d,/e", "2:/f g,/h"};
	char value[CMDLINE_VALUE_MAX];
	const char *at = line;
	for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++) {
		assert_true(cmdline_next(&at, "vsockfs.mount=", value));
		assert_string_equal(value, expected[i]);
	}
	assert_false(cmdline_next(&at, "vsockfs.mount=", value));
	at = "";
	assert_false(cmdline_next(&at, "vsockfs.mount=", value));
}

static void test_long_word(void **state)
{
	static char line[2 * CMDLINE_VALUE_MAX];
	char value[CMDLINE_VALUE_MAX];
	const char *at = line;
	memset(line, 'x', sizeof(line) - 1);
	memcpy(line, "a=", 2);
	memcpy(line + sizeof(line) - 8, " a=yes ", 7);
	assert_true(cmdline_next(&at, "a=", value));
	assert_string_equal(value, "yes");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lines),
		cmocka_unit_test(test_sources),
		cmocka_unit_test(test_mount_points),
		cmocka_unit_test(test_options),
		cmocka_unit_test(test_words),
		cmocka_unit_test(test_long),
		cmocka_unit_test(test_noise),
		cmocka_unit_test(test_cmdline),
		cmocka_unit_test(test_long_word),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
