/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_NODE_H
#define VSOCKFS_NODE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "nfs41/types.h"

/*
 * The objects that the kernel knows (has looked up and not forgotten): FUSE node id to NFS
 * filehandle and back, with what cache policy needs to remember of each. Any thread; one short
 * mutex inside. Node ids count up from NODE_ROOT_ID and are never used again, so their generation
 * is 0.
 */

#define NODE_ROOT_ID UINT64_C(1) /* FUSE_ROOT_ID */

struct node_table;
struct rpc_cred;
struct state_file;

/* The name under which an unlinked but open file stays on the server until its last close. */
struct node_silly {
	struct node *dir;      /* pinned */
	struct rpc_cred *cred; /* of who unlinked it */
	uint32_t record;       /* in the state file, or 0 */
	char name[];
};

/* What the kernel's page cache may hold. */
enum node_data {
	NODE_DATA_NONE,	   /* nothing: it was never opened, or read */
	NODE_DATA_KNOWN,   /* data of data_change, or newer */
	NODE_DATA_UNKNOWN, /* anything, until an invalidation that was asked for since is done */
};

/* What there is to know of a file only once it is open: most are never opened. */
struct node_file {
	/* under the table's mutex */
	struct node *node;
	LIST_ENTRY(node_file) entry; /* while opens > 0 */
	uint32_t opens;		     /* open files */
	uint32_t errors;	     /* of data acknowledged early: how many, */
	int error;		     /* the last one, -errno, */
	bool error_told;	     /* which was told to some program */
	struct node_silly *silly;    /* the name that keeps its data, or NULL */

	/* under those of unstable.h and behind.h */
	struct unstable *unstable;	       /* written and not committed, or NULL */
	_Atomic(struct behind_queue *) behind; /* gathered or under way, or NULL */
	_Atomic bool locked;		       /* some program has locked it */
	_Atomic bool paged;	     /* the kernel has asked for pages of it, or given some */
	struct file *maker;	     /* which has made it, as behind.c knows it, or NULL */
	_Atomic uint64_t settled_at; /* ns: when something gathered was last sent */
	/* READs for the page cache: how many, and when it was dropped for good */
	_Atomic uint32_t page_reads, page_reads_dropped;
};

/* There may be millions: members are in the order that packs them. */
struct node {
	/* set at creation, then constant */
	uint64_t id;
	uint64_t ino; /* st_ino, unique across the file systems of the export */

	/* under the table's mutex: see the functions */
	uint64_t lookups;     /* the kernel's references */
	uint64_t change;      /* change attribute last seen */
	uint64_t data_change; /* the kernel's page cache holds data of this change, if data is
				 NODE_DATA_KNOWN */
	uint64_t size;	      /* bytes, when the change attribute was size_change; valid if */
	uint64_t size_change; /* size_known */
	uint64_t parent_id;   /* where it was last looked up */
	uint64_t listed_at;   /* ns: when its names were asked for that the page cache has */
	struct node *id_next, *fh_next;
	_Atomic(struct node_file *) file; /* from its first open on, else NULL */
	_Atomic uint32_t pins;		  /* our references; from and to 0 under the mutex */
	uint32_t name_hash; /* the name at parent_id: silly renames find open files by it */
	uint32_t hold_ms;   /* present attribute timeout, doubling from min to max while nothing
			       changes */
	uint32_t record;    /* in the state file, or 0 */
	uint8_t data;	    /* enum node_data */
	bool change_known : 1, size_known : 1;
	bool delegated : 1; /* what is known of it stays true until the server calls */
	bool storing : 1;   /* its data is being put into the page cache: see node_note_stored */

	/* constant */
	uint16_t fsid; /* which file system of the export: 0 for the root's */
	uint8_t type;  /* enum nfs_ftype4 */
	uint8_t fh_len;
	uint8_t fh_data[];
};

/* What is gathered of it or under way, or NULL: see behind.h. */
static inline struct behind_queue *node_behind(const struct node *node)
{
	struct node_file *file = atomic_load(&node->file);
	return file ? atomic_load(&file->behind) : NULL;
}

int node_table_new(const struct nfs_fsid *root_fsid, struct node_table **table);
void node_table_free(struct node_table *table);

/* Keeps a record of each node in `file` from now on, see records.h; NULL: no longer. */
void node_table_keep(struct node_table *table, struct state_file *file);
/* The root's file system is told by another number now. */
void node_table_set_fsid(struct node_table *table, const struct nfs_fsid *root_fsid);
/* New ids begin at `id`. */
void node_table_begin(struct node_table *table, uint64_t id);

