/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "gateway/guest.h"

#include <stdlib.h>
#include <string.h>

#include "gateway/carry.h"
#include "gateway/gateway.h"

/* What a step and each call in it cost even when little is moved, in bytes. */
#define GUEST_STEP_COST 8192
#define GUEST_CALL_COST 4096
/* So many guests are met before those that are gone are looked for. */
#define GUEST_SWEEP 1024

/* Work comes in bursts; what goes on for longer than this many seconds is a flood. */
#define GUEST_CALLS_BURST 10

/* Calls at the server while a guest keeps to its share: more than a client's session has slots. */
#define GUEST_UNDER_WAY 256

/* What a lane to the server may now. */
struct guest_leave {
	uint64_t at_once;  /* calls that it may take */
	int64_t under_way; /* that all lanes together may have */
};

/* A quarter of a second's worth at once, so that the rate holds on average and bursts pass. */
static uint64_t guest_rate_burst(uint64_t rate)
{
	return rate / 4 > FLOW_CHUNK ? rate / 4 : FLOW_CHUNK;
}

static void guest_set_rule(
	struct guest *guest, const struct conf_rule *rule, const struct inet *address)
{
	const struct conf *conf = guest->gateway->conf;
	bool v6 = address->family == AF_INET6;

	guest->allowed = true;
	guest->ports = rule->ports;
	guest->limits = rule->limits;
	guest->upstream.from = *address;
	guest->upstream.server = v6 ? conf->server6 : conf->server4;
	guest->upstream.server_port = v6 ? conf->server6_port : conf->server4_port;
}

void guest_wake(struct guest *guest)
{
	if (guest->running || (TAILQ_EMPTY(&guest->up) && TAILQ_EMPTY(&guest->down)))
		return;
	guest->running = true;
	TAILQ_INSERT_TAIL(&guest->gateway->running, guest, run_entry);
}

static void guest_unpause(struct loop_timer *timer)
{
	guest_wake((struct guest *)((char *)timer - offsetof(struct guest, pause)));
}

/* Forgets guests that are gone: where CIDs are given out anew, there may be many in time. */
static void guest_sweep(struct gateway *gateway)
{
	struct guest *guest = TAILQ_FIRST(&gateway->guests), *next;

	for (; guest; guest = next) {
		next = TAILQ_NEXT(guest, entry);
		if (TAILQ_EMPTY(&guest->carries) && !guest->listener &&
			limit_full(&guest->connects, loop_now(gateway->loop)))
			guest_free(guest);
	}
}

static struct guest *guest_new(struct gateway *gateway, const struct name *name,
	const struct conf_rule *rule, const struct inet *address)
{
	uint64_t now = loop_now(gateway->loop);
	struct guest *guest;

	if (++gateway->nguests % GUEST_SWEEP == 0)
		guest_sweep(gateway);
	guest = calloc(1, sizeof(*guest));
	if (!guest)
		return NULL;
	guest->gateway = gateway;
	guest->name = *name;
	guest_set_rule(guest, rule, address);
	limit_init(&guest->connects, rule->limits.connects,
		rule->limits.connections + rule->limits.connects, now);
	limit_init(&guest->rate, rule->limits.rate, guest_rate_burst(rule->limits.rate), now);
	limit_init(&guest->calls, rule->limits.calls,
		(uint64_t)rule->limits.calls * GUEST_CALLS_BURST, now);
	share_init(&guest->share, &gateway->shares, now);
	guest->pause.fire = guest_unpause;
	TAILQ_INIT(&guest->carries);
	TAILQ_INIT(&guest->up);
	TAILQ_INIT(&guest->down);
	TAILQ_INSERT_TAIL(&gateway->guests, guest, entry);
	return guest;
}

struct guest *guest_get(struct gateway *gateway, const struct name *name, const char **why)
{
	const struct conf_rule *rule;
	struct inet address;
	struct guest *guest;

	*why = NULL;
	TAILQ_FOREACH (guest, &gateway->guests, entry)
		if (name_equal(&guest->name, name) && guest->allowed)
			return guest;
	rule = conf_find(gateway->conf, name);
	if (!rule)
		*why = "no rule names it";
	else if (!conf_address(gateway->conf, name, &address))
		*why = "its CID does not fit into the prefix";
	return *why ? NULL : guest_new(gateway, name, rule, &address);
}

bool guest_update(struct guest *guest)
{
	const struct conf *conf = guest->gateway->conf;
	const struct conf_rule *rule = conf_find(conf, &guest->name);
	uint64_t now = loop_now(guest->gateway->loop);
	struct upstream before = guest->upstream;
	struct inet address;

	guest->allowed = rule && conf_address(conf, &guest->name, &address);
	if (!guest->allowed)
		return false;
	guest_set_rule(guest, rule, &address);
	limit_change(&guest->connects, rule->limits.connects,
		rule->limits.connections + rule->limits.connects, now);
	limit_change(&guest->rate, rule->limits.rate, guest_rate_burst(rule->limits.rate), now);
	limit_change(&guest->calls, rule->limits.calls,
		(uint64_t)rule->limits.calls * GUEST_CALLS_BURST, now);
	guest_wake(guest);
	return inet_equal(&before.from, &guest->upstream.from) &&
	       inet_equal(&before.server, &guest->upstream.server) &&
	       before.server_port == guest->upstream.server_port;
}

