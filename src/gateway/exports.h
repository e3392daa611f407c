/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_GATEWAY_EXPORTS_H
#define VSOCKFS_GATEWAY_EXPORTS_H

#include <stdint.h>
#include <sys/queue.h>
#include <sys/types.h>

#include "gateway/conf.h"
#include "gateway/name.h"
#include "gateway/text.h"

/* What /etc/vsockfs/exports says: which guest sees which directory. vsockfs-exports(5) has it. */

#define EXPORTS_FILE "/etc/vsockfs/exports"

enum exports_squash { EXPORTS_SQUASH_ROOT, EXPORTS_SQUASH_NONE, EXPORTS_SQUASH_ALL };
/* Whether the server looks if a handle is of the export's own tree. */
enum exports_subtree { EXPORTS_SUBTREE_AUTO, EXPORTS_SUBTREE_CHECK, EXPORTS_SUBTREE_NONE };

struct exports_guest {
	struct name name;
	bool writable, async, insecure;
	enum exports_squash squash;
	enum exports_subtree subtree;
	uint32_t anonuid, anongid;
	unsigned line, column;
	TAILQ_ENTRY(exports_guest) entry;
};

struct exports_entry {
	char *path;
	unsigned line, column;
	/* of its file system, as exports_check finds it */
	unsigned major, minor;
	char *mount; /* where it is mounted */
	bool whole;  /* the path is the whole file system */
	TAILQ_HEAD(, exports_guest) guests;
	TAILQ_ENTRY(exports_entry) entry;
};

TAILQ_HEAD(exports, exports_entry);

/* Parses into `exports`, which is empty. The number of complaints. exports_free in any case. */
unsigned exports_parse(struct text *text, struct exports *exports);
void exports_free(struct exports *exports);

/*
 * Checks what the parser cannot know: that directories exist under these names, that `conf` gives
 * every guest an address, and that no guest reaches another's files by forging file handles.
 * `enforced`: the server refuses all forged handles by itself; `subtree`: it can check the subtree.
 * Complaints and warnings go to text->errors; only complaints are counted in text->nerrors.
 */
void exports_check(struct text *text, struct exports *exports, const struct conf *conf,
	bool enforced, bool subtree);

/* Whether the server is to check the subtree for this guest. */
bool exports_checks_subtree(const struct exports_entry *e, const struct exports_guest *guest);

#endif
