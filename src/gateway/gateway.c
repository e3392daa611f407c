/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "gateway/gateway.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "gateway/carry.h"

/* A connection has two sockets and, while its guest is slow, a pipe. */
#define GATEWAY_FDS_EACH  4
#define GATEWAY_FDS_OTHER 64

static bool gateway_turn(struct loop_hook *hook)
{
	return guest_run_all((struct gateway *)((char *)hook - offsetof(struct gateway, hook)));
}

static void gateway_set_total(struct gateway *gateway)
{
	struct rlimit limit;
	uint64_t room = UINT32_MAX;

	gateway->total = gateway->conf->total;
	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return;
	if (limit.rlim_cur != limit.rlim_max) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
	if (limit.rlim_cur != RLIM_INFINITY)
		room = limit.rlim_cur < GATEWAY_FDS_OTHER + GATEWAY_FDS_EACH
			       ? 1
			       : (limit.rlim_cur - GATEWAY_FDS_OTHER) / GATEWAY_FDS_EACH;
	if (room >= gateway->total)
		return;
	log_warn("descriptors (ulimit -n) are enough for %" PRIu64 " connections, not for %u", room,
		gateway->total);
	gateway->total = (unsigned)room;
}

static void gateway_deadline(struct loop_timer *timer)
{
	gateway_end((struct gateway *)((char *)timer - offsetof(struct gateway, deadline)),
		"the gateway ends");
}

void gateway_init(struct gateway *gateway, struct loop *loop, struct conf *conf)
{
	*gateway = (struct gateway){.loop = loop, .conf = conf};
	TAILQ_INIT(&gateway->guests);
	TAILQ_INIT(&gateway->running);
	TAILQ_INIT(&gateway->listeners);
	share_pool_init(&gateway->shares, conf->share, loop_now(loop));
	gateway->hook.run = gateway_turn;
	gateway->deadline.fire = gateway_deadline;
	loop_hook_add(loop, &gateway->hook);
	gateway_set_total(gateway);
}

void gateway_deinit(struct gateway *gateway)
{
	struct guest *guest;

	while ((guest = TAILQ_FIRST(&gateway->guests)))
		guest_free(guest);
	loop_timer_cancel(gateway->loop, &gateway->deadline);
	loop_hook_remove(gateway->loop, &gateway->hook);
	flow_store_deinit(&gateway->store);
	conf_free(gateway->conf);
}

static void gateway_refuse(struct gateway *gateway, struct log_limit *limit,
	const struct name *name, uint32_t port, const char *why)
{
	char text[NAME_TEXT_MAX];

	if (!log_limit_pass(limit, loop_now(gateway->loop)))
		return;
	if (port)
		log_warn("%s port %" PRIu32 ": refused: %s", name_text(name, text), port, why);
	else
		log_warn("%s: refused: %s", name_text(name, text), why);
}

/* Who hung up while he stood in the queue needs no server, and has cost nobody anything. */
static bool gateway_has_gone(int fd)
{
	struct pollfd p = {.fd = fd};

	return poll(&p, 1, 0) > 0 && p.revents & (POLLHUP | POLLERR);
}

bool gateway_admit(struct gateway *gateway, int fd, const struct name *name, uint32_t port)
{
	uint64_t now = loop_now(gateway->loop), when;
	struct log_limit *limit = &gateway->log_unknown;
	const char *why = NULL;
	struct guest *guest = guest_get(gateway, name, &why);

	if (guest && gateway_has_gone(fd)) {
		close(fd);
		return false;
	}
	if (guest) {
		limit = &guest->log_refused;
		if (guest->ports == CONF_PORTS_REQUIRE && port >= CONF_PORT_LOWEST)
			why = "its port is not reserved";
		else if (guest->count >= guest->limits.connections &&
			 !carry_make_room(guest, &when))
			why = "it has as many connections as it may";
		else if (!limit_ok(&guest->connects, now))
			why = "it connects too often";
		limit_take(&guest->connects, 1, now);
	} else if (!why) {
		why = strerror(ENOMEM);
	}
	if (!why && gateway->count >= gateway->total) {
		limit = &gateway->log_total;
		why = "all guests together have too many connections";
	}
	if (!why)
		return carry_start(guest, fd, port) == 0;
	close(fd);
	gateway_refuse(gateway, limit, name, port, why);
	return false;
}

