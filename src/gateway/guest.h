/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_GATEWAY_GUEST_H
#define VSOCKFS_GATEWAY_GUEST_H

#include "gateway/conf.h"
#include "gateway/flow.h"
#include "gateway/gate.h"
#include "gateway/limit.h"
#include "gateway/share.h"
#include "gateway/upstream.h"
#include "util/log.h"
#include "util/loop.h"

/*
 * The guests that have connected, their limits, and whose turn it is: on every pass over those
 * with something to move, each moves at most FLOW_CHUNK bytes, however many connections it has.
 * The pieces of one gateway; only src/gateway includes this.
 */

struct carry;
struct gateway;
struct listener;

/* One direction of a connection; see carry.h. */
struct carry_lane {
	struct carry *carry;
	struct flow flow;
	enum flow_state state;
	struct loop_poll poll;
	bool armed;  /* poll */
	bool queued; /* in the guest's `up` or `down` */
	TAILQ_ENTRY(carry_lane) entry;
};

TAILQ_HEAD(carry_lane_list, carry_lane);

struct guest {
	struct gateway *gateway;
	struct name name;
	struct upstream upstream; /* with what a rule says of it */
	enum conf_ports ports;
	struct conf_limits limits;
	struct limit connects, rate, calls;
	struct share share; /* of what the server can be called */
	struct gate gate;   /* what it has at the server */
	unsigned count;	    /* of connections */
	bool allowed;	    /* by the rules as they are now */
	uint16_t next_port;
	struct log_limit log_end, log_refused;
	TAILQ_HEAD(, carry) carries;
	struct carry_lane_list up, down; /* lanes with something to move */
	bool down_next;			 /* whose turn it is when both have */
	bool running;			 /* in the gateway's `running` */
	struct loop_timer pause;	 /* until `rate`, `calls`, `share` or `gate` allow more */
	struct listener *listener;	 /* of this guest alone, or NULL */
	TAILQ_ENTRY(guest) entry, run_entry;
};

TAILQ_HEAD(guest_list, guest);

/*
 * The guest of this name as the rules have it now, made when it was not known. NULL without memory
 * or, with *why set to a constant sentence, when no rule lets it in.
 */
struct guest *guest_get(struct gateway *gateway, const struct name *name, const char **why);
void guest_free(struct guest *guest);

/*
 * Takes over the rules of a new configuration. False when it is not allowed any more, or has
 * another address: its connections must end.
 */
bool guest_update(struct guest *guest);

/* `lane` has something to move. */
void guest_queue(struct guest *guest, struct carry_lane *lane);
void guest_unqueue(struct guest *guest, struct carry_lane *lane);
/* It may be allowed to move something that it was not before. */
void guest_wake(struct guest *guest);

/* One turn of every guest that is running. True when there was one. */
bool guest_run_all(struct gateway *gateway);

#endif
