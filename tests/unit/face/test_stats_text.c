/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "stats_text.h"

static struct nfs_stats workers[2];

static const struct stats_facts facts = {
	.source = "2:/a b",
	.mountpoint = "/mnt/x y",
	.netid = "vsock",
	.uaddr = "vsock:2.2049",
	.fuse_transport = "/dev/fuse",
	.loop = "io_uring",
	.minor = 2,
	.rsize = 1048576,
	.wsize = 65536,
	.delegations = {.read = 3,
		.dirs = 7,
		.write = 2,
		.granted = 12,
		.recalled = 4,
		.returned = 6,
		.lost = 1,
		.opens = 77},
	.polls = 30,
	.polls_found = 29,
	.polls_ns = 1500000,
	.ahead = {.files = 90, .used = 83, .dropped = 5},
	.age_ns = UINT64_C(83500000000),
};

static int setup(void **state)
{
	memset(workers, 0, sizeof(workers));
	workers[0].connects = 3;
	workers[1].connects = 1;
	workers[0].callbacks = 5;
	workers[1].slot_waits = 7;
	workers[0].copied = 1;
	workers[1].copied = 9000;
	workers[0].op[OP_READ] = (struct nfs_op_stats){.calls = 10,
		.replies = 8,
		.retransmits = 2,
		.timeouts = 1,
		.errors = 3,
		.bytes_out = 1000,
		.bytes_in = UINT64_C(10000000000),
		.queue_ns = 20000000,
		.rtt_ns = 40000000,
		.total_ns = 80000000,
		.max_ns = 30000000};
	workers[1].op[OP_READ] = (struct nfs_op_stats){
		.calls = 10, .replies = 8, .bytes_out = 5, .max_ns = 31000000};
	workers[1].op[OP_LOOKUP] = (struct nfs_op_stats){.calls = 1, .replies = 1, .errors = 1};
	return 0;
}

/* The caller frees it. */
static char *print(enum stats_form form, const struct stats_facts *f, unsigned count)
{
	const struct nfs_stats *const stats[] = {&workers[0], &workers[1]};
	char *text;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	assert_non_null(out);
	stats_text_print(out, form, f, stats, count);
	assert_int_equal(fclose(out), 0);
	return text;
}

static void assert_contains(const char *text, const char *part)
{
	if (!text || !strstr(text, part))
		fail_msg("\"%s\" is not in:\n%s", part, text ? text : "(nothing)");
}

/* The line that begins with `word`, its blanks reduced to one. */
static void assert_row(const char *text, const char *word, const char *row)
{
	char squeezed[256] = "";
	size_t len = 0, word_len = strlen(word);
	const char *p = text;

	while (p && (strncmp(p, word, word_len) != 0 || p[word_len] != ' ')) {
		p = strchr(p, '\n');
		p = p ? p + 1 : NULL;
	}
	if (!p) {
		fail_msg("no row %s", word);
		return;
	}
	for (; *p && *p != '\n' && len < sizeof(squeezed) - 1; p++)
		if (*p != ' ' || p[1] != ' ')
			squeezed[len++] = *p;
	assert_string_equal(squeezed, row);
}

static void test_table(void **state)
{
	char *text = print(STATS_TABLE, &facts, 2);

	assert_contains(text, "2:/a b on /mnt/x y\n");
	assert_contains(text,
		"NFSv4.2 over vsock, address vsock:2.2049, rsize 1048576, wsize 65536, "
		"rw, hard\n");
	assert_contains(text,
		"mounted for 83.5 s, 2 workers, FUSE requests through /dev/fuse, loop on "
		"io_uring\n");
	assert_contains(text,
		"connects 4, reconnects 2, waits for a slot 7, callbacks 5, bytes copied 9001\n");
	assert_contains(text, "busy polls 30, 29 found something; 0.002 s\n");
	assert_contains(text, "files opened ahead 90, used 83, dropped unused 5\n");
	assert_contains(text, "delegations 3 to read, 2 to write, 7 of directories; granted 12, "
			      "recalled 4, returned 6, lost 1; "
			      "opens without the server 77\n");
	assert_row(text, "READ", "READ 20 16 2 1 3 1005 10000000000 1.000 2.500 5.000 31.000");
	assert_row(text, "LOOKUP", "LOOKUP 1 1 0 0 1 0 0 0.000 0.000 0.000 0.000");
	assert_row(text, "total", "total 21 17 2 1 4 1005 10000000000 0.952 2.353 4.706 31.000");
	assert_null(strstr(text, "WRITE"));
	free(text);
}

