/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "rpc/intake.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int wrong(struct rpc_intake *in, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

static int wrong(struct rpc_intake *in, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(in->why, sizeof(in->why), format, args);
	va_end(args);
	in->culprit = in->call;
	return -EPROTO;
}

void rpc_intake_init(
	struct rpc_intake *in, size_t max_call, const struct rpc_intake_ops *ops, void *arg)
{
	memset(in, 0, offsetof(struct rpc_intake, buffer));
	in->ops = ops;
	in->arg = arg;
	in->max_call = in->max_record = max_call;
	record_parser_init(&in->parser, max_call);
}

void rpc_intake_deinit(struct rpc_intake *in)
{
	free(in->kept);
	in->kept = NULL;
}

void rpc_intake_expect(struct rpc_intake *in, size_t max_reply)
{
	if (max_reply <= in->max_record)
		return;
	in->max_record = max_reply;
	if (in->mode == RPC_INTAKE_HEADER)
		in->parser.limit = max_reply;
}

/* Makes room to keep `len` bytes. */
static int reserve(struct rpc_intake *in, size_t len)
{
	if (len <= in->kept_cap)
		return 0;
	/* the record may come in many fragments: grow geometrically */
	size_t cap = in->kept_cap ? in->kept_cap : 1024;
	while (cap < len)
		cap *= 2;
	uint8_t *kept = realloc(in->kept, cap);
	if (!kept) {
		wrong(in, "no memory for a reply of %zu bytes", len);
		return -ENOMEM;
	}
	in->kept = kept;
	in->kept_cap = cap;
	return 0;
}

static int keep(struct rpc_intake *in, const uint8_t *data, size_t len)
{
	int err = reserve(in, in->kept_len + len);

	if (err)
		return err;
	memcpy(in->kept + in->kept_len, data, len);
	in->kept_len += len;
	return 0;
}

static int put_sink(struct rpc_intake *in, const uint8_t *data, size_t len)
{
	size_t left = in->sink.len - in->sunk;
	size_t n = len < left ? len : left;

	if (n > 0)
		memcpy(in->sink.data + in->sunk, data, n);
	in->sunk += n;
	in->call->copied += n;
	in->padding += len - n;
	if (in->padding > 3)
		return wrong(in, "a record goes on behind its payload of %zu bytes", in->sink.len);
	return 0;
}

/* What is protected has to be seen whole first: then its payload is copied, which costs little
 * beside the checksum. */
static bool has_sink(const struct rpc_call *call)
{
	enum rpc_sec sec = call->cred ? rpc_cred_gss(call->cred) : RPC_SEC_SYS;

	return call->sink && sec != RPC_SEC_KRB5I && sec != RPC_SEC_KRB5P;
}

/* Finds out from the record's first `len` bytes what it is. */
static int identify(struct rpc_intake *in, const uint8_t *data, size_t len)
{
	size_t limit = in->max_call;

	in->kind = rpc_msg_get(data, len, &in->header);
	switch (in->kind) {
	case RPC_MSG_SHORT: return 0;
	case RPC_MSG_BAD: return wrong(in, "a record that is no RPC message");
	case RPC_MSG_CALL: in->mode = RPC_INTAKE_KEEP; break;
	case RPC_MSG_REPLY:
	case RPC_MSG_REJECTED:
		in->call = in->ops->find(in->arg, in->header.call.xid);
		if (!in->call)
			return wrong(
				in, "a reply to an unknown call, xid %08x", in->header.call.xid);
		if (in->call->sending) {
			in->call = NULL;
			return wrong(in, "a reply to a call that was not sent yet, xid %08x",
				in->header.call.xid);
		}
		limit = in->call->max_reply + in->call->slack;
		in->mode = in->kind == RPC_MSG_REPLY && has_sink(in->call) ? RPC_INTAKE_ASK
									   : RPC_INTAKE_KEEP;
		break;
	}
	if (!record_parser_narrow(&in->parser, limit))
		return wrong(in, "a record of %zu bytes where %zu are allowed",
			in->parser.record_len, limit);
	return 0;
}

/* Asks the call where the payload is, if there is one. */
static int ask(struct rpc_intake *in, const uint8_t *data, size_t len)
{
	struct rpc_sink sink = {0};

	if (len < in->ask_at)
		return 0;
	int found = in->call->sink(in->call, data, len, in->header.body, &sink);
	if (found == -EAGAIN) {
		/* not at every byte of a record that comes in bytes */
		in->ask_at = len + len / 8 + 1;
		return 0;
	}
	if (found < 0)
		return wrong(in, "garbage in front of a reply's payload");
	if (found == 0) {
		in->mode = RPC_INTAKE_KEEP;
		return 0;
	}
	if (sink.head < in->header.body || sink.head > len ||
		sink.len > in->parser.limit - sink.head)
		return wrong(in, "a payload of %zu bytes in a reply of at most %zu", sink.len,
			in->parser.limit);
	in->sink = sink;
	in->mode = RPC_INTAKE_SINK;
	return 0;
}

static int look(struct rpc_intake *in, const uint8_t *data, size_t len)
{
	int err = 0;

	if (in->mode == RPC_INTAKE_HEADER)
		err = identify(in, data, len);
	if (!err && in->mode == RPC_INTAKE_ASK)
		err = ask(in, data, len);
	return err;
}

/* Looks at what is kept, and moves to the sink what belongs there. */
static int look_at_kept(struct rpc_intake *in)
{
	int err = look(in, in->kept, in->kept_len);

	if (err || in->mode != RPC_INTAKE_SINK)
		return err;
	size_t over = in->kept_len - in->sink.head;
	in->kept_len = in->sink.head;
	return put_sink(in, in->kept + in->sink.head, over);
}

