/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "gateway/visible.h"

#include <dirent.h>
#include <errno.h>
#include <fnmatch.h>
#include <limits.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "gateway/exports_write.h"

#define VISIBLE_ETAB	"/var/lib/nfs/etab"
#define VISIBLE_EXPORTS "/etc/exports"
#define VISIBLE_DIR	"/etc/exports.d"
#define VISIBLE_DEPTH	8 /* of %include */

/* A client of an existing export, and whether it is a guest. */
struct visible_client {
	const char *text;
	struct inet_net net; /* AF_UNSPEC when it is no number */
	bool match;
};

/* "A.B.C.D/255.255.0.0" is written too. */
static bool visible_parse_net(const char *text, struct inet_net *net)
{
	char copy[INET_TEXT_MAX + 16];
	char *slash;
	struct inet mask;
	bool host;

	if (inet_parse(text, &net->address)) {
		net->bits = net->address.family == AF_INET ? 32 : 128;
		return true;
	}
	if (strlen(text) >= sizeof(copy))
		return false;
	memcpy(copy, text, strlen(text) + 1);
	slash = strchr(copy, '/');
	if (slash && inet_parse(slash + 1, &mask) && mask.family == AF_INET) {
		unsigned bits = 0;
		while (bits < 32 && mask.bytes[bits / 8] & 0x80 >> bits % 8)
			bits++;
		snprintf(slash, sizeof(copy) - (size_t)(slash - copy), "/%u", bits);
	}
	/* With bits of the host it still means the network around it. */
	return inet_parse_net(copy, net, &host) || host;
}

/* The host's names of the guest's address, mostly none. */
static bool visible_name_matches(const char *pattern, const struct inet *inet)
{
	char host[NI_MAXHOST], number[INET_TEXT_MAX];
	struct sockaddr_storage sa;
	socklen_t len = inet_sockaddr(inet, 0, &sa);
	bool named = getnameinfo((struct sockaddr *)&sa, len, host, sizeof(host), NULL, 0,
			     NI_NAMEREQD) == 0;

	if (pattern[0] == '@')
		return innetgr(pattern + 1, inet_text(inet, number), NULL, NULL) ||
		       (named && innetgr(pattern + 1, host, NULL, NULL));
	return named && fnmatch(pattern, host, FNM_CASEFOLD) == 0;
}

static bool visible_host_has(const char *host, const struct inet_net *guests)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found, *at;
	bool has = false;

	if (getaddrinfo(host, NULL, &hints, &found) != 0)
		return false;
	for (at = found; at; at = at->ai_next) {
		struct sockaddr_storage sa = {0};
		struct inet inet;
		uint16_t port;
		memcpy(&sa, at->ai_addr, at->ai_addrlen);
		inet_from_sockaddr(&sa, &inet, &port);
		has |= inet_net_has(guests, &inet);
	}
	freeaddrinfo(found);
	return has;
}

static void visible_compare(void *arg, const char *guest)
{
	struct visible_client *client = arg;
	struct inet_net net;

	if (client->match || !visible_parse_net(guest, &net))
		return;
	if (client->net.address.family != AF_UNSPEC)
		client->match = inet_net_overlaps(&client->net, &net);
	else if (client->text[0] == '@' || strpbrk(client->text, "*?["))
		client->match = visible_name_matches(client->text, &net.address);
	else
		client->match = visible_host_has(client->text, &net);
}

static bool visible_is_guest(const char *text, const struct conf *conf)
{
	static const struct name any = {.kind = NAME_ANY};
	struct visible_client client = {.text = text};

	if (!text[0] || strcmp(text, "*") == 0 || strcmp(text, "<world>") == 0)
		return !TAILQ_EMPTY(&conf->rules);
	if (strncmp(text, "gss/", 4) == 0)
		return false; /* who has no ticket is not among them */
	if (!visible_parse_net(text, &client.net))
		client.net.address.family = AF_UNSPEC;
	exports_clients(conf, NULL, &any, visible_compare, &client);
	return client.match;
}

