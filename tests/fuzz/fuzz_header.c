/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fuzz.h"

#include <errno.h>

#include "rpc/msg.h"
#include "util/wire.h"

/* Headers of RPC messages. The input is a record's beginning. */

static void check_rejected(const struct rpc_msg_header *header)
{
	fuzz_check(header->reason && header->reason[0]);
	fuzz_check(header->error == -EACCES || header->error == -EPROTONOSUPPORT ||
		   header->error == -EPROTO);
}

/* A header that is complete stays what it is, whatever follows; a longer one was short before. */
static void check_prefix(const uint8_t *data, size_t len, enum rpc_msg_kind kind,
	const struct rpc_msg_header *header)
{
	struct rpc_msg_header part;
	uint8_t *copy = fuzz_alloc(len);

	memcpy(copy, data, len);
	enum rpc_msg_kind found = rpc_msg_get(copy, len, &part);
	if (found != RPC_MSG_SHORT) {
		fuzz_check(found == kind);
		if (kind != RPC_MSG_BAD)
			fuzz_check(part.body == header->body && part.body <= len);
	}
	if (kind != RPC_MSG_BAD && kind != RPC_MSG_SHORT)
		fuzz_check((found == RPC_MSG_SHORT) == (len < header->body));
	free(copy);
}

static void check_answer(uint32_t xid, uint32_t accept_stat)
{
	uint8_t room[RPC_MSG_HEAD_MAX + 8] = {0};
	struct rpc_msg_header header;
	uint8_t *start = rpc_msg_put_reply(room + RPC_MSG_HEAD_MAX, 8, xid, accept_stat);
	size_t len = (size_t)(room + sizeof(room) - start) - 4;

	fuzz_check(start >= room && wire_load_u32(start) == (len | UINT32_C(0x80000000)));
	enum rpc_msg_kind kind = rpc_msg_get(start + 4, len, &header);
	fuzz_check(header.call.xid == xid);
	fuzz_check(kind == (accept_stat == 0	     ? RPC_MSG_REPLY
				   : accept_stat < 6 ? RPC_MSG_REJECTED
						     : RPC_MSG_BAD));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct rpc_msg_header header;
	enum rpc_msg_kind kind = rpc_msg_get(data, size, &header);

	if (kind == RPC_MSG_CALL || kind == RPC_MSG_REPLY || kind == RPC_MSG_REJECTED)
		fuzz_check(header.body <= size);
	if (kind == RPC_MSG_REJECTED)
		check_rejected(&header);
	for (size_t len = 0; len < size && len < 1000; len += 1 + len / 16)
		check_prefix(data, len, kind, &header);
	if (size >= 8)
		check_answer(wire_load_u32(data), wire_load_u32(data + 4) % 8);
	return 0;
}