/* What another daemon knew of a node. */
struct node_past {
	uint64_t id, ino, lookups, parent_id;
	struct nfs_fsid fsid;
	uint32_t type, name_hash, record;
	int error;
	uint32_t errors;
	bool error_told;
	struct nfs_fh fh;
};
/* Makes it known again, pinned. NULL without memory, or if there is one with that id. */
struct node *node_restore(struct node_table *table, const struct node_past *past);

/*
 * The node for a filehandle, made if need be from `attr` (type, fsid and fileid must be there),
 * with one more kernel reference if `lookup`, else one more pin. NULL without memory. The first one
 * made is the root.
 */
struct node *node_get(struct node_table *table, const struct nfs_fh *fh,
	const struct nfs_attr *attr, bool lookup);
/* The node of an id with one more pin, or NULL if the kernel should not know it. */
struct node *node_find(struct node_table *table, uint64_t id);
/* The same by filehandle. */
struct node *node_find_fh(struct node_table *table, const struct nfs_fh *fh);
/* One that is pinned gets one more. */
struct node *node_pin(struct node *node);
/* NULL is allowed. */
void node_unpin(struct node_table *table, struct node *node);
void node_forget(struct node_table *table, uint64_t id, uint64_t lookups);
/* The same; true, with the filehandle, if that was the last reference to a node that is delegated.
 */
bool node_forget_delegated(
	struct node_table *table, uint64_t id, uint64_t lookups, struct nfs_fh *fh);

static inline void node_fh(const struct node *node, struct nfs_fh *fh)
{
	fh->len = node->fh_len;
	memcpy(fh->data, node->fh_data, node->fh_len);
}

/* The inode number of another object of the node's file system; the same on the next mount. */
uint64_t node_ino(struct node_table *table, const struct node *node, uint64_t fileid);

/* Remembers where the object was found. */
void node_set_name(struct node_table *table, struct node *node, uint64_t parent_id,
	const char *name, size_t len);
/* What stands for a name in a directory, and for the one under which the object was last found. */
uint32_t node_mark_of(uint64_t parent_id, const char *name, size_t len);
uint32_t node_name_mark(struct node_table *table, const struct node *node);
/* The directory that it was last found in, pinned, or NULL. */
struct node *node_find_parent(struct node_table *table, const struct node *node);
/* It gets another name besides its present one, which is remembered for a while. */
void node_note_link(struct node_table *table, const struct node *node);
/* The object of which that was noted with this name, pinned, or NULL. Another name with the same
 * hash may be meant, or the name may stand for another object by now. */
struct node *node_find_linked(
	struct node_table *table, uint64_t parent_id, const char *name, size_t len);
/* The id of that directory, or 0. */
uint64_t node_parent_id(struct node_table *table, const struct node *node);
/* st_ino of the directory that it was last found in, or its own where that is not known. */
uint64_t node_parent_ino(struct node_table *table, const struct node *node);
/* Was it last seen there? Another name with the same hash may have been. */
bool node_is_named(struct node_table *table, const struct node *node, uint64_t parent_id,
	const char *name, size_t len);
/* Whether the kernel has some object that was last seen there, as above; looks through them all. */
bool node_is_known(struct node_table *table, uint64_t parent_id, const char *name, size_t len);
/*
 * An open file last seen as `name` in `parent_id`, pinned, or NULL. Another name with the
 * same hash may be meant: ask the server before acting on it.
 */
struct node *node_find_open(
	struct node_table *table, uint64_t parent_id, const char *name, size_t len);
/* Makes node->file, if need be. 0 or -ENOMEM. */
int node_need_file(struct node_table *table, struct node *node);
/* Counts open files; 0 or -ENOMEM. The last close hands over the silly name, if there is one, to be
 * removed. */
int node_opened(struct node_table *table, struct node *node);
struct node_silly *node_closed(struct node_table *table, struct node *node);
/* Returns a name to be removed at once: `silly_take` (NULL: none) if the node is not open any more,
 * or the one it had. */
struct node_silly *node_set_silly(
	struct node_table *table, struct node *node, struct node_silly *silly_take);
/* Takes the silly name of some open node; NULL when none has one. */
struct node_silly *node_take_silly(struct node_table *table);
/* True while the object has a silly name only: one link fewer than the server says. */
bool node_is_silly(struct node_table *table, struct node *node);

