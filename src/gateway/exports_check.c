/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "gateway/exports.h"

/*
 * A file handle names an inode of a file system, not of a directory, and is no secret: a guest's
 * root makes handles of its own. Where the server does not check that a handle is of the export's
 * tree, who sees one directory of a file system sees all of it.
 */

struct exports_checker {
	struct text *text;
	struct exports *exports;
	const struct conf *conf;
	bool enforced, subtree;
};

static void exports_complain(struct exports_checker *c, unsigned line, unsigned column,
	const char *format, ...) __attribute__((format(printf, 4, 5)));

static void exports_complain(
	struct exports_checker *c, unsigned line, unsigned column, const char *format, ...)
{
	struct text_word word = {NULL, line, column};
	char message[512];
	va_list args;

	va_start(args, format);
	vsnprintf(message, sizeof(message), format, args);
	va_end(args);
	text_complain(c->text, &word, 0, "%s", message);
}

/* The number of the byte that "\ooo" in mountinfo stands for, or the byte itself. */
static int exports_unescape(const char **at)
{
	const char *p = *at;

	if (p[0] == '\\' && p[1] >= '0' && p[1] <= '3' && p[2] >= '0' && p[2] <= '7' &&
		p[3] >= '0' && p[3] <= '7') {
		*at += 4;
		return (p[1] - '0') << 6 | (p[2] - '0') << 3 | (p[3] - '0');
	}
	return (unsigned char)*(*at)++;
}

static void exports_unescape_all(char *text)
{
	const char *in = text;
	char *out = text;

	while (*in)
		*out++ = (char)exports_unescape(&in);
	*out = '\0';
}

/* Whether `path` is `directory` or below it. */
static bool exports_is_below(const char *path, const char *directory)
{
	size_t len = strlen(directory);

	if (strcmp(directory, "/") == 0)
		return true;
	return strncmp(path, directory, len) == 0 && (path[len] == '/' || !path[len]);
}

/*
 * The file system of a directory, by the mount that it is below. Its number is the superblock's:
 * st_dev is of its own for each subvolume of btrfs, though a handle reaches them all.
 */
static void exports_find_mount(struct exports_entry *e, FILE *mountinfo)
{
	char *line = NULL, point[4096], root[4096];
	size_t size = 0, longest = 0;
	unsigned major, minor;

	rewind(mountinfo);
	while (getline(&line, &size, mountinfo) > 0) {
		if (sscanf(line, "%*u %*u %u:%u %4095s %4095s", &major, &minor, root, point) != 4)
			continue;
		exports_unescape_all(root);
		exports_unescape_all(point);
		/* of mounts on one another, the last is seen */
		if (!exports_is_below(e->path, point) || strlen(point) < longest)
			continue;
		longest = strlen(point);
		free(e->mount);
		e->mount = strdup(point);
		e->major = major;
		e->minor = minor;
		e->whole = strcmp(point, e->path) == 0 && strcmp(root, "/") == 0;
	}
	free(line);
}

static void exports_check_path(struct exports_checker *c, struct exports_entry *e, FILE *mountinfo)
{
	char *real = realpath(e->path, NULL);
	struct stat st;

	if (!real)
		exports_complain(c, e->line, e->column, "%s: %s", e->path, strerror(errno));
	else if (strcmp(real, e->path) != 0)
		exports_complain(
			c, e->line, e->column, "%s is really %s: write that", e->path, real);
	else if (stat(real, &st) < 0 || !S_ISDIR(st.st_mode))
		exports_complain(c, e->line, e->column, "%s is no directory", e->path);
	else
		exports_find_mount(e, mountinfo);
	free(real);
}

static void exports_check_guest(struct exports_checker *c, const struct exports_guest *g)
{
	char name[NAME_TEXT_MAX];
	struct inet address;

	if (g->name.kind == NAME_ANY) {
		if (TAILQ_EMPTY(&c->conf->rules))
			exports_complain(c, g->line, g->column,
				"the gateway's configuration lets no guest in at all");
	} else if (!conf_address(c->conf, &g->name, &address)) {
		exports_complain(c, g->line, g->column,
			"the gateway's configuration has no rule for %s, or no address",
			name_text(&g->name, name));
	}
	if (g->subtree == EXPORTS_SUBTREE_CHECK && !c->subtree)
		exports_complain(c, g->line, g->column,
			"this server cannot check the subtree (subtree_check is knfsd's)");
}

/* The word of `e` for guest `name`: its own, or that of vsock:* if it is meant. */
static const struct exports_guest *exports_find_guest(
	const struct exports_entry *e, const struct name *name)
{
	const struct exports_guest *g, *any = NULL;

	TAILQ_FOREACH (g, &e->guests, entry) {
		if (name_equal(&g->name, name))
			return g;
		if (g->name.kind == NAME_ANY)
			any = g;
	}
	return any;
}

/* Whether guest `g`, who may reach all of the file system, would reach what `other` keeps. */
static bool exports_trespasses(const struct exports_entry *e, const struct exports_guest *g,
	const struct exports_entry *other)
{
	const struct exports_guest *there = exports_find_guest(other, &g->name);

	if (e == other || exports_is_below(other->path, e->path) || !other->mount || !e->mount ||
		other->major != e->major || other->minor != e->minor)
		return false;
	return !there || (g->writable && !there->writable);
}

static bool exports_is_enforced(const struct exports_checker *c, const struct exports_entry *e,
	const struct exports_guest *g)
{
	return c->enforced || (c->subtree && exports_checks_subtree(e, g));
}

static void exports_check_boundary(
	struct exports_checker *c, const struct exports_entry *e, const struct exports_guest *g)
{
	const struct exports_entry *other;
	char name[NAME_TEXT_MAX];

	if (!e->mount || exports_is_enforced(c, e, g))
		return;
	TAILQ_FOREACH (other, c->exports, entry) {
		if (!exports_trespasses(e, g, other))
			continue;
		exports_complain(c, g->line, g->column,
			"by forging file handles %s would reach %s (line %u) too, which is on the "
			"same file system (%s): give each a file system of its own%s",
			name_text(&g->name, name), other->path, other->line, e->mount,
			c->subtree ? ", or take no_subtree_check away" : ", or sign the handles");
		return;
	}
	if (!e->whole)
		fprintf(c->text->errors,
			"%s:%u:%u: warning: by forging file handles %s reaches all of the file "
			"system that %s is on (%s)\n",
			c->text->name, g->line, g->column, name_text(&g->name, name), e->path,
			e->mount);
}

void exports_check(struct text *text, struct exports *exports, const struct conf *conf,
	bool enforced, bool subtree)
{
	struct exports_checker c = {text, exports, conf, enforced, subtree};
	FILE *mountinfo = fopen("/proc/self/mountinfo", "re");
	struct exports_guest *g;
	struct exports_entry *e;

	if (!mountinfo) {
		fprintf(text->errors, "/proc/self/mountinfo: %s\n", strerror(errno));
		text->nerrors++;
		return;
	}
	TAILQ_FOREACH (e, exports, entry)
		exports_check_path(&c, e, mountinfo);
	fclose(mountinfo);
	TAILQ_FOREACH (e, exports, entry)
		TAILQ_FOREACH (g, &e->guests, entry) {
			exports_check_guest(&c, g);
			exports_check_boundary(&c, e, g);
		}
}
