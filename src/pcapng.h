/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_PCAPNG_H
#define VSOCKFS_PCAPNG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

/*
 * Blocks of a pcapng file (draft-ietf-opsawg-pcapng) in this machine's byte order, and the packets
 * in them. What dissects NFS knows it on TCP, so a stream of any kind is written as TCP over IPv4
 * between two addresses that belong to nobody, without Ethernet (LINKTYPE_RAW), port 2049 at the
 * server. Checksums of TCP are left 0, which readers take as not known.
 */

#define PCAPNG_CLIENT UINT32_C(0xc0000201) /* 192.0.2.1 */
#define PCAPNG_SERVER UINT32_C(0xc0000202) /* 192.0.2.2 */
#define PCAPNG_PORT   2049

#define PCAPNG_HEADERS	   40	 /* bytes of IPv4 and TCP */
#define PCAPNG_SEGMENT_MAX 65480 /* bytes of payload in one packet */
/* Most bytes of one packet's block besides its payload. */
#define PCAPNG_PACKET_MORE 96

/* Writes blocks one behind the other; what does not fit is left out, and `full` set. */
struct pcapng_out {
	uint8_t *data;
	size_t size, len;
	bool full;
};

#define PCAPNG_FIN 0x01
#define PCAPNG_SYN 0x02
#define PCAPNG_RST 0x04
#define PCAPNG_PSH 0x08
#define PCAPNG_ACK 0x10

struct pcapng_packet {
	uint32_t interface;
	uint64_t time; /* ns since the epoch */
	bool sent;     /* by the client */
	uint16_t port; /* the client's */
	uint32_t seq, ack;
	uint8_t flags;		 /* PCAPNG_* */
	uint32_t len;		 /* bytes of payload, at most PCAPNG_SEGMENT_MAX */
	uint32_t kept;		 /* bytes of them that are in the file, too */
	const struct iovec *iov; /* where they are, */
	size_t skip;		 /* behind so many bytes */
	uint64_t dropped;	 /* packets lost before this one */
};

void pcapng_put_section(struct pcapng_out *out, const char *application);
/* Interfaces count from 0 in the order of their blocks. `snaplen` 0: no limit. */
void pcapng_put_interface(
	struct pcapng_out *out, const char *name, const char *description, uint32_t snaplen);
/* Names for the two addresses. */
void pcapng_put_names(struct pcapng_out *out, const char *client, const char *server);
void pcapng_put_packet(struct pcapng_out *out, const struct pcapng_packet *packet);
/* At the end: packets seen and lost on the interface. */
void pcapng_put_statistics(
	struct pcapng_out *out, uint32_t interface, uint64_t time, uint64_t seen, uint64_t lost);

#endif