/* Attributes have come. True: the object's data changed behind the kernel's page cache. */
bool node_note_attr(struct node_table *table, struct node *node, const struct nfs_attr *attr);
/* What the kernel has cached of a file that is being opened. */
enum node_cached {
	NODE_CACHED_FRESH, /* attributes and pages as they are on the server now */
	NODE_CACHED_ATTR,  /* attributes, and no pages */
	NODE_CACHED_STALE, /* neither: both are to be dropped, and node_note_dropped called then */
};
/* At open, with the attributes that came with it: the cache counts as filled from their change on,
 * or from node_note_dropped on. Until then nobody else finds it fresh. */
enum node_cached node_note_open(
	struct node_table *table, struct node *node, const struct nfs_attr *attr, bool store);
/*
 * After NODE_CACHED_ATTR, if `store` was given: the kernel has been told the data, or will not be.
 * Until then no other open of the file is noted: a program that has it open may read it, and the
 * kernel would hold its pages locked for data from a worker who waits for them. So this has to be
 * on the same thread, with nothing in between that can wait.
 */
void node_note_stored(struct node_table *table, struct node *node);
/* The kernel has dropped its pages since `change` was seen. */
void node_note_dropped(struct node_table *table, struct node *node, uint64_t change);
/* The same under a delegation, without asking, with the change attribute last seen. False: it is
 * not known. */
bool node_note_local_open(struct node_table *table, struct node *node, bool store, uint64_t *change,
	enum node_cached *cached);
/* Our own modification took the change attribute from `before` to that of `after`, which may have
 * the size, too. */
void node_note_write(
	struct node_table *table, struct node *node, uint64_t before, const struct nfs_attr *after);
/* What several modifications of ours that were under way together did to the change attribute. */
struct node_span {
	bool some;
	uint64_t base;	    /* what the page cache had before them */
	uint64_t low, high; /* from the first to the last of them, so far */
};
/* The same for one of several, whose answers come in any order; `last`: no other is under way. */
void node_note_writes(struct node_table *table, struct node *node, struct node_span *span,
	uint64_t before, const struct nfs_attr *after, bool last);
/* Change attribute and size last seen together. False: none. */
bool node_size(struct node_table *table, struct node *node, uint64_t *change, uint64_t *size);
/* Is `change` the last that is known? */
bool node_is_at(struct node_table *table, const struct node *node, uint64_t change);
/* Are these attributes of the last change that is known, and of the size that was seen with it? */
bool node_is_as(struct node_table *table, const struct node *node, const struct nfs_attr *attr);
/* A file whose size is known, and of whose data the page cache has nothing, or nothing good. */
bool node_lacks_data(struct node_table *table, const struct node *node, uint64_t *size);
/* The kernel has all names of a directory as they were asked for at `since` (ns), or later. */
void node_note_listed(struct node_table *table, struct node *node, uint64_t since);
/* Are they of `since` or later, and has nobody been seen to change them? */
bool node_is_listed(struct node_table *table, const struct node *node, uint64_t since);
/* The page cache's state is not known any more: the next open, also of a directory, drops it. */
void node_note_unknown(struct node_table *table, struct node *node);

/* The server has delegated it, or wants it back. */
void node_set_delegated(struct node_table *table, struct node *node, bool delegated);
bool node_is_delegated(struct node_table *table, struct node *node);

/* How long attributes may be trusted now, ms, given the limits in force for its type. */
uint32_t node_hold_ms(struct node_table *table, struct node *node, uint32_t min, uint32_t max);

/*
 * Errors of data written behind a program's back, of a node that has a file: each open file hears
 * of each once, as with Linux's own errseq_t. *seen is the open file's place: node_error_mark gives
 * it at open, before an error that nobody has heard of yet; node_error_since moves it on, and
 * returns the last error or 0.
 */
void node_set_error(struct node_table *table, struct node *node, int err);
uint32_t node_error_mark(struct node_table *table, const struct node *node);
int node_error_since(struct node_table *table, struct node *node, uint32_t *seen);
/* Is there one that nobody has heard of yet? */
bool node_has_untold_error(struct node_table *table, const struct node *node);

/* Ids of the nodes that are open, to be freed. NULL without memory. */
uint64_t *node_open_ids(struct node_table *table, size_t *count);

/* Ids of all nodes, to be freed. NULL without memory. */
uint64_t *node_ids(struct node_table *table, size_t *count);

/* Nodes known, for statistics. */
uint64_t node_table_count(struct node_table *table);

#endif
