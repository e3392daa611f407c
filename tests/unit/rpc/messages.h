/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef TESTS_RPC_MESSAGES_H
#define TESTS_RPC_MESSAGES_H

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "rpc/conn.h"
#include "rpc/record.h"
#include "util/wire.h"

/*
 * Messages of a made-up server. Results of a call with a sink are: opaque head<>, opaque
 * payload<>; its payload goes to the sink. Of other calls: any bytes.
 */

struct bytes {
	uint8_t *data;
	size_t len, cap;
};

static inline uint8_t *bytes_add(struct bytes *b, size_t len)
{
	while (b->len + len > b->cap) {
		b->cap = b->cap ? 2 * b->cap : 4096;
		b->data = realloc(b->data, b->cap);
		if (!b->data)
			abort();
	}
	b->len += len;
	return b->data + b->len - len;
}

static inline void bytes_put(struct bytes *b, const void *data, size_t len)
{
	uint8_t *p = bytes_add(b, len);
	if (len > 0)
		memcpy(p, data, len);
}

static inline void bytes_put_u32(struct bytes *b, uint32_t v)
{
	wire_store_u32(bytes_add(b, 4), v);
}

static inline void bytes_put_opaque(struct bytes *b, const void *data, size_t len)
{
	static const uint8_t zero[3];

	bytes_put_u32(b, (uint32_t)len);
	bytes_put(b, data, len);
	bytes_put(b, zero, wire_pad(len));
}

static inline void bytes_free(struct bytes *b)
{
	free(b->data);
	*b = (struct bytes){0};
}

/* A record of `message` in fragments of `fragment` bytes. */
static inline void put_record(struct bytes *stream, const struct bytes *message, size_t fragment)
{
	size_t done = 0;

	do {
		size_t left = message->len - done, n = left < fragment ? left : fragment;
		bytes_put_u32(stream, (uint32_t)n | (n == left ? RECORD_LAST : 0));
		bytes_put(stream, message->data + done, n);
		done += n;
	} while (done < message->len);
}

static inline void put_reply_header(struct bytes *message, uint32_t xid)
{
	const uint32_t words[] = {xid, 1, 0, 0, 0, 0};

	for (unsigned i = 0; i < 6; i++)
		bytes_put_u32(message, words[i]);
}

static inline void put_call_header(struct bytes *message, uint32_t xid, uint32_t proc)
{
	const uint32_t words[] = {xid, 0, 2, 0x40000000, 1, proc, 0, 0, 0, 0};

	for (unsigned i = 0; i < 10; i++)
		bytes_put_u32(message, words[i]);
}

/* For rpc_call.sink: `room` bytes at `data` take the payload. */
static inline int find_payload(const uint8_t *data, size_t len, size_t body, uint8_t *to,
	size_t room, struct rpc_sink *sink)
{
	struct wire_in in;
	uint32_t head_len;

	wire_in_init(&in, data, len);
	wire_get_raw(&in, body);
	wire_get_opaque(&in, 100000, &head_len);
	uint32_t payload_len = wire_get_u32(&in);
	if (in.bad)
		return -EAGAIN;
	if (payload_len == 0)
		return 0;
	if (payload_len > room)
		return -EPROTO;
	*sink = (struct rpc_sink){.head = in.pos, .len = payload_len, .data = to};
	return 1;
}

#endif
