/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "messages.h"
#include "rpc/intake.h"

#define MAX_CALL  2000
#define MAX_REPLY 400000
#define PAYLOAD	  300000
#define CALLS	  32

/* What is expected of one message, and what came. */
struct item {
	struct rpc_call call; /* first: the sink finds its item */
	struct bytes head;    /* results or arguments, without the payload */
	struct bytes payload;
	size_t wire_len;
	bool from_server, done;
	int error;
	unsigned asked;
	uint8_t *sink; /* PAYLOAD bytes */
};

struct fixture {
	struct rpc_intake in;
	struct item items[CALLS];
	unsigned nitems, next;
	int stop_at; /* delivery of this item returns -ECANCELED */
	struct bytes stream;
	size_t through_buffer; /* bytes */
};

static int on_sink(
	struct rpc_call *call, const uint8_t *data, size_t len, size_t body, struct rpc_sink *sink)
{
	struct item *item = (struct item *)call;

	item->asked++;
	return find_payload(data, len, body, item->sink, PAYLOAD, sink);
}

static struct rpc_call *on_find(void *arg, uint32_t xid)
{
	struct fixture *f = arg;

	for (unsigned i = 0; i < f->nitems; i++)
		if (!f->items[i].from_server && !f->items[i].done &&
			f->items[i].call.msg.xid == xid)
			return &f->items[i].call;
	return NULL;
}

static int delivered(struct fixture *f, struct item *item, const uint8_t *data, size_t len)
{
	struct wire_in in;

	assert_ptr_equal(item, &f->items[f->next]);
	assert_int_equal(len, item->head.len);
	if (len > 0)
		assert_memory_equal(data, item->head.data, len);
	item->done = true;
	f->next++;
	if (f->stop_at == (int)f->next - 1)
		return -ECANCELED;
	wire_in_init(&in, data, len);
	return len >= 4 && wire_get_u32(&in) == 0xbadbadba ? -EPROTO : 0;
}

static int on_replied(void *arg, struct rpc_call *call, const struct rpc_msg_header *header,
	const uint8_t *data, size_t len, size_t sink_len, size_t wire_len)
{
	struct item *item = (struct item *)call;

	assert_int_equal(header->error, item->error);
	assert_int_equal(wire_len, item->wire_len);
	assert_int_equal(sink_len, item->payload.len);
	if (sink_len > 0)
		assert_memory_equal(item->sink, item->payload.data, sink_len);
	return delivered(arg, item, data, len);
}

static int on_called(void *arg, const struct rpc_msg_call *msg, const uint8_t *data, size_t len)
{
	struct fixture *f = arg;

	assert_true(f->next < f->nitems && f->items[f->next].from_server);
	assert_int_equal(msg->xid, f->items[f->next].call.msg.xid);
	assert_int_equal(msg->proc, 1);
	return delivered(f, &f->items[f->next], data, len);
}

static const struct rpc_intake_ops ops = {on_find, on_replied, on_called};

static struct fixture *fixture_new(void)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	f->stop_at = -1;
	rpc_intake_init(&f->in, MAX_CALL, &ops, f);
	return f;
}

static void fixture_free(struct fixture *f)
{
	for (unsigned i = 0; i < f->nitems; i++) {
		bytes_free(&f->items[i].head);
		bytes_free(&f->items[i].payload);
		free(f->items[i].sink);
	}
	bytes_free(&f->stream);
	rpc_intake_deinit(&f->in);
	free(f);
}

/* Hundreds of megabytes in all: rand() took most of the test's time, under valgrind a minute. */
static void put_random(struct bytes *b, size_t len)
{
	uint8_t *p = bytes_add(b, len);
	uint64_t random = (uint64_t)rand() << 1 | 1;

	for (size_t i = 0; i < len; i += sizeof(random)) {
		random ^= random << 13;
		random ^= random >> 7;
		random ^= random << 17;
		memcpy(p + i, &random, len - i < sizeof(random) ? len - i : sizeof(random));
	}
}

/* An outstanding call to which no reply is in the stream yet. */
static struct item *add_call(struct fixture *f, bool sink)
{
	struct item *item = &f->items[f->nitems];

	assert_true(f->nitems < CALLS);
	item->call.msg.xid = 1000 + f->nitems++;
	item->call.max_reply = MAX_REPLY;
	if (sink) {
		item->call.sink = on_sink;
		item->sink = malloc(PAYLOAD);
		assert_non_null(item->sink);
	}
	rpc_intake_expect(&f->in, MAX_REPLY);
	return item;
}

static void finish_item(
	struct fixture *f, struct item *item, const struct bytes *message, size_t fragment)
{
	size_t before = f->stream.len;

	put_record(&f->stream, message, fragment);
	item->wire_len = f->stream.len - before;
}

