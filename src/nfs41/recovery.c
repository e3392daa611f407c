/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "nfs41/recovery.h"

#include <errno.h>

#include "nfs41/handling.h"
#include "nfs41/proto.h"

#define RECOVERY_DELAY_MIN UINT64_C(100000000)	/* ns */
#define RECOVERY_DELAY_MAX UINT64_C(5000000000) /* ns */
/* For the session to be given back before another server is turned to. */
#define RECOVERY_LEAVE UINT64_C(2000000000) /* ns */

void recovery_init(struct recovery *r, int minor)
{
	*r = (struct recovery){
		.minor = minor < 0 ? 2 : (unsigned)minor,
		.minor_fixed = minor >= 0,
		.first = true,
		.deadline = UINT64_MAX,
	};
}

static bool recovery_needs_connection(const struct recovery *r)
{
	return r->state == RECOVERY_EXCHANGE || r->state == RECOVERY_CREATE ||
	       r->state == RECOVERY_DISCARD || r->state == RECOVERY_DESTROY_SESSION ||
	       r->state == RECOVERY_DESTROY_CLIENTID;
}

uint64_t recovery_deadline(const struct recovery *r)
{
	/* Without a connection it goes on with UP, not with the time. */
	bool waits = recovery_needs_connection(r) && !r->connected;
	bool pausing = !r->issued && r->retry_at > 0 && !waits;
	if (r->leaving && r->leave_at < r->deadline)
		return r->leave_at;
	return pausing && r->retry_at < r->deadline ? r->retry_at : r->deadline;
}

/* The RPC of the present state, unless it is under way or cannot go yet. */
static unsigned recovery_issue(struct recovery *r, uint64_t now)
{
	if (r->issued || r->retry_at > now || (recovery_needs_connection(r) && !r->connected))
		return 0;
	r->issued = true;
	r->retry_at = 0;
	switch (r->state) {
	case RECOVERY_EXCHANGE: return RECOVERY_DO_EXCHANGE_ID;
	case RECOVERY_CREATE: return RECOVERY_DO_CREATE_SESSION;
	case RECOVERY_COMPLETE: return RECOVERY_DO_RECLAIM_COMPLETE;
	case RECOVERY_DISCARD:
	case RECOVERY_DESTROY_SESSION: return RECOVERY_DO_DESTROY_SESSION;
	case RECOVERY_DESTROY_CLIENTID: return RECOVERY_DO_DESTROY_CLIENTID;
	default: r->issued = false; return 0;
	}
}

static unsigned recovery_enter(struct recovery *r, enum recovery_state state, uint64_t now)
{
	r->state = state;
	r->issued = false;
	return recovery_issue(r, now);
}

/* The same state again, after a while that grows. */
static unsigned recovery_pause(struct recovery *r, uint64_t now)
{
	r->issued = false;
	r->delay = r->delay == 0 ? RECOVERY_DELAY_MIN : r->delay * 2;
	if (r->delay > RECOVERY_DELAY_MAX)
		r->delay = RECOVERY_DELAY_MAX;
	r->retry_at = now + r->delay;
	return 0;
}

static unsigned recovery_close(struct recovery *r)
{
	r->state = RECOVERY_CLOSING;
	r->issued = false;
	r->deadline = UINT64_MAX;
	r->retry_at = 0;
	return RECOVERY_DO_HOLD | RECOVERY_DO_CLOSE;
}

/* Final at the first start. Later everything begins again, from the client id. */
static unsigned recovery_fail(struct recovery *r, int status, uint64_t now)
{
	if (!r->first) {
		r->state = RECOVERY_EXCHANGE;
		return recovery_pause(r, now);
	}
	r->status = status;
	r->failed_in = r->state;
	return recovery_close(r);
}

