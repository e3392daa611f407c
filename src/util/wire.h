/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_UTIL_WIRE_H
#define VSOCKFS_UTIL_WIRE_H

#include <endian.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/*
 * Bounded cursors over XDR (RFC 4506) in memory. Both have a sticky error: after the first
 * overrun every put is ignored and every get returns zero, so callers check `bad` once, at the end
 * of a whole message. Nothing here allocates; opaque data is returned as a pointer
 * into the message. libtirpc's xdrmem does the RPC headers; NFS results are decoded with these,
 * because xdrmem would allocate what a peer's length says.
 */

struct wire_out {
	uint8_t *data;
	size_t len, cap; /* bytes */
	bool bad;
};

struct wire_in {
	const uint8_t *data;
	size_t pos, len; /* bytes */
	bool bad;
	bool cut; /* bad because the bytes ended: a longer prefix of the message may do */
};

static inline void wire_out_init(struct wire_out *out, void *data, size_t cap)
{
	*out = (struct wire_out){.data = data, .cap = cap};
}

static inline void wire_in_init(struct wire_in *in, const void *data, size_t len)
{
	*in = (struct wire_in){.data = data, .len = len};
}

/* Bytes of padding that follow `len` bytes of opaque data. */
static inline size_t wire_pad(size_t len)
{
	return -len & 3;
}

/* Room for `len` bytes (a multiple of four is the caller's duty), or NULL. */
static inline uint8_t *wire_put_raw(struct wire_out *out, size_t len)
{
	if (out->bad || len > out->cap - out->len) {
		out->bad = true;
		return NULL;
	}
	uint8_t *p = out->data + out->len;
	out->len += len;
	return p;
}

static inline void wire_store_u32(uint8_t *p, uint32_t v)
{
	v = htobe32(v);
	memcpy(p, &v, sizeof(v));
}

static inline uint32_t wire_load_u32(const uint8_t *p)
{
	uint32_t v;
	memcpy(&v, p, sizeof(v));
	return be32toh(v);
}

static inline void wire_put_u32(struct wire_out *out, uint32_t v)
{
	uint8_t *p = wire_put_raw(out, 4);
	if (p)
		wire_store_u32(p, v);
}

static inline void wire_put_u64(struct wire_out *out, uint64_t v)
{
	wire_put_u32(out, (uint32_t)(v >> 32));
	wire_put_u32(out, (uint32_t)v);
}

static inline void wire_put_bool(struct wire_out *out, bool v)
{
	wire_put_u32(out, v ? 1 : 0);
}

/* opaque data[len]: fixed length, padded. */
static inline void wire_put_fixed(struct wire_out *out, const void *data, size_t len)
{
	uint8_t *p = wire_put_raw(out, len + wire_pad(len));
	if (p) {
		if (len > 0)
			memcpy(p, data, len);
		memset(p + len, 0, wire_pad(len));
	}
}

/* opaque data<>: length, bytes, padding. */
static inline void wire_put_opaque(struct wire_out *out, const void *data, size_t len)
{
	wire_put_u32(out, (uint32_t)len);
	wire_put_fixed(out, data, len);
}

static inline size_t wire_left(const struct wire_in *in)
{
	return in->bad ? 0 : in->len - in->pos;
}

/* The next `len` bytes, or NULL. */
static inline const uint8_t *wire_get_raw(struct wire_in *in, size_t len)
{
	if (in->bad)
		return NULL;
	if (len > in->len - in->pos) {
		in->bad = in->cut = true;
		return NULL;
	}
	const uint8_t *p = in->data + in->pos;
	in->pos += len;
	return p;
}

static inline uint32_t wire_get_u32(struct wire_in *in)
{
	const uint8_t *p = wire_get_raw(in, 4);
	return p ? wire_load_u32(p) : 0;
}

static inline uint64_t wire_get_u64(struct wire_in *in)
{
	uint64_t hi = wire_get_u32(in);
	return hi << 32 | wire_get_u32(in);
}

/* A boolean other than 0 and 1 is an error. */
static inline bool wire_get_bool(struct wire_in *in)
{
	uint32_t v = wire_get_u32(in);
	if (v > 1)
		in->bad = true;
	return v == 1;
}

/* opaque data[len]: the bytes, padding skipped; NULL on error. */
static inline const uint8_t *wire_get_fixed(struct wire_in *in, size_t len)
{
	if (len > SIZE_MAX - 3)
		in->bad = true;
	return wire_get_raw(in, len + wire_pad(len));
}

/* opaque data<max>: a pointer into the message, NULL on error or beyond `max`. */
static inline const uint8_t *wire_get_opaque(struct wire_in *in, size_t max, uint32_t *len)
{
	*len = wire_get_u32(in);
	if (in->bad || *len > max) {
		in->bad = true;
		*len = 0;
		return NULL;
	}
	return wire_get_fixed(in, *len);
}

#endif
