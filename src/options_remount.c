/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>

#include "control.h"
#include "mountinfo.h"
#include "options_table.h"
#include "options_words.h"
#include "source.h"

/*
 * mount(8) hands on the words of the fstab line together with those of the command line, or what
 * /proc/self/mountinfo shows. The words that the daemon was started with are asked of it; what the
 * two come to must differ by nothing but what the kernel keeps.
 */

#define STATUS_SYSTEM  2
#define STATUS_FAILURE 32

/* What mount(2) changes without the daemon. */
static const struct {
	size_t at;
	unsigned long flag;
} kernel_fields[] = {
	{offsetof(struct words, o.read_only), MS_RDONLY},
	{offsetof(struct words, nosuid), MS_NOSUID},
	{offsetof(struct words, nodev), MS_NODEV},
	{offsetof(struct words, noexec), MS_NOEXEC},
	{offsetof(struct words, noatime), MS_NOATIME},
	{offsetof(struct words, sync), MS_SYNCHRONOUS},
};
#define KERNEL_FIELDS (sizeof(kernel_fields) / sizeof(kernel_fields[0]))

static bool *kernel_field(struct words *w, size_t i)
{
	return (bool *)((char *)w + kernel_fields[i].at);
}

static bool is_kernel_word(const struct option_word *word)
{
	for (size_t i = 0; i < KERNEL_FIELDS; i++)
		if (word->at == kernel_fields[i].at)
			return true;
	return false;
}

/* As with any file system, what is not named is taken away: mount(8) does not hand on "exec". */
static void clear_flags(struct words *w, const struct mountinfo *info)
{
	for (size_t i = 0; i < KERNEL_FIELDS; i++)
		*kernel_field(w, i) = false;
	w->dirsync = info->flags & MS_DIRSYNC;
}

/* The rules of access times stay where noatime does. */
static unsigned long make_flags(struct words *w, const struct mountinfo *info)
{
	const unsigned long times = MS_NOATIME | MS_NODIRATIME | MS_RELATIME;
	unsigned long flags = info->flags & ~times;

	for (size_t i = 0; i < KERNEL_FIELDS; i++) {
		flags &= ~kernel_fields[i].flag;
		flags |= *kernel_field(w, i) ? kernel_fields[i].flag : 0;
	}
	if (w->noatime == !!(info->flags & MS_NOATIME))
		flags &= ~times;
	else
		flags |= (info->flags & MS_NODIRATIME) | (w->noatime ? 0 : MS_RELATIME);
	/* His programs and devices stay his, whoever forgets to say so. */
	if (info->user != 0)
		flags |= MS_NOSUID | MS_NODEV;
	return flags;
}

/* The daemon's own words, or NULL when it does not say. */
static char *ask_daemon(const struct mountinfo *info)
{
	char *text = NULL, why[600];
	size_t size;
	int fd = control_connect(info->major, info->minor, info->user);
	FILE *out = fd >= 0 ? open_memstream(&text, &size) : NULL;

	if (!out)
		return NULL;
	int err = control_request(fd, "options", -1, out, why, sizeof(why));
	if (fclose(out) == 0 && !err)
		return text;
	free(text);
	return NULL;
}

/* A word that only repeats what the kernel shows of the mount says nothing. */
static bool is_shown(const char *text, const struct mountinfo *info)
{
	const struct option_word *word = option_word_find(text, strcspn(text, "="));

	return !(word && is_kernel_word(word)) && mountinfo_has(info->super, text, strlen(text));
}

static int apply_new(struct words *w, const char *list, const struct mountinfo *info)
{
	char *text = malloc(strlen(list) + 1);
	int status = 0;

	if (!text)
		return words_fail(w, STATUS_SYSTEM, "out of memory");
	while (status == 0 && words_next(&list, text))
		if (!is_shown(text, info))
			status = words_apply_one(w, text);
	free(text);
	return status;
}

/* What is not a matter of the kernel must be as it was; a daemon that says nothing, and a root file
 * system that would stay read-only over it, are no reasons to refuse the rest. */
static int compare(struct words *w, const struct words *was, bool known)
{
	bool refuse = known && strcmp(w->o.mountpoint, "/") != 0;
	const struct option_word *word;

	for (size_t i = 0; (word = option_word_at(i)); i++) {
		if (word->size == 0 || is_kernel_word(word) || option_word_same(word, w, was))
			continue;
		if (refuse)
			return words_fail(w, STATUS_FAILURE,
				"-o %s: cannot be changed while mounted: unmount %s and mount it "
				"again",
				word->name, w->o.mountpoint);
		words_fail(w, 0, "-o %s is left as it is on %s", word->name, w->o.mountpoint);
	}
	return 0;
}

static int find(struct words *w, const char *source, const char *path, struct mountinfo *info)
{
	char resolved[PATH_MAX];
	int r = mountinfo_find_path(path, resolved, info);

	if (r == -ENOENT)
		return words_fail(w, STATUS_FAILURE, "%s: nothing is mounted there", path);
	if (r < 0)
		return words_fail(w, STATUS_FAILURE, "%s: %s", path, strerror(-r));
	if (strncmp(info->type, "fuse", strlen("fuse")) != 0)
		return words_fail(w, STATUS_FAILURE, "%s: a mount of type %s, not of vsockfs", path,
			info->type);
	/* An initramfs may have spelled the root's source its own way. */
	if (strcmp(resolved, "/") != 0 && !source_same(source, info->source))
		return words_fail(w, STATUS_FAILURE, "%s: %s is mounted there, not %s", path,
			info->source, source);
	w->o.mountpoint = strdup(resolved);
	w->o.source = strdup(source);
	return w->o.mountpoint && w->o.source ? 0 : words_fail(w, STATUS_SYSTEM, "out of memory");
}

int words_remount(struct words *w, const char *const *lists, unsigned nlists, const char *source,
	const char *path)
{
	struct mountinfo info;
	struct words was;
	int status = find(w, source, path, &info);

	words_init(&was, w->program);
	was.sloppy = true;
	char *words = status == 0 ? ask_daemon(&info) : NULL;
	if (words && (status = words_apply(w, words)) == 0)
		status = words_apply(&was, words);
	clear_flags(w, &info);
	clear_flags(&was, &info);
	for (unsigned i = 0; i < nlists && status == 0; i++)
		status = apply_new(w, lists[i], &info);
	if (status == 0)
		status = compare(w, &was, words);
	if (status == 0)
		w->o.remount_flags = make_flags(w, &info);
	words_deinit(&was);
	free(words);
	return status;
}
