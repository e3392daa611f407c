/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "idmap_file.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "nfs41/idmap.h"

#define LINE_MAX_BYTES 1024
#define BLANKS	       " \t\r\n"

/* 1: a number; 0: none; -1: one that no id has. */
static int parse_id(const char *text, uint32_t *id)
{
	uint64_t value = 0;

	if (!*text || text[strspn(text, "0123456789")])
		return 0;
	for (; *text; text++) {
		value = value * 10 + (uint64_t)(*text - '0');
		if (value >= UINT32_MAX)
			return -1;
	}
	*id = (uint32_t)value;
	return 1;
}

static const char *parse_guest(const char *text, struct idmap_rule *rule)
{
	int n = parse_id(text, &rule->guest);

	if (n < 0)
		return "a number that no id can be";
	if (n > 0)
		return NULL;
	if (rule->group) {
		const struct group *group = getgrnam(text);
		if (!group)
			return "a group that this system does not know";
		rule->guest = group->gr_gid;
		return NULL;
	}
	const struct passwd *user = getpwnam(text);
	if (!user)
		return "a user that this system does not know";
	rule->guest = user->pw_uid;
	return NULL;
}

static const char *parse_server(const char *text, struct idmap_rule *rule)
{
	int n = parse_id(text, &rule->server);

	if (n < 0)
		return "a number that no id can be";
	rule->numbered = n > 0;
	if (n > 0)
		return NULL;
	if (strlen(text) >= IDMAP_STRING_MAX)
		return "a name that is too long";
	rule->owner = strdup(text);
	return rule->owner ? NULL : "out of memory";
}

/* What is wrong with the line, with the word that is; *rule is to be kept if it was not empty. */
static const char *parse_line(char *line, struct idmap_rule *rule, bool *empty, const char **word)
{
	char *save = NULL;

	line[strcspn(line, "#")] = '\0';
	const char *kind = strtok_r(line, BLANKS, &save);
	*empty = !kind;
	if (!kind)
		return NULL;
	*word = kind;
	rule->group = strcmp(kind, "group") == 0;
	if (!rule->group && strcmp(kind, "user") != 0)
		return "neither user nor group";
	const char *guest = strtok_r(NULL, BLANKS, &save);
	const char *server = strtok_r(NULL, BLANKS, &save);
	const char *more = strtok_r(NULL, BLANKS, &save);
	if (!server)
		return "needs an id here and one of the server";
	*word = more ? more : guest;
	const char *wrong = more ? "one word too many" : parse_guest(guest, rule);
	if (!wrong) {
		*word = server;
		wrong = parse_server(server, rule);
	}
	return wrong;
}

int idmap_file_parse(FILE *in, struct idmap_rule **rules, unsigned **lines, size_t *count,
	char *why, size_t why_size)
{
	struct idmap_rule *list = calloc(IDMAP_RULES_MAX, sizeof(*list));
	unsigned *at = calloc(IDMAP_RULES_MAX, sizeof(*at));
	char line[LINE_MAX_BYTES];
	const char *wrong = list && at ? NULL : "out of memory", *word = "";
	unsigned number = 0;
	size_t n = 0;

	while (!wrong && fgets(line, sizeof(line), in)) {
		struct idmap_rule rule = {0};
		bool empty = false;
		number++;
		word = "";
		if (!strchr(line, '\n') && strlen(line) == sizeof(line) - 1)
			wrong = "the line is too long";
		else if ((wrong = parse_line(line, &rule, &empty, &word)) || empty)
			continue;
		else if (n == IDMAP_RULES_MAX)
			wrong = "too many rules";
		else
			list[n] = rule, at[n++] = number;
	}
	*rules = list;
	*lines = at;
	*count = n;
	if (!wrong)
		return 0;
	snprintf(why, why_size, "line %u: %.64s%s%s", number, word, *word ? ": " : "", wrong);
	return -EINVAL;
}

static FILE *open_file(const char *path, char *why, size_t why_size)
{
	struct stat st;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

	if (fd >= 0 && fstat(fd, &st) == 0 && !S_ISREG(st.st_mode)) {
		close(fd);
		errno = EINVAL;
		snprintf(why, why_size, "not a file");
		return NULL;
	}
	FILE *file = fd >= 0 ? fdopen(fd, "r") : NULL;
	if (!file) {
		int err = errno;
		snprintf(why, why_size, "%s", strerror(err));
		if (fd >= 0)
			close(fd);
		errno = err;
	}
	return file;
}

int idmap_file_load(const char *path, char *why, size_t why_size)
{
	struct idmap_rule *rules = NULL;
	unsigned *lines = NULL;
	size_t count = 0, clash = 0;
	FILE *file = open_file(path, why, why_size);

	if (!file)
		return -errno;
	int err = idmap_file_parse(file, &rules, &lines, &count, why, why_size);
	fclose(file);
	if (!err) {
		err = idmap_set_rules(rules, count, false, &clash);
		if (err == -EEXIST)
			snprintf(why, why_size, "line %u: a second rule for the same id",
				lines[clash]);
		else if (err)
			snprintf(why, why_size, "%s", strerror(-err));
	}
	if (err)
		idmap_free_rules(rules, count);
	free(lines);
	return err;
}
