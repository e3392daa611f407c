/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "moved.h"

#include <linux/fuse.h>
#include <stdlib.h>
#include <string.h>

#include "fsop.h"
#include "nfs41/op.h"
#include "util/log.h"

/* The log hears of the same place no sooner again, s. */
#define MOVED_AGAIN_S  60
#define MOVED_DATA_MAX 16384

struct moved_asking {
	struct fsop_request *req;
	int err;
	char name[FSOP_NAME_MAX]; /* in req->node; "": that itself */
	struct nfs_bytes_res res;
	uint8_t data[MOVED_DATA_MAX];
};

static bool moved_is_told(struct moved *moved, uint64_t id, const char *name)
{
	uint64_t what = node_mark_of(id, name, strlen(name));
	uint64_t now = what + loop_clock() / (MOVED_AGAIN_S * UINT64_C(1000000000));
	return atomic_exchange(&moved->told[what % MOVED_PLACES], now) == now;
}

static void moved_told(struct nfs_compound *c)
{
	struct moved_asking *a = c->arg;
	struct fsop_request *req = a->req;
	struct nfs_location list[NFS_LOCATIONS_MAX];
	char where[1024];
	size_t count = 0;
	if (c->status == 0 && a->res.len <= a->res.cap)
		count = nfs_locations_get(a->data, a->res.len, list);
	nfs_locations_describe(list, count, where, sizeof(where));
	if (a->name[0])
		log_warn("\"%s\" in the directory with inode %llu is a referral to %s, which is "
			 "not followed",
			a->name, (unsigned long long)req->node->ino, where);
	else
		log_warn("the file system of inode %llu has moved to %s: mount it again",
			(unsigned long long)req->node->ino, where);
	int err = a->err;
	free(a);
	fsop_reply_err(req, err);
}

/* A handle of what is elsewhere is not given: so a name is looked up once more. */
static bool moved_is_name(const struct fsop_request *req)
{
	const struct nfs_compound *c = req->compound;
	if (req->opcode != FUSE_LOOKUP || c->ops_ok == 0 || c->ops_ok >= c->nops)
		return false;
	for (unsigned i = 0; i < c->ops_ok; i++)
		if (c->ops[i].op == OP_LOOKUP)
			return true;
	return false;
}

bool moved_ask(struct fsop_request *req, int err)
{
	const struct nfs_compound *c = req->compound;
	if (!req->fuse || !req->node || !c || c->status != NFS4ERR_MOVED || err == 0)
		return false;
	bool named = moved_is_name(req);
	if (moved_is_told(&req->share->moved, req->node->id, named ? req->u.names.name : ""))
		return false;
	struct moved_asking *a = malloc(sizeof(*a));
	if (!a)
		return false;
	a->req = req;
	a->err = err;
	a->res = (struct nfs_bytes_res){.data = a->data, .cap = sizeof(a->data)};
	fsop_keep_name(a->name, named ? req->u.names.name : "");
	if (!fsop_compound(req, OP_GETATTR, req->node)) {
		free(a);
		return true;
	}
	if (named)
		nfs_op_lookup(req->compound, a->name, strlen(a->name));
	nfs_op_getattr_bytes(req->compound, FATTR4_FS_LOCATIONS, &a->res);
	nfs_compound_send(req->compound, moved_told, a);
	return true;
}

size_t moved_choose(const struct nfs_location *list, size_t count, struct address *address)
{
	size_t i = 0;
	while (i < count && !address_parse_location(list[i].server, address))
		i++;
	return i;
}
