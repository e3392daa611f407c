/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_GATEWAY_INET_H
#define VSOCKFS_GATEWAY_INET_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

/* Numeric IPv4 and IPv6 addresses, and networks of them. */

struct inet {
	sa_family_t family; /* AF_INET, AF_INET6, or AF_UNSPEC for none */
	uint8_t bytes[16];  /* 4 of them for AF_INET; the rest are zero */
};

struct inet_net {
	struct inet address; /* with the host's bits zero; AF_UNSPEC for no network */
	unsigned bits;	     /* of the prefix */
};

#define INET_TEXT_MAX (INET6_ADDRSTRLEN + 4) /* with a "/128" */

/* False when `text` is no numeric address. */
bool inet_parse(const char *text, struct inet *inet);
/* "ADDRESS/BITS". False when it is none, *host_bits set when only bits of the host stand in it. */
bool inet_parse_net(const char *text, struct inet_net *net, bool *host_bits);

/* Both return `out`, of INET_TEXT_MAX bytes. */
const char *inet_text(const struct inet *inet, char *out);
const char *inet_net_text(const struct inet_net *net, char *out);

bool inet_equal(const struct inet *a, const struct inet *b);
bool inet_net_has(const struct inet_net *net, const struct inet *inet);
/* Whether the two have an address in common. */
bool inet_net_overlaps(const struct inet_net *a, const struct inet_net *b);
/* The network's address number `host`; false when it has not that many. */
bool inet_net_host(const struct inet_net *net, uint32_t host, struct inet *inet);

socklen_t inet_sockaddr(const struct inet *inet, uint16_t port, struct sockaddr_storage *sa);
/* AF_UNSPEC for a family that is neither. */
void inet_from_sockaddr(const struct sockaddr_storage *sa, struct inet *inet, uint16_t *port);

#endif
