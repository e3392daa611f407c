/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "gateway/exports_write.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const char exports_head[] =
	"# Made by vsockfs-exportfs(8) from /etc/vsockfs/exports; changes here are lost.\n";

static bool exports_names(const struct exports_entry *e, const struct name *name)
{
	const struct exports_guest *g;

	TAILQ_FOREACH (g, &e->guests, entry)
		if (name_equal(&g->name, name))
			return true;
	return false;
}

void exports_clients(const struct conf *conf, const struct exports_entry *e,
	const struct name *name, void (*each)(void *arg, const char *client), void *arg)
{
	char text[INET_TEXT_MAX];
	const struct conf_rule *rule;
	struct inet address;

	if (name->kind != NAME_ANY) {
		if (conf_address(conf, name, &address))
			each(arg, inet_text(&address, text));
		return;
	}
	/* Who has a word of its own here is not meant by vsock:*. */
	TAILQ_FOREACH (rule, &conf->rules, entry)
		if (rule->name.kind == NAME_ANY)
			each(arg, inet_net_text(&conf->prefix, text));
		else if (!(e && exports_names(e, &rule->name)) &&
			 conf_address(conf, &rule->name, &address))
			each(arg, inet_text(&address, text));
}

struct exports_writer {
	FILE *out;
	const struct exports_entry *entry;
	const struct exports_guest *guest;
	unsigned count;
};

static void exports_knfsd_client(void *arg, const char *client)
{
	static const char *const squash[] = {[EXPORTS_SQUASH_ROOT] = "root_squash",
		[EXPORTS_SQUASH_NONE] = "no_root_squash",
		[EXPORTS_SQUASH_ALL] = "all_squash"};
	const struct exports_writer *w = arg;
	const struct exports_guest *g = w->guest;

	fprintf(w->out, " %s(%s,%s,%s,%s,%s,anonuid=%u,anongid=%u,sec=sys)", client,
		g->writable ? "rw" : "ro", g->async ? "async" : "sync",
		g->insecure ? "insecure" : "secure", squash[g->squash],
		exports_checks_subtree(w->entry, g) ? "subtree_check" : "no_subtree_check",
		g->anonuid, g->anongid);
}

/* exports(5) takes octal numbers for bytes that would end a word. */
static void exports_knfsd_path(const char *path, FILE *out)
{
	for (; *path; path++)
		if (isalnum((unsigned char)*path) || strchr("/._-+,=@%:~", *path))
			fputc(*path, out);
		else
			fprintf(out, "\\%03o", (unsigned char)*path);
}

void exports_write_knfsd(const struct exports *exports, const struct conf *conf, FILE *out)
{
	struct exports_writer w = {.out = out};

	fputs(exports_head, out);
	TAILQ_FOREACH (w.entry, exports, entry) {
		exports_knfsd_path(w.entry->path, out);
		TAILQ_FOREACH (w.guest, &w.entry->guests, entry)
			exports_clients(conf, w.entry, &w.guest->name, exports_knfsd_client, &w);
		fputc('\n', out);
	}
}

static void exports_ganesha_client(void *arg, const char *client)
{
	struct exports_writer *w = arg;

	fprintf(w->out, "%s%s", w->count++ ? ", " : "", client);
}

static void exports_ganesha_guest(const struct conf *conf, struct exports_writer *w)
{
	static const char *const squash[] = {[EXPORTS_SQUASH_ROOT] = "Root_Squash",
		[EXPORTS_SQUASH_NONE] = "No_Root_Squash",
		[EXPORTS_SQUASH_ALL] = "All_Squash"};
	const struct exports_guest *g = w->guest;

	w->count = 0;
	fputs("    CLIENT {\n        Clients = ", w->out);
	exports_clients(conf, w->entry, &g->name, exports_ganesha_client, w);
	fprintf(w->out,
		";\n        Access_Type = %s;\n        Squash = %s;\n"
		"        Anonymous_uid = %u;\n        Anonymous_gid = %u;\n"
		"        PrivilegedPort = %s;\n    }\n",
		g->writable ? "RW" : "RO", squash[g->squash], g->anonuid, g->anongid,
		g->insecure ? "false" : "true");
}