static unsigned recovery_ready(struct recovery *r, uint64_t now)
{
	unsigned actions = RECOVERY_DO_FLOW;
	if (r->first) {
		actions |= RECOVERY_DO_READY;
		r->deadline = UINT64_MAX;
	}
	r->first = r->cloned = r->resume = false;
	r->state = RECOVERY_READY;
	r->issued = false;
	r->exchanged = false;
	r->retry_at = 0;
	r->ready_at = now;
	return actions;
}

/* A session stands: what is missing until compounds may flow? */
static unsigned recovery_proceed(struct recovery *r, uint64_t now)
{
	if (r->reclaiming) {
		r->state = RECOVERY_RECLAIM;
		return 0;
	}
	/* Before RECLAIM_COMPLETE servers grant reclaims only. */
	if (r->reclaim && (r->grace || r->completed)) {
		r->state = RECOVERY_RECLAIM;
		r->reclaim = false;
		r->reclaiming = true;
		return RECOVERY_DO_RECLAIM;
	}
	if (!r->completed)
		return recovery_enter(r, RECOVERY_COMPLETE, now);
	return recovery_ready(r, now);
}

static unsigned recovery_exchanged(
	struct recovery *r, const struct recovery_event *ev, uint64_t now)
{
	if (ev->status == NFS4ERR_MINOR_VERS_MISMATCH && !r->minor_fixed && r->minor > 1) {
		r->minor--;
		return recovery_enter(r, RECOVERY_EXCHANGE, now);
	}
	if (ev->status != 0)
		return recovery_fail(r, ev->status, now);
	r->minor_fixed = r->exchanged = true;
	if (ev->new_client) {
		r->completed = false;
		r->reclaim = !r->first || r->resume;
		r->grace = !r->cloned;
	} else if (r->resume) {
		/* What it had under way must not be executed later than what we do. */
		return recovery_enter(r, RECOVERY_DISCARD, now);
	}
	return recovery_enter(r, RECOVERY_CREATE, now);
}

static unsigned recovery_created(struct recovery *r, const struct recovery_event *ev, uint64_t now)
{
	if (ev->status == NFS4ERR_STALE_CLIENTID || ev->status == NFS4ERR_SEQ_MISORDERED) {
		if (!r->exchanged)
			return recovery_enter(r, RECOVERY_EXCHANGE, now);
		/* Not at once a second time: a server might say so for ever. */
		r->state = RECOVERY_EXCHANGE;
		return recovery_pause(r, now);
	}
	if (ev->status != 0)
		return recovery_fail(r, ev->status, now);
	r->generation = ev->generation;
	return recovery_proceed(r, now);
}

static unsigned recovery_complete(struct recovery *r, const struct recovery_event *ev, uint64_t now)
{
	if (ev->status == -ESTALE)
		return recovery_enter(r, RECOVERY_COMPLETE, now);
	if (ev->status != 0 && ev->status != NFS4ERR_COMPLETE_ALREADY && r->first)
		return recovery_fail(r, ev->status, now);
	/* Later, a server that dislikes it is no reason to keep everybody waiting. */
	r->completed = true;
	return recovery_proceed(r, now);
}

/* What is still to be said to this server is not worth waiting for. */
static unsigned recovery_leave(struct recovery *r)
{
	r->state = RECOVERY_EXCHANGE;
	r->leaving = r->issued = r->connected = r->exchanged = false;
	r->retry_at = r->delay = 0;
	return RECOVERY_DO_HOLD | RECOVERY_DO_CHANGE_SERVER;
}

static unsigned recovery_result(struct recovery *r, const struct recovery_event *ev, uint64_t now)
{
	if (!r->issued || ev->step != r->state)
		return 0;
	r->issued = false;
	if (r->leaving)
		return recovery_leave(r);
	if (ev->status == -ECONNRESET) {
		r->connected = false;
		return 0;
	}
	if (ev->status == NFS4ERR_DELAY)
		return recovery_pause(r, now);
	switch (r->state) {
	case RECOVERY_EXCHANGE: return recovery_exchanged(r, ev, now);
	case RECOVERY_CREATE: return recovery_created(r, ev, now);
	case RECOVERY_COMPLETE: return recovery_complete(r, ev, now);
	case RECOVERY_DISCARD: return recovery_enter(r, RECOVERY_CREATE, now);
	case RECOVERY_DESTROY_SESSION: return recovery_enter(r, RECOVERY_DESTROY_CLIENTID, now);
	default: return recovery_close(r); /* DESTROY_CLIENTID */
	}
}

