/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "gateway/inet.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "gateway/text.h"

static unsigned inet_size(const struct inet *inet)
{
	return inet->family == AF_INET ? 4 : 16;
}

/* The bits of byte `i` that a prefix of `bits` bits covers. */
static uint8_t inet_mask(unsigned bits, unsigned i)
{
	if (bits >= 8 * (i + 1))
		return 0xff;
	return bits <= 8 * i ? 0 : (uint8_t)(0xff << (8 - (bits - 8 * i)));
}

bool inet_parse(const char *text, struct inet *inet)
{
	memset(inet, 0, sizeof(*inet));
	inet->family = strchr(text, ':') ? AF_INET6 : AF_INET;
	if (inet_pton(inet->family, text, inet->bytes) == 1)
		return true;
	inet->family = AF_UNSPEC;
	return false;
}

bool inet_parse_net(const char *text, struct inet_net *net, bool *host_bits)
{
	char address[INET6_ADDRSTRLEN];
	const char *slash = strchr(text, '/');
	uint64_t bits;

	*host_bits = false;
	if (!slash || (size_t)(slash - text) >= sizeof(address))
		return false;
	memcpy(address, text, (size_t)(slash - text));
	address[slash - text] = '\0';
	if (!inet_parse(address, &net->address) ||
		!text_number(slash + 1, 8 * inet_size(&net->address), &bits))
		return false;
	net->bits = (unsigned)bits;
	for (unsigned i = 0; i < inet_size(&net->address); i++)
		if (net->address.bytes[i] & ~inet_mask(net->bits, i))
			*host_bits = true;
	return !*host_bits;
}

const char *inet_text(const struct inet *inet, char *out)
{
	if (inet->family == AF_UNSPEC || !inet_ntop(inet->family, inet->bytes, out, INET_TEXT_MAX))
		snprintf(out, INET_TEXT_MAX, "none");
	return out;
}

const char *inet_net_text(const struct inet_net *net, char *out)
{
	size_t len = strlen(inet_text(&net->address, out));

	snprintf(out + len, INET_TEXT_MAX - len, "/%u", net->bits);
	return out;
}

bool inet_equal(const struct inet *a, const struct inet *b)
{
	return a->family == b->family && memcmp(a->bytes, b->bytes, sizeof(a->bytes)) == 0;
}

bool inet_net_has(const struct inet_net *net, const struct inet *inet)
{
	if (net->address.family != inet->family || inet->family == AF_UNSPEC)
		return false;
	for (unsigned i = 0; i < inet_size(inet); i++)
		if ((net->address.bytes[i] ^ inet->bytes[i]) & inet_mask(net->bits, i))
			return false;
	return true;
}

bool inet_net_overlaps(const struct inet_net *a, const struct inet_net *b)
{
	return a->bits <= b->bits ? inet_net_has(a, &b->address) : inet_net_has(b, &a->address);
}

bool inet_net_host(const struct inet_net *net, uint32_t host, struct inet *inet)
{
	unsigned size = inet_size(&net->address), bits = 8 * size - net->bits;

	if (net->address.family == AF_UNSPEC || (bits < 32 && host >> bits != 0))
		return false;
	*inet = net->address;
	for (unsigned i = 0; i < 4; i++)
		inet->bytes[size - 1 - i] |= (uint8_t)(host >> 8 * i);
	return true;
}

socklen_t inet_sockaddr(const struct inet *inet, uint16_t port, struct sockaddr_storage *sa)
{
	struct sockaddr_in *in = (struct sockaddr_in *)sa;
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)sa;

	memset(sa, 0, sizeof(*sa));
	sa->ss_family = inet->family;
	if (inet->family == AF_INET) {
		memcpy(&in->sin_addr, inet->bytes, sizeof(in->sin_addr));
		in->sin_port = htons(port);
		return sizeof(*in);
	}
	memcpy(&in6->sin6_addr, inet->bytes, sizeof(in6->sin6_addr));
	in6->sin6_port = htons(port);
	return sizeof(*in6);
}

void inet_from_sockaddr(const struct sockaddr_storage *sa, struct inet *inet, uint16_t *port)
{
	const struct sockaddr_in *in = (const struct sockaddr_in *)sa;
	const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)sa;

	memset(inet, 0, sizeof(*inet));
	*port = 0;
	if (sa->ss_family == AF_INET) {
		inet->family = AF_INET;
		memcpy(inet->bytes, &in->sin_addr, sizeof(in->sin_addr));
		*port = ntohs(in->sin_port);
	} else if (sa->ss_family == AF_INET6) {
		inet->family = AF_INET6;
		memcpy(inet->bytes, &in6->sin6_addr, sizeof(in6->sin6_addr));
		*port = ntohs(in6->sin6_port);
	}
}