static struct item *add_reply(struct fixture *f, size_t len, size_t fragment)
{
	struct item *item = add_call(f, false);
	struct bytes message = {0};

	put_random(&item->head, len);
	put_reply_header(&message, item->call.msg.xid);
	bytes_put(&message, item->head.data, item->head.len);
	finish_item(f, item, &message, fragment);
	bytes_free(&message);
	return item;
}

/* `padding` is what follows the payload: servers differ in what they do about it. */
static struct item *add_payload(
	struct fixture *f, size_t head_len, size_t len, size_t padding, size_t fragment)
{
	static const uint8_t zero[8];
	struct item *item = add_call(f, true);
	struct bytes message = {0}, head = {0};

	put_random(&head, head_len);
	bytes_put_opaque(&item->head, head.data, head.len);
	bytes_put_u32(&item->head, (uint32_t)len);
	put_random(&item->payload, len);
	put_reply_header(&message, item->call.msg.xid);
	bytes_put(&message, item->head.data, item->head.len);
	bytes_put(&message, item->payload.data, len);
	bytes_put(&message, zero, padding);
	finish_item(f, item, &message, fragment);
	bytes_free(&message);
	bytes_free(&head);
	return item;
}

static struct item *add_server_call(struct fixture *f, size_t len, size_t fragment)
{
	struct item *item = &f->items[f->nitems];
	struct bytes message = {0};

	assert_true(f->nitems < CALLS);
	item->call.msg.xid = 5000 + f->nitems++;
	item->from_server = true;
	put_random(&item->head, len);
	put_call_header(&message, item->call.msg.xid, 1);
	bytes_put(&message, item->head.data, item->head.len);
	finish_item(f, item, &message, fragment);
	bytes_free(&message);
	return item;
}

/* Feeds the stream, at most `piece` bytes (0: random) at each receive that does not wait. */
static int feed(struct fixture *f, size_t piece)
{
	for (size_t at = 0; at < f->stream.len;) {
		size_t want, left = f->stream.len - at;
		bool wait_all;
		uint8_t *to = rpc_intake_want(&f->in, &want, &wait_all);
		size_t n = want < left ? want : left;
		size_t most = piece ? piece : 1 + (size_t)rand() % 3000;

		assert_true(want > 0);
		if (!wait_all && n > most)
			n = most;
		if (!wait_all)
			f->through_buffer += n;
		memcpy(to, f->stream.data + at, n);
		at += n;
		int err = rpc_intake_got(&f->in, n);
		if (err)
			return err;
	}
	return 0;
}

static void assert_all(struct fixture *f, size_t piece)
{
	int err = feed(f, piece);

	if (err)
		print_message("%s\n", f->in.why);
	assert_int_equal(err, 0);
	assert_int_equal(f->next, f->nitems);
	assert_true(rpc_intake_idle(&f->in));
}

static void assert_wrong(struct fixture *f, size_t piece, const char *why)
{
	assert_int_equal(feed(f, piece), -EPROTO);
	if (!strstr(f->in.why, why))
		fail_msg("\"%s\" does not say \"%s\"", f->in.why, why);
	fixture_free(f);
}

static void test_every_piece(void **state)
{
	static const size_t fragments[] = {1, 2, 3, 5, 17, 64, 1000, 100000};

	for (unsigned i = 0; i < sizeof(fragments) / sizeof(*fragments); i++) {
		for (size_t piece = 1; piece < 1500; piece += piece < 130 ? 1 : 101) {
			struct fixture *f = fixture_new();

			add_reply(f, 40, fragments[i]);
			add_payload(f, 33, 101, 3, fragments[i]);
			add_server_call(f, 60, fragments[i]);
			add_payload(f, 0, 0, 0, fragments[i]);
			add_reply(f, 0, fragments[i]);
			add_payload(f, 300, 256, 0, fragments[i]);
			add_reply(f, 500, fragments[i]);
			assert_all(f, piece);
			fixture_free(f);
		}
	}
}

static size_t random_size(size_t max)
{
	/* small ones as often as large ones */
	return (size_t)rand() % (max >> rand() % 16 | 1);
}

static void test_random(void **state)
{
	srand(2);
	for (unsigned round = 0; round < 300; round++) {
		struct fixture *f = fixture_new();

		while (f->nitems < 12) {
			size_t fragment = 1 + random_size(MAX_REPLY), n = random_size(PAYLOAD);

			switch (rand() % 3) {
			case 0: add_reply(f, n, fragment); break;
			case 1: add_payload(f, random_size(50000), n, wire_pad(n), fragment); break;
			case 2: add_server_call(f, random_size(MAX_CALL - 40), fragment); break;
			}
		}
		assert_all(f, round % 2 ? 0 : RPC_INTAKE_BUFFER);
		fixture_free(f);
	}
}

