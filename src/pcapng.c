/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "pcapng.h"

#include <string.h>

#include "util/wire.h"

#define BLOCK_INTERFACE	 1
#define BLOCK_NAMES	 4
#define BLOCK_STATISTICS 5
#define BLOCK_PACKET	 6
#define BLOCK_SECTION	 UINT32_C(0x0a0d0d0a)

#define BYTE_ORDER_MAGIC UINT32_C(0x1a2b3c4d)
#define LINKTYPE_RAW	 101

#define OPT_END	       0
#define SHB_USERAPPL   4
#define IF_NAME	       2
#define IF_DESCRIPTION 3
#define IF_TSRESOL     9
#define EPB_FLAGS      2
#define EPB_DROPCOUNT  4
#define ISB_IFRECV     4
#define ISB_IFDROP     5
#define NRB_END	       0
#define NRB_IPV4       1

#define DIRECTION_IN  1
#define DIRECTION_OUT 2

static void put(struct pcapng_out *out, const void *data, size_t len)
{
	if (out->full || len > out->size - out->len) {
		out->full = true;
		return;
	}
	if (len > 0)
		memcpy(out->data + out->len, data, len);
	out->len += len;
}

static void put_u16(struct pcapng_out *out, uint16_t v)
{
	put(out, &v, sizeof(v));
}

static void put_u32(struct pcapng_out *out, uint32_t v)
{
	put(out, &v, sizeof(v));
}

static void put_time(struct pcapng_out *out, uint64_t time)
{
	put_u32(out, (uint32_t)(time >> 32));
	put_u32(out, (uint32_t)time);
}

static void put_padding(struct pcapng_out *out, size_t len)
{
	static const uint8_t zeros[4];

	put(out, zeros, wire_pad((uint32_t)len));
}

static void put_option(struct pcapng_out *out, uint16_t code, const void *data, size_t len)
{
	put_u16(out, code);
	put_u16(out, (uint16_t)len);
	put(out, data, len);
	put_padding(out, len);
}

static void put_text(struct pcapng_out *out, uint16_t code, const char *text)
{
	size_t len = strnlen(text, 1024);

	put_option(out, code, text, len);
}

/* Returns where it begins. The length follows at its end. */
static size_t begin_block(struct pcapng_out *out, uint32_t type)
{
	size_t at = out->len;

	put_u32(out, type);
	put_u32(out, 0);
	return at;
}

/* A block that is not whole is taken back. */
static void end_block(struct pcapng_out *out, size_t at)
{
	uint32_t len = (uint32_t)(out->len - at) + 4;

	put_u32(out, len);
	if (out->full)
		out->len = at;
	else
		memcpy(out->data + at + 4, &len, sizeof(len));
}

void pcapng_put_section(struct pcapng_out *out, const char *application)
{
	static const uint8_t unknown_length[8] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
	size_t at = begin_block(out, BLOCK_SECTION);

	put_u32(out, BYTE_ORDER_MAGIC);
	put_u16(out, 1);
	put_u16(out, 0);
	put(out, unknown_length, sizeof(unknown_length));
	put_text(out, SHB_USERAPPL, application);
	put_u32(out, OPT_END);
	end_block(out, at);
}

void pcapng_put_interface(
	struct pcapng_out *out, const char *name, const char *description, uint32_t snaplen)
{
	static const uint8_t nanoseconds = 9;
	size_t at = begin_block(out, BLOCK_INTERFACE);

	put_u16(out, LINKTYPE_RAW);
	put_u16(out, 0);
	put_u32(out, snaplen);
	put_text(out, IF_NAME, name);
	put_text(out, IF_DESCRIPTION, description);
	put_option(out, IF_TSRESOL, &nanoseconds, sizeof(nanoseconds));
	put_u32(out, OPT_END);
	end_block(out, at);
}

