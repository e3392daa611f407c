/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fuzz.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../unit/rpc/mechanism.h"
#include "rpc/gss.h"
#include "rpc/gss_link.h"
#include "rpc/gss_token.h"
#include "util/loop.h"
#include "util/passfd.h"
#include "util/wire.h"

/*
 * The security contexts of one connection. The input is a play of four: users who make calls, the
 * helper, which sends what it likes, the server, which answers tokens and calls well, badly or not,
 * and the clock. The loop, the stream and the mechanism are this file's and mechanism.c's.
 */

#define CALLS	  12
#define NEGOS	  16
#define FAREWELLS 64
#define BYTES_MAX 600
#define SECOND	  UINT64_C(1000000000)

/* One program's call, and what goes to the server. */
struct actor {
	struct rpc_call call;
	struct rpc_cred *cred;
	bool under_way; /* submitted, and not ended */
	bool sent;	/* in the session call.gss.session */
	uint8_t headroom[RPC_MSG_HEAD_MAX];
	uint8_t head[8], data[12], end[4];
};

static struct play {
	struct fuzz_input in;
	struct rpc_gss *gss;
	struct loop_timer *timer;
	uint64_t now;
	struct actor actors[CALLS];
	struct rpc_call *tokens[NEGOS], *farewells[FAREWELLS];
	struct loop_poll *polls[NEGOS];
	bool cancelled[NEGOS];
	int helpers[NEGOS]; /* the helper's ends, -1: none */
	bool awaited, broken, stopped;
} play;

/* The loop's functions, and the one that takes a request to the helper. */

uint64_t loop_now(const struct loop *loop)
{
	return play.now;
}

void loop_timer_set(struct loop *loop, struct loop_timer *timer, uint64_t deadline)
{
	fuzz_check(deadline <= play.now);
	play.timer = timer;
}

void loop_timer_cancel(struct loop *loop, struct loop_timer *timer)
{
	play.timer = NULL;
}

void loop_poll_start(struct loop *loop, struct loop_poll *op)
{
	unsigned i = 0;

	while (i < NEGOS && play.polls[i])
		i++;
	fuzz_check(i < NEGOS);
	play.polls[i] = op;
	play.cancelled[i] = false;
}

void loop_poll_cancel(struct loop *loop, struct loop_poll *op)
{
	for (unsigned i = 0; i < NEGOS; i++)
		if (play.polls[i] == op)
			play.cancelled[i] = true;
}

ssize_t passfd_send(int sock, struct msghdr *msg, int fd)
{
	struct rpc_gss_request request;
	unsigned i = 0;

	fuzz_check(msg->msg_iov[0].iov_len == sizeof(request));
	while (i < NEGOS && play.helpers[i] >= 0)
		i++;
	if (i == NEGOS) {
		errno = EAGAIN;
		return -1;
	}
	play.helpers[i] = dup(fd);
	fuzz_check(play.helpers[i] >= 0);
	return sizeof(request);
}

/* One turn of the loop. */
static void turn(void)
{
	struct loop_timer *timer = play.timer;

	play.timer = NULL;
	if (timer)
		timer->fire(timer);
	for (unsigned i = 0; i < NEGOS; i++) {
		struct loop_poll *op = play.polls[i];
		if (!op)
			continue;
		play.polls[i] = NULL;
		op->done(op, play.cancelled[i] ? -ECANCELED : POLLIN);
	}
}

/* The connection's part. */

static struct actor *actor_of(struct rpc_call *call)
{
	return (struct actor *)((char *)call - offsetof(struct actor, call));
}

static bool keep(struct rpc_call **calls, unsigned count, struct rpc_call *call)
{
	for (unsigned i = 0; i < count; i++)
		if (!calls[i]) {
			calls[i] = call;
			return true;
		}
	return false;
}

/* All that is sent is as long as its parts say, and its number fits the server's window. */
static void seal(struct rpc_call *call, struct rpc_gss_session *session, enum rpc_gss_proc proc)
{
	bool room = rpc_gss_session_room(session);
	size_t len = 0;

	if (rpc_gss_call_seal(session, call, proc) != 0) {
		play.broken = true;
		return;
	}
	fuzz_check(room || proc == RPC_GSS_DESTROY);
	for (unsigned i = 0; i < call->out.niov; i++)
		len += call->out.iov[i].iov_len;
	fuzz_check(len == 4 + (wire_load_u32(call->out.iov[0].iov_base) & INT32_MAX));
}

