/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "vsock/address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
/* after <sys/socket.h> */
#include <linux/vm_sockets.h>

#define ADDRESS_UNIX_MAX (sizeof(((struct sockaddr_un *)0)->sun_path) - 1)

static const char why_shape[] =
	"write CID:/path (2:/path for the host), unix:/socket:/path or tcp:host:/path";
static const char why_host[] =
	"a host by name or number takes tcp: in front (tcp:host:/path); this machine's own host is "
	"host:/path or 2:/path";
static const char why_export[] = "the export's path begins with '/', as in 2:/export";
static const char why_cid[] = "a CID is a number from 0 to 4294967294, 'host' (2) or 'local' (1)";
static const char why_any[] = "4294967295 stands for any CID and is no address; the host is 2";
static const char why_unix[] =
	"write unix:/path/to/socket:/path, or unix:@name:/path for an abstract socket";
static const char why_unix_long[] = "the path of a socket has at most 107 bytes";
static const char why_tcp[] = "write tcp:host:/path, tcp:host:port:/path or tcp:[v6]:/path";
static const char why_tcp_v6[] = "an IPv6 address takes brackets: tcp:[v6]:/path";
static const char why_tcp_long[] = "a host name has at most 255 bytes";
static const char why_port[] = "a port is a number from 1 to 65535";

/* The number that the `len` bytes at `text` are: decimal digits only, and at most `max`. */
static bool address_number(const char *text, size_t len, uint64_t max, uint64_t *value)
{
	uint64_t v = 0;

	if (len == 0)
		return false;
	for (size_t i = 0; i < len; i++) {
		if (text[i] < '0' || text[i] > '9')
			return false;
		v = v * 10 + (uint64_t)(text[i] - '0');
		if (v > max)
			return false;
	}
	*value = v;
	return true;
}

static bool address_word_is(const char *text, size_t len, const char *word)
{
	return strlen(word) == len && memcmp(text, word, len) == 0;
}

/* NULL, or why the `len` bytes at `text` are no CID. */
static const char *address_parse_cid(const char *text, size_t len, uint32_t *cid)
{
	uint64_t value;

	if (address_word_is(text, len, "host")) {
		*cid = VMADDR_CID_HOST;
	} else if (address_word_is(text, len, "local")) {
		*cid = VMADDR_CID_LOCAL;
	} else {
		if (!address_number(text, len, UINT32_MAX, &value))
			return why_cid;
		if (value == VMADDR_CID_ANY)
			return why_any;
		*cid = (uint32_t)value;
	}
	return NULL;
}

/* `text` is "CID:/path"; without the word vsock: in front, it may also be somebody's host name. */
static const char *address_parse_vsock(
	const char *text, bool named, struct address *address, const char **export_path)
{
	const char *colon = strchr(text, ':'), *why;
	size_t len;

	if (!colon)
		return why_shape;
	len = (size_t)(colon - text);
	why = address_parse_cid(text, len, &address->cid);
	if (why == why_cid && !named) {
		if (len == 0)
			return why_shape;
		if (strspn(text, "0123456789") != len && text[0] != '-')
			return why_host;
	}
	address->proto = ADDRESS_VSOCK;
	*export_path = colon + 1;
	return why;
}

/* `text` is "/path/to/socket:/path" or "@name:/path". */
static const char *address_parse_unix(
	const char *text, struct address *address, const char **export_path)
{
	const char *end = strstr(text, ":/");
	size_t len;

	if ((text[0] != '/' && text[0] != '@') || !end)
		return why_unix;
	len = (size_t)(end - text);
	if (len < 2)
		return why_unix;
	if (len > ADDRESS_UNIX_MAX)
		return why_unix_long;
	address->proto = ADDRESS_UNIX;
	memcpy(address->host, text, len);
	*export_path = end + 1;
	return NULL;
}

/* `text` is "host[:port]:/path" or "[v6][:port]:/path". */
static const char *address_parse_tcp(
	const char *text, struct address *address, const char **export_path)
{
	bool bracket = text[0] == '[';
	const char *end = strstr(text, ":/"), *host = text + bracket;
	const char *after = bracket ? strchr(host, ']') : strchr(host, ':');
	uint64_t port;

	if (!end || !after || after > end || after == host)
		return why_tcp;
	if ((size_t)(after - host) >= ADDRESS_HOST_MAX)
		return why_tcp_long;
	address->proto = ADDRESS_TCP;
	memcpy(address->host, host, (size_t)(after - host));
	if (bracket && !strchr(address->host, ':'))
		return why_tcp;
	after += bracket;
	if (after != end) {
		if (*after != ':')
			return why_tcp;
		if (!bracket && memchr(after + 1, ':', (size_t)(end - after - 1)))
			return why_tcp_v6;
		if (!address_number(after + 1, (size_t)(end - after - 1), 65535, &port) ||
			port == 0)
			return why_port;
		address->port = (uint32_t)port;
	}
	*export_path = end + 1;
	return NULL;
}

