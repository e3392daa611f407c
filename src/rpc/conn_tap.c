/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>

#include "rpc/conn_priv.h"
#include "util/wire.h"

void conn_tap_event(struct rpc_conn *conn, enum rpc_tap_event event)
{
	const struct rpc_tap_record record = {.event = event};

	if (rpc_tap_on(conn->tap))
		conn->tap->record(conn->tap, &conn->flow, &record);
}

void conn_tap_sent(struct rpc_conn *conn, const struct stream_msg *msg, size_t open)
{
	struct rpc_tap_record record = {.event = RPC_TAP_SENT, .niov = msg->niov, .open = open};

	memcpy(record.iov, msg->iov, msg->niov * sizeof(*msg->iov));
	conn->tap->record(conn->tap, &conn->flow, &record);
}

/* How much of a reply comes before a file's data. */
static size_t open_bytes(
	const struct rpc_call *call, const uint8_t *record, size_t len, size_t body)
{
	switch (rpc_cred_gss(call->cred)) {
	case RPC_SEC_KRB5P: return body;
	case RPC_SEC_KRB5I:
		/* behind the length and the sequence number of rpc_gss_integ_data */
		return len < body + 8 ? len : call->without_data(call, record, len, body + 8);
	default: return call->without_data(call, record, len, body);
	}
}

void conn_tap_received(
	struct rpc_conn *conn, const struct rpc_call *call, const uint8_t *data, size_t len)
{
	static uint8_t padding[4];
	const struct rpc_intake *in = &conn->intake;
	size_t body = in->header.body, kept = body + len;
	uint8_t *start = (uint8_t *)(uintptr_t)data - body;
	uint8_t mark[4];
	struct rpc_tap_record record = {.event = RPC_TAP_RECEIVED,
		.iov = {{mark, sizeof(mark)}, {start, kept}, {in->sink.data, in->sunk},
			{padding, in->padding}},
		.niov = 4,
		.open = sizeof(mark) + kept};

	wire_store_u32(mark, RECORD_LAST | (uint32_t)(kept + in->sunk + in->padding));
	if (call && call->without_data && !in->header.error)
		record.open = sizeof(mark) + open_bytes(call, start, kept, body);
	else if (in->sunk == 0)
		record.open += in->padding;
	conn->tap->record(conn->tap, &conn->flow, &record);
}

void conn_tap_garbage(struct rpc_conn *conn, size_t len)
{
	const struct rpc_tap_record record = {.event = RPC_TAP_RECEIVED,
		.iov = {{conn->intake.buffer, len}},
		.niov = 1,
		.open = len};

	if (!conn->delivered && conn->intake.target == RPC_INTAKE_TO_BUFFER)
		conn->tap->record(conn->tap, &conn->flow, &record);
}
