/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_OPTIONS_WORDS_H
#define VSOCKFS_OPTIONS_WORDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "options.h"

/* The words of -o lists, for options.c: what each means, which values it takes. */

#define WORDS_IO_MIN	     4096
#define WORDS_IO_MAX	     1048576
#define WORDS_CLIENTADDR_MAX 128

enum words_proto {
	WORDS_PROTO_ANY,
	WORDS_PROTO_VSOCK,
	WORDS_PROTO_UNIX,
	WORDS_PROTO_TCP,
	WORDS_PROTO_TCP6
};
enum words_allow { WORDS_ALLOW_DEFAULT, WORDS_ALLOW_OTHER, WORDS_ALLOW_ROOT };
enum words_access { WORDS_ACCESS_DEFAULT, WORDS_ACCESS_KERNEL, WORDS_ACCESS_SERVER };
enum words_resvport { WORDS_RESVPORT_DEFAULT, WORDS_RESVPORT_YES, WORDS_RESVPORT_NO };

/* What the words said so far; options.c makes struct options of it at the end. */
struct words {
	struct options o;
	const char *program;
	bool sloppy; /* unknown words are ignored */
	char *fsname, *subtype, *setuid;
	uint32_t port; /* 0: as the source says */
	uint32_t retry_min;
	uint32_t uid, gid;		    /* OPTIONS_NO_ID when not given */
	int vers_minor, minorversion;	    /* -1: not given */
	int proto, allow, access, resvport; /* enum words_* */
	bool nosuid, nodev, noexec, noatime, sync, dirsync;
	/* seconds, negative when not given */
	double acregmin, acregmax, acdirmin, acdirmax;
};

void words_init(struct words *w, const char *program);
void words_deinit(struct words *w);

/* Takes up the words of one -o list. 0, or an exit status after a line on stderr. */
int words_apply(struct words *w, const char *list);
/* The same for one of them, its escapes resolved. */
int words_apply_one(struct words *w, const char *word);
/* The next word of a comma list, its escapes resolved, into `out`; false at the end. */
bool words_next(const char **list, char *out);
/* True if `list` holds `word`, which counts for all lists wherever it stands. */
bool words_have(const char *list, const char *word);

/*
 * For -o remount: what `lists` ask for, against the mount that is on `path`. Fills the mount point
 * and the flags of struct options, or fails with a word that would take another daemon. `source`
 * is what mount(8) takes for the mount's. 0, or an exit status after a line on stderr.
 */
int words_remount(struct words *w, const char *const *lists, unsigned nlists, const char *source,
	const char *path);

/* Prints "PROGRAM: ..." as one line on stderr and returns `status`. */
int words_fail(const struct words *w, int status, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* The value of `text`, a number without sign, within [min, max]; false if it is not. */
bool words_number(const char *text, uint64_t min, uint64_t max, uint64_t *number);

#endif
