/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fake.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define CONN_OF(op) ((struct fake_conn *)((char *)(op)-offsetof(struct fake_conn, poll)))
#define FAKE_OF(op) ((struct fake *)((char *)(op)-offsetof(struct fake, listen_poll)))

static void conn_read(struct loop_poll *poll, int result);

static void conn_free(struct fake_conn *conn)
{
	TAILQ_REMOVE(&conn->fake->conns, conn, entry);
	conn->fake->nconns--;
	close(conn->fd);
	free(conn->data);
	free(conn);
}

void fake_kill(struct fake_conn *conn)
{
	if (conn->dead)
		return;
	conn->dead = true;
	shutdown(conn->fd, SHUT_RDWR); /* the poll ends, and conn_read frees it */
}

static void accept_one(struct loop_poll *poll, int result)
{
	struct fake *fake = FAKE_OF(poll);
	if (result < 0) {
		close(fake->listen_fd);
		fake->listen_fd = -1;
		return;
	}
	int fd = accept4(fake->listen_fd, NULL, NULL, SOCK_CLOEXEC);
	loop_poll_start(fake->loop, &fake->listen_poll);
	if (fd < 0)
		return;
	fake->accepted++;
	if (fake->refuse) {
		close(fd);
		return;
	}
	struct fake_conn *conn = calloc(1, sizeof(*conn));
	conn->fake = fake;
	conn->fd = fd;
	conn->cap = 65536;
	conn->data = malloc(conn->cap);
	conn->poll = (struct loop_poll){.fd = fd, .events = POLLIN, .done = conn_read};
	TAILQ_INSERT_TAIL(&fake->conns, conn, entry);
	fake->nconns++;
	loop_poll_start(fake->loop, &conn->poll);
}

int fake_start(struct fake *fake, struct loop *loop)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	static unsigned number;
	memset(fake, 0, sizeof(*fake));
	fake->loop = loop;
	fake->minor_max = 2;
	fake->granted_slots = FAKE_SLOTS;
	fake->target = UINT32_MAX;
	fake->lease = 90;
	fake->max_request = fake->max_response = UINT32_MAX;
	fake->clientid = 100;
	TAILQ_INIT(&fake->conns);
	snprintf(fake->path, sizeof(fake->path), "/tmp/vsockfs-fake.%d.%u", getpid(), number++);
	memcpy(address.sun_path, fake->path, sizeof(address.sun_path));
	unlink(fake->path);
	fake->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fake->listen_fd < 0 ||
		bind(fake->listen_fd, (struct sockaddr *)&address, sizeof(address)) < 0 ||
		listen(fake->listen_fd, 64) < 0)
		return -errno;
	fake->listen_poll =
		(struct loop_poll){.fd = fake->listen_fd, .events = POLLIN, .done = accept_one};
	loop_poll_start(loop, &fake->listen_poll);
	return 0;
}

static bool stop_when_empty(struct loop_hook *hook)
{
	struct fake *fake = *(struct fake **)(hook + 1);
	if (fake->listen_fd < 0 && fake->nconns == 0)
		loop_stop(fake->loop);
	return false;
}

void fake_stop(struct fake *fake)
{
	struct {
		struct loop_hook hook;
		struct fake *fake;
	} end = {.hook = {.run = stop_when_empty}, .fake = fake};
	unlink(fake->path);
	loop_poll_cancel(fake->loop, &fake->listen_poll);
	fake_cut(fake);
	loop_hook_add(fake->loop, &end.hook);
	loop_run(fake->loop);
	loop_hook_remove(fake->loop, &end.hook);
}

void fake_cut(struct fake *fake)
{
	struct fake_conn *conn;
	TAILQ_FOREACH (conn, &fake->conns, entry)
		fake_kill(conn);
}

void fake_advance(struct fake *fake, uint32_t slot, uint32_t by, const void *reply, size_t len)
{
	struct fake_slot *s = &fake->slot[slot];
	s->sequence += by;
	s->cached = len > 0;
	s->reply_len = len > 0 ? len : 1;
	if (len > 0)
		memcpy(s->reply, reply, len);
}

void fake_mute(struct fake *fake)
{
	struct fake_conn *conn;
	TAILQ_FOREACH (conn, &fake->conns, entry)
		conn->mute = true;
}

void fake_lose_session(struct fake *fake)
{
	fake->session_alive = false;
}

void fake_restart(struct fake *fake)
{
	fake_cut(fake);
	fake->session_alive = false;
	fake->clientid += 1000;
	fake->clientid_known = fake->clientid_confirmed = fake->reclaim_completed = false;
}

void fake_send_raw(struct fake_conn *conn, const void *data, size_t len)
{
	if (conn->dead || conn->mute)
		return;
	if (send(conn->fd, data, len, MSG_NOSIGNAL) != (ssize_t)len)
		fake_kill(conn);
	conn->fake->bytes_out += len;
}

