/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "migrate.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "moved.h"
#include "nfs41/error.h"
#include "nfs41/op.h"
#include "share.h"
#include "takeover.h"
#include "unstable.h"
#include "util/log.h"

#define MIGRATE_NS_PER_S UINT64_C(1000000000)
#define MIGRATE_DATA_MAX 16384
/* Servers that point to each other. */
#define MIGRATE_HOPS_MAX 4
/* A place that could not be reached. */
#define MIGRATE_PAUSE_MIN (MIGRATE_NS_PER_S / 2)
#define MIGRATE_PAUSE_MAX (5 * MIGRATE_NS_PER_S)
/* One that was of no use. */
#define MIGRATE_REFUSED (5 * MIGRATE_NS_PER_S)
/* For the client that looked to give its session back. */
#define MIGRATE_STOP   (MIGRATE_NS_PER_S / 2)
#define MIGRATE_MOMENT (MIGRATE_NS_PER_S / 1000)

struct migrate {
	struct share *share;
	struct nfs_conn *home; /* to the server that it is to leave */
	void (*done)(void *done_arg, enum nfs_move move, const struct address *to);
	void *done_arg;

	/* where they say it is; `next` is to be looked at */
	struct nfs_location list[NFS_LOCATIONS_MAX];
	size_t count, next;
	struct nfs_bytes_res res;
	uint8_t data[MIGRATE_DATA_MAX];
	struct address been[MIGRATE_HOPS_MAX + 1]; /* home, and those who sent us on */
	unsigned hops;

	/* the client that looks at `to` */
	struct nfs_client *scout;
	struct nfs_conn *there;
	struct address to;
	struct nfs_attr root; /* there */
	uint64_t ino;	      /* and here */
	bool good;	      /* it can be used */
	bool sent_on;	      /* it is not there either */
	bool unreachable;     /* one of those that were tried */

	struct loop_timer again, left;
	uint64_t pause, refused_until;

	bool ending;
	void (*stopped)(void *arg);
	void *stopped_arg;
};

static void migrate_look_home(struct migrate *m);
static void migrate_next(struct migrate *m);

static uint64_t migrate_now(const struct migrate *m)
{
	return loop_now(m->share->workers[0]->loop);
}

/* Once in a while the same. */
static void migrate_tell(struct migrate *m, const char *what, const char *why)
{
	char where[ADDRESS_HOST_MAX + 64];
	if (told_lately(&m->share->told, m->to.cid ^ (uint64_t)m->to.port << 32, why))
		return;
	log_warn("%s has moved to %s, %s: %s", m->share->options->source,
		address_describe(&m->to, where, sizeof(where)), what, why);
}

static void migrate_end(struct migrate *m, enum nfs_move move)
{
	m->done(m->done_arg, move, &m->to);
}

/* PUTFH of the root. NULL: no memory. */
static struct nfs_compound *migrate_compound(struct migrate *m, struct nfs_conn *conn)
{
	struct nfs_compound *c = nfs_compound_new(conn, m->share->mount_cred, OP_GETATTR);
	struct node *root = c ? node_find(m->share->nodes, NODE_ROOT_ID) : NULL;
	struct nfs_fh fh;
	if (!root) {
		nfs_compound_free(c);
		return NULL;
	}
	node_fh(root, &fh);
	m->ino = root->ino;
	node_unpin(m->share->nodes, root);
	c->privileged = true;
	nfs_op_putfh(c, &fh);
	return c;
}

/* Once more from the beginning: the old server may have other news, or the file system again. */
static void migrate_pause(struct migrate *m)
{
	struct loop *loop = m->share->workers[0]->loop;
	m->pause = m->pause == 0 ? MIGRATE_PAUSE_MIN : m->pause * 2;
	if (m->pause > MIGRATE_PAUSE_MAX)
		m->pause = MIGRATE_PAUSE_MAX;
	loop_timer_set(loop, &m->again, loop_now(loop) + m->pause);
}

static void migrate_paused(struct loop_timer *timer)
{
	migrate_look_home((struct migrate *)((char *)timer - offsetof(struct migrate, again)));
}

static bool migrate_has_been(const struct migrate *m, const struct address *address)
{
	for (unsigned i = 0; i <= m->hops; i++)
		if (address_same(&m->been[i], address))
			return true;
	return false;
}

/* There is no other place to look at. */
static void migrate_give_up(struct migrate *m)
{
	if (m->unreachable) {
		migrate_pause(m);
		return;
	}
	m->refused_until = migrate_now(m) + MIGRATE_REFUSED;
	migrate_end(m, NFS_MOVE_NONE);
}

static void migrate_take_list(struct migrate *m)
{
	m->next = 0;
	m->count = m->res.len <= m->res.cap ? nfs_locations_get(m->data, m->res.len, m->list) : 0;
}

