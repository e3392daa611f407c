/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fuzz.h"

#include <errno.h>

#include "rpc/intake.h"
#include "util/wire.h"

/*
 * A stream of records as a connection receives it. The input's first bytes say which calls are
 * outstanding and how the stream is cut into receives; the rest is the stream. It is fed twice,
 * cut differently, and must deliver the same messages: cuts have no meaning.
 */

#define CALLS	    8
#define FIRST_XID   1000
#define MAX_CALL    2000
#define PAYLOAD_MAX 9000

struct side {
	struct rpc_intake in;
	struct rpc_call calls[CALLS];
	bool outstanding[CALLS];
	bool refuse[CALLS]; /* its results are garbage to its owner */
	uint8_t *sinks[CALLS];
	uint64_t digest; /* of all that was delivered */
	size_t wire_len;
};

static void digest(struct side *s, const void *data, size_t len)
{
	const uint8_t *p = data;

	for (size_t i = 0; i < len; i++)
		s->digest = (s->digest ^ p[i]) * UINT64_C(0x100000001b3);
}

static void digest_number(struct side *s, uint64_t v)
{
	digest(s, &v, sizeof(v));
}

/* Results are: opaque head<>, opaque payload<>. */
static int find_payload(
	struct rpc_call *call, const uint8_t *data, size_t len, size_t body, struct rpc_sink *sink)
{
	struct wire_in in;
	uint32_t head_len;

	wire_in_init(&in, data, len);
	wire_get_raw(&in, body);
	wire_get_opaque(&in, 4096, &head_len);
	uint32_t payload_len = wire_get_u32(&in);
	if (in.bad)
		return in.cut ? -EAGAIN : -EPROTO;
	if (payload_len == 0)
		return 0;
	if (payload_len > PAYLOAD_MAX)
		return -EPROTO;
	*sink = (struct rpc_sink){
		.head = in.pos, .len = payload_len, .data = call->tail[0].iov_base};
	return 1;
}

static struct rpc_call *on_find(void *arg, uint32_t xid)
{
	struct side *s = arg;
	uint32_t i = xid - FIRST_XID;

	return i < CALLS && s->outstanding[i] ? &s->calls[i] : NULL;
}

static int on_replied(void *arg, struct rpc_call *call, const struct rpc_msg_header *header,
	const uint8_t *data, size_t len, size_t sink_len, size_t wire_len)
{
	struct side *s = arg;
	size_t i = (size_t)(call - s->calls);

	fuzz_check(i < CALLS && s->outstanding[i]);
	fuzz_check(len + sink_len <= call->max_reply && sink_len <= PAYLOAD_MAX);
	fuzz_check(wire_len >= header->body + len + sink_len + 4);
	fuzz_check(header->error == 0 || header->reason != NULL);
	s->outstanding[i] = false;
	s->wire_len += wire_len;
	digest_number(s, i);
	digest_number(s, (uint64_t)header->error);
	digest_number(s, len);
	digest(s, data, len);
	digest_number(s, sink_len);
	digest(s, s->sinks[i], sink_len);
	return s->refuse[i] ? -EPROTO : 0;
}

static int on_called(void *arg, const struct rpc_msg_call *msg, const uint8_t *data, size_t len)
{
	struct side *s = arg;

	fuzz_check(len <= MAX_CALL);
	digest_number(s, msg->xid);
	digest_number(s, msg->proc);
	digest_number(s, len);
	digest(s, data, len);
	return 0;
}

static const struct rpc_intake_ops ops = {on_find, on_replied, on_called};

static void begin(struct side *s, struct fuzz_input in)
{
	static const size_t limits[] = {64, 400, 5000, 80000};

	rpc_intake_init(&s->in, MAX_CALL, &ops, s);
	s->digest = s->wire_len = 0;
	for (unsigned i = 0; i < CALLS; i++) {
		uint8_t how = fuzz_u8(&in);

		s->calls[i] = (struct rpc_call){.max_reply = limits[how & 3]};
		s->outstanding[i] = (how & 4) == 0;
		s->calls[i].sending = (how & 8) != 0;
		s->refuse[i] = (how & 16) != 0;
		s->sinks[i] = NULL;
		if ((how & 32) == 0) {
			s->sinks[i] = fuzz_alloc(PAYLOAD_MAX);
			s->calls[i].sink = find_payload;
			s->calls[i].tail[0].iov_base = s->sinks[i];
		}
		if (s->outstanding[i])
			rpc_intake_expect(&s->in, s->calls[i].max_reply);
	}
}

/* Feeds it in receives of at most `chunk` bytes, or of changing ones from `seed` on. */
static int feed(struct side *s, const uint8_t *data, size_t size, size_t chunk, uint32_t seed)
{
	size_t fed = 0;
	int r = 0;

	while (fed < size && r == 0) {
		bool wait_all;
		size_t want;
		uint8_t *to = rpc_intake_want(&s->in, &want, &wait_all);
		size_t n = chunk;

		fuzz_check(want > 0);
		if (chunk == 0) {
			seed = seed * 1664525 + 1013904223;
			n = 1 + (seed >> 24) % ((seed & 0x10000) ? 7 : 200);
		}
		n = n < want ? n : want;
		n = n < size - fed ? n : size - fed;
		memcpy(to, data + fed, n);
		fed += n;
		r = rpc_intake_got(&s->in, n);
		fuzz_check(r == 0 || r == -EPROTO);
		fuzz_check(r == 0 || s->in.why[0]);
	}
	fuzz_check(s->wire_len <= fed);
	return r;
}

static void end(struct side *s)
{
	for (unsigned i = 0; i < CALLS; i++)
		free(s->sinks[i]);
	rpc_intake_deinit(&s->in);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct side whole, cut;
	struct fuzz_input in = {data, size}, calls;
	size_t calls_len;

	calls.data = fuzz_take(&in, CALLS, &calls_len);
	calls.size = calls_len;
	uint32_t seed = fuzz_u8(&in);
	begin(&whole, calls);
	begin(&cut, calls);
	int r = feed(&whole, in.data, in.size, SIZE_MAX, 0);
	int r_cut = feed(&cut, in.data, in.size, seed == 0 ? 1 : 0, seed);
	fuzz_check(whole.digest == cut.digest);
	/* one of them may notice only at the record's end */
	if (r == 0 && r_cut == 0)
		fuzz_check(rpc_intake_idle(&whole.in) == rpc_intake_idle(&cut.in));
	end(&whole);
	end(&cut);
	return 0;
}