static unsigned visible_line(struct text *text, const struct conf *conf)
{
	const struct text_word *path = &text->words[0];
	bool named = false;

	for (size_t i = 1; i < text->nwords; i++) {
		char *word = text->words[i].text, *open = strchr(word, '(');
		if (word[0] == '-')
			continue; /* options for the clients that follow */
		named = true;
		if (open)
			*open = '\0';
		if (!visible_is_guest(word, conf))
			continue;
		text_complain(text, &text->words[i], 0,
			"%s is exported to %s, and so would be to guests", path->text,
			word[0] ? word : "everyone");
		return 1;
	}
	if (named || TAILQ_EMPTY(&conf->rules))
		return 0;
	text_complain(
		text, path, 0, "%s is exported to everyone, and so would be to guests", path->text);
	return 1;
}

unsigned visible_knfsd(const char *file, const struct conf *conf, FILE *errors)
{
	struct text text;
	unsigned n = 0;

	if (access(file, F_OK) < 0 && errno == ENOENT)
		return 0;
	if (text_init(&text, file, errors) == 0)
		while (text_next(&text))
			n += visible_line(&text, conf);
	/* What cannot be read may export anything. */
	n = text.nerrors > n ? text.nerrors : n;
	text_deinit(&text);
	return n;
}

/* exportfs(8) reads those whose names end so and do not begin with a dot. */
static int visible_is_exports(const struct dirent *entry)
{
	const char *dot = strrchr(entry->d_name, '.');

	return entry->d_name[0] != '.' && dot && strcmp(dot, ".exports") == 0;
}

/* What was exported from `ours` is in etab as well, and is about to be replaced. */
static unsigned visible_etab(const char *ours, const struct conf *conf, FILE *errors)
{
	struct text text, own;
	unsigned n = 0;

	if (access(VISIBLE_ETAB, F_OK) < 0 || text_init(&text, VISIBLE_ETAB, errors) < 0)
		return 0;
	while (text_next(&text)) {
		bool known = false;
		if (access(ours, F_OK) == 0 && text_init(&own, ours, errors) == 0) {
			while (!known && text_next(&own))
				known = strcmp(own.words[0].text, text.words[0].text) == 0;
			text_deinit(&own);
		}
		if (!known)
			n += visible_line(&text, conf);
	}
	text_deinit(&text);
	return n;
}

unsigned visible_knfsd_all(const char *ours, const struct conf *conf, FILE *errors)
{
	unsigned n = visible_knfsd(VISIBLE_EXPORTS, conf, errors);
	struct dirent **entries;
	char path[PATH_MAX];
	int count = scandir(VISIBLE_DIR, &entries, visible_is_exports, alphasort);

	for (int i = 0; i < count; i++) {
		snprintf(path, sizeof(path), "%s/%s", VISIBLE_DIR, entries[i]->d_name);
		if (strcmp(path, ours) != 0)
			n += visible_knfsd(path, conf, errors);
		free(entries[i]);
	}
	if (count >= 0)
		free(entries);
	return n + visible_etab(ours, conf, errors);
}

/* By whatever names. */
static bool visible_is_same(const char *a, const char *b)
{
	struct stat one, other;

	return strcmp(a, b) == 0 ||
	       (stat(a, &one) == 0 && stat(b, &other) == 0 && one.st_dev == other.st_dev &&
		       one.st_ino == other.st_ino);
}

static unsigned visible_ganesha_at(const char *file, const char *ours, FILE *errors, int depth)
{
	struct text text;
	unsigned n = 0;

	if (visible_is_same(file, ours))
		return 0;
	if (depth == VISIBLE_DEPTH) {
		fprintf(errors, "%s: %%include goes too deep\n", file);
		return 1;
	}
	if (text_init(&text, file, errors) < 0) {
		text_deinit(&text);
		return 1;
	}
	while (text_next(&text)) {
		char *word = text.words[0].text;
		if (strncasecmp(word, "EXPORT", 6) == 0 && (!word[6] || word[6] == '{')) {
			text_complain(&text, &text.words[0], 0,
				"an export of its own, which guests might see: give them a server "
				"that has no other exports");
			n++;
		} else if (strcasecmp(word, "%include") == 0 && text.nwords > 1) {
			n += visible_ganesha_at(text.words[1].text, ours, errors, depth + 1);
		}
	}
	text_deinit(&text);
	return n;
}

unsigned visible_ganesha(const char *file, const char *ours, FILE *errors)
{
	return visible_ganesha_at(file, ours, errors, 0);
}