static void migrate_discard(struct migrate *m)
{
	nfs_client_free(m->scout);
	m->scout = NULL;
}

/* Not from its own callback. */
static void migrate_go_on(struct loop_timer *timer)
{
	struct migrate *m = (struct migrate *)((char *)timer - offsetof(struct migrate, left));
	struct loop *loop = m->share->workers[0]->loop;
	if (!nfs_client_is_at_rest(m->scout)) {
		loop_timer_set(loop, timer, loop_now(loop) + MIGRATE_MOMENT);
		return;
	}
	migrate_discard(m);
	if (m->good) {
		m->pause = 0;
		migrate_end(m, NFS_MOVE_TO);
	} else {
		if (m->sent_on)
			migrate_take_list(m);
		migrate_next(m);
	}
}

static void migrate_left(void *arg)
{
	struct migrate *m = arg;
	struct loop *loop = m->share->workers[0]->loop;
	if (m->ending)
		m->stopped(m->stopped_arg);
	else
		loop_timer_set(loop, &m->left, loop_now(loop) + MIGRATE_MOMENT);
}

/* Enough was seen. */
static void migrate_leave(struct migrate *m)
{
	if (!m->ending)
		nfs_client_stop(m->scout, MIGRATE_STOP, migrate_left, m);
}

static void migrate_sent_on(struct nfs_compound *c)
{
	struct migrate *m = c->arg;
	m->sent_on = nfs_compound_errno(c) == 0;
	nfs_compound_free(c);
	if (m->sent_on)
		m->been[++m->hops] = m->to;
	else
		migrate_tell(m, "which is not followed", "it is not there, nor is it said where");
	migrate_leave(m);
}

static bool migrate_ask_where(
	struct migrate *m, struct nfs_conn *conn, void (*done)(struct nfs_compound *c))
{
	struct nfs_compound *c = migrate_compound(m, conn);
	if (!c)
		return false;
	m->res = (struct nfs_bytes_res){.data = m->data, .cap = sizeof(m->data)};
	nfs_op_getattr_bytes(c, FATTR4_FS_LOCATIONS, &m->res);
	nfs_compound_send(c, done, m);
	return true;
}

/* What all of the mount was built on may not become less. */
static bool migrate_allows_enough(const struct migrate *m)
{
	const struct nfs_limits *here = nfs_client_limits(m->share->client),
				*there = nfs_client_limits(m->scout);
	return there->rsize >= m->share->rsize && there->wsize >= m->share->wsize &&
	       there->max_ops >= here->max_ops && there->max_request >= here->max_request &&
	       there->max_response >= here->max_response;
}

/* Why it is not the mount's root, or NULL. */
static const char *migrate_judge(const struct migrate *m, int status)
{
	const struct nfs_attr *attr = &m->root;
	switch (status) {
	case NFS4_OK: break;
	case NFS4ERR_STALE:
	case NFS4ERR_BADHANDLE:
	case NFS4ERR_FHEXPIRED: return "the file handles are not known there";
	default: return status > 0 ? nfs_error_name((uint32_t)status) : strerror(-status);
	}
	if (attr->type != NF4DIR || !nfs_bitmap_has(&attr->have, FATTR4_FSID) ||
		!nfs_bitmap_has(&attr->have, FATTR4_FILEID) || attr->fileid != m->ino)
		return "the file handles mean something else there";
	if (!migrate_allows_enough(m))
		return "its sessions are smaller";
	return NULL;
}

static void migrate_saw_root(struct nfs_compound *c)
{
	struct migrate *m = c->arg;
	int status = c->status;
	nfs_compound_free(c);
	if (status == NFS4ERR_MOVED && m->hops < MIGRATE_HOPS_MAX &&
		migrate_ask_where(m, m->there, migrate_sent_on))
		return;
	const char *why = migrate_judge(m, status);
	m->good = !why;
	if (why && !m->ending)
		migrate_tell(m, "which is not followed", why);
	migrate_leave(m);
}

static void migrate_ask_root(
	struct migrate *m, struct nfs_compound *c, void (*done)(struct nfs_compound *c))
{
	struct nfs_bitmap want = {0};
	nfs_bitmap_set(&want, FATTR4_TYPE);
	nfs_bitmap_set(&want, FATTR4_FSID);
	nfs_bitmap_set(&want, FATTR4_FILEID);
	m->root = (struct nfs_attr){0};
	nfs_op_getattr(c, &want, &m->root);
	nfs_compound_send(c, done, m);
}

