/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "wrongsec.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fsop.h"
#include "nfs41/op.h"
#include "share.h"
#include "util/log.h"

struct wrongsec_asking {
	struct fsop_request *req;
	int err;
	struct rpc_sec_list secs;
};

static void wrongsec_asked(struct nfs_compound *c)
{
	struct wrongsec_asking *a = c->arg;
	struct fsop_request *req = a->req;
	char flavors[64] = "";
	size_t len = 0;
	int err = a->err;
	for (unsigned i = 0; i < a->secs.count; i++)
		len += (size_t)snprintf(flavors + len, sizeof(flavors) - len, "%s%s",
			i > 0 ? ":" : "", rpc_sec_name(a->secs.secs[i]));
	log_warn("\"%s\" in the directory with inode %llu is a file system for sec=%s, which this "
		 "mount, with sec=%s, does not enter",
		req->u.names.name, (unsigned long long)req->node->ino,
		len > 0 ? flavors : "(something unknown)", rpc_sec_name(req->share->options->sec));
	free(a);
	fsop_reply_err(req, err);
}

bool wrongsec_lookup(struct fsop_request *req, const char *name)
{
	if (req->compound->status != NFS4ERR_WRONGSEC ||
		told_lately(&req->share->told, req->node->id, name))
		return false;
	struct wrongsec_asking *a = calloc(1, sizeof(*a));
	if (!a)
		return false;
	a->req = req;
	a->err = nfs_compound_errno(req->compound);
	if (!fsop_compound(req, OP_SECINFO, req->node)) {
		free(a);
		return true;
	}
	nfs_op_secinfo(req->compound, name, strlen(name), &a->secs);
	nfs_compound_send(req->compound, wrongsec_asked, a);
	return true;
}