static bool recovery_has_session(const struct recovery *r)
{
	return r->state == RECOVERY_READY || r->state == RECOVERY_RECLAIM ||
	       r->state == RECOVERY_COMPLETE;
}

static unsigned recovery_lost(struct recovery *r, const struct recovery_event *ev, uint64_t now)
{
	if (!recovery_has_session(r) || ev->generation != r->generation)
		return 0;
	enum recovery_state next = RECOVERY_DISCARD;
	r->exchanged = false;
	if (handling_loss((uint32_t)ev->status) == HANDLING_NO_SESSION)
		next = RECOVERY_CREATE;
	else if (handling_loss((uint32_t)ev->status) == HANDLING_NO_CLIENT)
		next = RECOVERY_EXCHANGE;
	/* A session that lasts no longer than this is not made anew at full speed. */
	if (now - r->ready_at < RECOVERY_DELAY_MAX) {
		r->state = next;
		return RECOVERY_DO_HOLD | recovery_pause(r, now);
	}
	r->delay = 0;
	return RECOVERY_DO_HOLD | recovery_enter(r, next, now);
}

/* All that the server holds for us it holds for the other one as well. */
static unsigned recovery_cloned(struct recovery *r, const struct recovery_event *ev)
{
	bool has_session = recovery_has_session(r) || r->state == RECOVERY_DISCARD;
	if (ev->generation != 0 && (!has_session || ev->generation != r->generation))
		return 0;
	switch (r->state) {
	case RECOVERY_IDLE:
	case RECOVERY_CLOSING: return 0;
	case RECOVERY_DESTROY_SESSION:
	case RECOVERY_DESTROY_CLIENTID: return recovery_close(r);
	default: break;
	}
	r->state = RECOVERY_EXCHANGE;
	r->issued = r->connected = r->exchanged = r->completed = r->leaving = false;
	r->cloned = true;
	r->retry_at = r->delay = 0;
	return RECOVERY_DO_HOLD | RECOVERY_DO_BECOME_OTHER;
}

/* What the server here has under way must not be executed later than what we do there. */
static unsigned recovery_moved(struct recovery *r, uint64_t now)
{
	switch (r->state) {
	case RECOVERY_IDLE:
	case RECOVERY_CLOSING:
	case RECOVERY_DESTROY_SESSION:
	case RECOVERY_DESTROY_CLIENTID: return 0;
	default: break;
	}
	if (r->first || r->stopping || r->leaving)
		return 0;
	if (!recovery_has_session(r) || !r->connected)
		return recovery_leave(r);
	r->leaving = true;
	r->leave_at = now + RECOVERY_LEAVE;
	r->retry_at = 0;
	return RECOVERY_DO_HOLD | recovery_enter(r, RECOVERY_DISCARD, now);
}

static unsigned recovery_revoked(struct recovery *r, const struct recovery_event *ev, uint64_t now)
{
	if (!recovery_has_session(r))
		return 0;
	r->reclaim = true;
	r->grace = ev->grace;
	if (ev->grace)
		r->completed = false;
	if (r->state != RECOVERY_READY)
		return 0;
	return RECOVERY_DO_HOLD | recovery_proceed(r, now);
}

static unsigned recovery_reclaimed(
	struct recovery *r, const struct recovery_event *ev, uint64_t now)
{
	r->reclaiming = false;
	/* What was ordered meanwhile comprises it. */
	if (ev->status != 0 && !r->reclaim) {
		r->reclaim = true;
		r->grace = r->grace && ev->status == -ESTALE;
	}
	return r->state == RECOVERY_RECLAIM ? recovery_proceed(r, now) : 0;
}