static void migrate_arrived(void *arg, int err, const char *why)
{
	struct migrate *m = arg;
	if (m->ending)
		return;
	if (err) {
		bool later = err == -ECONNREFUSED || err == -ECONNRESET || err == -ETIMEDOUT ||
			     err == -ENODEV || err == -EHOSTUNREACH || err == -ENETUNREACH ||
			     err == -EAGAIN;
		m->unreachable |= later;
		migrate_tell(m, later ? "still trying" : "which is not followed", why);
		migrate_leave(m);
		return;
	}
	struct nfs_compound *c = migrate_compound(m, m->there);
	if (!c) {
		m->unreachable = true;
		migrate_leave(m);
		return;
	}
	migrate_ask_root(m, c, migrate_saw_root);
}

/* Sends a client there. False: out of memory. */
static bool migrate_send_scout(struct migrate *m)
{
	struct loop *loop = m->share->workers[0]->loop;
	m->good = m->sent_on = false;
	if (nfs_client_new_like(m->share->client, &m->to, &m->scout) < 0)
		return false;
	if (nfs_client_attach(m->scout, loop, &m->there) < 0) {
		migrate_discard(m);
		return false;
	}
	nfs_client_start(m->scout, migrate_arrived, m);
	return true;
}

static void migrate_next(struct migrate *m)
{
	for (;; m->next++) {
		m->next += moved_choose(m->list + m->next, m->count - m->next, &m->to);
		if (m->next == m->count) {
			migrate_give_up(m);
			return;
		}
		if (!migrate_has_been(m, &m->to))
			break;
		migrate_tell(m, "which is not followed", "that is where it was");
	}
	m->next++;
	if (migrate_send_scout(m))
		return;
	m->unreachable = true;
	migrate_give_up(m);
}

static void migrate_located(struct nfs_compound *c)
{
	struct migrate *m = c->arg;
	int err = nfs_compound_errno(c);
	nfs_compound_free(c);
	m->count = m->next = 0;
	if (!err)
		migrate_take_list(m);
	if (m->ending)
		migrate_end(m, NFS_MOVE_NONE);
	else
		migrate_next(m);
}

static void migrate_looked_home(struct nfs_compound *c)
{
	struct migrate *m = c->arg;
	int status = c->status;
	nfs_compound_free(c);
	if (status != NFS4ERR_MOVED || m->ending) {
		m->pause = 0;
		migrate_end(m, NFS_MOVE_HERE);
	} else if (migrate_now(m) < m->refused_until) {
		migrate_end(m, NFS_MOVE_NONE);
	} else if (!migrate_ask_where(m, m->home, migrate_located)) {
		migrate_pause(m);
	}
}

static void migrate_look_home(struct migrate *m)
{
	struct nfs_compound *c = migrate_compound(m, m->home);
	if (!c) {
		migrate_pause(m);
		return;
	}
	m->hops = 0;
	m->unreachable = false;
	nfs_client_address(m->share->client, &m->been[0]);
	migrate_ask_root(m, c, migrate_looked_home);
}

static void migrate_ask(void *arg, struct nfs_conn *conn,
	void (*done)(void *done_arg, enum nfs_move move, const struct address *to), void *done_arg)
{
	struct migrate *m = arg;
	m->home = conn;
	m->done = done;
	m->done_arg = done_arg;
	/* Mounting follows in its own way. */
	if (m->share->nodes)
		migrate_look_home(m);
	else
		migrate_end(m, NFS_MOVE_NONE);
}

static void migrate_moved(void *arg, bool same)
{
	struct migrate *m = arg;
	struct share *share = m->share;
	node_table_set_fsid(share->nodes, &m->root.fsid);
	takeover_put_server(share, &m->to);
	if (!same)
		unstable_distrust(share->unstable);
}

const struct nfs_move_ops migrate_ops = {.ask = migrate_ask, .moved = migrate_moved};

int migrate_new(struct share *share, struct migrate **migrate)
{
	struct migrate *m = calloc(1, sizeof(*m));
	if (!m)
		return -ENOMEM;
	m->share = share;
	m->again.fire = migrate_paused;
	m->left.fire = migrate_go_on;
	*migrate = m;
	return 0;
}

void migrate_free(struct migrate *migrate)
{
	if (!migrate)
		return;
	migrate_discard(migrate);
	free(migrate);
}

void migrate_stop(struct migrate *migrate, void (*stopped)(void *arg), void *arg)
{
	migrate->ending = true;
	migrate->stopped = stopped;
	migrate->stopped_arg = arg;
	loop_timer_cancel(migrate->share->workers[0]->loop, &migrate->again);
	loop_timer_cancel(migrate->share->workers[0]->loop, &migrate->left);
	if (migrate->scout)
		nfs_client_stop(migrate->scout, MIGRATE_STOP, migrate_left, migrate);
	else
		stopped(arg);
}