/* The first bytes of a record; all of it if it is `whole`. */
static int take_first(struct rpc_intake *in, const uint8_t *data, size_t len, bool whole)
{
	int err = look(in, data, len);

	if (err)
		return err;
	size_t head = in->mode == RPC_INTAKE_SINK ? in->sink.head : len;
	if (whole) {
		in->whole = data;
		in->whole_len = head;
	} else {
		err = keep(in, data, head);
	}
	if (!err && in->mode == RPC_INTAKE_SINK)
		err = put_sink(in, data + head, len - head);
	return err;
}

static int take(struct rpc_intake *in, const uint8_t *data, size_t len)
{
	in->wire_len += len;
	if (in->mode == RPC_INTAKE_SINK)
		return put_sink(in, data, len);
	if (in->kept_len > 0) {
		int err = keep(in, data, len);
		return err ? err : look_at_kept(in);
	}
	return take_first(
		in, data, len, in->parser.fragment_last && record_parser_direct(&in->parser) == 0);
}

static int deliver(struct rpc_intake *in)
{
	if (in->mode == RPC_INTAKE_ASK && in->kept_len > 0) {
		in->ask_at = 0;
		int err = look_at_kept(in);
		if (err)
			return err;
	}

	const uint8_t *data = in->whole ? in->whole : in->kept;
	size_t len = in->whole ? in->whole_len : in->kept_len;
	size_t body = in->header.body;
	int err;

	if (in->mode == RPC_INTAKE_HEADER)
		return wrong(in, "a record of %zu bytes that ends within its RPC header", len);
	if (in->sunk < in->sink.len)
		return wrong(
			in, "a payload of %zu bytes that ends after %zu", in->sink.len, in->sunk);
	if (in->kind == RPC_MSG_CALL) {
		err = in->ops->called(in->arg, &in->header.call, data + body, len - body);
		return err == -EPROTO ? wrong(in, "garbage in the arguments of a call") : err;
	}
	struct rpc_call *call = in->call;
	const char *name = call->name ? call->name : "a reply";
	in->call = NULL; /* its owner may free it */
	err = in->ops->replied(
		in->arg, call, &in->header, data + body, len - body, in->sunk, in->wire_len);
	if (err == -EPROTO && in->why[0] == '\0')
		wrong(in, "garbage in the results of %s", name);
	return err;
}

/* Makes ready for the next record. */
static void reset(struct rpc_intake *in)
{
	if (in->kept_cap > RPC_INTAKE_KEEP_MAX) {
		free(in->kept);
		in->kept = NULL;
		in->kept_cap = 0;
	}
	in->mode = RPC_INTAKE_HEADER;
	in->call = NULL;
	in->ask_at = 0;
	in->sink = (struct rpc_sink){0};
	in->sunk = in->padding = 0;
	in->wire_len = 0;
	in->kept_len = in->whole_len = 0;
	in->whole = NULL;
	in->brief = in->direct;
	in->direct = false;
	in->parser.limit = in->max_record;
}

static int parse(struct rpc_intake *in, const uint8_t *data, size_t len)
{
	size_t pos = 0, run;
	int err = 0;

	while (!err) {
		size_t before = pos;
		enum record_event event = record_parser_next(&in->parser, data, len, &pos, &run);

		in->wire_len += pos - before;
		switch (event) {
		case RECORD_MORE: return 0;
		case RECORD_BYTES:
			err = take(in, data + pos, run);
			pos += run;
			break;
		case RECORD_END:
			err = deliver(in);
			reset(in);
			break;
		case RECORD_BAD:
			return in->parser.empty > RECORD_EMPTY_MAX
				       ? wrong(in, "empty fragments without end")
				       : wrong(in, "a record of more than %zu bytes",
						 in->parser.limit);
		}
	}
	return err;
}

uint8_t *rpc_intake_want(struct rpc_intake *in, size_t *len, bool *wait_all)
{
	size_t direct = record_parser_direct(&in->parser);
	size_t left = in->sink.len - in->sunk;

	*wait_all = true;
	if (in->mode == RPC_INTAKE_SINK && direct >= RPC_INTAKE_DIRECT_MIN &&
		left >= RPC_INTAKE_DIRECT_MIN) {
		in->target = RPC_INTAKE_TO_SINK;
		*len = direct < left ? direct : left;
		return in->sink.data + in->sunk;
	}
	if (in->mode == RPC_INTAKE_KEEP && direct >= RPC_INTAKE_DIRECT_MIN &&
		reserve(in, in->kept_len + direct) == 0) {
		in->target = RPC_INTAKE_TO_KEPT;
		*len = direct;
		return in->kept + in->kept_len;
	}
	in->target = RPC_INTAKE_TO_BUFFER;
	*wait_all = false;
	*len = in->brief && rpc_intake_idle(in) ? RPC_INTAKE_SHORT : RPC_INTAKE_BUFFER;
	return in->buffer;
}

int rpc_intake_got(struct rpc_intake *in, size_t len)
{
	switch (in->target) {
	case RPC_INTAKE_TO_BUFFER: return parse(in, in->buffer, len);
	case RPC_INTAKE_TO_KEPT: in->kept_len += len; break;
	case RPC_INTAKE_TO_SINK:
		in->sunk += len;
		in->direct = true;
		break;
	}
	in->wire_len += len;
	record_parser_skip(&in->parser, len);
	return parse(in, in->buffer, 0);
}

bool rpc_intake_idle(const struct rpc_intake *in)
{
	return record_parser_idle(&in->parser);
}
