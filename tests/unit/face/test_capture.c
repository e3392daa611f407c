/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "capture.h"
#include "util/wire.h"

#define BLOCK_PACKET 6
#define PACKETS_MAX  512

/* What the file says of one packet. */
struct packet {
	uint32_t interface, kept, len; /* bytes, headers included */
	const uint8_t *data;
	uint64_t dropped;
};

struct file {
	uint8_t *data;
	size_t len;
	struct packet packets[PACKETS_MAX];
	unsigned npackets, interfaces, blocks;
};

struct fixture {
	struct capture *capture;
	char path[64];
	struct rpc_tap_flow flow;
};

static int setup(void **state)
{
	static struct fixture f;

	f = (struct fixture){
		.path = "/tmp/vsockfs-capture-XXXXXX", .flow = {.index = 1, .number = 3}};
	int fd = mkstemp(f.path);
	assert_true(fd >= 0);
	close(fd);
	*state = &f;
	return capture_new(&f.capture);
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	capture_free(f->capture);
	return unlink(f->path);
}

static int start(struct fixture *f, int fd, const struct capture_options *options, char why[128])
{
	static const struct capture_facts facts = {
		.source = "2:/export", .server = "vsock 2:2049", .workers = 2, .minor = 99999};

	return capture_start(f->capture, fd, options, &facts, why, 128);
}