/* The first block that matches counts: vsock:* comes last. */
static void exports_ganesha_guests(const struct conf *conf, struct exports_writer *w)
{
	for (int any = 0; any < 2; any++)
		TAILQ_FOREACH (w->guest, &w->entry->guests, entry)
			if ((w->guest->name.kind == NAME_ANY) == any)
				exports_ganesha_guest(conf, w);
}

/*
 * Handles carry the export's number, so it must not depend on what else is in the file. FNV-1a of
 * the path, and the next free one; low numbers are left to people.
 */
#define EXPORTS_ID_FIRST 20000u
#define EXPORTS_ID_COUNT 40000u

static unsigned exports_ganesha_id(const char *path, bool *taken)
{
	uint32_t hash = 2166136261u;

	for (; *path; path++)
		hash = (hash ^ (unsigned char)*path) * 16777619u;
	hash %= EXPORTS_ID_COUNT;
	while (taken[hash])
		hash = (hash + 1) % EXPORTS_ID_COUNT;
	taken[hash] = true;
	return EXPORTS_ID_FIRST + hash;
}

/* The first directory that this guest sees. */
static const struct exports_entry *exports_first_of(
	const struct exports *exports, const struct name *name)
{
	const struct exports_entry *e;

	TAILQ_FOREACH (e, exports, entry)
		if (exports_names(e, name))
			return e;
	return NULL;
}

/* Those that see anything, each once. */
static void exports_ganesha_everybody(
	const struct exports *exports, const struct conf *conf, struct exports_writer *w)
{
	static const struct name any = {.kind = NAME_ANY};
	const struct exports_entry *e;
	const struct exports_guest *g;

	w->count = 0;
	if (exports_first_of(exports, &any))
		exports_clients(conf, NULL, &any, exports_ganesha_client, w);
	TAILQ_FOREACH (e, exports, entry)
		TAILQ_FOREACH (g, &e->guests, entry)
			if (g->name.kind != NAME_ANY && exports_first_of(exports, &g->name) == e)
				exports_clients(conf, NULL, &g->name, exports_ganesha_client, w);
}

/*
 * Without a root of its own ganesha makes one for everybody, in which who has no export still sees
 * the directories that lead to those of others.
 */
static void exports_ganesha_root(
	const struct exports *exports, const struct conf *conf, struct exports_writer *w)
{
	const struct exports_entry *e;

	if (TAILQ_EMPTY(exports))
		return;
	TAILQ_FOREACH (e, exports, entry)
		if (strcmp(e->path, "/") == 0)
			return;
	fputs("EXPORT {\n    Export_Id = 19999;\n    Path = \"/\";\n    Pseudo = \"/\";\n"
	      "    Protocols = 4;\n    Transports = TCP;\n    SecType = sys, none;\n"
	      "    Access_Type = None;\n    CLIENT {\n        Clients = ",
		w->out);
	exports_ganesha_everybody(exports, conf, w);
	fputs(";\n        Access_Type = RO;\n        PrivilegedPort = false;\n    }\n"
	      "    FSAL { Name = PSEUDO; }\n}\n",
		w->out);
}

int exports_write_ganesha(const struct exports *exports, const struct conf *conf, FILE *out)
{
	struct exports_writer w = {.out = out};
	bool *taken = calloc(EXPORTS_ID_COUNT, sizeof(*taken));
	int err = taken ? 0 : -ENOMEM;

	fputs(exports_head, out);
	exports_ganesha_root(exports, conf, &w);
	TAILQ_FOREACH (w.entry, exports, entry) {
		if (err)
			break;
		if (strpbrk(w.entry->path, "\"\\\n")) {
			err = -EINVAL;
			break;
		}
		fprintf(out,
			"EXPORT {\n    Export_Id = %u;\n    Path = \"%s\";\n    Pseudo = \"%s\";\n"
			"    Protocols = 4;\n    Transports = TCP;\n    SecType = sys;\n"
			"    Access_Type = None;\n    Attr_Expiration_Time = 0;\n",
			exports_ganesha_id(w.entry->path, taken), w.entry->path, w.entry->path);
		exports_ganesha_guests(conf, &w);
		fputs("    FSAL { Name = VFS; }\n}\n", out);
	}
	free(taken);
	return err;
}
