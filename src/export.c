/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "moved.h"
#include "nfs41/error.h"
#include "nfs41/op.h"
#include "owner.h"
#include "share.h"
#include "support.h"

/* The way from the server's root to the export: one compound, made once. */

/* Of fs_locations, bytes. */
#define EXPORT_LOCATIONS_MAX 16384

struct export_lookup {
	struct share *share;
	void (*done)(struct share *share, int err);
	struct nfs_fh fh;
	struct nfs_attr attr;
	struct nfs_fsattr fs;
	const char *rest; /* of the path, behind what is elsewhere */
	struct nfs_bytes_res res;
	uint8_t data[EXPORT_LOCATIONS_MAX];
	struct nfs_location list[NFS_LOCATIONS_MAX];
};

static const unsigned export_want[] = {FATTR4_TYPE, FATTR4_CHANGE, FATTR4_SIZE, FATTR4_FSID,
	FATTR4_FILEID, FATTR4_MODE, FATTR4_NUMLINKS, FATTR4_OWNER, FATTR4_OWNER_GROUP,
	FATTR4_RAWDEV, FATTR4_SPACE_USED, FATTR4_TIME_ACCESS, FATTR4_TIME_METADATA,
	FATTR4_TIME_MODIFY};

static const unsigned export_want_fs[] = {
	FATTR4_SUPPORTED_ATTRS, FATTR4_MAXREAD, FATTR4_MAXWRITE, FATTR4_OPEN_ARGUMENTS};

static void export_explain(struct export_lookup *lookup, const struct nfs_compound *c, int err)
{
	struct share *share = lookup->share;
	const char *path = share->options->export_path;
	char *why = share->why;
	size_t size = sizeof(share->why);
	if (err == -ENOENT)
		snprintf(why, size, "the server has no export %s: check its list of exports", path);
	else if (c->status == NFS4ERR_WRONGSEC && share->options->sec_fh.len > 0)
		snprintf(why, size,
			"the server wants sec=%s on the way to %s, but not for the directory above "
			"that",
			rpc_sec_name(share->options->sec), path);
	else if (err == -EACCES || c->status == NFS4ERR_WRONGSEC)
		snprintf(why, size,
			"the server denies access to %s: check which clients and which sec= it "
			"allows",
			path);
	else if (err == -ENOTDIR)
		snprintf(why, size, "%s on the server is not a directory", path);
	else if (c->status > 0)
		snprintf(why, size, "the server refuses %s: %s", path,
			nfs_error_name((uint32_t)c->status));
	else
		snprintf(why, size, "looking up %s: %s", path, strerror(-err));
}

static int export_make_root(const struct export_lookup *lookup)
{
	struct share *share = lookup->share;
	int err = node_table_new(&lookup->attr.fsid, &share->nodes);
	if (!err && share->keep)
		node_table_keep(share->nodes, share->keep);
	if (!err && !node_get(share->nodes, &lookup->fh, &lookup->attr, true))
		err = -ENOMEM;
	return err;
}

static int export_take(struct export_lookup *lookup)
{
	struct share *share = lookup->share;
	const struct nfs_attr *attr = &lookup->attr;
	if (!nfs_bitmap_has(&attr->have, FATTR4_FSID) ||
		!nfs_bitmap_has(&attr->have, FATTR4_FILEID)) {
		snprintf(share->why, sizeof(share->why),
			"the server gives no fsid or fileid for %s", share->options->export_path);
		return -EPROTO;
	}
	if (attr->type != NF4DIR) {
		snprintf(share->why, sizeof(share->why), "%s on the server is not a directory",
			share->options->export_path);
		return -ENOTDIR;
	}
	if (share->options->map_uid != OPTIONS_NO_ID && owner_learn(share, attr) < 0)
		return -EPERM;
	share->possible = support_possible(share->options, nfs_client_limits(share->client)->minor);
	support_put(share->support, 0, &lookup->fs);
	share->marks = nfs_bitmap_has(&lookup->fs.supported, FATTR4_TIME_ACCESS_SET);
	share->tells_clone_block = nfs_bitmap_has(&lookup->fs.supported, FATTR4_CLONE_BLKSIZE);
	/* Another daemon's nodes are there already, the root among them. */
	int err = 0;
	if (share->nodes)
		node_table_set_fsid(share->nodes, &attr->fsid);
	else
		err = export_make_root(lookup);
	if (err)
		snprintf(share->why, sizeof(share->why), "%s", strerror(-err));
	nfs_client_limit_io(share->client,
		nfs_bitmap_has(&lookup->fs.have, FATTR4_MAXREAD) ? lookup->fs.maxread : UINT64_MAX,
		nfs_bitmap_has(&lookup->fs.have, FATTR4_MAXWRITE) ? lookup->fs.maxwrite
								  : UINT64_MAX);
	if (lookup->fs.open_want & (1u << OPEN_ARGS_SHARE_ACCESS_WANT_OPEN_XOR_DELEGATION))
		deleg_use_xor(share->state);
	return err;
}

