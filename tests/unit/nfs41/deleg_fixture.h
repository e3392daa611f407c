/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_TEST_DELEG_FIXTURE_H
#define VSOCKFS_TEST_DELEG_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "nfs41/deleg.h"
#include "nfs41/state_priv.h"

/* A record of delegations, and whom they are given to. */
struct fixture {
	struct nfs_state *state;
	struct rpc_cred *cred, *other;
	unsigned due; /* how often something became so */
};

static const struct nfs_fh fh = {.len = 4, .data = "file"}, fh2 = {.len = 4, .data = "more"};

/* With DELEG_ALL, _READ and _NONE. */
int setup(void **state);
int setup_read(void **state);
int setup_none(void **state);
int teardown(void **state);

struct nfs_stateid stateid_of(unsigned number);
/* What an OPEN brings. */
struct nfs_open_res answer(uint32_t type, unsigned number);
/* One by f->cred that brings a delegation. */
bool grant(struct fixture *f, const struct nfs_fh *of, uint32_t type, unsigned number);

#endif
