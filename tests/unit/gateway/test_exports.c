/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "gateway/exports.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "gateway/exports_write.h"
#include "gateway/visible.h"

static const char guests[] = "prefix fd00:1::/96\n"
			     "guest vsock:5 address=127.0.1.5\n"
			     "guest vsock:/run/vm1 address=127.0.1.6\n"
			     "guest vsock:*\n";

static struct conf *read_conf(const char *input)
{
	struct conf *conf;
	struct text text;

	assert_int_equal(text_init_memory(&text, "conf", input, strlen(input), stderr), 0);
	assert_int_equal(conf_parse(&text, &conf), 0);
	text_deinit(&text);
	return conf;
}

static void check_parse(const char *input, const char *expected)
{
	struct exports exports = TAILQ_HEAD_INITIALIZER(exports);
	char *complaints = NULL;
	size_t size;
	FILE *errors = open_memstream(&complaints, &size);
	struct text text;

	assert_int_equal(text_init_memory(&text, "f", input, strlen(input), errors), 0);
	exports_parse(&text, &exports);
	text_deinit(&text);
	exports_free(&exports);
	fclose(errors);
	assert_string_equal(complaints, expected);
	free(complaints);
}

static void test_parse(void **state)
{
	check_parse("# none\n", "");
	check_parse("/srv/publicfs vsock:*(ro)\n/srv/vm001 vsock:5(rw) vsock:/run/x\n", "");
	check_parse("/a vsock:5(rw,async,insecure,all_squash,anonuid=7,subtree_check)\n", "");
	check_parse("srv vsock:*\n", "f:1:1: a directory begins with '/'\n");
	check_parse("/srv\n", "f:1:5: no guest: vsock:CID, vsock:/PATH or vsock:* is to see it\n");
	check_parse(
		"/srv 127.0.0.1(rw)\n", "f:1:6: a guest is vsock:CID, vsock:/PATH or vsock:*\n");
	check_parse("/srv vsock:5 (rw)\n",
		"f:1:14: a guest's name is missing (options stand right behind it)\n");
	check_parse("/srv vsock:5(rw\n", "f:1:13: the ')' is missing\n");
	check_parse("/srv vsock:5(rw)x\n", "f:1:17: something stands behind the options\n");
	check_parse("/srv vsock:5(rw,crossmnt)\n", "f:1:17: crossmnt is no option of an export\n");
	check_parse("/srv vsock:5()\n", "f:1:14: an option is missing here\n");
	check_parse("/srv vsock:5(ro,,rw)\n", "f:1:17: an option is missing here\n");
	check_parse("/srv vsock:5(anonuid=x)\n", "f:1:14: anonuid=x is no number\n");
	check_parse("/srv vsock:5 vsock:5(rw)\n", "f:1:14: vsock:5 stands here already\n");
	check_parse("/srv vsock:5\n/srv vsock:6\n", "f:2:1: /srv is in line 1 already\n");
}

/* A directory that the checks may look at. */
struct tree {
	char top[64], a[80], b[80], text[600];
};

static int make_tree(void **state)
{
	static struct tree tree;

	strcpy(tree.top, "/tmp/vsockfs-exports-XXXXXX");
	assert_non_null(mkdtemp(tree.top));
	snprintf(tree.a, sizeof(tree.a), "%s/a", tree.top);
	snprintf(tree.b, sizeof(tree.b), "%s/b x", tree.top);
	assert_int_equal(mkdir(tree.a, 0755), 0);
	assert_int_equal(mkdir(tree.b, 0755), 0);
	*state = &tree;
	return 0;
}

static int remove_tree(void **state)
{
	struct tree *tree = *state;

	rmdir(tree->a);
	rmdir(tree->b);
	return rmdir(tree->top);
}

/* The complaints about the tree's two directories with these guests, or what would be written. */
static char *check_tree(
	struct tree *tree, const char *a, const char *b, bool enforced, bool ganesha)
{
	struct exports exports = TAILQ_HEAD_INITIALIZER(exports);
	struct conf *conf = read_conf(guests);
	char *shown = NULL;
	size_t size;
	FILE *out = open_memstream(&shown, &size);
	struct text text;

	snprintf(tree->text, sizeof(tree->text), "%s %s\n\"%s\" %s\n", tree->a, a, tree->b, b);
	assert_int_equal(text_init_memory(&text, "f", tree->text, strlen(tree->text), out), 0);
	assert_int_equal(exports_parse(&text, &exports), 0);
	exports_check(&text, &exports, conf, enforced, !ganesha);
	if (text.nerrors == 0 && ganesha)
		exports_write_ganesha(&exports, conf, out);
	else if (text.nerrors == 0)
		exports_write_knfsd(&exports, conf, out);
	text_deinit(&text);
	exports_free(&exports);
	conf_free(conf);
	fclose(out);
	return shown;
}

static void test_knfsd(void **state)
{
	struct tree *tree = *state;
	char *shown = check_tree(tree, "vsock:*(ro) vsock:5(rw,no_root_squash)",
		"vsock:/run/vm1(rw,all_squash,anonuid=7,anongid=8)", false, false);
	char expected[1200];

	snprintf(expected, sizeof(expected),
		"# Made by vsockfs-exportfs(8) from /etc/vsockfs/exports; changes here are lost.\n"
		"%s 127.0.1.6(ro,sync,secure,root_squash,subtree_check,anonuid=65534,anongid=65534,"
		"sec=sys) fd00:1::/96(ro,sync,secure,root_squash,subtree_check,anonuid=65534,"
		"anongid=65534,sec=sys) 127.0.1.5(rw,sync,secure,no_root_squash,subtree_check,"
		"anonuid=65534,anongid=65534,sec=sys)\n"
		"%s/b\\040x 127.0.1.6(rw,sync,secure,all_squash,subtree_check,anonuid=7,anongid=8,"
		"sec=sys)\n",
		tree->a, tree->top);
	assert_string_equal(shown, expected);
	free(shown);
}