static void put_name(struct pcapng_out *out, uint32_t address, const char *name)
{
	size_t len = strnlen(name, 255);
	uint8_t raw[4];

	wire_store_u32(raw, address);
	put_u16(out, NRB_IPV4);
	put_u16(out, (uint16_t)(sizeof(raw) + len + 1));
	put(out, raw, sizeof(raw));
	put(out, name, len);
	put(out, "", 1);
	put_padding(out, len + 1);
}

void pcapng_put_names(struct pcapng_out *out, const char *client, const char *server)
{
	size_t at = begin_block(out, BLOCK_NAMES);

	put_name(out, PCAPNG_CLIENT, client);
	put_name(out, PCAPNG_SERVER, server);
	put_u32(out, NRB_END);
	end_block(out, at);
}

static void store_u16(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static uint16_t ip_checksum(const uint8_t header[20])
{
	uint32_t sum = 0;

	for (unsigned i = 0; i < 20; i += 2)
		sum += (uint32_t)header[i] << 8 | header[i + 1];
	sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t) ~((sum & 0xffff) + (sum >> 16));
}

static void put_headers(struct pcapng_out *out, const struct pcapng_packet *packet)
{
	/* version 4 and 5 words; don't fragment; 64 hops; TCP: 5 words, the widest window */
	uint8_t head[PCAPNG_HEADERS] = {
		[0] = 0x45, [6] = 0x40, [8] = 64, [9] = 6, [32] = 0x50, [34] = 0xff, [35] = 0xff};

	store_u16(head + 2, PCAPNG_HEADERS + packet->len);
	wire_store_u32(head + 12, packet->sent ? PCAPNG_CLIENT : PCAPNG_SERVER);
	wire_store_u32(head + 16, packet->sent ? PCAPNG_SERVER : PCAPNG_CLIENT);
	store_u16(head + 10, ip_checksum(head));
	store_u16(head + 20, packet->sent ? packet->port : PCAPNG_PORT);
	store_u16(head + 22, packet->sent ? PCAPNG_PORT : packet->port);
	wire_store_u32(head + 24, packet->seq);
	wire_store_u32(head + 28, packet->ack);
	head[33] = packet->flags;
	put(out, head, sizeof(head));
}

static void put_iov(struct pcapng_out *out, const struct iovec *iov, size_t skip, size_t len)
{
	for (; len > 0; iov++) {
		if (skip >= iov->iov_len) {
			skip -= iov->iov_len;
			continue;
		}
		size_t n = iov->iov_len - skip < len ? iov->iov_len - skip : len;
		put(out, (const uint8_t *)iov->iov_base + skip, n);
		len -= n;
		skip = 0;
	}
}

void pcapng_put_packet(struct pcapng_out *out, const struct pcapng_packet *packet)
{
	const uint32_t direction = packet->sent ? DIRECTION_OUT : DIRECTION_IN;
	size_t at = begin_block(out, BLOCK_PACKET);

	put_u32(out, packet->interface);
	put_time(out, packet->time);
	put_u32(out, PCAPNG_HEADERS + packet->kept);
	put_u32(out, PCAPNG_HEADERS + packet->len);
	put_headers(out, packet);
	put_iov(out, packet->iov, packet->skip, packet->kept);
	put_padding(out, packet->kept);
	put_option(out, EPB_FLAGS, &direction, sizeof(direction));
	if (packet->dropped > 0)
		put_option(out, EPB_DROPCOUNT, &packet->dropped, sizeof(packet->dropped));
	put_u32(out, OPT_END);
	end_block(out, at);
}

void pcapng_put_statistics(
	struct pcapng_out *out, uint32_t interface, uint64_t time, uint64_t seen, uint64_t lost)
{
	size_t at = begin_block(out, BLOCK_STATISTICS);

	put_u32(out, interface);
	put_time(out, time);
	put_option(out, ISB_IFRECV, &seen, sizeof(seen));
	put_option(out, ISB_IFDROP, &lost, sizeof(lost));
	put_u32(out, OPT_END);
	end_block(out, at);
}
