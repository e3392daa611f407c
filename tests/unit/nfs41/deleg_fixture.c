/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "deleg_fixture.h"

#include <stdio.h>

static void on_due(void *arg, bool urgent)
{
	((struct fixture *)arg)->due++;
}

static const struct deleg_ops ops = {.due = on_due};

static int setup_mode(void **state, enum deleg_mode mode)
{
	static struct fixture f;
	f = (struct fixture){0};
	assert_int_equal(nfs_state_new(&f.state), 0);
	assert_int_equal(rpc_cred_new_sys("m", 1, 1, NULL, 0, &f.cred), 0);
	assert_int_equal(rpc_cred_new_sys("m", 2, 2, NULL, 0, &f.other), 0);
	deleg_configure(f.state, mode, &ops, &f);
	*state = &f;
	return 0;
}

int setup(void **state)
{
	return setup_mode(state, DELEG_ALL);
}

int setup_read(void **state)
{
	return setup_mode(state, DELEG_READ);
}

int setup_none(void **state)
{
	return setup_mode(state, DELEG_NONE);
}

int teardown(void **state)
{
	struct fixture *f = *state;
	nfs_state_free(f->state);
	rpc_cred_unref(f->cred);
	rpc_cred_unref(f->other);
	return 0;
}

struct nfs_stateid stateid_of(unsigned number)
{
	struct nfs_stateid stateid = {.seqid = 1};
	snprintf((char *)stateid.other, sizeof(stateid.other), "deleg %u", number);
	return stateid;
}

struct nfs_open_res answer(uint32_t type, unsigned number)
{
	return (struct nfs_open_res){.stateid = {.seqid = 1, .other = "open"},
		.delegation_type = type,
		.delegation = stateid_of(number)};
}

bool grant(struct fixture *f, const struct nfs_fh *of, uint32_t type, unsigned number)
{
	struct deleg_asking asking;
	const struct nfs_open_res res = answer(type, number);
	const struct deleg_grant granted = {.fh = of,
		.cred = f->cred,
		.access = OPEN4_SHARE_ACCESS_READ | OPEN4_SHARE_ACCESS_WRITE,
		.res = &res};
	deleg_ask(f->state, of, OPEN4_SHARE_ACCESS_READ, false, &asking);
	return deleg_answered(f->state, &asking, &granted);
}
