/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_VSOCK_ADDRESS_H
#define VSOCKFS_VSOCK_ADDRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

/*
 * Where a server is, and the source words that name it:
 *   CID:/path, host:/path, local:/path, vsock:CID:/path   AF_VSOCK (host is 2, local is 1)
 *   unix:/path/to/socket:/export                            Unix-domain stream
 *   tcp:host[:port]:/export, tcp:[v6][:port]:/export        TCP
 */

enum address_proto { ADDRESS_VSOCK, ADDRESS_UNIX, ADDRESS_TCP };

#define ADDRESS_DEFAULT_PORT 2049
#define ADDRESS_HOST_MAX     256
/* Longest universal address with its NUL: a Unix path or an IPv6 address with its port. */
#define ADDRESS_UADDR_MAX (sizeof(((struct sockaddr_un *)0)->sun_path) + 32)

struct address {
	enum address_proto proto;
	uint32_t cid;		     /* vsock */
	uint32_t port;		     /* vsock and tcp, host order */
	char host[ADDRESS_HOST_MAX]; /* tcp: name or number; unix: path of the socket, '@' first for
					abstract */
};

/*
 * Splits `source` into the server's address and the export's path within it (a pointer into
 * `source`; always starts with '/'). 0, or -EINVAL with *why set to a constant
 * sentence fit for "vsockfs: SOURCE: %s". The port is ADDRESS_DEFAULT_PORT unless the source names
 * one.
 */
int address_parse_source(
	const char *source, struct address *address, const char **export_path, const char **why);

/*
 * A server as another one names it in fs_locations (RFC 8881, 11.16), if that is a vsock address:
 * "vsock:CID", the universal address "vsock:CID.PORT", or a CID alone.
 */
bool address_parse_location(const char *server, struct address *address);

/* The same place, by the same words. */
bool address_same(const struct address *a, const struct address *b);

/* RPC network id of the transport: "vsock", "unix", "tcp" or "tcp6" (a numeric IPv6 host). */
const char *address_netid(const struct address *address);

/*
 * Universal address as RFC 5665 has it for tcp ("h1.h2.h3.h4.p1.p2"), "vsock:CID.PORT" for vsock,
 * the path for unix. Returns `out`.
 */
const char *address_uaddr(const struct address *address, char *out, size_t size);

/* For people: "vsock 2 port 2049", "unix socket /run/x", "tcp 10.0.0.1 port 2049". Returns `out`.
 */
const char *address_describe(const struct address *address, char *out, size_t size);

/*
 * The socket address to connect to. TCP names are resolved here and this may block: call it
 * before mounting, or on numeric hosts. 0, -errno, or -EHOSTUNREACH for a name without an address.
 */
int address_resolve(const struct address *address, struct sockaddr_storage *sa, socklen_t *len);

#endif