static void test_table_empty(void **state)
{
	struct stats_facts f = facts;

	memset(workers, 0, sizeof(workers));
	f.read_only = f.soft = true;
	char *text = print(STATS_TABLE, &f, 1);
	assert_contains(text, ", ro, soft\n");
	assert_contains(text, " 1 worker,");
	assert_contains(text,
		"connects 0, reconnects 0, waits for a slot 0, callbacks 0, bytes copied 0\n");
	assert_row(text, "total", "total 0 0 0 0 0 0 0 0.000 0.000 0.000 0.000");
	free(text);

	/* the second worker has not connected yet */
	workers[0].connects = 1;
	text = print(STATS_TABLE, &f, 2);
	assert_contains(text, "connects 1, reconnects 0,");
	free(text);
}

static void test_json(void **state)
{
	char *text = print(STATS_JSON, &facts, 2);

	assert_string_equal(text,
		"{\"source\": \"2:/a b\", \"mountpoint\": \"/mnt/x y\", \"netid\": \"vsock\", "
		"\"address\": \"vsock:2.2049\", \"fuse_transport\": \"/dev/fuse\", "
		"\"loop\": \"io_uring\", \"minor_version\": 2, \"rsize\": 1048576, "
		"\"wsize\": 65536, \"read_only\": false, \"soft\": false, "
		"\"age_ns\": 83500000000, \"workers\": 2, \"connects\": 4, \"reconnects\": 2, "
		"\"slot_waits\": 7, \"callbacks\": 5, \"copied\": 9001,\n"
		"\"busy_polls\": 30, \"busy_polls_found\": 29, \"busy_poll_ns\": 1500000,\n"
		"\"opened_ahead\": {\"files\": 90, \"used\": 83, \"dropped\": 5},\n"
		"\"delegations\": {\"read\": 3, \"write\": 2, \"directories\": 7, \"granted\": 12, "
		"\"recalled\": 4, "
		"\"returned\": 6, \"lost\": 1, \"opens\": 77},\n\"operations\": {\n"
		"\"LOOKUP\": {\"rpcs\": 1, \"replies\": 1, \"retransmissions\": 0, "
		"\"timeouts\": 0, \"errors\": 1, \"bytes_out\": 0, \"bytes_in\": 0, "
		"\"queue_ns\": 0, \"rtt_ns\": 0, \"total_ns\": 0, \"max_ns\": 0},\n"
		"\"READ\": {\"rpcs\": 20, \"replies\": 16, \"retransmissions\": 2, "
		"\"timeouts\": 1, \"errors\": 3, \"bytes_out\": 1005, "
		"\"bytes_in\": 10000000000, \"queue_ns\": 20000000, \"rtt_ns\": 40000000, "
		"\"total_ns\": 80000000, \"max_ns\": 31000000}},\n"
		"\"total\": {\"rpcs\": 21, \"replies\": 17, \"retransmissions\": 2, "
		"\"timeouts\": 1, \"errors\": 4, \"bytes_out\": 1005, "
		"\"bytes_in\": 10000000000, \"queue_ns\": 20000000, \"rtt_ns\": 40000000, "
		"\"total_ns\": 80000000, \"max_ns\": 31000000}}\n");
	free(text);
}

static void test_json_strings(void **state)
{
	static const char *const cases[][2] = {
		{"a\"b\\c", "a\\\"b\\\\c"},
		{"\n\t\x7f", "\\u000a\\u0009\\u007f"},
		/* UTF-8 of every length and its borders stays */
		{"\xc3\xbc", "\xc3\xbc"},
		{"\xe0\xa0\x80\xed\x9f\xbf\xef\xbf\xbf", "\xe0\xa0\x80\xed\x9f\xbf\xef\xbf\xbf"},
		{"\xf0\x90\x80\x80\xf4\x8f\xbf\xbf", "\xf0\x90\x80\x80\xf4\x8f\xbf\xbf"},
		/* what only looks like it: lone, cut, overlong, surrogate, beyond Unicode */
		{"\x80x", "\\u0080x"},
		{"\xc3", "\\u00c3"},
		{"\xe2\x82", "\\u00e2\\u0082"},
		{"\xc0\x80", "\\u00c0\\u0080"},
		{"\xe0\x80\x80", "\\u00e0\\u0080\\u0080"},
		{"\xed\xa0\x80", "\\u00ed\\u00a0\\u0080"},
		{"\xf4\x90\x80\x80", "\\u00f4\\u0090\\u0080\\u0080"},
		{"\xff", "\\u00ff"},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct stats_facts f = facts;
		char want[128];
		f.source = cases[i][0];
		snprintf(want, sizeof(want), "{\"source\": \"%s\", ", cases[i][1]);
		char *text = print(STATS_JSON, &f, 1);
		assert_memory_equal(text, want, strlen(want));
		free(text);
	}
}

