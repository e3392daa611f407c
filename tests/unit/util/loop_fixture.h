/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_TESTS_LOOP_FIXTURE_H
#define VSOCKFS_TESTS_LOOP_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
/* after the above */
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "util/loop.h"

/* Each test runs on both back ends, on a loop of its own; a watchdog ends one that hangs. */

struct fixture {
	struct loop *loop;
	struct loop_timer watchdog, alarm;
};

#define MS (UINT64_C(1000000)) /* ns */

#define OF(pointer, type, member) ((type *)((char *)(pointer)-offsetof(type, member)))

static inline void fixture_hung(struct loop_timer *timer)
{
	fail_msg("the loop waits for what never comes");
}

static inline void fixture_alarm(struct loop_timer *timer)
{
	loop_stop(OF(timer, struct fixture, alarm)->loop);
}

static inline int fixture_setup(void **state, enum loop_backend backend)
{
	struct fixture *f = calloc(1, sizeof(*f));
	int err = loop_new(backend, &f->loop);

	*state = f;
	if (err == -EPERM || err == -ENOSYS) {
		print_message("no io_uring here: %s\n", strerror(-err));
		return 0;
	}
	assert_int_equal(err, 0);
	assert_int_equal(loop_backend(f->loop), backend);
	f->watchdog.fire = fixture_hung;
	f->alarm.fire = fixture_alarm;
	loop_timer_set(f->loop, &f->watchdog, loop_clock() + 20000 * MS);
	return 0;
}

static inline int fixture_setup_uring(void **state)
{
	return fixture_setup(state, LOOP_URING);
}

static inline int fixture_setup_poll(void **state)
{
	return fixture_setup(state, LOOP_POLL);
}

static inline int fixture_teardown(void **state)
{
	struct fixture *f = *state;

	loop_free(f->loop);
	free(f);
	return 0;
}

/* Without a loop the kernel allows no io_uring. */
static inline struct fixture *fixture_get(void **state)
{
	struct fixture *f = *state;

	if (!f->loop)
		skip();
	return f;
}

static inline void fixture_run(struct fixture *f)
{
	assert_int_equal(loop_run(f->loop), 0);
}

/*
 * Runs the loop for a while, whatever stops it, to see that nothing (more) happens. On a busy
 * machine all of that while may go by in one turn; another follows in any case.
 */
static inline void fixture_run_for(struct fixture *f, uint64_t ns)
{
	uint64_t end = loop_clock() + ns;

	for (int pass = 0; pass < 2; pass++) {
		do {
			loop_timer_set(f->loop, &f->alarm, end);
			fixture_run(f);
		} while (loop_clock() < end);
		end = loop_clock() + MS / 2;
	}
}

#define ON_BOTH(test)                                                            \
	{"io_uring: " #test, test, fixture_setup_uring, fixture_teardown, NULL}, \
	{                                                                        \
		"poll: " #test, test, fixture_setup_poll, fixture_teardown, NULL \
	}

#endif