void guest_free(struct guest *guest)
{
	if (guest->running)
		TAILQ_REMOVE(&guest->gateway->running, guest, run_entry);
	loop_timer_cancel(guest->gateway->loop, &guest->pause);
	share_deinit(&guest->share, &guest->gateway->shares);
	TAILQ_REMOVE(&guest->gateway->guests, guest, entry);
	free(guest);
}

static struct carry_lane_list *guest_lanes(struct guest *guest, const struct carry_lane *lane)
{
	return carry_is_up(lane) ? &guest->up : &guest->down;
}

void guest_queue(struct guest *guest, struct carry_lane *lane)
{
	if (!lane->queued)
		TAILQ_INSERT_TAIL(guest_lanes(guest, lane), lane, entry);
	lane->queued = true;
	guest_wake(guest);
}

void guest_unqueue(struct guest *guest, struct carry_lane *lane)
{
	if (lane->queued)
		TAILQ_REMOVE(guest_lanes(guest, lane), lane, entry);
	lane->queued = false;
}

/* How many calls it may make at once, by its own limit and beside others; 0: one at a time. */
static uint64_t guest_at_once(struct guest *guest, uint64_t now)
{
	uint64_t own = limit_at_once(&guest->calls, now);
	uint64_t share = share_at_once(&guest->share, &guest->gateway->shares, now);

	return own < share ? own : share;
}

static uint64_t guest_later(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

/* When calls of it may go to the server, as far as they are concerned; not after `now` if now. */
static uint64_t guest_when(struct guest *guest, const struct guest_leave *leave, uint64_t now)
{
	uint64_t when = guest_later(limit_when(&guest->calls, now),
		share_when(&guest->share, &guest->gateway->shares, now));

	return guest_later(when, gate_when(&guest->gate, leave->under_way, now));
}

static void guest_set_leave(struct guest *guest, struct guest_leave *leave, uint64_t now)
{
	leave->at_once = guest_at_once(guest, now);
	leave->under_way = leave->at_once > 0 ? GUEST_UNDER_WAY : 1;
	if (leave->at_once == 0 || gate_is_full(&guest->gate, leave->under_way))
		leave->at_once = 1;
}

/*
 * The lane that moves next, and what it may; or NULL, and then *when tells when to look again,
 * unless something happens before. It is `now` when there is nothing to move. What calls have to
 * wait for holds no reply back.
 */
static struct carry_lane *guest_next(
	struct guest *guest, uint64_t now, struct guest_leave *leave, uint64_t *when)
{
	struct carry_lane *up = TAILQ_FIRST(&guest->up), *down = TAILQ_FIRST(&guest->down);

	*when = now;
	if (up || down)
		*when = limit_when(&guest->rate, now);
	if (*when > now)
		return NULL;
	if (up) {
		guest_set_leave(guest, leave, now);
		*when = guest_when(guest, leave, now);
	}
	if (*when > now)
		up = NULL;
	if (up && down)
		guest->down_next = !guest->down_next;
	return up && (!down || !guest->down_next) ? up : down;
}

/* One turn; connections of the guest take theirs one after the other. */
static void guest_run(struct guest *guest)
{
	struct loop *loop = guest->gateway->loop;
	uint64_t spent = 0, calls, when, now = loop_now(loop);
	struct guest_leave leave = {0};

	while (spent < FLOW_CHUNK) {
		struct carry_lane *lane = guest_next(guest, now, &leave, &when);
		if (!lane) {
			if (when > now)
				loop_timer_set(loop, &guest->pause, when);
			return;
		}
		guest_unqueue(guest, lane);
		uint64_t moved = carry_move(lane, leave.at_once, leave.under_way, &calls);
		limit_take(&guest->rate, moved, now);
		limit_take(&guest->calls, calls, now);
		share_take(&guest->share, &guest->gateway->shares, calls, now);
		spent += moved + calls * GUEST_CALL_COST + GUEST_STEP_COST;
	}
	guest_wake(guest);
}

bool guest_run_all(struct gateway *gateway)
{
	struct guest_list round = TAILQ_HEAD_INITIALIZER(round);
	struct guest *guest;

	TAILQ_CONCAT(&round, &gateway->running, run_entry);
	if (TAILQ_EMPTY(&round))
		return false;
	/* None goes away meanwhile: guests are freed when another connects, and at the end. */
	while ((guest = TAILQ_FIRST(&round))) {
		TAILQ_REMOVE(&round, guest, run_entry);
		guest->running = false;
		guest_run(guest);
	}
	return true;
}