static void test_lines(void **state)
{
	char *text = print(STATS_LINES, &facts, 2);

	assert_string_equal(text, "age 83500000000\n"
				  "LOOKUP 1 1 0 1 0 0 0 0 0\n"
				  "READ 20 16 2 3 1005 10000000000 20000000 40000000 80000000\n");
	free(text);
}

static void test_mountstats(void **state)
{
	char *text = print(STATS_MOUNTSTATS, &facts, 2);

	assert_string_equal(text,
		"device 2:/a\\040b mounted on /mnt/x\\040y with fstype nfs4 statvers=1.1\n"
		"\topts:\trw,vers=4.2,rsize=1048576,wsize=65536,hard,proto=vsock,sec=sys\n"
		"\tage:\t83\n"
		"\tcaps:\tcaps=0x0,wtmult=512,dtsize=0,bsize=0,namlen=255\n"
		"\tsec:\tflavor=1,pseudoflavor=1\n"
		"\tevents:\t0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 \n"
		"\tbytes:\t0 0 0 0 0 0 0 0 \n"
		"\tRPC iostats version: 1.1  p/v: 100003/4 (nfs)\n"
		"\txprt:\ttcp 0 0 4 0 0 21 17 0 0 7 0 0 0\n"
		"\tper-op statistics\n"
		"\t      LOOKUP: 1 1 0 0 0 0 0 0 1\n"
		"\t        READ: 18 20 1 1005 10000000000 20 40 80 3\n"
		"\n");
	free(text);
}

/* Standard output of `mountstats` with `mode` on what is printed; skips without the program. */
static void run_mountstats(const char *mode, char *out, size_t size)
{
	char path[] = "/tmp/vsockfs-mountstats-XXXXXX", command[256];
	struct stats_facts f = facts;

	if (system("command -v mountstats >/dev/null 2>&1") != 0) {
		print_message("mountstats(8) of nfs-common is not installed\n");
		skip();
	}
	f.source = "2:/export";
	f.mountpoint = "/mnt";
	/* a mount that has asked whether its server is there */
	workers[0].op[0] = (struct nfs_op_stats){.calls = 4, .replies = 4};
	char *text = print(STATS_MOUNTSTATS, &f, 2);
	int fd = mkstemp(path);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), (int)strlen(text));
	close(fd);
	free(text);
	snprintf(command, sizeof(command), "mountstats %s -f %s /mnt 2>&1", mode, path);
	FILE *in = popen(command, "r");
	assert_non_null(in);
	out[fread(out, 1, size - 1, in)] = '\0';
	int result = pclose(in);
	unlink(path);
	if (result != 0)
		fail_msg("%s", out);
}

static void test_mountstats_program(void **state)
{
	char out[8192];

	run_mountstats("mountstats", out, sizeof(out));
	assert_contains(out, "Stats for 2:/export mounted on /mnt:");
	assert_contains(out, "18 ops (72%)");
	assert_contains(out, "2 retrans (11%)");
	assert_contains(out, "1 major timeouts");
	assert_contains(out, "3 errors (16%)");
	run_mountstats("iostat", out, sizeof(out));
	assert_contains(out, "2:/export mounted on /mnt:");
	run_mountstats("mountstats --raw", out, sizeof(out));
	assert_contains(out, "NULL: 4 4 0");
	assert_contains(out, "READ: 18 20 1 1005 10000000000 20 40 80 3");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup(name, setup)
	const struct CMUnitTest tests[] = {
		TEST(test_table),
		TEST(test_table_empty),
		TEST(test_json),
		TEST(test_json_strings),
		TEST(test_lines),
		TEST(test_mountstats),
		TEST(test_mountstats_program),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
