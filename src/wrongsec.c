/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "wrongsec.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "flavor.h"
#include "fsop.h"
#include "moved.h"
#include "nfs41/op.h"
#include "referral.h"
#include "share.h"
#include "util/log.h"

/* The names of all flavors. */
#define WRONGSEC_NAMES_MAX 64

struct wrongsec_asking {
	struct fsop_request *req;
	int err;
	struct rpc_sec_list secs;
};

static const char *wrongsec_names(const struct rpc_sec_list *secs, char flavors[WRONGSEC_NAMES_MAX])
{
	size_t len = 0;
	snprintf(flavors, WRONGSEC_NAMES_MAX, "(something unknown)");
	for (unsigned i = 0; i < secs->count; i++)
		len += (size_t)snprintf(flavors + len, WRONGSEC_NAMES_MAX - len, "%s%s",
			i > 0 ? ":" : "", rpc_sec_name(secs->secs[i]));
	return flavors;
}

static void wrongsec_tell(const struct fsop_request *req, const char *flavors, const char *why_not)
{
	if (told_lately(&req->share->told, req->node->id, req->u.names.name))
		return;
	log_warn("\"%s\" in the directory with inode %llu is a file system for sec=%s, which this "
		 "mount, with sec=%s, does not enter%s%s",
		req->u.names.name, (unsigned long long)req->node->ino, flavors,
		rpc_sec_name(req->share->options->sec), *why_not ? ": " : "", why_not);
}

static bool wrongsec_is_usable(const struct fsop_request *req, const struct rpc_sec_list *secs)
{
	const struct options *options = req->share->options;
	for (unsigned i = 0; i < secs->count; i++)
		if (secs->secs[i] != options->sec && flavor_is_usable(options, secs->secs[i]))
			return referral_is_on(req->share);
	return false;
}

/* Of its own attributes the server tells nothing, not even in the listing of the directory. */
static void wrongsec_fill(struct fsop_request *req)
{
	const char *name = req->u.names.name;
	size_t len = strlen(name);
	uint64_t ino = req->node->ino;
	moved_standin_fh(&req->fh, STANDIN_SECURITY, req->node, name);
	req->attr = (struct nfs_attr){
		.mounted_on_fileid = (uint64_t)node_mark_of(ino, name, len) << 32 |
				     node_mark_of(~ino, name, len)};
	moved_standin_attr(&req->attr);
}

static void wrongsec_asked(struct nfs_compound *c)
{
	struct wrongsec_asking *a = c->arg;
	struct fsop_request *req = a->req;
	char flavors[WRONGSEC_NAMES_MAX];
	const struct referral_way way = {.sec = wrongsec_names(&a->secs, flavors)};
	/* That it could not be asked says nothing about flavors. */
	bool asked = c->status >= 0;
	const char *why_not = asked ? "" : NULL;
	int err = asked ? a->err : nfs_compound_errno(c);
	bool usable = wrongsec_is_usable(req, &a->secs), held = false;
	free(a);
	if (usable) {
		wrongsec_fill(req);
		held = referral_hold(req, &way, &why_not);
	}
	if (why_not)
		wrongsec_tell(req, flavors, why_not);
	if (!usable)
		fsop_reply_err(req, err);
	else if (!held)
		fsop_reply_entry(req, &req->attr, req->u.names.name);
}

bool wrongsec_lookup(struct fsop_request *req, const char *name)
{
	if (req->compound->status != NFS4ERR_WRONGSEC)
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
