/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_TESTS_RECOVERY_DRIVE_H
#define VSOCKFS_TESTS_RECOVERY_DRIVE_H

/* The recovery machine, brought to where a test begins. */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "nfs41/proto.h"
#include "nfs41/recovery.h"

#define SECOND UINT64_C(1000000000)
#define MS     UINT64_C(1000000)

static uint64_t now;

static inline unsigned put(struct recovery *r, struct recovery_event ev)
{
	return recovery_event(r, &ev, now);
}

#define PUT(r, event, ...) put(r, (struct recovery_event){.type = RECOVERY_EV_##event, __VA_ARGS__})

static inline unsigned result(struct recovery *r, int status)
{
	return PUT(r, RESULT, .step = r->state, .status = status);
}

static inline void expect(
	const struct recovery *r, enum recovery_state state, unsigned got, unsigned want)
{
	assert_int_equal(r->state, state);
	assert_int_equal(got, want);
}

static inline struct recovery started(int minor)
{
	struct recovery r;
	now = 1000 * SECOND;
	recovery_init(&r, minor);
	unsigned got = PUT(&r, START, .timeout = 60 * SECOND);
	expect(&r, RECOVERY_EXCHANGE, got, RECOVERY_DO_HOLD | RECOVERY_DO_CONNECT);
	return r;
}

static inline struct recovery creating(void)
{
	struct recovery r = started(-1);
	expect(&r, RECOVERY_EXCHANGE, PUT(&r, UP), RECOVERY_DO_EXCHANGE_ID);
	unsigned got = PUT(&r, RESULT, .step = RECOVERY_EXCHANGE, .new_client = true);
	expect(&r, RECOVERY_CREATE, got, RECOVERY_DO_CREATE_SESSION);
	return r;
}

static inline struct recovery ready(void)
{
	struct recovery r = creating();
	unsigned got = PUT(&r, RESULT, .step = RECOVERY_CREATE, .generation = 1);
	expect(&r, RECOVERY_COMPLETE, got, RECOVERY_DO_RECLAIM_COMPLETE);
	expect(&r, RECOVERY_READY, result(&r, 0), RECOVERY_DO_FLOW | RECOVERY_DO_READY);
	assert_true(recovery_deadline(&r) == UINT64_MAX);
	now += 100 * SECOND;
	return r;
}

static inline struct recovery stopping(void)
{
	struct recovery r = ready();
	unsigned got = PUT(&r, STOP, .timeout = 10 * SECOND);
	expect(&r, RECOVERY_READY, got, RECOVERY_DO_DRAIN);
	assert_true(recovery_deadline(&r) == now + 10 * SECOND);
	return r;
}

#endif