static void test_boundary(void **state)
{
	struct tree *tree = *state;
	char *shown = check_tree(tree, "vsock:5(no_subtree_check)", "vsock:/run/vm1", false, false);

	assert_non_null(strstr(shown, "by forging file handles vsock:5 would reach"));
	assert_non_null(strstr(shown, "take no_subtree_check away"));
	assert_null(strstr(shown, "127.0.1"));
	free(shown);
	/* nothing to reach that is not shown anyway; the rest of the file system is a warning */
	shown = check_tree(tree, "vsock:5(no_subtree_check)", "vsock:*", false, false);
	assert_non_null(strstr(shown, "warning: by forging file handles vsock:5 reaches all"));
	assert_non_null(strstr(shown, "127.0.1.5(ro,"));
	free(shown);
	/* read-only there is less than writable here */
	shown = check_tree(tree, "vsock:5(rw,no_subtree_check)", "vsock:*(ro)", false, false);
	assert_non_null(strstr(shown, "would reach"));
	free(shown);
	shown = check_tree(tree, "vsock:5(subtree_check)", "vsock:*", true, true);
	assert_non_null(strstr(shown, "this server cannot check the subtree"));
	free(shown);
}

static void test_ganesha(void **state)
{
	struct tree *tree = *state;
	char *shown = check_tree(tree, "vsock:*(ro) vsock:5(rw)", "vsock:/run/vm1", false, true);

	assert_non_null(strstr(shown, "or sign the handles"));
	free(shown);
	shown = check_tree(tree, "vsock:*(ro) vsock:5(rw)", "vsock:/run/vm1", true, true);
	char *five = strstr(shown, "Clients = 127.0.1.5;\n        Access_Type = RW;");
	char *any = strstr(shown, "Clients = 127.0.1.6, fd00:1::/96;\n        Access_Type = RO;");
	assert_non_null(five);
	assert_non_null(any);
	assert_true(five < any);
	assert_non_null(strstr(shown, "Access_Type = None;"));
	free(shown);
}

static void test_no_such_thing(void **state)
{
	struct exports exports = TAILQ_HEAD_INITIALIZER(exports);
	static const char input[] = "/nowhere/x vsock:5\n/dev/null vsock:5\n/proc/self vsock:5\n"
				    "/ vsock:/run/other\n";
	struct conf *conf = read_conf(guests);
	char *shown = NULL;
	size_t size;
	FILE *out = open_memstream(&shown, &size);
	struct text text;

	text_init_memory(&text, "f", input, strlen(input), out);
	exports_parse(&text, &exports);
	exports_check(&text, &exports, conf, true, true);
	text_deinit(&text);
	exports_free(&exports);
	conf_free(conf);
	fclose(out);
	assert_non_null(strstr(shown, "f:1:1: /nowhere/x: No such file or directory\n"));
	assert_non_null(strstr(shown, "f:2:1: /dev/null is no directory\n"));
	assert_non_null(strstr(shown, "f:3:1: /proc/self is really /proc/"));
	assert_non_null(strstr(shown, "f:4:3: the gateway's configuration has no rule for "
				      "vsock:/run/other, or no address\n"));
	free(shown);
}

/* How many of these existing exports guests would see. */
static unsigned visible(const char *exports, const char *conf_text)
{
	struct conf *conf = read_conf(conf_text);
	char path[] = "/tmp/vsockfs-visible-XXXXXX", *shown = NULL;
	size_t size;
	FILE *errors = open_memstream(&shown, &size);
	int fd = mkstemp(path);
	unsigned n;

	assert_int_equal(write(fd, exports, strlen(exports)), strlen(exports));
	close(fd);
	n = visible_knfsd(path, conf, errors);
	unlink(path);
	fclose(errors);
	free(shown);
	conf_free(conf);
	return n;
}

static void test_visible(void **state)
{
	assert_int_equal(visible("/srv *(rw)\n", guests), 1);
	assert_int_equal(visible("/srv\n", guests), 1);
	assert_int_equal(visible("/srv (ro)\n", guests), 1);
	assert_int_equal(visible("/srv -ro\n", guests), 1);
	assert_int_equal(visible("/srv 10.0.0.0/8(ro) 127.0.0.0/16\n", guests), 1);
	assert_int_equal(visible("/srv 127.0.0.0/255.255.0.0(ro)\n", guests), 1);
	assert_int_equal(visible("/srv 127.0.1.6\n/b fd00:1::7\n/c ::/0\n", guests), 3);
	assert_int_equal(visible("/srv 10.0.0.0/8(ro) 127.0.0.1 ::1 fd00:2::/96\n", guests), 0);
	assert_int_equal(visible("/srv gss/krb5(rw)\n", guests), 0);
	assert_int_equal(visible("/srv no-such-host.invalid(rw)\n", guests), 0);
	assert_int_equal(visible("# /srv *\n", guests), 0);
	/* without guests there is nobody to see it */
	assert_int_equal(visible("/srv *(rw)\n", "# none\n"), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_parse),
		cmocka_unit_test_setup_teardown(test_knfsd, make_tree, remove_tree),
		cmocka_unit_test_setup_teardown(test_boundary, make_tree, remove_tree),
		cmocka_unit_test_setup_teardown(test_ganesha, make_tree, remove_tree),
		cmocka_unit_test(test_no_such_thing),
		cmocka_unit_test(test_visible),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
