/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "siblings.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "closing.h"
#include "listing.h"
#include "nfs41/client.h"
#include "share.h"
#include "util/loop.h"
#include "util/ways.h"

/* Directories whose directories are known. */
#define SIBLINGS_PARENTS 64
/* Directories known of one; a power of two. With all that makes two megabytes. */
#define SIBLINGS_KNOWN 256
/* Read along the first time. */
#define SIBLINGS_FIRST 4
/* PUTFH and READDIR */
#define SIBLINGS_OPS 2
/*
 * A second READDIR of a compound has the knfsd of kernels before 6.7 count memory behind
 * the head of its reply as part of it: it sends that, and crashes. They take at most 50 operations,
 * those that can do it and nfs-ganesha more.
 */
#define SIBLINGS_MORE_OPS_THAN 50
/* Of a compound's operations: SEQUENCE, and what closing.c sends with it. */
#define SIBLINGS_OTHER_OPS (1 + 2 * CLOSING_CARRIED)

/* One directory in a directory. */
struct sibling {
	bool asked; /* the server, for a program or along */
	bool read;  /* by a program */
	struct nfs_fh fh;
};

/* A directory whose directories are walked through. */
struct parent {
	uint64_t id; /* of the node; 0: none */
	struct sibling *dirs;
	unsigned count;
	unsigned last;	      /* the one that was read last, */
	uint64_t read_at;     /* ns: and when */
	unsigned reads;	      /* of such as had not come along, in this walk */
	unsigned window;      /* read along the last time */
	unsigned given, used; /* came along, and of use */
};

/* The one gives way in which nothing was read for longest. */
static const struct ways siblings_ways = WAYS_INIT(struct parent, SIBLINGS_PARENTS, id, read_at);

struct siblings_table {
	struct share *share;
	pthread_mutex_t mutex;
	uint64_t used_at;			 /* ns: when any that came along was of use */
	struct parent parents[SIBLINGS_PARENTS]; /* by node id */
};

struct siblings {
	unsigned at;	/* operations in front of them */
	unsigned count; /* of them */
	struct {
		struct nfs_fh fh;
		struct listing *listing;
	} dirs[SIBLINGS_MAX];
};

int siblings_table_new(struct share *share, struct siblings_table **table)
{
	struct siblings_table *t = calloc(1, sizeof(*t));
	if (!t)
		return -ENOMEM;
	t->share = share;
	pthread_mutex_init(&t->mutex, NULL);
	*table = t;
	return 0;
}

void siblings_table_free(struct siblings_table *table)
{
	if (!table)
		return;
	for (unsigned i = 0; i < SIBLINGS_PARENTS; i++)
		free(table->parents[i].dirs);
	pthread_mutex_destroy(&table->mutex);
	free(table);
}

/* Under the mutex, as what follows. NULL: nothing is known of it. */
static struct parent *parent_find(struct siblings_table *table, uint64_t id)
{
	return ways_find(&siblings_ways, table->parents, id);
}

static struct parent *parent_of(struct siblings_table *table, uint64_t id)
{
	struct parent *parent = ways_place(&siblings_ways, table->parents, id);
	if (parent->id == id)
		return parent;
	free(parent->dirs);
	*parent = (struct parent){.id = id, .read_at = loop_clock()};
	return parent;
}

/* The place of one of its directories, or `count`. */
static unsigned parent_place(const struct parent *parent, const struct nfs_fh *fh)
{
	unsigned i = 0;
	while (i < parent->count && !nfs_fh_equal(&parent->dirs[i].fh, fh))
		i++;
	return i;
}

/* Was it of use so far? */
static bool parent_pays(const struct parent *parent)
{
	return 2 * parent->used >= parent->given;
}

void siblings_begin(struct siblings_table *table, uint64_t parent_id)
{
	pthread_mutex_lock(&table->mutex);
	struct parent *parent = parent_find(table, parent_id);
	if (parent) {
		free(parent->dirs);
		/* What did not pay does not pay the next time either. */
		unsigned given = parent_pays(parent) ? 0 : parent->given;
		*parent = (struct parent){.id = parent_id, .given = given, .read_at = loop_clock()};
	}
	pthread_mutex_unlock(&table->mutex);
}

/* Under the mutex. NULL: there are too many, or no memory. */
static struct sibling *parent_add(struct parent *parent)
{
	unsigned count = parent->count;
	if (count == SIBLINGS_KNOWN)
		return NULL;
	if ((count & (count - 1)) == 0) {
		size_t cap = count == 0 ? 1 : 2 * count;
		struct sibling *dirs = realloc(parent->dirs, cap * sizeof(*dirs));
		if (!dirs)
			return NULL;
		parent->dirs = dirs;
	}
	parent->count++;
	return &parent->dirs[count];
}

void siblings_add(struct siblings_table *table, uint64_t parent_id, const struct nfs_fh *fh)
{
	pthread_mutex_lock(&table->mutex);
	struct sibling *sibling = parent_add(parent_of(table, parent_id));
	if (sibling)
		*sibling = (struct sibling){.fh = *fh};
	pthread_mutex_unlock(&table->mutex);
}

/* A program reads the one at `place`. */
static void parent_read(struct parent *parent, unsigned place)
{
	/* again: another walk has begun */
	if (parent->dirs[place].read && parent->last != place) {
		for (unsigned i = 0; i < parent->count; i++)
			parent->dirs[i].asked = parent->dirs[i].read = false;
		parent->reads = 0;
	}
	parent->dirs[place].asked = parent->dirs[place].read = true;
	parent->last = place;
	parent->read_at = loop_clock();
}