void fake_send_record(struct fake_conn *conn, const void *data, size_t len)
{
	uint8_t *record = malloc(len + 4);
	wire_store_u32(record, UINT32_C(0x80000000) | (uint32_t)len);
	memcpy(record + 4, data, len);
	fake_send_raw(conn, record, len + 4);
	free(record);
}

void fake_put_reply_head(struct wire_out *out, uint32_t xid)
{
	wire_put_u32(out, xid);
	wire_put_u32(out, 1); /* REPLY, MSG_ACCEPTED, AUTH_NONE, SUCCESS */
	for (unsigned i = 0; i < 4; i++)
		wire_put_u32(out, 0);
}

void fake_reply(struct fake_conn *conn, uint32_t xid, const void *results, size_t len)
{
	uint8_t data[FAKE_REPLY + 64];
	struct wire_out out;
	wire_out_init(&out, data, sizeof(data));
	fake_put_reply_head(&out, xid);
	uint8_t *to = wire_put_raw(&out, len);
	if (to && len > 0)
		memcpy(to, results, len);
	fake_send_record(conn, data, out.len);
}

void fake_callback(struct fake *fake, uint32_t prog, uint32_t vers, uint32_t proc, const void *args,
	size_t len)
{
	uint8_t data[4096];
	struct wire_out out;
	wire_out_init(&out, data, sizeof(data));
	wire_put_u32(&out, 0x5ca1ab1e);
	wire_put_u32(&out, 0);
	wire_put_u32(&out, 2);
	wire_put_u32(&out, prog);
	wire_put_u32(&out, vers);
	wire_put_u32(&out, proc);
	for (unsigned i = 0; i < 4; i++)
		wire_put_u32(&out, 0);
	memcpy(wire_put_raw(&out, len), args, len);
	fake_send_record(TAILQ_FIRST(&fake->conns), data, out.len);
}

static void get_channel(struct wire_in *in, uint32_t attrs[6])
{
	for (unsigned i = 0; i < 6; i++)
		attrs[i] = wire_get_u32(in);
	if (wire_get_u32(in) == 1)
		wire_get_u32(in);
}

static void get_exchange_id(struct wire_in *in, struct fake_call *call)
{
	uint32_t len;
	memcpy(call->verifier, wire_get_fixed(in, 8), 8);
	const uint8_t *owner = wire_get_opaque(in, sizeof(call->owner) - 1, &len);
	if (owner)
		memcpy(call->owner, owner, len);
	call->flags = wire_get_u32(in);
}

/* By filehandle (4), previous (1) or delegation (5), and not creating. */
static void get_open(struct wire_in *in, struct fake_call *call)
{
	uint32_t len;
	wire_get_u32(in);
	call->conn->fake->open_access = wire_get_u32(in);
	wire_get_raw(in, 4 + 8);
	wire_get_opaque(in, NFS4_OPAQUE_LIMIT, &len);
	wire_get_u32(in);
	uint32_t claim = call->conn->fake->open_claim = wire_get_u32(in);
	call->conn->fake->open_delegate = claim == 1 ? wire_get_u32(in) : OPEN_DELEGATE_NONE;
	wire_get_raw(in, claim == 5 ? 16 : 0);
}

static void get_op(struct wire_in *in, struct fake_call *call, unsigned i)
{
	uint32_t len;
	switch (call->op[i] = wire_get_u32(in)) {
	case OP_SEQUENCE: {
		const uint8_t *id = wire_get_fixed(in, NFS4_SESSIONID_SIZE);
		if (id)
			memcpy(call->sessionid, id, NFS4_SESSIONID_SIZE);
		call->sequenced = true;
		call->sequence = wire_get_u32(in);
		call->slot = wire_get_u32(in);
		call->highest = wire_get_u32(in);
		call->cachethis = wire_get_bool(in);
		break;
	}
	case OP_GETATTR:
		for (len = wire_get_u32(in); len > 0 && !in->bad; len--)
			call->count[i] = call->count[i] ? call->count[i] : wire_get_u32(in);
		break;
	case OP_LOOKUP:
	case OP_REMOVE: wire_get_opaque(in, NFS4_NAME_MAX, &len); break;
	case OP_RECLAIM_COMPLETE: wire_get_bool(in); break;
	case OP_PUTFH: wire_get_opaque(in, NFS4_FHSIZE, &len); break;
	case OP_OPEN: get_open(in, call); break;
	case OP_CLOSE: wire_get_raw(in, 4 + 16); break;
	/* without bitmaps */
	case OP_GET_DIR_DELEGATION: wire_get_raw(in, 4 + 4 + 12 + 12 + 4 + 4); break;
	case OP_DELEGRETURN:
	case OP_FREE_STATEID: wire_get_raw(in, 16); break;
	case OP_TEST_STATEID: wire_get_raw(in, 4 + 16); break;
	case OP_READ:
		wire_get_raw(in, 16 + 8);
		call->count[i] = wire_get_u32(in);
		break;
	case OP_EXCHANGE_ID: get_exchange_id(in, call); break;
	case OP_CREATE_SESSION:
		call->clientid = wire_get_u64(in);
		call->create_sequence = wire_get_u32(in);
		call->flags = wire_get_u32(in);
		get_channel(in, call->fore);
		get_channel(in, call->back);
		call->cb_program = wire_get_u32(in);
		break;
	case OP_BIND_CONN_TO_SESSION:
	case OP_DESTROY_SESSION:
		memcpy(call->sessionid, wire_get_fixed(in, NFS4_SESSIONID_SIZE),
			NFS4_SESSIONID_SIZE);
		break;
	case OP_DESTROY_CLIENTID: call->clientid = wire_get_u64(in); break;
	}
}