static void export_end(struct export_lookup *lookup, struct nfs_compound *c, int err)
{
	nfs_compound_free(c);
	lookup->done(lookup->share, err);
	free(lookup);
}

/* Puts so many names of the path into the compound; what is behind them. */
static const char *export_put_path(struct nfs_compound *c, const char *path, unsigned names)
{
	path += strspn(path, "/");
	for (; *path && names > 0; names--) {
		size_t len = strcspn(path, "/");
		nfs_op_lookup(c, path, len);
		path += len;
		path += strspn(path, "/");
	}
	return path;
}

/* From where its flavor holds; the path from there. */
static const char *export_put_base(const struct share *share, struct nfs_compound *c)
{
	const struct options *options = share->options;
	if (options->sec_fh.len == 0) {
		nfs_op_putrootfh(c);
		return options->export_path;
	}
	nfs_op_putfh(c, &options->sec_fh);
	return options->sec_path;
}

static int export_elsewhere(struct export_lookup *lookup)
{
	struct share *share = lookup->share;
	const struct nfs_location *list = lookup->list;
	char where[sizeof(share->why) / 2];
	size_t count = lookup->res.len <= lookup->res.cap
			       ? nfs_locations_get(lookup->data, lookup->res.len, lookup->list)
			       : 0;
	size_t choice = moved_choose(list, count, &share->elsewhere);
	nfs_locations_describe(list, count, where, sizeof(where));
	snprintf(share->why, sizeof(share->why), "the server says that the export is at %s", where);
	if (choice < count &&
		asprintf(&share->elsewhere_path, "%s/%s", list[choice].path, lookup->rest) < 0)
		share->elsewhere_path = NULL;
	return -EREMOTE;
}

static void export_located(struct nfs_compound *c)
{
	struct export_lookup *lookup = c->arg;
	int err = nfs_compound_errno(c);
	if (err)
		export_explain(lookup, c, err);
	else
		err = export_elsewhere(lookup);
	export_end(lookup, c, err);
}

/* Some name in the path is a referral, or the file system behind it has moved. */
static bool export_locate(struct export_lookup *lookup, const struct nfs_compound *moved)
{
	struct nfs_compound *c =
		nfs_compound_new(moved->conn, lookup->share->mount_cred, OP_GETATTR);
	unsigned names = 0;
	if (!c)
		return false;
	for (unsigned i = 0; i < moved->ops_ok; i++)
		names += moved->ops[i].op == OP_LOOKUP;
	lookup->rest = export_put_path(c, export_put_base(lookup->share, c), names);
	lookup->res = (struct nfs_bytes_res){.data = lookup->data, .cap = sizeof(lookup->data)};
	nfs_op_getattr_bytes(c, FATTR4_FS_LOCATIONS, &lookup->res);
	nfs_compound_send(c, export_located, lookup);
	return true;
}

/* The flavor is a good one, so that it is the transport: no other flavor will do. */
static void export_wants_xprtsec(struct export_lookup *lookup, struct nfs_compound *c)
{
	static const char *const names[] = {[OPTIONS_XPRTSEC_NONE] = "none",
		[OPTIONS_XPRTSEC_TLS] = "tls",
		[OPTIONS_XPRTSEC_MTLS] = "mtls"};
	const struct options *options = lookup->share->options;
	snprintf(lookup->share->why, sizeof(lookup->share->why),
		"the server allows sec=%s for %s, but not with xprtsec=%s",
		rpc_sec_name(options->sec), options->export_path, names[options->xprtsec]);
	export_end(lookup, c, -EPROTONOSUPPORT);
}

