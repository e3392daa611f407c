/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "rpc/secure.h"

#include <errno.h>
#include <string.h>

#include "rpc/record.h"
#include "util/wire.h"

#define SECURE_AUTH_TLS 7
#define SECURE_VERIFIER 12 /* in a reply: behind xid, direction and status */

static void on_sent(struct stream_msg *out, int err)
{
	struct rpc_secure *secure =
		(struct rpc_secure *)((char *)out - offsetof(struct rpc_secure, out));

	secure->asked = !err;
}

static void receive(struct rpc_secure *secure, struct stream *stream)
{
	stream_recv(
		stream, secure->reply + secure->got, sizeof(secure->reply) - secure->got, false);
}

int rpc_secure_begin(struct rpc_secure *secure, struct stream *stream)
{
	/* AUTH_TLS and AUTH_NONE, both of no bytes */
	static const uint8_t wire[16] = {0, 0, 0, SECURE_AUTH_TLS};
	struct rpc_cred *cred;
	int err = rpc_cred_new_wire(0, wire, sizeof(wire), &cred);

	if (err)
		return err;
	uint8_t *end = secure->call + sizeof(secure->call);
	uint8_t *start = rpc_msg_put_call(end, 0, &secure->msg, cred);
	rpc_cred_unref(cred);
	secure->out = (struct stream_msg){
		.iov = {{start, (size_t)(end - start)}}, .niov = 1, .sent = on_sent};
	secure->got = 0;
	stream_send(stream, &secure->out);
	receive(secure, stream);
	return 0;
}

/* Of all that has come: 0, -EAGAIN or an error. */
static int judge(const struct rpc_secure *secure, const char **why)
{
	static const uint8_t starttls[] = {
		0, 0, 0, 0, 0, 0, 0, 8, 'S', 'T', 'A', 'R', 'T', 'T', 'L', 'S'};
	const uint8_t *record = secure->reply + 4;
	struct rpc_msg_header header;

	*why = "what answers there does not speak RPC";
	if (secure->got < 4)
		return -EAGAIN;
	uint32_t mark = wire_load_u32(secure->reply);
	size_t len = mark & ~RECORD_LAST;
	if (!(mark & RECORD_LAST) || len > sizeof(secure->reply) - 4 || !secure->asked)
		return -EPROTO;
	if (secure->got < 4 + len)
		return -EAGAIN;
	enum rpc_msg_kind kind = rpc_msg_get(record, len, &header);
	bool reply = kind == RPC_MSG_REPLY || kind == RPC_MSG_REJECTED;
	if (!reply || header.call.xid != secure->msg.xid)
		return -EPROTO;
	*why = "the server does not offer TLS (xprtsec=)";
	if (kind == RPC_MSG_REJECTED || len < SECURE_VERIFIER + sizeof(starttls) ||
		memcmp(record + SECURE_VERIFIER, starttls, sizeof(starttls)) != 0)
		return -EKEYREJECTED;
	/* Whoever puts words in front of the handshake must not have them taken for the server's.
	 */
	*why = "plain text follows the server's answer that it speaks TLS";
	return secure->got > 4 + len ? -EPROTO : 0;
}

int rpc_secure_received(
	struct rpc_secure *secure, struct stream *stream, ssize_t result, const char **why)
{
	*why = NULL;
	if (result < 0)
		return (int)result;
	if (result == 0) {
		*why = "the server closed the connection when it was asked for TLS";
		return -ECONNRESET;
	}
	secure->got += (size_t)result;
	int err = judge(secure, why);
	if (err == -EAGAIN)
		receive(secure, stream);
	return err ? err : stream_secure(stream, secure->context);
}
