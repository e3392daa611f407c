/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "fsop.h"
#include "takeover.h"
#include "util/log.h"

/*
 * A file that is open in this guest keeps its data when its last name goes: servers do not keep it
 * for us (none sets OPEN4_RESULT_PRESERVE_UNLINKED), so it is renamed to a hidden name first, as
 * the kernel's client does, and that name is removed with the last close.
 *
 * States of such a request:
 *   check   LOOKUP tells whether the name in question is the open file's
 *   hide    RENAME to the silly name
 *   then    what was asked for: nothing more (unlink), or the RENAME over it
 */

static void silly_name(
	const struct share *share, const struct node *node, char name[FSOP_SILLY_MAX])
{
	static _Atomic uint32_t counter;
	uint32_t salt = 0;
	if (getrandom(&salt, sizeof(salt), GRND_NONBLOCK) != sizeof(salt))
		salt = (uint32_t)(uintptr_t)&counter;
	snprintf(name, FSOP_SILLY_MAX, ".nfs%012llx%08x",
		(unsigned long long)(node->ino & 0xffffffffffff),
		salt + (uint32_t)nfs_client_salt(share->client) + atomic_fetch_add(&counter, 1));
}

static struct node *silly_dir(struct fsop_request *req)
{
	return req->target ? req->target : req->node;
}

static const char *silly_victim_name(const struct fsop_request *req)
{
	return req->target ? req->u.names.to : req->u.names.name;
}

static void silly_hide(struct fsop_request *req);

static void silly_hidden(struct fsop_request *req)
{
	req->u.names.hidden = true;
	struct node_silly *silly = file_new_silly(
		req->share, silly_dir(req), req->u.names.silly, req->cred, req->u.names.record);
	req->u.names.record = 0;
	if (silly)
		file_set_silly(req->share, req->victim, silly);
	else
		log_warn("no memory to remember %s: it stays on the server", req->u.names.silly);
	req->then(req);
}

static void silly_hide_looked(struct fsop_request *req)
{
	if (fsop_found(req, req->victim))
		silly_hidden(req);
	else
		silly_hide(req);
}

static void silly_hide_done(struct nfs_compound *c)
{
	struct fsop_request *req = c->arg;
	int err = nfs_compound_errno(c);
	if (fsop_unsure(c))
		fsop_look(req, silly_dir(req), req->u.names.silly, silly_hide_looked);
	else if (err) {
		takeover_drop(req->share, req->u.names.record);
		fsop_reply_err(req, err);
	} else
		silly_hidden(req);
}

static void silly_hide(struct fsop_request *req)
{
	struct node *dir = silly_dir(req);
	const char *name = silly_victim_name(req);
	takeover_drop(req->share, req->u.names.record);
	if (!fsop_compound(req, OP_RENAME, dir))
		return;
	silly_name(req->share, req->victim, req->u.names.silly);
	/* Another daemon must know of the name before it is there. */
	req->u.names.record = takeover_put_silly(
		req->share, req->victim->id, dir->id, req->u.names.silly, req->cred);
	whole_add(req->share->whole, dir, req->u.names.silly);
	nfs_op_savefh(req->compound);
	nfs_op_rename(req->compound, name, strlen(name), req->u.names.silly,
		strlen(req->u.names.silly), NULL);
	fsop_send_once(req, silly_hide_done);
}

static void silly_check_done(struct nfs_compound *c)
{
	struct fsop_request *req = c->arg;
	int err = nfs_compound_errno(c);
	struct nfs_fh fh;
	node_fh(req->victim, &fh);
	if (err == 0 && nfs_fh_equal(&req->fh, &fh) && req->attr.nlink <= 1) {
		silly_hide(req);
		return;
	}
	/* Another object has that name by now, none has, or the file has other names to live under.
	 */
	req->u.names.otherwise(req);
}

void fsop_silly_hide(struct fsop_request *req)
{
	const char *name = silly_victim_name(req);
	if (!fsop_compound(req, OP_LOOKUP, silly_dir(req)))
		return;
	nfs_op_lookup(req->compound, name, strlen(name));
	nfs_op_getfh(req->compound, &req->fh);
	nfs_op_getattr(req->compound, &req->share->want, &req->attr);
	fsop_send(req, silly_check_done);
}