static struct listener *gateway_find_listener(struct gateway *gateway, const struct conf_rule *rule)
{
	bool vsock = rule->name.kind != NAME_PATH;
	struct listener *l;

	TAILQ_FOREACH (l, &gateway->listeners, entry)
		if (l->vsock == vsock && (vsock || name_equal(&l->name, &rule->name)))
			return l;
	return NULL;
}

int gateway_listen(struct gateway *gateway)
{
	const struct conf *conf = gateway->conf;
	char name[NAME_TEXT_MAX];
	const struct conf_rule *rule;
	int fd, err, first = 0;

	TAILQ_FOREACH (rule, &conf->rules, entry) {
		bool vsock = rule->name.kind != NAME_PATH;
		if (gateway_find_listener(gateway, rule))
			continue;
		if (vsock)
			err = listener_open_vsock(conf->port, &fd);
		else
			err = listener_open_unix(
				&rule->name, conf->port, rule->owner, rule->group, &fd);
		if (!err)
			err = listener_start(gateway, fd, vsock, &rule->name, !vsock);
		if (err) {
			log_error("cannot listen for %s on port %" PRIu32 ": %s",
				name_text(&rule->name, name), conf->port, strerror(-err));
			first = first ? first : err;
		}
	}
	return first;
}

static void gateway_end_guest(struct guest *guest, const char *why)
{
	struct carry *carry = TAILQ_FIRST(&guest->carries), *next;

	for (; carry; carry = next) {
		next = TAILQ_NEXT(carry, entry);
		carry_end(carry, why);
	}
}

void gateway_end(struct gateway *gateway, const char *why)
{
	struct guest *guest;

	TAILQ_FOREACH (guest, &gateway->guests, entry)
		gateway_end_guest(guest, why);
}

void gateway_reload(struct gateway *gateway, struct conf *conf)
{
	struct listener *l = TAILQ_FIRST(&gateway->listeners), *next;
	struct guest *guest;
	struct conf *old = gateway->conf;

	/* The port is of the sockets that exist; another one takes a new start. */
	conf->port = old->port;
	gateway->conf = conf;
	share_pool_change(&gateway->shares, conf->share, loop_now(gateway->loop));
	for (; l; l = next) {
		next = TAILQ_NEXT(l, entry);
		if (l->remove && !conf_find(conf, &l->name))
			listener_end(l);
	}
	TAILQ_FOREACH (guest, &gateway->guests, entry) {
		if (!guest_update(guest))
			gateway_end_guest(guest, "the rules have changed");
		if (guest->listener)
			listener_resume(guest->listener);
	}
	conf_free(old);
	gateway_set_total(gateway);
}

void gateway_drain(struct gateway *gateway)
{
	struct listener *l;
	struct guest *guest;

	gateway->draining = true;
	while ((l = TAILQ_FIRST(&gateway->listeners)))
		listener_end(l);
	loop_timer_set(
		gateway->loop, &gateway->deadline, loop_now(gateway->loop) + gateway->conf->drain);
	TAILQ_FOREACH (guest, &gateway->guests, entry) {
		struct carry *carry = TAILQ_FIRST(&guest->carries), *next;
		for (; carry; carry = next) {
			next = TAILQ_NEXT(carry, entry);
			carry_drain(carry);
		}
	}
	gateway_left(gateway);
}

void gateway_left(struct gateway *gateway)
{
	if (gateway->idle && !gateway_busy(gateway))
		gateway->idle(gateway->arg);
}

bool gateway_busy(const struct gateway *gateway)
{
	return gateway->count > 0 || gateway->closing > 0 || !TAILQ_EMPTY(&gateway->listeners);
}
