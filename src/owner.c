/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "owner.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nfs41/idmap_rules.h"

static void add_rule(
	struct idmap_rule *rules, size_t *count, bool group, uint32_t guest, uint32_t server)
{
	rules[(*count)++] = (struct idmap_rule){
		.group = group, .numbered = true, .guest = guest, .server = server};
}

int owner_learn(struct share *share, const struct nfs_attr *root)
{
	const struct options *o = share->options;
	size_t count = 0, at;
	/* Nobody becomes root by owning nothing but his own mount. */
	if (root->uid == 0 && o->map_uid != 0) {
		snprintf(share->why, sizeof(share->why),
			"idmap=user: %s belongs to root on the server; use uid=, gid= and umask= "
			"to have it look otherwise",
			o->export_path);
		return -EPERM;
	}
	struct idmap_rule *rules = calloc(2, sizeof(*rules));
	int err = rules ? 0 : -ENOMEM;
	if (!err) {
		add_rule(rules, &count, false, o->map_uid, root->uid);
		if (o->map_gid != OPTIONS_NO_ID && (root->gid != 0 || o->map_gid == 0))
			add_rule(rules, &count, true, o->map_gid, root->gid);
		err = idmap_set_rules(rules, count, true, &at);
	}
	if (err) {
		idmap_free_rules(rules, count);
		snprintf(share->why, sizeof(share->why), "%s", strerror(-err));
	}
	return err;
}

void owner_show(const struct share *share, struct stat *st)
{
	const struct options *o = share->options;
	uint32_t mask = S_ISDIR(st->st_mode) ? o->dmask : o->fmask;

	if (o->show_uid != OPTIONS_NO_ID)
		st->st_uid = o->show_uid;
	if (o->show_gid != OPTIONS_NO_ID)
		st->st_gid = o->show_gid;
	if (mask != OPTIONS_NO_MASK && !S_ISLNK(st->st_mode))
		st->st_mode = (st->st_mode & S_IFMT) | (0777 & ~mask);
}

/* As above, for one of both. */
static int settle_id(struct nfs_setattr *set, uint32_t bit, uint32_t shown, uint32_t id, bool group)
{
	uint32_t server;

	if (!(set->set & bit))
		return 0;
	if (shown == OPTIONS_NO_ID)
		return idmap_to_server(id, group, &server) ? 0 : -EINVAL;
	if (id != shown)
		return -EPERM;
	set->set &= ~bit;
	return 0;
}

int owner_settle(const struct share *share, struct nfs_setattr *set)
{
	const struct options *o = share->options;
	int err = settle_id(set, NFS_SET_UID, o->show_uid, set->uid, false);

	return err ? err : settle_id(set, NFS_SET_GID, o->show_gid, set->gid, true);
}
