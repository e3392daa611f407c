/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "gateway/carry.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "gateway/gateway.h"

#define CARRY_RETRY_FIRST UINT64_C(50000000)	/* ns until the server is tried again */
#define CARRY_RETRY_LAST  UINT64_C(1000000000)	/* ns, after doubling */
#define CARRY_QUIET	  UINT64_C(250000000)	/* ns without a reply: none is under way */
#define CARRY_LOOK	  UINT64_C(60000000000) /* ns; a reload may set a limit of idleness */
#define CARRY_ROOM	  15			/* th part of what ends an idle one */
#define CARRY_TEXT	  160

static struct loop *carry_loop(const struct carry *carry)
{
	return carry->guest->gateway->loop;
}

static void carry_free_if_idle(struct carry *carry)
{
	struct gateway *gateway = carry->guest->gateway;
	struct guest *guest = carry->guest;

	if (!carry->ended || carry->watching || carry->connecting || carry->up.armed ||
		carry->down.armed)
		return;
	close(carry->guest_fd);
	if (carry->server_fd >= 0)
		close(carry->server_fd);
	TAILQ_REMOVE(&guest->carries, carry, entry);
	free(carry);
	gateway->closing--;
	gateway->count--;
	guest->count--;
	if (guest->listener)
		listener_resume(guest->listener);
	gateway_left(gateway);
}

static void carry_log_end(const struct carry *carry, const char *why)
{
	struct guest *guest = carry->guest;
	uint64_t now = loop_now(carry_loop(carry));
	char name[NAME_TEXT_MAX], from[INET_TEXT_MAX], server[INET_TEXT_MAX], port[24] = "";
	struct sockaddr_storage sa = {0};
	socklen_t len = sizeof(sa);
	struct inet inet;
	uint16_t local = 0;

	if (!log_limit_pass(&guest->log_end, now))
		return;
	if (carry->guest_port)
		snprintf(port, sizeof(port), " port %" PRIu32, carry->guest_port);
	if (carry->server_fd >= 0 &&
		getsockname(carry->server_fd, (struct sockaddr *)&sa, &len) == 0)
		inet_from_sockaddr(&sa, &inet, &local);
	log_info("%s%s: from %s port %u to %s port %u: %" PRIu64 " bytes in, %" PRIu64
		 " out, %.1f s: %s",
		name_text(&guest->name, name), port, inet_text(&carry->upstream.from, from), local,
		inet_text(&carry->upstream.server, server), carry->upstream.server_port,
		carry->up.flow.bytes, carry->down.flow.bytes, (double)(now - carry->started) / 1e9,
		why);
}

void carry_end(struct carry *carry, const char *why)
{
	struct loop *loop = carry_loop(carry);

	if (carry->ended)
		return;
	carry_log_end(carry, why);
	carry->ended = true;
	carry->guest->gateway->closing++;
	loop_timer_cancel(loop, &carry->timer);
	loop_poll_cancel(loop, &carry->watch);
	loop_poll_cancel(loop, &carry->connect);
	loop_poll_cancel(loop, &carry->up.poll);
	loop_poll_cancel(loop, &carry->down.poll);
	guest_unqueue(carry->guest, &carry->up);
	guest_unqueue(carry->guest, &carry->down);
	gate_answered(&carry->guest->gate, (int64_t)(carry->up.flow.whole - carry->answers.ended));
	guest_wake(carry->guest);
	if (carry->open) {
		flow_deinit(&carry->up.flow);
		flow_deinit(&carry->down.flow);
	}
	carry_free_if_idle(carry);
}

/* Ends with the words of an error. */
static void carry_fail(struct carry *carry, const char *who, int err)
{
	char why[CARRY_TEXT];

	snprintf(why, sizeof(why), "%s: %s", who, strerror(-err));
	carry_end(carry, why);
}

static void carry_arm(struct carry_lane *lane, int fd, short events)
{
	lane->poll.fd = fd;
	lane->poll.events = events;
	lane->armed = true;
	loop_poll_start(carry_loop(lane->carry), &lane->poll);
}

bool carry_is_up(const struct carry_lane *lane)
{
	return lane == &lane->carry->up;
}

static void carry_settle(struct carry_lane *lane)
{
	struct carry *carry = lane->carry;
	bool up = carry_is_up(lane);

	switch (lane->state) {
	case FLOW_READY: guest_queue(carry->guest, lane); break;
	case FLOW_SOURCE:
		if (!up || !carry->guest->gateway->draining)
			carry_arm(lane, lane->flow.source, POLLIN);
		break;
	case FLOW_SINK: carry_arm(lane, lane->flow.sink, POLLOUT); break;
	case FLOW_END:
		/* Whoever still has requests to send to a server that has closed needs to know. */
		if (!up)
			carry_end(carry, carry->up.state == FLOW_END ? "the guest closed"
								     : "the server closed");
		break;
	case FLOW_BROKEN:
		carry_fail(carry, lane->flow.from_source == up ? "the guest" : "the server",
			lane->flow.err);
		break;
	}
}

