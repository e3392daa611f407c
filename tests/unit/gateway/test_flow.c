/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "gateway/flow.h"
#include "gateway/marks.h"

/* A flow whose records are counted, and the far ends of both its sockets. */
struct fixture {
	struct flow flow;
	struct flow_store store;
	struct marks marks;
	int from, to;
};

static const uint8_t call[8] = {0x80, 0, 0, 4, 'c', 'a', 'l', 'l'};

static void begin(struct fixture *f, int source, int from)
{
	int sink[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, sink), 0);
	*f = (struct fixture){.from = from, .to = sink[1]};
	flow_init(&f->flow, source, sink[0], &f->store);
	f->flow.marks = &f->marks;
	f->flow.at_once = 1;
}

static int setup(void **state)
{
	static struct fixture f;
	int source[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, source), 0);
	begin(&f, source[0], source[1]);
	*state = &f;
	return 0;
}

/* What comes over TCP is spliced. */
static int setup_tcp(void **state)
{
	static struct fixture f;
	struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	socklen_t len = sizeof(sa);
	int listener = socket(AF_INET, SOCK_STREAM, 0), from = socket(AF_INET, SOCK_STREAM, 0);

	assert_int_equal(bind(listener, (struct sockaddr *)&sa, sizeof(sa)), 0);
	assert_int_equal(listen(listener, 1), 0);
	assert_int_equal(getsockname(listener, (struct sockaddr *)&sa, &len), 0);
	assert_int_equal(connect(from, (struct sockaddr *)&sa, sizeof(sa)), 0);
	int source = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
	assert_true(source >= 0);
	close(listener);
	begin(&f, source, from);
	assert_true(f.flow.splice);
	*state = &f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	flow_deinit(&f->flow);
	flow_store_deinit(&f->store);
	close(f->flow.source);
	close(f->flow.sink);
	close(f->from);
	close(f->to);
	return 0;
}

static void put(struct fixture *f, const void *data, size_t len)
{
	struct pollfd pfd = {.fd = f->flow.source, .events = POLLIN};

	assert_int_equal(write(f->from, data, len), len);
	assert_int_equal(poll(&pfd, 1, 10000), 1);
}

/* Exactly these bytes have come out since the last time. */
static void expect(struct fixture *f, const void *data, size_t len)
{
	uint8_t got[64];

	assert_true(len < sizeof(got));
	ssize_t n = read(f->to, got, sizeof(got));
	assert_int_equal(n < 0 && errno == EAGAIN ? 0 : n, len);
	assert_memory_equal(got, data, len);
}

static void test_one_call_at_a_time(void **state)
{
	struct fixture *f = *state;
	uint8_t three[3 * sizeof(call)];

	for (size_t i = 0; i < 3; i++)
		memcpy(three + i * sizeof(call), call, sizeof(call));
	put(f, three, sizeof(three));
	for (unsigned i = 1; i <= 3; i++) {
		assert_int_equal(flow_move(&f->flow, false), FLOW_READY);
		expect(f, call, sizeof(call));
		assert_int_equal(f->flow.calls, i);
		assert_int_equal(f->flow.whole, i);
	}
	assert_int_equal(flow_move(&f->flow, false), FLOW_SOURCE);
	put(f, three, sizeof(three));
	f->flow.at_once = 2;
	flow_move(&f->flow, false);
	expect(f, three, 2 * sizeof(call));
}

static void test_part_of_a_call(void **state)
{
	struct fixture *f = *state;

	/* within its mark, and within what follows */
	for (size_t part = 2; part <= 6; part += 4) {
		uint64_t whole = f->flow.whole;
		put(f, call, part);
		assert_int_equal(flow_move(&f->flow, false), FLOW_SOURCE);
		expect(f, call, part);
		assert_int_equal(f->flow.whole, whole);
		put(f, call + part, sizeof(call) - part);
		flow_move(&f->flow, false);
		expect(f, call + part, sizeof(call) - part);
		assert_int_equal(f->flow.whole, whole + 1);
	}
	assert_int_equal(f->flow.calls, 2);
}

/* More than the sink takes at once. */
static void test_whole_is_what_was_taken(void **state)
{
	struct fixture *f = *state;
	uint8_t data[100000] = {0x80, 0x01, 0x86, 0x9c}, out[sizeof(data)];
	int small = 4096;
	size_t got = 0;
	enum flow_state last;

	assert_int_equal(setsockopt(f->flow.sink, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)), 0);
	put(f, data, sizeof(data));
	assert_int_equal(flow_move(&f->flow, false), FLOW_SINK);
	assert_int_equal(f->flow.calls, 1);
	do {
		assert_int_equal(f->flow.whole, 0);
		ssize_t n = read(f->to, out + got, sizeof(out) - got);
		got += n > 0 ? (size_t)n : 0;
		last = flow_move(&f->flow, false);
	} while (last == FLOW_SINK);
	while (got < sizeof(out)) {
		ssize_t n = read(f->to, out + got, sizeof(out) - got);
		assert_true(n > 0);
		got += (size_t)n;
	}
	assert_int_equal(f->flow.whole, 1);
	assert_int_equal(f->flow.bytes, sizeof(data));
	assert_memory_equal(out, data, sizeof(data));
}

#define WITH(test, begins) cmocka_unit_test_setup_teardown(test, begins, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH(test_one_call_at_a_time, setup),
		WITH(test_part_of_a_call, setup),
		WITH(test_whole_is_what_was_taken, setup),
		{"test_part_of_a_call, spliced", test_part_of_a_call, setup_tcp, teardown, NULL},
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