static void test_payload_is_received_directly(void **state)
{
	struct fixture *f = fixture_new();
	size_t want;
	bool wait_all;

	add_payload(f, 100, 262144, 0, SIZE_MAX);
	assert_all(f, RPC_INTAKE_BUFFER);
	assert_int_equal(f->through_buffer, RPC_INTAKE_BUFFER);

	/* in a run of READs the receive for the header brings little payload */
	rpc_intake_want(&f->in, &want, &wait_all);
	assert_int_equal(want, RPC_INTAKE_SHORT);
	assert_false(wait_all);
	f->stream.len = f->through_buffer = 0;
	add_payload(f, 100, 262142, 2, SIZE_MAX);
	assert_all(f, RPC_INTAKE_BUFFER);
	assert_int_equal(f->through_buffer, RPC_INTAKE_SHORT + 2);

	/* a reply without payload ends the run */
	f->stream.len = 0;
	add_reply(f, 100, SIZE_MAX);
	assert_all(f, RPC_INTAKE_BUFFER);
	rpc_intake_want(&f->in, &want, &wait_all);
	assert_int_equal(want, RPC_INTAKE_BUFFER);

	/* other long replies go to a buffer of their own the same way, bounded by max_reply */
	f->stream.len = f->through_buffer = 0;
	add_reply(f, MAX_REPLY - 24, SIZE_MAX);
	assert_all(f, RPC_INTAKE_BUFFER);
	assert_int_equal(f->through_buffer, RPC_INTAKE_BUFFER);
	assert_true(f->in.kept_cap <= RPC_INTAKE_KEEP_MAX);
	fixture_free(f);
}

/* A long record in single bytes does not cost a look at all of it for each. */
static void test_asked_seldom(void **state)
{
	struct fixture *f = fixture_new();
	struct item *item = add_payload(f, 30000, 50000, 0, 1);

	assert_all(f, 1);
	assert_true(item->asked < 100);
	fixture_free(f);
}

static void test_rejected(void **state)
{
	struct fixture *f = fixture_new();
	struct item *item = add_call(f, true);
	struct bytes message = {0};
	const uint32_t words[] = {item->call.msg.xid, 1, 1, 1, 5};

	for (unsigned i = 0; i < 5; i++)
		bytes_put_u32(&message, words[i]);
	finish_item(f, item, &message, 3);
	item->error = -EACCES;
	assert_all(f, 1);
	bytes_free(&message);
	fixture_free(f);
}

static void test_stop(void **state)
{
	struct fixture *f = fixture_new();

	add_reply(f, 40, SIZE_MAX);
	add_reply(f, 40, SIZE_MAX);
	add_reply(f, 40, SIZE_MAX);
	f->stop_at = 1;
	assert_int_equal(feed(f, RPC_INTAKE_BUFFER), -ECANCELED);
	assert_int_equal(f->next, 2);
	fixture_free(f);
}