uint64_t carry_move(struct carry_lane *lane, uint64_t at_once, int64_t under_way, uint64_t *calls)
{
	struct carry *carry = lane->carry;
	struct gate *gate = &carry->guest->gate;
	bool up = carry_is_up(lane);
	uint64_t before = lane->flow.bytes, called = lane->flow.calls, whole = lane->flow.whole;
	uint64_t answered = carry->answers.ended, now = loop_now(carry_loop(carry)), moved;

	lane->flow.at_once = up ? at_once : UINT64_MAX;
	lane->state = flow_move(&lane->flow, up && carry->guest->gateway->draining);
	moved = lane->flow.bytes - before;
	*calls = up ? lane->flow.calls - called : 0;
	if (moved > 0)
		carry->moved_at = now;
	if (up)
		gate_sent(gate, lane->flow.whole - whole, under_way, now);
	else
		gate_answered(gate, (int64_t)(carry->answers.ended - answered));
	carry_settle(lane);
	return moved;
}

static void carry_lane_ready(struct loop_poll *poll, int result)
{
	struct carry_lane *lane =
		(struct carry_lane *)((char *)poll - offsetof(struct carry_lane, poll));

	lane->armed = false;
	if (lane->carry->ended) {
		carry_free_if_idle(lane->carry);
	} else if (result < 0 && result != -ECANCELED) {
		carry_fail(lane->carry, "poll", result);
	} else {
		guest_queue(lane->carry->guest, lane);
	}
}

bool carry_make_room(struct guest *guest, uint64_t *when)
{
	uint64_t now = loop_now(guest->gateway->loop), silence = guest->limits.idle / CARRY_ROOM;
	struct carry *carry, *oldest = NULL;

	TAILQ_FOREACH (carry, &guest->carries, entry)
		if (carry->open && !carry->ended && (!oldest || carry->moved_at < oldest->moved_at))
			oldest = carry;
	*when = silence == 0 ? UINT64_MAX : (oldest ? oldest->moved_at : now) + silence;
	if (!oldest || now < *when)
		return false;
	carry_end(oldest, "it made room for another");
	return true;
}

/* Idleness is looked at when it may be over, not on every byte. */
static void carry_idle(struct loop_timer *timer)
{
	struct carry *carry = (struct carry *)((char *)timer - offsetof(struct carry, timer));
	uint64_t limit = carry->guest->limits.idle, now = loop_now(carry_loop(carry));
	bool draining = carry->guest->gateway->draining;

	if (draining)
		limit = CARRY_QUIET;
	else if (limit == 0)
		limit = CARRY_LOOK;
	if (now < carry->moved_at + limit)
		loop_timer_set(carry_loop(carry), timer, carry->moved_at + limit);
	else if (draining)
		carry_end(carry, "the gateway ends");
	else if (carry->guest->limits.idle > 0)
		carry_end(carry, "idle for too long");
	else
		loop_timer_set(carry_loop(carry), timer, now + limit);
}

static void carry_open(struct carry *carry)
{
	struct flow_store *store = &carry->guest->gateway->store;
	uint64_t idle = carry->guest->limits.idle;

	loop_poll_cancel(carry_loop(carry), &carry->watch);
	carry->open = true;
	carry->moved_at = loop_now(carry_loop(carry));
	flow_init(&carry->up.flow, carry->guest_fd, carry->server_fd, store);
	carry->up.flow.marks = &carry->calls;
	flow_init(&carry->down.flow, carry->server_fd, carry->guest_fd, store);
	carry->down.flow.marks = &carry->answers;
	carry->timer.fire = carry_idle;
	loop_timer_set(
		carry_loop(carry), &carry->timer, carry->moved_at + (idle ? idle : CARRY_LOOK));
	guest_queue(carry->guest, &carry->up);
	carry->down.state = FLOW_SOURCE;
	carry_settle(&carry->down);
}

static void carry_connect(struct carry *carry);

static void carry_connect_again(struct loop_timer *timer)
{
	carry_connect((struct carry *)((char *)timer - offsetof(struct carry, timer)));
}

/* The server may be starting, and may come to an address later than we do. */
static bool carry_may_retry(int err)
{
	return err == -ECONNREFUSED || err == -ETIMEDOUT || err == -ENETUNREACH ||
	       err == -EHOSTUNREACH || err == -ECONNRESET || err == -EADDRINUSE;
}