static void on_send(void *arg, struct rpc_call *call, struct rpc_gss_session *session)
{
	struct actor *actor = actor_of(call);

	fuzz_check(actor->under_way && !actor->sent);
	seal(call, session, RPC_GSS_DATA);
	actor->sent = !play.broken;
}

static void end_call(struct rpc_call **call)
{
	struct rpc_call *ended = *call;

	*call = NULL;
	if (!ended)
		return;
	rpc_gss_forget(play.gss, ended);
	ended->done(ended, -ECONNRESET, NULL, 0, 0);
}

static void on_destroy(void *arg, struct rpc_call *call, struct rpc_gss_session *session)
{
	seal(call, session, RPC_GSS_DESTROY);
	if (!keep(play.farewells, FAREWELLS, call))
		end_call(&call);
}

static void on_call(void *arg, struct rpc_call *call)
{
	size_t len;

	rpc_cred_wire(call->cred, &len);
	fuzz_check(len <= RPC_CRED_WIRE_MAX && call->head_len <= 4 + RPC_GSS_TOKEN_MAX);
	fuzz_check(keep(play.tokens, NEGOS, call));
}

static void end_actor(struct actor *actor)
{
	fuzz_check(actor->under_way);
	rpc_gss_forget(play.gss, &actor->call);
	actor->under_way = actor->sent = false;
}

static void on_fail(void *arg, struct rpc_call *call, int err)
{
	fuzz_check(err < 0 && !actor_of(call)->sent);
	end_actor(actor_of(call));
}

static void on_ready(void *arg)
{
	fuzz_check(play.awaited);
	play.awaited = false;
}

static void on_stopped(void *arg)
{
	play.stopped = true;
}

static const struct rpc_gss_ops ops = {on_send, on_destroy, on_call, on_fail, on_ready, on_stopped};

/* What the play's people do. */

static void submit(void)
{
	uint8_t who = fuzz_u8(&play.in);
	struct actor *actor = play.actors;

	while (actor < play.actors + CALLS && actor->under_way)
		actor++;
	if (actor == play.actors + CALLS)
		return;
	rpc_cred_unref(actor->cred);
	memset(actor, 0, sizeof(*actor));
	fuzz_check(rpc_cred_new_gss(RPC_SEC_KRB5 + who % 3, who >> 2 & 1, &actor->cred) == 0);
	actor->call.msg = (struct rpc_msg_call){.xid = 1, .prog = 100003, .vers = 4, .proc = 1};
	actor->call.cred = actor->cred;
	actor->call.head = actor->head;
	actor->call.head_len = sizeof(actor->head);
	actor->call.tail[0] = (struct iovec){actor->data, sizeof(actor->data)};
	actor->call.tail[1] = (struct iovec){actor->end, sizeof(actor->end)};
	actor->call.ntail = 2;
	if (who & 8) {
		int err = rpc_gss_prepare(play.gss, &actor->call);
		fuzz_check(err <= 0);
		play.awaited |= err == -EAGAIN;
		if (err)
			return;
	}
	actor->under_way = true;
	fuzz_check(rpc_gss_submit(play.gss, &actor->call) == 0);
	fuzz_check(!(who & 8) || actor->sent || play.broken);
}

static void help(void)
{
	static struct {
		struct rpc_gss_message head;
		uint8_t body[BYTES_MAX];
	} message;
	uint8_t which = fuzz_u8(&play.in);
	size_t len;
	int *fd = &play.helpers[which % NEGOS];

	if (*fd < 0)
		return;
	if (which & 0x80) {
		close(*fd);
		*fd = -1;
		return;
	}
	message.head = (struct rpc_gss_message){.what = fuzz_u8(&play.in),
		.err = (int8_t)fuzz_u8(&play.in),
		.lifetime = fuzz_u16(&play.in)};
	const uint8_t *body = fuzz_take(&play.in, fuzz_u16(&play.in) % BYTES_MAX, &len);
	if (len > 0)
		memcpy(message.body, body, len);
	/* a message that is too short for its head, now and then */
	size_t whole = which & 0x40 ? len % 12 : sizeof(message.head) + len;
	(void)!send(*fd, &message, whole, MSG_NOSIGNAL | MSG_DONTWAIT);
	turn();
}

/* A copy of the exact size, so that a sanitizer sees who reads on. */
static int give(struct rpc_call *call, const void *data, size_t len)
{
	uint8_t *copy = fuzz_alloc(len);

	if (len > 0)
		memcpy(copy, data, len);
	int err = call->done(call, 0, copy, len, 0);
	free(copy);
	return err;
}