static void run_script(struct fake *fake, struct fake_call *call)
{
	enum fake_verdict verdict = fake->script ? fake->script(fake, call) : FAKE_NORMAL;
	uint8_t data[FAKE_REPLY];
	struct wire_out out;
	wire_out_init(&out, data, sizeof(data));
	if (verdict == FAKE_NORMAL || verdict == FAKE_EXECUTE_ONLY || verdict == FAKE_EXECUTE_CLOSE)
		fake_execute(fake, call, &out);
	if (verdict == FAKE_NORMAL)
		fake_reply(call->conn, call->xid, data, out.len);
	if (verdict == FAKE_CLOSE || verdict == FAKE_EXECUTE_CLOSE)
		fake_kill(call->conn);
}

static void note_sequenced(struct fake *fake, const struct fake_call *call)
{
	const struct fake_call_note note = {call->xid, call->sequence, call->slot, call->highest,
		fake_last_op(call), call->cachethis};
	if (fake_is_probe(call)) {
		fake->probe = note;
		fake->probes++;
	} else {
		fake->calls[fake->nsequenced++ % FAKE_CALLS] = note;
	}
	if (call->slot > fake->highest_used)
		fake->highest_used = call->slot;
}

static void handle_call(struct fake_conn *conn, struct wire_in *in, struct fake_call *call)
{
	struct fake *fake = conn->fake;
	uint32_t len;
	wire_get_u32(in); /* RPC version */
	call->prog = wire_get_u32(in);
	call->vers = wire_get_u32(in);
	call->proc = wire_get_u32(in);
	for (unsigned i = 0; i < 2; i++) {
		wire_get_u32(in);
		wire_get_opaque(in, 400, &len);
	}
	if (call->proc == NFSPROC4_NULL) {
		fake->pings++;
		if (!fake->script || fake->script(fake, call) == FAKE_NORMAL)
			fake_reply(conn, call->xid, NULL, 0);
		return;
	}
	call->args = *in;
	wire_get_opaque(in, 64, &len);
	call->minor = wire_get_u32(in);
	call->nops = wire_get_u32(in);
	for (unsigned i = 0; i < call->nops && i < FAKE_OPS; i++)
		get_op(in, call, i);
	fake->ncalls++;
	fake->last = *call;
	if (call->sequenced && (in->bad || in->pos != in->len))
		fake->trailing++;
	if (call->sequenced)
		note_sequenced(fake, call);
	run_script(fake, call);
}

static void handle_record(struct fake_conn *conn, const uint8_t *data, size_t len)
{
	struct fake *fake = conn->fake;
	struct fake_call call = {.conn = conn};
	struct wire_in in;
	wire_in_init(&in, data, len);
	call.xid = wire_get_u32(&in);
	if (wire_get_u32(&in) == 0) {
		handle_call(conn, &in, &call);
		return;
	}
	fake->cb_reply_len = len < sizeof(fake->cb_reply) ? len : sizeof(fake->cb_reply);
	memcpy(fake->cb_reply, data, fake->cb_reply_len);
	fake->cb_replies++;
}

/* Our client sends every record in one fragment. */
static void handle_records(struct fake_conn *conn)
{
	size_t at = 0;
	while (conn->len - at >= 4 && !conn->dead) {
		size_t len = wire_load_u32(conn->data + at) & 0x7fffffff;
		if (conn->len - at < 4 + len)
			break;
		conn->fake->bytes_in += 4 + len;
		handle_record(conn, conn->data + at + 4, len);
		at += 4 + len;
	}
	conn->len -= at;
	memmove(conn->data, conn->data + at, conn->len);
}

static void conn_read(struct loop_poll *poll, int result)
{
	struct fake_conn *conn = CONN_OF(poll);
	ssize_t n = 0;
	if (!conn->dead && result >= 0) {
		if (conn->len == conn->cap)
			conn->data = realloc(conn->data, conn->cap *= 2);
		n = recv(conn->fd, conn->data + conn->len, conn->cap - conn->len, MSG_DONTWAIT);
	}
	if (n <= 0) {
		conn_free(conn);
		return;
	}
	if (!conn->mute) {
		conn->len += (size_t)n;
		handle_records(conn);
	}
	loop_poll_start(conn->fake->loop, poll);
}
