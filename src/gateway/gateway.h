/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_GATEWAY_GATEWAY_H
#define VSOCKFS_GATEWAY_GATEWAY_H

#include "gateway/guest.h"
#include "gateway/listener.h"

/*
 * The gateway: what comes in on its listeners is carried to the server, guest by guest. Everything
 * happens on the thread of one loop.
 */

struct gateway {
	struct loop *loop;
	struct conf *conf;
	struct flow_store store;
	struct loop_hook hook;
	struct guest_list guests, running;
	struct share_pool shares;
	struct listener_list listeners;
	unsigned nguests;      /* met so far */
	unsigned count, total; /* connections; how many there may be */
	unsigned closing;      /* of connections and listeners, those the loop still knows */
	bool draining;
	struct loop_timer deadline; /* of draining */
	struct log_limit log_unknown, log_total;
	/* Called when something has ended and gateway_busy has become false; may be NULL. */
	void (*idle)(void *arg);
	void *arg;
};

/* Takes `conf`. `total` is the lower of the configuration's and what the descriptors allow. */
void gateway_init(struct gateway *gateway, struct loop *loop, struct conf *conf_take);
/* After the loop has ended with nothing left (gateway_busy). */
void gateway_deinit(struct gateway *gateway);

/* A connection from `name`; takes the socket. False when it was refused, and closed. */
bool gateway_admit(struct gateway *gateway, int fd_take, const struct name *name, uint32_t port);

/* Makes the listeners that the rules ask for and that do not exist. The first error, or 0. */
int gateway_listen(struct gateway *gateway);

/* Another configuration; guests that it does not allow lose their connections. */
void gateway_reload(struct gateway *gateway, struct conf *conf_take);

/* Accepts no more; `idle` follows when the last connection has ended, at once if there is none. */
void gateway_drain(struct gateway *gateway);
/* Ends all connections now. */
void gateway_end(struct gateway *gateway, const char *why);

/* Whether connections or listeners are left, also such as only await the loop's last word. */
bool gateway_busy(const struct gateway *gateway);

/* For the gateway's pieces: one of them has gone. */
void gateway_left(struct gateway *gateway);

#endif
