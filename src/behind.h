/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_BEHIND_H
#define VSOCKFS_BEHIND_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "file.h"
#include "nfs41/types.h"
#include "util/loop.h"

/*
 * Write-behind: small writes through one open file are gathered, and answered at once, as long as
 * they make up one range without a gap; so are changes of mode, owner and times of a file which
 * that very open has made. What was gathered goes to the server as one compound: when the file is
 * closed, synced, unlocked, or looked at by anybody else here, when the next write does not fit, or
 * half a second after the first. A large write is sent as it is, and answered at once, too. A few
 * of one file are under way at a time, of different bytes. Failures are told as those of any data
 * written behind a program's back, by node_set_error; until some program has heard of one, nothing
 * more is answered early of that file. Any worker's thread.
 *
 * A mount that another daemon may take over gathers nothing: it would be lost with this one.
 */

struct behind;
struct behind_pool;
struct share;
struct worker;
struct rpc_cred;

/* Longer writes are not gathered, bytes. */
#define BEHIND_WRITE_MAX (128u << 10)
/* What all files together may have waiting, bytes. */
#define BEHIND_MAX (8u << 20)
/* What one file may have under way before its writers wait. */
#define BEHIND_FLYING 4
/* How long something waits when nobody asks for it. */
#define BEHIND_AGE_NS UINT64_C(500000000)

int behind_pool_new(struct share *share, struct behind_pool **pool);
/* After the workers have ended. What is left (the mount was cut off) is dropped, with a log line.
 */
void behind_pool_free(struct behind_pool *pool);
/* Nothing is gathered any more. */
void behind_pool_stop(struct behind_pool *pool);

struct behind_data {
	const uint8_t *data;
	uint32_t len; /* bytes */
	uint64_t offset;
};
enum behind_answer {
	BEHIND_TAKEN,  /* the request can be answered */
	BEHIND_DIRECT, /* to be sent; nothing is in its way */
	BEHIND_FLIES, /* to be sent as *behind; the request can be answered unless that is `late` */
	BEHIND_WAIT,  /* behind_settle first */
	BEHIND_FULL,  /* behind_wait_first, then again */
};
enum behind_answer behind_write(struct behind_pool *pool, struct file *file,
	const struct behind_data *data, struct behind **behind);

/* The file was made by this open, of thread `pid`: `attr` are its attributes. */
void behind_made(
	struct behind_pool *pool, struct file *file, pid_t pid, const struct nfs_attr *attr);
/* The file is changed by other means than these: what its maker knows is not true any more. */
void behind_changes(struct behind_pool *pool, struct node *node);
/* The last reference to a file goes. */
void behind_forget_made(struct behind_pool *pool, struct file *file);
/*
 * What the thread that has made the file changes while it has it open. True: it is gathered, and
 * *attr is what the file's attributes will be.
 */
struct behind_change {
	pid_t pid;
	const struct rpc_cred *cred;
	const struct nfs_setattr *set;
};
bool behind_setattr(struct behind_pool *pool, struct node *node, const struct behind_change *change,
	struct nfs_attr *attr);
/* A change of the owner was done for that user: the next one like it will be. */
void behind_owner_changed(
	struct behind_pool *pool, const struct rpc_cred *cred, const struct nfs_setattr *set);

/* Somebody who waits. Lives until `done`, which is called on the worker's thread that waits. */
struct behind_wait {
	void (*done)(struct behind_wait *wait);
	/* private */
	struct loop_task task;
	struct worker *worker;
	STAILQ_ENTRY(behind_wait) entry;
};

/* The same for others who keep such a list: the caller will wait, and what ends that, from any
 * worker's thread, with nothing locked. */
void behind_wait_begin(struct behind_wait *wait);
void behind_wait_end(struct behind_wait *wait);

/* Has what the node has waiting sent (`stable`: to the disk); then wait->done, which may be at
 * once. What was written before the call is with the server then, or failed. */
void behind_settle(struct share *share, struct node *node, bool stable, struct behind_wait *wait);
/* wait->done when the oldest that the node has under way is with the server, or failed. */
void behind_wait_first(struct share *share, struct node *node, struct behind_wait *wait);
/* Is there any, or has some been sent since `since` (ns)? Then attributes that were asked for
 * meanwhile may lack it. */
bool behind_is_unsettled(const struct node *node, uint64_t since);

/* The same for all that waits now, whatever comes meanwhile. */
struct behind_all {
	void (*done)(struct behind_all *all);
	/* private */
	struct behind_wait wait;
	struct share *share;
	struct node *node;
	uint64_t until;
};
void behind_settle_all(struct share *share, struct behind_all *all);
/* Sends what has waited long enough. True: there is more, which has not yet. */
bool behind_tick(struct share *share);

/* On its way: what fsop_write_gathered sends, or a large write. */
struct behind {
	LIST_ENTRY(behind) entry;
	TAILQ_ENTRY(behind) order; /* of its node */
	struct file *file;	   /* referenced */
	struct buf *buf;	   /* what was gathered, or NULL */
	uint64_t offset;
	uint32_t len;		   /* bytes */
	struct nfs_setattr owner;  /* goes to the server after the data, */
	struct nfs_setattr others; /* and that after the owner */
	bool stable;
	bool late; /* a large write that is answered when the server has */
	/* private */
	uint32_t held;	  /* bytes, counted in the pool */
	uint64_t born_at; /* ns */
	bool sending;
	STAILQ_HEAD(, behind_wait) waits;
};
/* The server has executed it, or a part; the change attribute went from `before` to that of
 * `after`.
 */
void behind_note(struct share *share, const struct behind *behind, uint64_t before,
	const struct nfs_attr *after);
/* It is with the server, or has failed. */
void behind_sent(struct share *share, struct behind *behind);

#endif