/* Every kind of garbage, whole and in single bytes. */
static void test_garbage(void **state)
{
	for (size_t piece = 1; piece <= RPC_INTAKE_BUFFER; piece += RPC_INTAKE_BUFFER - 1) {
		struct fixture *f = fixture_new();
		struct bytes message = {0};

		add_reply(f, 40, SIZE_MAX);
		f->items[0].call.msg.xid++;
		assert_wrong(f, piece, "unknown call, xid 000003e8");

		f = fixture_new();
		add_reply(f, 40, SIZE_MAX)->call.sending = true;
		assert_wrong(f, piece, "not sent yet");

		f = fixture_new();
		add_reply(f, 40, SIZE_MAX);
		bytes_put(&message, f->stream.data, f->stream.len);
		bytes_put(&f->stream, message.data, message.len);
		bytes_free(&message);
		assert_wrong(f, piece, "unknown call"); /* answered twice */

		f = fixture_new();
		add_reply(f, 40, 50);
		f->items[0].call.max_reply = 63;
		assert_wrong(f, piece, "record of");

		f = fixture_new();
		add_reply(f, 40, 10);
		f->items[0].call.max_reply = 60;
		assert_wrong(f, piece, "more than 60 bytes");

		f = fixture_new();
		add_server_call(f, MAX_CALL - 39, SIZE_MAX);
		assert_wrong(f, piece, "more than 2000 bytes");

		f = fixture_new();
		add_call(f, false);
		add_server_call(f, MAX_CALL - 39, SIZE_MAX);
		assert_wrong(f, piece, "2001 bytes where 2000");

		f = fixture_new();
		bytes_put_u32(&f->stream, 0x7fffffff);
		assert_wrong(f, piece, "more than");

		f = fixture_new();
		for (unsigned i = 0; i < 100; i++)
			bytes_put_u32(&f->stream, 0);
		assert_wrong(f, piece, "without end");

		f = fixture_new();
		bytes_put(&message, "GET / HTTP/1.0\r\n\r\n", 18);
		put_record(&f->stream, &message, SIZE_MAX);
		assert_wrong(f, piece, "no RPC message");
		bytes_free(&message);

		f = fixture_new();
		put_reply_header(&message, add_call(f, false)->call.msg.xid);
		message.len = 23;
		put_record(&f->stream, &message, 7);
		assert_wrong(f, piece, "within its RPC header");
		bytes_free(&message);

		f = fixture_new();
		put_record(&f->stream, &message, 7);
		assert_wrong(f, piece, "record of 0 bytes");

		f = fixture_new();
		add_payload(f, 8, 1000, 4, SIZE_MAX);
		assert_wrong(f, piece, "goes on behind its payload");

		f = fixture_new();
		add_payload(f, 8, 100000, 5, 60000);
		assert_wrong(f, piece, "goes on behind its payload");

		f = fixture_new();
		add_payload(f, 8, 1000, 0, SIZE_MAX);
		wire_store_u32(f->stream.data + 4 + 24 + 12, 1001);
		assert_wrong(f, piece, "payload of 1001 bytes that ends after 1000");

		f = fixture_new();
		add_payload(f, 8, 100000, 0, SIZE_MAX);
		wire_store_u32(f->stream.data + 4 + 24 + 12, PAYLOAD);
		assert_wrong(f, piece, "ends after 100000");

		f = fixture_new();
		add_payload(f, 8, 1000, 0, SIZE_MAX);
		wire_store_u32(f->stream.data + 4 + 24 + 12, 0xffffffff);
		assert_wrong(f, piece, "in front of a reply's payload");

		f = fixture_new();
		add_payload(f, 8, 1000, 0, SIZE_MAX);
		wire_store_u32(f->stream.data + 4 + 24 + 12, PAYLOAD);
		f->items[0].call.max_reply = PAYLOAD;
		assert_wrong(f, piece, "in a reply of at most");

		f = fixture_new();
		struct item *item = add_reply(f, 40, SIZE_MAX);
		wire_store_u32(item->head.data, 0xbadbadba);
		wire_store_u32(f->stream.data + 28, 0xbadbadba);
		assert_wrong(f, piece, "results of a reply");

		f = fixture_new();
		item = add_server_call(f, 40, SIZE_MAX);
		wire_store_u32(item->head.data, 0xbadbadba);
		wire_store_u32(f->stream.data + 44, 0xbadbadba);
		assert_wrong(f, piece, "arguments of a call");
	}
}

static int any_reply(void *arg, struct rpc_call *call, const struct rpc_msg_header *header,
	const uint8_t *data, size_t len, size_t sink_len, size_t wire_len)
{
	((struct item *)call)->done = true;
	assert_true(sink_len <= PAYLOAD);
	assert_true(len + sink_len <= MAX_REPLY);
	return 0;
}

static int any_call(void *arg, const struct rpc_msg_call *msg, const uint8_t *data, size_t len)
{
	assert_true(len <= MAX_CALL);
	return 0;
}

/* Good streams with some bytes changed: whatever comes out, memory stays whole. */
static void test_mutated(void **state)
{
	static const struct rpc_intake_ops any = {on_find, any_reply, any_call};
	unsigned wrong = 0;

	srand(3);
	for (unsigned round = 0; round < 4000; round++) {
		struct fixture *f = fixture_new();
		size_t fragment = 1 + random_size(4000);

		add_reply(f, random_size(200), fragment);
		add_payload(f, random_size(100), random_size(40000), 0, fragment);
		add_server_call(f, random_size(200), fragment);
		add_payload(f, random_size(100), random_size(4000), 0, fragment);
		f->in.ops = &any;
		for (int n = rand() % 4; n >= 0; n--)
			f->stream.data[(size_t)rand() % f->stream.len] ^=
				(uint8_t)(rand() % 3 ? 1 << rand() % 8 : rand());
		wrong += feed(f, 0) != 0;
		assert_true(f->in.kept_cap <= 2 * MAX_REPLY);
		fixture_free(f);
	}
	assert_true(wrong > 400 && wrong < 4000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_piece),
		cmocka_unit_test(test_random),
		cmocka_unit_test(test_payload_is_received_directly),
		cmocka_unit_test(test_asked_seldom),
		cmocka_unit_test(test_rejected),
		cmocka_unit_test(test_stop),
		cmocka_unit_test(test_garbage),
		cmocka_unit_test(test_mutated),
	};
	return cmocka_run_group_tests_name("intake", tests, NULL, NULL);
}