void siblings_used(struct siblings_table *table, uint64_t parent_id, const struct nfs_fh *fh)
{
	pthread_mutex_lock(&table->mutex);
	struct parent *parent = parent_find(table, parent_id);
	unsigned place = parent ? parent_place(parent, fh) : 0;
	if (parent && place < parent->count) {
		parent_read(parent, place);
		parent->used++;
		table->used_at = parent->read_at;
	}
	pthread_mutex_unlock(&table->mutex);
}

/* How many are to be read along with the one at `place`, of which there was no listing. */
static unsigned parent_window(struct siblings_table *table, struct parent *parent, unsigned place)
{
	uint64_t trust = listing_time(table->share->listing), now = loop_clock();
	bool again = parent->reads > 0 && parent->last == place;
	if (now - parent->read_at > trust)
		parent->reads = 0;
	parent_read(parent, place);
	bool walk = ++parent->reads >= 2 || now - table->used_at <= trust;
	if (again || !walk || !parent_pays(parent))
		return 0;
	return parent->window == 0 ? SIBLINGS_FIRST : 2 * parent->window;
}

/* Takes up to `most` that nobody has asked for yet, from the one behind `place` on. */
static void parent_take(
	struct siblings_table *table, struct parent *parent, unsigned place, struct siblings *taken)
{
	unsigned most = taken->count;
	taken->count = 0;
	for (unsigned i = 1; i < parent->count && taken->count < most; i++) {
		struct sibling *sibling = &parent->dirs[(place + i) % parent->count];
		if (sibling->asked)
			continue;
		sibling->asked = true;
		struct listing *listing =
			listing_begin_along(table->share->listing, &sibling->fh, parent->id);
		if (!listing)
			continue;
		taken->dirs[taken->count].fh = sibling->fh;
		taken->dirs[taken->count++].listing = listing;
	}
	parent->window = most;
}

/* READDIRs that a compound has room for besides its own, of which the answer has `used` bytes. */
static unsigned siblings_room(
	const struct share *share, const struct nfs_compound *c, uint32_t used)
{
	unsigned ops = nfs_client_limits(share->client)->max_ops,
		 taken = c->nops + SIBLINGS_OTHER_OPS;
	if (ops <= SIBLINGS_MORE_OPS_THAN)
		return 0;
	unsigned by_ops = ops > taken ? (ops - taken) / SIBLINGS_OPS : 0;
	unsigned by_size = share->rsize > used ? (share->rsize - used) / LISTING_BLOCK : 0;
	unsigned most = by_ops < by_size ? by_ops : by_size;
	return most < SIBLINGS_MAX ? most : SIBLINGS_MAX;
}

/* The parent's record, which a listing of it may have to be read for. */
static void siblings_know_parent(struct siblings_table *table, const struct node *node)
{
	struct nfs_fh fh;
	pthread_mutex_lock(&table->mutex);
	bool known = parent_find(table, node->id) != NULL;
	pthread_mutex_unlock(&table->mutex);
	if (known)
		return;
	node_fh(node, &fh);
	listing_tell_dirs(table->share->listing, &fh, node->id);
}

/* NULL: none. */
static struct siblings *siblings_choose(
	struct siblings_table *table, uint64_t parent_id, const struct nfs_fh *fh, unsigned room)
{
	struct siblings *siblings = NULL;
	unsigned wanted = 0;
	pthread_mutex_lock(&table->mutex);
	struct parent *parent = parent_find(table, parent_id);
	unsigned place = parent ? parent_place(parent, fh) : 0;
	if (parent && place < parent->count)
		wanted = parent_window(table, parent, place);
	if (wanted > 0 && room > 0 && (siblings = malloc(sizeof(*siblings)))) {
		siblings->count = wanted < room ? wanted : room;
		parent_take(table, parent, place, siblings);
		parent->given += siblings->count;
	}
	pthread_mutex_unlock(&table->mutex);
	return siblings;
}

struct siblings *siblings_load(struct siblings_table *table, const struct node *node,
	struct nfs_compound *c, uint32_t used)
{
	struct share *share = table->share;
	struct node *parent =
		listing_time(share->listing) > 0 ? node_find_parent(share->nodes, node) : NULL;
	struct nfs_fh fh;
	if (!parent)
		return NULL;
	siblings_know_parent(table, parent);
	node_fh(node, &fh);
	struct siblings *siblings =
		siblings_choose(table, parent->id, &fh, siblings_room(share, c, used));
	node_unpin(share->nodes, parent);
	if (!siblings)
		return NULL;
	siblings->at = c->nops;
	for (unsigned i = 0; i < siblings->count; i++) {
		nfs_op_putfh(c, &siblings->dirs[i].fh);
		listing_read(share->listing, siblings->dirs[i].listing, c);
	}
	return siblings;
}

void siblings_unload(
	struct siblings_table *table, struct siblings *siblings_take, struct nfs_compound *c)
{
	struct listing_table *listing = table->share->listing;
	if (!siblings_take)
		return;
	unsigned at = siblings_take->at;
	unsigned came = c->ops_ok > at ? (c->ops_ok - at) / SIBLINGS_OPS : 0;
	for (unsigned i = 0; i < siblings_take->count; i++)
		if (i < came && c->status >= 0)
			listing_keep(listing, &siblings_take->dirs[i].fh,
				siblings_take->dirs[i].listing, false);
		else
			listing_fail(listing, &siblings_take->dirs[i].fh,
				siblings_take->dirs[i].listing);
	if (c->ops_ok >= at && c->status > 0) {
		c->ops_ok = at;
		c->status = 0;
	}
	free(siblings_take);
}