/* The answer to a token: rpc_gss_init_res, put together from the input, or the input itself. */
static void answer_token(void)
{
	uint8_t which = fuzz_u8(&play.in), how = fuzz_u8(&play.in), number[4];
	uint8_t room[4 * BYTES_MAX], mic[MECHANISM_MIC];
	struct rpc_call *call = play.tokens[which % NEGOS];
	struct wire_out out;
	size_t len;

	if (!call)
		return;
	play.tokens[which % NEGOS] = NULL;
	if (how & 1) {
		fuzz_check(call->done(call, how & 2 ? -EACCES : -ECONNRESET, NULL, 0, 0) == 0);
		return;
	}
	wire_out_init(&out, room, sizeof(room));
	const uint8_t *bytes = fuzz_take(&play.in, how & 2 ? 300 : 8, &len);
	wire_put_opaque(&out, bytes, len);
	wire_put_u32(&out, how & 4 ? fuzz_u8(&play.in) : 0);
	wire_put_u32(&out, 0);
	uint32_t window = how & 8 ? fuzz_u32(&play.in) : 3;
	wire_put_u32(&out, window);
	bytes = fuzz_take(&play.in, fuzz_u16(&play.in) % BYTES_MAX, &len);
	wire_put_opaque(&out, bytes, len);
	wire_store_u32(number, window);
	mechanism_mic(number, sizeof(number), mic);
	call->verifier = mic;
	call->verifier_len = sizeof(mic);
	if (how & 16)
		call->verifier = fuzz_take(&play.in, 400, &call->verifier_len);
	if (how & 32)
		bytes = fuzz_take(&play.in, BYTES_MAX, &len);
	int err = how & 32 ? give(call, bytes, len) : give(call, room, out.len);
	fuzz_check(err == 0 || err == -EPROTO);
	play.broken |= err != 0;
}

static void put_header(struct wire_out *out, uint32_t seq)
{
	uint8_t number[4], mic[MECHANISM_MIC];

	wire_store_u32(number, seq);
	mechanism_mic(number, sizeof(number), mic);
	wire_put_u32(out, 1);
	wire_put_u32(out, 1);
	wire_put_u32(out, 0);
	wire_put_u32(out, RPC_GSS_FLAVOR);
	wire_put_opaque(out, mic, sizeof(mic));
	wire_put_u32(out, 0);
}

/* What a good server makes of `len` bytes of results. */
static void put_results(
	struct wire_out *out, enum rpc_sec sec, uint32_t seq, const uint8_t *results, size_t len)
{
	uint8_t body[MECHANISM_HEADER + 4 + BYTES_MAX + MECHANISM_MIC] = {0};
	uint8_t *text = body + MECHANISM_HEADER, mic[MECHANISM_MIC];

	wire_store_u32(text, seq);
	if (len > 0)
		memcpy(text + 4, results, len);
	mechanism_mic(text, 4 + len, mic);
	if (sec == RPC_SEC_KRB5) {
		wire_put_fixed(out, results, len);
	} else if (sec == RPC_SEC_KRB5I) {
		wire_put_opaque(out, text, 4 + len);
		wire_put_opaque(out, mic, sizeof(mic));
	} else {
		mechanism_cipher(text, 4 + len);
		memcpy(text + 4 + len, mic, sizeof(mic));
		wire_put_opaque(out, body, MECHANISM_HEADER + 4 + len + sizeof(mic));
	}
}

/* As conn.c: true if the call goes on in another context. */
static bool refused(struct actor *actor, const struct rpc_msg_header *header)
{
	if (header->verf != 0 || !rpc_gss_refused(play.gss, &actor->call, header->auth_stat))
		return false;
	rpc_gss_forget(play.gss, &actor->call);
	actor->sent = false;
	fuzz_check(rpc_gss_submit(play.gss, &actor->call) == 0);
	return true;
}

/* What has to become of a reply. */
struct fate {
	bool refused;	     /* it is another call's */
	const uint8_t *want; /* unless this is NULL: what is in it */
	size_t want_len;
};

/* Whether the verifier is that of the call. */
static bool is_verified(
	const struct actor *actor, const struct rpc_msg_header *header, const uint8_t *record)
{
	uint8_t number[4], mic[MECHANISM_MIC];

	wire_store_u32(number, actor->call.gss.seq);
	mechanism_mic(number, sizeof(number), mic);
	return header->verf_len == sizeof(mic) &&
	       memcmp(record + header->verf, mic, sizeof(mic)) == 0;
}