static void carry_connect_failed(struct carry *carry, int err)
{
	const struct conf *conf = carry->guest->gateway->conf;
	uint64_t now = loop_now(carry_loop(carry));
	char why[CARRY_TEXT], from[INET_TEXT_MAX];

	if (carry_may_retry(err) && now + carry->retry_ns < carry->started + conf->wait) {
		carry->timer.fire = carry_connect_again;
		loop_timer_set(carry_loop(carry), &carry->timer, now + carry->retry_ns);
		carry->retry_ns *= 2;
		if (carry->retry_ns > CARRY_RETRY_LAST)
			carry->retry_ns = CARRY_RETRY_LAST;
		return;
	}
	if (err == -EADDRNOTAVAIL) {
		snprintf(why, sizeof(why), "%s is no address of this machine",
			inet_text(&carry->upstream.from, from));
		carry_end(carry, why);
	} else if (err == -EACCES) {
		carry_end(carry, "no right to a reserved port (CAP_NET_BIND_SERVICE)");
	} else {
		carry_fail(carry, "cannot connect to the server", err);
	}
}

static void carry_connected(struct loop_poll *poll, int result)
{
	struct carry *carry = (struct carry *)((char *)poll - offsetof(struct carry, connect));
	socklen_t len = sizeof(int);
	int err = 0;

	carry->connecting = false;
	if (carry->ended) {
		carry_free_if_idle(carry);
		return;
	}
	if (result < 0)
		err = -result;
	else
		getsockopt(carry->server_fd, SOL_SOCKET, SO_ERROR, &err, &len);
	if (err == 0) {
		carry_open(carry);
		return;
	}
	close(carry->server_fd);
	carry->server_fd = -1;
	carry_connect_failed(carry, -err);
}

static void carry_connect(struct carry *carry)
{
	int err = upstream_connect(&carry->upstream, &carry->guest->next_port, &carry->server_fd);

	if (err == -EINPROGRESS) {
		carry->connect.fd = carry->server_fd;
		carry->connect.events = POLLOUT;
		carry->connect.done = carry_connected;
		carry->connecting = true;
		loop_poll_start(carry_loop(carry), &carry->connect);
	} else if (err) {
		carry->server_fd = -1;
		carry_connect_failed(carry, err);
	} else {
		carry_open(carry);
	}
}

static void carry_watch(struct carry *carry)
{
	carry->watching = true;
	loop_poll_start(carry_loop(carry), &carry->watch);
}

/*
 * The guest has gone while there is no server yet. One that has only sent its last byte waits for
 * an answer, and is not watched any more, since it would be reported again at once.
 */
static void carry_watched(struct loop_poll *poll, int result)
{
	struct carry *carry = (struct carry *)((char *)poll - offsetof(struct carry, watch));

	carry->watching = false;
	if (carry->ended)
		carry_free_if_idle(carry);
	else if (!carry->open && (result < 0 || result & (POLLHUP | POLLERR)))
		carry_end(carry, "the guest closed before the server was there");
	else if (!carry->open && !(result & POLLRDHUP))
		carry_watch(carry);
}

static void carry_lane_init(struct carry *carry, struct carry_lane *lane)
{
	lane->carry = carry;
	lane->poll.done = carry_lane_ready;
}

int carry_start(struct guest *guest, int fd, uint32_t guest_port)
{
	struct carry *carry = calloc(1, sizeof(*carry));
	bool reserved = guest_port > 0 && guest_port < CONF_PORT_LOWEST;

	if (!carry) {
		close(fd);
		return -ENOMEM;
	}
	carry->guest = guest;
	carry->guest_fd = fd;
	carry->server_fd = -1;
	carry->guest_port = guest_port;
	carry->upstream = guest->upstream;
	carry->upstream.reserved = reserved || guest->ports != CONF_PORTS_SAME;
	carry->started = loop_now(carry_loop(carry));
	carry->retry_ns = CARRY_RETRY_FIRST;
	carry_lane_init(carry, &carry->up);
	carry_lane_init(carry, &carry->down);
	TAILQ_INSERT_TAIL(&guest->carries, carry, entry);
	guest->count++;
	guest->gateway->count++;
	carry->watch.fd = fd;
	carry->watch.events = 0; /* errors and the end are told unasked */
	carry->watch.done = carry_watched;
	carry_watch(carry);
	carry_connect(carry);
	return 0;
}

void carry_drain(struct carry *carry)
{
	if (carry->ended)
		return;
	if (!carry->open) {
		carry_end(carry, "the gateway ends");
		return;
	}
	/* It is queued once more by that, and then waits for nothing. */
	if (carry->up.state == FLOW_SOURCE)
		loop_poll_cancel(carry_loop(carry), &carry->up.poll);
	carry->moved_at = loop_now(carry_loop(carry));
	loop_timer_set(carry_loop(carry), &carry->timer, carry->moved_at + CARRY_QUIET);
}