static unsigned recovery_down(struct recovery *r, const struct recovery_event *ev, uint64_t now)
{
	r->connected = false;
	if (r->leaving)
		return recovery_leave(r);
	if (r->state == RECOVERY_DESTROY_SESSION || r->state == RECOVERY_DESTROY_CLIENTID)
		return recovery_close(r);
	if (r->first && r->state != RECOVERY_IDLE && r->state != RECOVERY_CLOSING)
		return recovery_fail(r, ev->status, now);
	if (recovery_needs_connection(r))
		r->issued = false;
	return 0;
}

static unsigned recovery_time(struct recovery *r, uint64_t now)
{
	if (r->leaving && now >= r->leave_at)
		return recovery_leave(r);
	if (now < r->deadline)
		return recovery_issue(r, now);
	if (r->stopping)
		return recovery_close(r);
	return recovery_fail(r, -ETIMEDOUT, now);
}

static unsigned recovery_stop(struct recovery *r, const struct recovery_event *ev, uint64_t now)
{
	if (r->stopping)
		return 0;
	if (r->state == RECOVERY_IDLE)
		return RECOVERY_DO_STOPPED;
	r->stopping = true;
	if (r->state == RECOVERY_CLOSING)
		return 0;
	if (r->first)
		return recovery_fail(r, -ECANCELED, now);
	r->deadline = now + ev->timeout;
	return RECOVERY_DO_DRAIN;
}

static unsigned recovery_drained(struct recovery *r, uint64_t now)
{
	if (!r->stopping || r->drained || r->state == RECOVERY_CLOSING)
		return 0;
	r->drained = true;
	if (r->state != RECOVERY_READY || !r->connected)
		return recovery_close(r);
	return RECOVERY_DO_HOLD | recovery_enter(r, RECOVERY_DESTROY_SESSION, now);
}

static unsigned recovery_closed(struct recovery *r)
{
	if (r->state != RECOVERY_CLOSING)
		return 0;
	unsigned actions = 0;
	if (r->first)
		actions |= RECOVERY_DO_FAILED;
	if (r->stopping)
		actions |= RECOVERY_DO_STOPPED;
	r->state = RECOVERY_IDLE;
	r->connected = r->stopping = r->drained = r->reclaiming = r->leaving = false;
	return actions;
}

static unsigned recovery_start(struct recovery *r, const struct recovery_event *ev, uint64_t now)
{
	if (r->state != RECOVERY_IDLE)
		return 0;
	r->first = true;
	r->resume = ev->resume;
	r->completed = r->reclaim = r->connected = r->cloned = false;
	r->delay = r->retry_at = 0;
	r->deadline = now + ev->timeout;
	return RECOVERY_DO_HOLD | RECOVERY_DO_CONNECT | recovery_enter(r, RECOVERY_EXCHANGE, now);
}

unsigned recovery_event(struct recovery *r, const struct recovery_event *ev, uint64_t now)
{
	switch (ev->type) {
	case RECOVERY_EV_START: return recovery_start(r, ev, now);
	case RECOVERY_EV_UP: r->connected = true; return recovery_issue(r, now);
	case RECOVERY_EV_DOWN: return recovery_down(r, ev, now);
	case RECOVERY_EV_RESULT: return recovery_result(r, ev, now);
	case RECOVERY_EV_RECLAIMED: return recovery_reclaimed(r, ev, now);
	case RECOVERY_EV_LOST: return recovery_lost(r, ev, now);
	case RECOVERY_EV_CLONED: return recovery_cloned(r, ev);
	case RECOVERY_EV_MOVED: return recovery_moved(r, now);
	case RECOVERY_EV_REVOKED: return recovery_revoked(r, ev, now);
	case RECOVERY_EV_TIME: return recovery_time(r, now);
	case RECOVERY_EV_STOP: return recovery_stop(r, ev, now);
	case RECOVERY_EV_DRAINED: return recovery_drained(r, now);
	default: return recovery_closed(r); /* CLOSED */
	}
}
