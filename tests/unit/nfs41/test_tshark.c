/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "cases.h"
#include "rpc/cred.h"
#include "rpc/msg.h"

/*
 * Every operation as tshark dissects it, in a capture written here: the witness for what libnfs
 * does not know. Calls and replies are packets of one TCP connection, in the order of the cases.
 */

#define COLUMNS_MAX 64
#define LINE_MAX_   8192
#define PORT	    2049

struct capture {
	FILE *file;
	uint32_t seq[2]; /* next byte of the client, of the server */
	uint32_t xid;
	struct rpc_cred *cred;
};

/* Names of fields that any case asks for: a column of tshark's output each. */
static char columns[COLUMNS_MAX][64];
static unsigned ncolumns;
static FILE *shark_lines;
static char pcap_path[] = "/tmp/vsockfs-test-XXXXXX";

static void put_le32(FILE *file, uint32_t v)
{
	for (int i = 0; i < 4; i++)
		fputc((int)(v >> 8 * i & 0xff), file);
}

static void put_be16(uint8_t *p, unsigned v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

/* One IPv4 packet with `len` bytes of the stream; checksums stay zero, which means unchecked. */
static void capture_packet(struct capture *cap, bool reply, const uint8_t *data, size_t len)
{
	uint8_t head[40] = {[0] = 0x45,
		[8] = 64,
		[9] = 6,
		[12] = 10,
		[15] = 1,
		[16] = 10,
		[19] = 2,
		[32] = 0x50,
		[33] = 0x18,
		[34] = 0xff,
		[35] = 0xff};

	put_be16(head + 2, (unsigned)(sizeof(head) + len));
	head[15] = reply ? 2 : 1;
	head[19] = reply ? 1 : 2;
	put_be16(head + 20, reply ? PORT : 700);
	put_be16(head + 22, reply ? 700 : PORT);
	wire_store_u32(head + 24, cap->seq[reply]);
	wire_store_u32(head + 28, cap->seq[!reply]);
	cap->seq[reply] += (uint32_t)len;
	put_le32(cap->file, 1700000000);
	put_le32(cap->file, cap->xid);
	put_le32(cap->file, (uint32_t)(sizeof(head) + len));
	put_le32(cap->file, (uint32_t)(sizeof(head) + len));
	fwrite(head, sizeof(head), 1, cap->file);
	fwrite(data, len, 1, cap->file);
}

/* SEQUENCE, the case, PUTROOTFH: what is misread in the case spoils the last. */
static void capture_case(struct capture *cap, const struct op_case *op_case)
{
	uint8_t buffer[RPC_MSG_HEAD_MAX + sizeof(((struct exchange *)0)->args)];
	uint8_t *body = buffer + RPC_MSG_HEAD_MAX, *start;
	struct rpc_msg_call msg = {.xid = ++cap->xid, .prog = NFS4_PROGRAM, .vers = 4, .proc = 1};
	struct exchange x;

	exchange_init(&x, true);
	exchange_add(&x, op_case);
	if (op_case->status == NFS4_OK)
		exchange_add(&x, &fs_cases[1]);
	exchange_finish(&x);
	memcpy(body, x.args, x.args_len);
	start = rpc_msg_put_call(body, x.args_len, &msg, cap->cred);
	capture_packet(cap, false, start, (size_t)(body - start) + x.args_len);
	memcpy(body, x.reply, x.reply_len);
	start = rpc_msg_put_reply(body, x.reply_len, msg.xid, 0);
	capture_packet(cap, true, start, (size_t)(body - start) + x.reply_len);
	exchange_deinit(&x);
}

static struct capture capture;

static void capture_one(const struct op_case *op_case)
{
	capture_case(&capture, op_case);
}

static void write_capture(void)
{
	int fd = mkstemp(pcap_path);

	assert_true(fd >= 0);
	capture.file = fdopen(fd, "w");
	assert_non_null(capture.file);
	assert_int_equal(rpc_cred_new_none(&capture.cred), 0);
	put_le32(capture.file, 0xa1b2c3d4);
	put_le32(capture.file, 2 | 4 << 16);
	put_le32(capture.file, 0);
	put_le32(capture.file, 0);
	put_le32(capture.file, 65535);
	put_le32(capture.file, 101); /* LINKTYPE_RAW */
	case_each(capture_one);
	assert_int_equal(fclose(capture.file), 0);
	rpc_cred_unref(capture.cred);
}

static unsigned column_of(const char *name, size_t len)
{
	for (unsigned i = 0; i < ncolumns; i++) {
		if (strlen(columns[i]) == len && memcmp(columns[i], name, len) == 0)
			return i;
	}
	assert_true(ncolumns < COLUMNS_MAX && len < sizeof(columns[0]));
	memcpy(columns[ncolumns], name, len);
	return ncolumns++;
}

/* The fields that `words` names; with `line`, each must have its value there. */
static void each_field(const char *words, char *const line[], const char *case_name)
{
	char expected[128];

	while (words && *words) {
		size_t len = strcspn(words, " "), name_len = strcspn(words, "=");
		unsigned column = column_of(words, name_len);

		snprintf(expected, sizeof(expected), "%.*s", (int)(len - name_len - 1),
			words + name_len + 1);
		for (char *p = expected; *p; p++)
			*p = *p == '_' ? ' ' : *p;
		if (line && strcmp(line[column], expected) != 0)
			fail_msg("%s: %s is %s, not %s", case_name, columns[column], line[column],
				expected);
		words += len + (words[len] == ' ');
	}
}

static void collect_columns(const struct op_case *op_case)
{
	each_field(op_case->shark_call, NULL, NULL);
	each_field(op_case->shark_reply, NULL, NULL);
}

static void next_line(char *buffer, char *fields[COLUMNS_MAX])
{
	char *rest = buffer;

	assert_non_null(fgets(buffer, LINE_MAX_, shark_lines));
	buffer[strcspn(buffer, "\n")] = '\0';
	for (unsigned i = 0; i < ncolumns; i++)
		fields[i] = rest ? strsep(&rest, "\t") : (char *)"";
}

/* SEQUENCE, the operation and PUTROOTFH, or an end with the error, and nothing malformed. */
static void compare_common(const struct op_case *op_case, char *const fields[])
{
	struct exchange x;
	char opcodes[32];

	exchange_init(&x, true);
	op_case->build(x.c);
	snprintf(opcodes, sizeof(opcodes), "53,%u%s", x.c->ops[0].op,
		op_case->status == NFS4_OK ? ",24" : "");
	exchange_deinit(&x);
	if (*fields[0] != '\0' || strcmp(fields[1], opcodes) != 0)
		fail_msg("%s: %s %s", op_case->name, fields[0], fields[1]);
}

static void compare(const struct op_case *op_case)
{
	char line[LINE_MAX_], *fields[COLUMNS_MAX];

	const char *expected[] = {op_case->shark_call, op_case->shark_reply};
	for (unsigned i = 0; i < 2; i++) {
		next_line(line, fields);
		if (expected[i] && *expected[i] == '\0')
			continue;
		compare_common(op_case, fields);
		each_field(expected[i], fields, op_case->name);
	}
}

static void test_dissection(void **state)
{
	char command[LINE_MAX_];
	int len;

	if (system("tshark --version >/dev/null 2>&1") != 0) {
		print_message("# skipped: tshark is not installed\n");
		skip();
	}
	write_capture();
	column_of("_ws.malformed", 13);
	column_of("nfs.opcode", 10);
	case_each(collect_columns);
	len = snprintf(command, sizeof(command),
		"tshark -r %s -T fields -E occurrence=a -E aggregator=,", pcap_path);
	for (unsigned i = 0; i < ncolumns; i++)
		len += snprintf(command + len, sizeof(command) - (size_t)len, " -e %s", columns[i]);
	snprintf(command + len, sizeof(command) - (size_t)len, " 2>/dev/null");
	shark_lines = popen(command, "r");
	assert_non_null(shark_lines);
	case_each(compare);
	assert_int_equal(fgetc(shark_lines), EOF);
	assert_int_equal(pclose(shark_lines), 0);
}

static int remove_capture(void **state)
{
	unlink(pcap_path);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(test_dissection, remove_capture),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