static void start_file(struct fixture *f, const struct capture_options *options)
{
	char why[128];
	int fd = open(f->path, O_WRONLY | O_TRUNC | O_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(start(f, fd, options, why), 0);
}

static void record(struct fixture *f, enum rpc_tap_event event, const char *open, size_t len)
{
	uint8_t *rest = calloc(1, len + 1);
	struct rpc_tap *tap = capture_tap(f->capture);
	struct rpc_tap_record r = {.event = event,
		.iov = {{(void *)(uintptr_t)open, strlen(open)}, {rest, len}},
		.niov = 2,
		.open = strlen(open)};

	assert_non_null(rest);
	memset(rest, '#', len);
	if (rpc_tap_on(tap))
		tap->record(tap, &f->flow, &r);
	free(rest);
}

static uint32_t get(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

static void read_packet(struct file *file, const uint8_t *block, uint32_t len)
{
	struct packet *p = &file->packets[file->npackets++];

	assert_true(file->npackets <= PACKETS_MAX);
	p->interface = get(block + 8);
	p->kept = get(block + 20);
	p->len = get(block + 24);
	p->data = block + 28;
	assert_true(p->kept <= p->len && p->len <= 65535);
	uint32_t at = 28 + p->kept + wire_pad(p->kept);
	while (at + 4 < len - 4) {
		uint16_t code, size;
		memcpy(&code, block + at, 2);
		memcpy(&size, block + at + 2, 2);
		if (code == 4)
			memcpy(&p->dropped, block + at + 4, 8);
		at += 4u + size + wire_pad(size);
	}
}

/* Every block is whole, and its length stands at both of its ends. */
static void read_file(struct fixture *f, struct file *file)
{
	struct stat st;
	int fd = open(f->path, O_RDONLY);

	*file = (struct file){0};
	assert_int_equal(fstat(fd, &st), 0);
	file->len = (size_t)st.st_size;
	file->data = malloc(file->len + 1);
	assert_non_null(file->data);
	assert_int_equal(read(fd, file->data, file->len), (ssize_t)file->len);
	close(fd);
	for (size_t at = 0; at < file->len;) {
		assert_true(file->len - at >= 12);
		uint32_t type = get(file->data + at), len = get(file->data + at + 4);
		assert_true(len % 4 == 0 && len >= 12 && len <= file->len - at);
		assert_int_equal(get(file->data + at + len - 4), len);
		assert_true(at > 0 || type == 0x0a0d0d0a);
		file->blocks++;
		file->interfaces += type == 1;
		if (type == BLOCK_PACKET)
			read_packet(file, file->data + at, len);
		at += len;
	}
}

/* One such byte alone may be of a time. */
static bool has_data(const struct file *file)
{
	return memmem(file->data, file->len, "###", 3) != NULL;
}

static void test_packets(void **state)
{
	struct fixture *f = *state;
	struct file file;

	record(f, RPC_TAP_SENT, "nobody looks", 0);
	start_file(f, &(struct capture_options){0});
	record(f, RPC_TAP_UP, "", 0);
	record(f, RPC_TAP_SENT, "call", 0);
	record(f, RPC_TAP_RECEIVED, "a reply", 0);
	record(f, RPC_TAP_SENT, "again", 0);
	record(f, RPC_TAP_DOWN, "", 0);
	assert_int_equal(capture_stop(f->capture), 0);
	record(f, RPC_TAP_SENT, "too late", 0);
	read_file(f, &file);
	assert_int_equal(file.interfaces, 2);
	assert_int_equal(file.npackets, 7);

	const struct packet *p = &file.packets[3];
	assert_int_equal(p->interface, 1);
	assert_int_equal(p->len, 44);
	assert_int_equal(p->kept, 44);
	assert_memory_equal(p->data + 40, "call", 4);
	assert_int_equal(wire_load_u32(p->data + 12), 0xc0000201);
	assert_int_equal(wire_load_u32(p->data + 20), 32771u << 16 | 2049);
	assert_int_equal(wire_load_u32(p->data + 24), 1);
	assert_int_equal(wire_load_u32(p->data + 28), 1);
	p = &file.packets[4];
	assert_memory_equal(p->data + 40, "a reply", 7);
	assert_int_equal(wire_load_u32(p->data + 20), 2049u << 16 | 32771);
	assert_int_equal(wire_load_u32(p->data + 24), 1);
	assert_int_equal(wire_load_u32(p->data + 28), 5);
	assert_int_equal(wire_load_u32(file.packets[5].data + 24), 5);
	assert_int_equal(wire_load_u32(file.packets[5].data + 28), 8);
	free(file.data);
}

/* The numbers in the stream go on as if all of it was there. */
static void test_data_left_out(void **state)
{
	struct fixture *f = *state;
	struct file file;

	start_file(f, &(struct capture_options){0});
	record(f, RPC_TAP_SENT, "write", 200000);
	record(f, RPC_TAP_SENT, "next", 3);
	assert_int_equal(capture_stop(f->capture), 0);
	read_file(f, &file);
	assert_false(has_data(&file));
	assert_int_equal(file.npackets, 5);
	assert_int_equal(file.packets[0].len, 40 + 65480);
	assert_int_equal(file.packets[0].kept, 45);
	assert_int_equal(file.packets[3].kept, 40);
	assert_int_equal(wire_load_u32(file.packets[4].data + 24), 1 + 200005);
	assert_int_equal(file.packets[4].kept, 44);
	assert_int_equal(file.packets[4].len, 47);
	free(file.data);
}

static void test_data_kept(void **state)
{
	struct fixture *f = *state;
	struct file file;

	start_file(f, &(struct capture_options){.data = true});
	record(f, RPC_TAP_RECEIVED, "read", 100000);
	assert_int_equal(capture_stop(f->capture), 0);
	read_file(f, &file);
	assert_int_equal(file.npackets, 2);
	assert_int_equal(file.packets[0].kept + file.packets[1].kept, 100004 + 80);
	assert_int_equal(file.packets[1].data[40], '#');
	free(file.data);

	start_file(f, &(struct capture_options){.data = true, .snaplen = 50});
	record(f, RPC_TAP_RECEIVED, "read", 100000);
	assert_int_equal(capture_stop(f->capture), 0);
	read_file(f, &file);
	assert_int_equal(file.packets[0].kept, 50);
	assert_int_equal(file.packets[1].kept, 50);
	free(file.data);
}

static void expect_status(struct fixture *f, const char *part)
{
	char *text;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	capture_print(f->capture, out);
	fclose(out);
	if (!strstr(text, part))
		fail_msg("%s is not in %s", part, text);
	free(text);
}

static void test_limit(void **state)
{
	struct fixture *f = *state;
	struct file file;

	expect_status(f, "no capture\n");
	start_file(f, &(struct capture_options){.data = true, .limit = 100000});
	expect_status(f, "capturing: 0 packets");
	for (unsigned i = 0; i < 10; i++)
		record(f, RPC_TAP_SENT, "write", 20000);
	expect_status(f, "no capture; the last one");
	assert_int_equal(capture_stop(f->capture), -ENOENT);
	expect_status(f, "as long as it may be");
	read_file(f, &file);
	assert_true(file.len > 60000 && file.len <= 100000);
	free(file.data);
}

/* A reader that does not read: the rest is counted as lost, and nobody waits for it long. */
static void test_slow_reader(void **state)
{
	struct fixture *f = *state;
	char why[128], buffer[4096];
	int fds[2];

	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	assert_int_equal(start(f, fds[1], &(struct capture_options){.data = true}, why), 0);
	for (unsigned i = 0; i < 400; i++)
		record(f, RPC_TAP_SENT, "write", 60000);
	FILE *none = fopen("/dev/null", "w");
	capture_print(f->capture, none);
	fclose(none);
	assert_int_equal(capture_stop(f->capture), 0);
	expect_status(f, "Connection timed out");
	/* there is an end to it */
	while (read(fds[0], buffer, sizeof(buffer)) > 0)
		;
	close(fds[0]);
}

static void count(struct fixture *f, unsigned long *packets, unsigned long *lost)
{
	char line[200] = "";
	FILE *out = fmemopen(line, sizeof(line), "w");

	capture_print(f->capture, out);
	fclose(out);
	assert_int_equal(sscanf(line, "capturing: %lu packets, %lu lost", packets, lost), 2);
}

/* A child that reads the pipe into the file. */
static pid_t start_reader(struct fixture *f, int fds[2])
{
	pid_t pid = fork();

	if (pid == 0) {
		char buffer[65536];
		int out = open(f->path, O_WRONLY | O_TRUNC);
		ssize_t n;
		close(fds[1]);
		while ((n = read(fds[0], buffer, sizeof(buffer))) > 0)
			if (write(out, buffer, (size_t)n) != n)
				_exit(1);
		_exit(0);
	}
	close(fds[0]);
	return pid;
}

/* Lost packets leave a gap in the numbers, and the next one tells how many they were. */
static void test_dropped(void **state)
{
	struct fixture *f = *state;
	unsigned long packets, lost = 0, before;
	char why[128];
	struct file file;
	int fds[2], result;

	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	assert_int_equal(start(f, fds[1], &(struct capture_options){.data = true}, why), 0);
	while (lost < 3) {
		record(f, RPC_TAP_SENT, "write", 60000);
		count(f, &packets, &lost);
	}
	pid_t pid = start_reader(f, fds);
	do {
		usleep(1000);
		count(f, &before, &lost);
		record(f, RPC_TAP_SENT, "small", 0);
		count(f, &packets, &lost);
	} while (packets == before);
	assert_int_equal(capture_stop(f->capture), 0);
	assert_int_equal(waitpid(pid, &result, 0), pid);
	assert_int_equal(result, 0);
	read_file(f, &file);
	assert_int_equal(file.npackets, packets);
	uint64_t told = 0;
	for (unsigned i = 0; i < file.npackets; i++)
		told += file.packets[i].dropped;
	assert_int_equal(told, lost);
	const struct packet *last = &file.packets[file.npackets - 1];
	assert_int_equal(wire_load_u32(last->data + 24), (uint32_t)f->flow.bytes[0] - 5 + 1);
	free(file.data);
}

static void expect_refused(struct fixture *f, int fd, int err)
{
	char why[128] = "";

	assert_true(fd >= 0);
	assert_int_equal(start(f, fd, &(struct capture_options){0}, why), err);
	assert_true(why[0] != '\0');
	assert_int_equal(fcntl(fd, F_GETFD), -1);
	assert_false(rpc_tap_on(capture_tap(f->capture)));
}

static void test_refused(void **state)
{
	struct fixture *f = *state;
	char why[128];
	struct stat st;

	assert_int_equal(capture_stop(f->capture), -ENOENT);
	expect_refused(f, open(f->path, O_RDONLY), -EINVAL);
	expect_refused(f, open("/dev/null", O_WRONLY), -EINVAL);
	expect_refused(f, open("/tmp", O_RDONLY | O_DIRECTORY), -EINVAL);

	/* on the mount itself */
	assert_int_equal(stat(f->path, &st), 0);
	const struct capture_facts facts = {.source = "",
		.server = "",
		.workers = 1,
		.major = (uint32_t)(st.st_dev >> 8 & 0xfff),
		.minor = (uint32_t)(st.st_dev & 0xff) | (uint32_t)(st.st_dev >> 12 & 0xfff00)};
	int fd = open(f->path, O_WRONLY);
	assert_int_equal(capture_start(f->capture, fd, &(struct capture_options){0}, &facts, why,
				 sizeof(why)),
		-EINVAL);
	assert_non_null(strstr(why, "on it"));

	start_file(f, &(struct capture_options){0});
	fd = open(f->path, O_WRONLY);
	assert_int_equal(start(f, fd, &(struct capture_options){0}, why), -EBUSY);
	assert_int_equal(fcntl(fd, F_GETFD), -1);
	assert_int_equal(capture_stop(f->capture), 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_packets),
		TEST(test_data_left_out),
		TEST(test_data_kept),
		TEST(test_limit),
		TEST(test_slow_reader),
		TEST(test_dropped),
		TEST(test_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