int address_parse_source(
	const char *source, struct address *address, const char **export_path, const char **why)
{
	memset(address, 0, sizeof(*address));
	address->port = ADDRESS_DEFAULT_PORT;
	if (strncmp(source, "unix:", 5) == 0)
		*why = address_parse_unix(source + 5, address, export_path);
	else if (strncmp(source, "tcp:", 4) == 0)
		*why = address_parse_tcp(source + 4, address, export_path);
	else if (strncmp(source, "vsock:", 6) == 0)
		*why = address_parse_vsock(source + 6, true, address, export_path);
	else
		*why = address_parse_vsock(source, false, address, export_path);
	if (!*why && **export_path != '/')
		*why = why_export;
	return *why ? -EINVAL : 0;
}

static bool address_is_v6(const struct address *address)
{
	return address->proto == ADDRESS_TCP && strchr(address->host, ':');
}

bool address_parse_location(const char *server, struct address *address)
{
	const char *cid = server + (strncmp(server, "vsock:", 6) == 0 ? 6 : 0);
	size_t len = strcspn(cid, ".");
	uint64_t value, port = ADDRESS_DEFAULT_PORT;

	if (!address_number(cid, len, VMADDR_CID_ANY - 1, &value))
		return false;
	if (cid[len] == '.' &&
		(cid == server || !address_number(cid + len + 1, strlen(cid + len + 1),
					  VMADDR_PORT_ANY - 1, &port)))
		return false;
	*address = (struct address){
		.proto = ADDRESS_VSOCK, .cid = (uint32_t)value, .port = (uint32_t)port};
	return true;
}

bool address_same(const struct address *a, const struct address *b)
{
	return a->proto == b->proto && a->cid == b->cid && a->port == b->port &&
	       strcmp(a->host, b->host) == 0;
}

const char *address_netid(const struct address *address)
{
	switch (address->proto) {
	case ADDRESS_VSOCK: return "vsock";
	case ADDRESS_UNIX: return "unix";
	case ADDRESS_TCP: break;
	}
	return address_is_v6(address) ? "tcp6" : "tcp";
}

const char *address_uaddr(const struct address *address, char *out, size_t size)
{
	switch (address->proto) {
	case ADDRESS_VSOCK: snprintf(out, size, "vsock:%u.%u", address->cid, address->port); break;
	case ADDRESS_UNIX: snprintf(out, size, "%s", address->host); break;
	case ADDRESS_TCP:
		snprintf(out, size, "%s.%u.%u", address->host, address->port >> 8 & 0xff,
			address->port & 0xff);
		break;
	}
	return out;
}

const char *address_describe(const struct address *address, char *out, size_t size)
{
	switch (address->proto) {
	case ADDRESS_VSOCK:
		snprintf(out, size, "vsock %u port %u", address->cid, address->port);
		break;
	case ADDRESS_UNIX: snprintf(out, size, "unix socket %s", address->host); break;
	case ADDRESS_TCP:
		snprintf(out, size, "tcp %s port %u", address->host, address->port);
		break;
	}
	return out;
}

static int address_resolve_unix(
	const struct address *address, struct sockaddr_storage *sa, socklen_t *len)
{
	struct sockaddr_un *un = (struct sockaddr_un *)sa;
	size_t n = strlen(address->host);

	if (n == 0 || n > ADDRESS_UNIX_MAX)
		return -EINVAL;
	un->sun_family = AF_UNIX;
	memcpy(un->sun_path, address->host, n + 1);
	*len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n + 1);
	if (un->sun_path[0] == '@') {
		un->sun_path[0] = '\0';
		*len -= 1; /* every byte of an abstract name counts, a NUL too */
	}
	return 0;
}

static int address_resolve_tcp(
	const struct address *address, struct sockaddr_storage *sa, socklen_t *len)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST}, *found;
	int err = getaddrinfo(address->host, NULL, &hints, &found);

	if (err == EAI_NONAME) {
		hints.ai_flags = 0;
		err = getaddrinfo(address->host, NULL, &hints, &found);
	}
	if (err == EAI_MEMORY)
		return -ENOMEM;
	if (err)
		return -EHOSTUNREACH;
	memcpy(sa, found->ai_addr, found->ai_addrlen);
	*len = found->ai_addrlen;
	freeaddrinfo(found);
	if (sa->ss_family == AF_INET6)
		((struct sockaddr_in6 *)sa)->sin6_port = htons((uint16_t)address->port);
	else
		((struct sockaddr_in *)sa)->sin_port = htons((uint16_t)address->port);
	return 0;
}

int address_resolve(const struct address *address, struct sockaddr_storage *sa, socklen_t *len)
{
	struct sockaddr_vm *vm = (struct sockaddr_vm *)sa;

	memset(sa, 0, sizeof(*sa));
	switch (address->proto) {
	case ADDRESS_UNIX: return address_resolve_unix(address, sa, len);
	case ADDRESS_TCP: return address_resolve_tcp(address, sa, len);
	case ADDRESS_VSOCK: break;
	}
	vm->svm_family = AF_VSOCK;
	vm->svm_cid = address->cid;
	vm->svm_port = address->port;
	*len = sizeof(*vm);
	return 0;
}