static void receive(struct actor *actor, uint8_t *record, size_t size, const struct fate *fate)
{
	struct rpc_msg_header header;
	enum rpc_msg_kind kind = rpc_msg_get(record, size, &header);
	const char *why = NULL;
	int err = 0;

	if ((kind != RPC_MSG_REPLY && kind != RPC_MSG_REJECTED) || refused(actor, &header))
		return;
	const uint8_t *data = record + header.body;
	size_t len = size - header.body;
	if (header.verf != 0) {
		bool verified = is_verified(actor, &header, record);
		err = rpc_gss_call_open(&actor->call, &header, record, &data, &len, &why);
		fuzz_check(err == 0 ? verified && !fate->refused : err == -EPROTO && why);
	}
	fuzz_check(data >= record && len <= size && data + len <= record + size);
	if (fate->want)
		fuzz_check(err == 0 && len == fate->want_len &&
			   (len == 0 || memcmp(data, fate->want, len) == 0));
	end_actor(actor);
	play.broken |= err != 0;
	if (!play.broken)
		rpc_gss_pump(play.gss);
}

static void answer(void)
{
	uint8_t which = fuzz_u8(&play.in), how = fuzz_u8(&play.in), room[4 * BYTES_MAX];
	struct actor *actor = &play.actors[which % CALLS];
	bool header = !(how & 1), late = how & 2, whole = how & 4, other = how & 8;
	bool damaged = how & 16;
	struct fate fate = {0};
	struct wire_out out;
	size_t len;

	if (!actor->under_way || !actor->sent)
		return;
	const uint8_t *bytes = fuzz_take(&play.in, fuzz_u16(&play.in) % BYTES_MAX, &len);
	enum rpc_sec sec = rpc_cred_gss(actor->cred);
	wire_out_init(&out, room, sizeof(room));
	if (header)
		put_header(&out, actor->call.gss.seq + late);
	if (whole)
		len &= ~(size_t)3;
	if (whole)
		put_results(&out, sec, actor->call.gss.seq + other, bytes, len);
	else if (len > 0)
		memcpy(wire_put_raw(&out, len), bytes, len);
	if (damaged && out.len > 0)
		room[fuzz_u16(&play.in) % out.len] ^= fuzz_u8(&play.in);
	if (header && whole && !damaged) {
		fate.refused = late || (other && sec != RPC_SEC_KRB5);
		fate.want = fate.refused ? NULL : bytes;
		fate.want_len = len;
	}
	uint8_t *record = fuzz_alloc(out.len);
	memcpy(record, room, out.len);
	receive(actor, record, out.len, &fate);
	free(record);
}

/* The server refuses a call with that auth_stat. */
static void refuse(void)
{
	uint8_t which = fuzz_u8(&play.in),
		record[20] = {0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1};
	struct actor *actor = &play.actors[which % CALLS];

	record[19] = fuzz_u8(&play.in);
	if (actor->under_way && actor->sent)
		receive(actor, record, sizeof(record), &(struct fate){0});
}

static void act(void)
{
	switch (fuzz_u8(&play.in) % 8) {
	case 0: submit(); break;
	case 1: help(); break;
	case 2: answer_token(); break;
	case 3: answer(); break;
	case 4: refuse(); break;
	case 5: play.now += fuzz_u8(&play.in) * SECOND / 4; break;
	case 6: turn(); break;
	default: {
		struct actor *actor = &play.actors[fuzz_u8(&play.in) % CALLS];
		if (actor->under_way)
			end_actor(actor);
	}
	}
}

/* As conn.c when its stream has closed. */
static void finish(void)
{
	if (!play.broken)
		rpc_gss_destroy(play.gss);
	rpc_gss_halt(play.gss);
	for (unsigned i = 0; i < CALLS; i++) {
		if (play.actors[i].under_way)
			end_actor(&play.actors[i]);
		rpc_cred_unref(play.actors[i].cred);
	}
	for (unsigned i = 0; i < NEGOS; i++)
		end_call(&play.tokens[i]);
	for (unsigned i = 0; i < FAREWELLS; i++)
		end_call(&play.farewells[i]);
	rpc_gss_stop(play.gss);
	for (unsigned i = 0; i < NEGOS && !play.stopped; i++)
		turn();
	fuzz_check(play.stopped);
	for (unsigned i = 0; i < NEGOS; i++)
		if (play.helpers[i] >= 0)
			close(play.helpers[i]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	memset(&play, 0, sizeof(play));
	play.in = (struct fuzz_input){data, size};
	play.now = 1000 * SECOND;
	for (unsigned i = 0; i < NEGOS; i++)
		play.helpers[i] = -1;
	fuzz_check(rpc_gss_new(NULL, 0, &ops, NULL, &play.gss) == 0);
	while (play.in.size > 0 && !play.broken)
		act();
	finish();
	return 0;
}