static void export_told_sec(struct nfs_compound *c)
{
	struct export_lookup *lookup = c->arg;
	struct share *share = lookup->share;
	if (rpc_sec_list_has(&share->secs, share->options->sec)) {
		export_wants_xprtsec(lookup, c);
		return;
	}
	if (nfs_compound_errno(c) == 0)
		share->sec_fh = lookup->fh;
	size_t len = (size_t)snprintf(share->why, sizeof(share->why),
		"the server does not allow sec=%s for %s, but", rpc_sec_name(share->options->sec),
		share->options->export_path);
	for (unsigned i = 0; i < share->secs.count && len < sizeof(share->why); i++)
		len += (size_t)snprintf(share->why + len, sizeof(share->why) - len, " sec=%s",
			rpc_sec_name(share->secs.secs[i]));
	if (share->secs.count == 0)
		export_explain(lookup, c, -EACCES);
	export_end(lookup, c, -EPERM);
}

/* Some name in the path, or the root itself, wants other credentials: which? Not asked is what was
 * told of the first name from here, or whether this directory likes them. */
static bool export_ask_sec(struct export_lookup *lookup, const struct nfs_compound *refused)
{
	struct share *share = lookup->share;
	unsigned names = 0, wanted = refused->ops_ok;
	/* The handle comes first; what fails behind the last name fails for that one's sake */
	for (unsigned i = 0; i < refused->nops; i++)
		names += refused->ops[i].op == OP_LOOKUP;
	if (wanted > names)
		wanted = names;
	struct nfs_compound *c =
		wanted <= 1 && share->options->sec_fh.len > 0
			? NULL
			: nfs_compound_new(refused->conn, share->mount_cred, OP_SECINFO_NO_NAME);
	if (!c)
		return false;
	const char *path = export_put_base(share, c);
	if (wanted > 0) {
		share->sec_names = wanted - 1;
		share->sec_path = export_put_path(c, path, share->sec_names);
		lookup->fh.len = 0;
		nfs_op_getfh(c, &lookup->fh);
		nfs_op_secinfo(c, share->sec_path, strcspn(share->sec_path, "/"), &share->secs);
	} else {
		nfs_op_secinfo_no_name(c, 0, &share->secs);
	}
	nfs_compound_send(c, export_told_sec, lookup);
	return true;
}

static void export_done(struct nfs_compound *c)
{
	struct export_lookup *lookup = c->arg;
	int err = nfs_compound_errno(c);
	if ((c->status == NFS4ERR_MOVED && !lookup->share->nodes && export_locate(lookup, c)) ||
		(c->status == NFS4ERR_WRONGSEC && export_ask_sec(lookup, c))) {
		nfs_compound_free(c);
		return;
	}
	if (err)
		export_explain(lookup, c, err);
	else
		err = export_take(lookup);
	export_end(lookup, c, err);
}

/* Another daemon's root is a handle: it may have moved to where its path is another one. */
static void export_put_root(struct share *share, struct nfs_compound *c)
{
	struct node *root = share->nodes ? node_find(share->nodes, NODE_ROOT_ID) : NULL;
	struct nfs_fh fh;
	if (!root) {
		export_put_path(c, export_put_base(share, c), UINT_MAX);
		return;
	}
	node_fh(root, &fh);
	node_unpin(share->nodes, root);
	nfs_op_putfh(c, &fh);
}

void export_open(
	struct share *share, struct worker *worker, void (*done)(struct share *share, int err))
{
	struct export_lookup *lookup = calloc(1, sizeof(*lookup));
	struct nfs_compound *c =
		lookup ? nfs_compound_new(worker->conn, share->mount_cred, OP_LOOKUP) : NULL;
	if (!c) {
		free(lookup);
		snprintf(share->why, sizeof(share->why), "out of memory");
		done(share, -ENOMEM);
		return;
	}
	struct nfs_bitmap want_fs = {0};
	for (size_t i = 0; i < sizeof(export_want) / sizeof(export_want[0]); i++)
		nfs_bitmap_set(&share->want, export_want[i]);
	for (size_t i = 0; i < sizeof(export_want_fs) / sizeof(export_want_fs[0]); i++)
		nfs_bitmap_set(&want_fs, export_want_fs[i]);
	support_want(&want_fs);
	lookup->share = share;
	lookup->done = done;
	export_put_root(share, c);
	nfs_op_getfh(c, &lookup->fh);
	nfs_op_getattr(c, &share->want, &lookup->attr);
	nfs_op_getfsattr(c, &want_fs, &lookup->fs);
	nfs_compound_send(c, export_done, lookup);
}
