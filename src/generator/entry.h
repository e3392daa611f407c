/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_GENERATOR_ENTRY_H
#define VSOCKFS_GENERATOR_ENTRY_H

#include <stdbool.h>
#include <stddef.h>

/*
 * One share that the host wants mounted, as it wrote it: nothing in it is trusted to be well
 * formed. Every text is valid UTF-8 without control characters once it is parsed.
 */

#define ENTRY_TEXT_MAX 4096 /* bytes of each part, with its NUL */

struct entry {
	char source[ENTRY_TEXT_MAX];
	char where[ENTRY_TEXT_MAX];   /* absolute, without "//", "." and "..", and not "/" */
	char options[ENTRY_TEXT_MAX]; /* without what is for systemd alone */
	/* fstab(5) and systemd.mount(5) */
	bool nofail, noauto, automount;
	char idle_timeout[32], mount_timeout[32]; /* as systemd.time(7) has them; "": not given */
};

/* A line of fstab(5), without its newline. 0, 1 for a line without an entry, or -EINVAL with *why
 * set to a constant. */
int entry_parse_line(const char *line, size_t len, struct entry *entry, const char **why);

/* "SOURCE,MOUNTPOINT[,OPTION...]", as a word of the kernel's command line. 0 or -EINVAL with *why.
 */
int entry_parse_word(const char *word, size_t len, struct entry *entry, const char **why);

#endif
