/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "ctl.h"

/* Follows requests that took long. The daemon keeps those that somebody has asked for lately. */

#define PAUSE_NS 200000000

struct trace_line {
	uint64_t number, ended, took, rpc_ns, ino;
	uint32_t rpcs;
	int pid, err;
	char operation[32], rpc[32], status[32], comm[72];
	char *name; /* the rest of the line */
};

static bool parse_line(char *line, struct trace_line *t)
{
	int at = 0;

	if (sscanf(line,
		    "%" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu32 " %d %" SCNu64
		    " %d %31s %31s %31s %71s %n",
		    &t->number, &t->ended, &t->took, &t->rpc_ns, &t->rpcs, &t->pid, &t->ino,
		    &t->err, t->operation, t->rpc, t->status, t->comm, &at) != 12 ||
		at == 0 || line[at] != '"')
		return false;
	t->name = line + at + 1;
	return true;
}

/* Whether descriptor `fd` of the process is of inode `ino`, without touching it. */
static bool is_inode(int pid, const char *fd, uint64_t ino)
{
	char path[64], line[128];
	uint64_t found = 0;

	snprintf(path, sizeof(path), "/proc/%d/fdinfo/%.20s", pid, fd);
	FILE *in = fopen(path, "re");
	while (in && fgets(line, sizeof(line), in))
		if (sscanf(line, "ino: %" SCNu64, &found) == 1)
			break;
	if (in)
		fclose(in);
	return found == ino;
}

/* The path of an inode that the process has open (Linux 5.14). */
static bool find_path(int pid, uint64_t ino, char *out, size_t size)
{
	char path[64];
	ssize_t len = -1;

	snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	DIR *dir = ino > 0 ? opendir(path) : NULL;
	for (const struct dirent *entry; len < 0 && dir && (entry = readdir(dir));) {
		if (entry->d_name[0] == '.' || !is_inode(pid, entry->d_name, ino))
			continue;
		snprintf(path, sizeof(path), "/proc/%d/fd/%.20s", pid, entry->d_name);
		len = readlink(path, out, size - 1);
	}
	if (dir)
		closedir(dir);
	if (len <= 0 || out[0] != '/')
		return false;
	out[len] = '\0';
	return true;
}

/* Control bytes made visible, since names are anybody's. */
static void print_safe(const char *text)
{
	for (; *text; text++) {
		unsigned char c = (unsigned char)*text;
		if (c < 0x20 || c == 0x7f)
			printf("\\x%02x", c);
		else
			putchar(c);
	}
}

static void print_object(const struct trace_line *t)
{
	char path[PATH_MAX];

	if (find_path(t->pid, t->ino, path, sizeof(path))) {
		print_safe(path);
		fputs(t->name[0] ? "/" : "", stdout);
		print_safe(t->name);
	} else if (t->name[0]) {
		fputc('"', stdout);
		print_safe(t->name);
		printf("\" in inode %" PRIu64, t->ino);
	} else {
		printf("inode %" PRIu64, t->ino);
	}
}

static void print_line(const struct trace_line *t)
{
	time_t at = (time_t)(t->ended / 1000000000);
	char clock[16];
	struct tm tm;

	strftime(clock, sizeof(clock), "%H:%M:%S", localtime_r(&at, &tm));
	printf("%s.%06u %10.3f ms  %-11s ", clock, (unsigned)(t->ended % 1000000000 / 1000),
		(double)t->took / 1e6, t->operation);
	print_object(t);
	fputs("  ", stdout);
	print_safe(t->comm);
	printf("[%d]  %s", t->pid, t->err ? strerror(t->err) : "ok");
	if (t->rpcs > 0)
		printf("  %" PRIu32 " RPC%s %.3f ms, %s %s", t->rpcs, t->rpcs == 1 ? "" : "s",
			(double)t->rpc_ns / 1e6, t->rpc, t->status);
	putchar('\n');
}

/* The answer; *after is the last number then. */
static void print_answer(const char *path, char *text, uint64_t *after)
{
	char *rest = text, *line = strsep(&rest, "\n");
	bool first = *after == UINT64_MAX;
	uint64_t lost = 0;
	struct trace_line t;

	if (!line || sscanf(line, "%" SCNu64 " %" SCNu64, after, &lost) != 2)
		return;
	if (lost > 0 && !first)
		ctl_fail(0, "%s: %" PRIu64 " requests were not seen", path, lost);
	while ((line = strsep(&rest, "\n")))
		if (parse_line(line, &t))
			print_line(&t);
}

int ctl_trace(const char *path, const struct ctl_options *options)
{
	const struct timespec pause = {.tv_nsec = PAUSE_NS};
	uint64_t after = UINT64_MAX; /* nothing of what is there already */

	for (;;) {
		char request[96], *text;
		snprintf(request, sizeof(request), "trace %" PRIu64 " %" PRIu64,
			(uint64_t)(options->slower_ms * 1e6), after);
		int status = ctl_ask_text(path, request, -1, &text);
		if (status != 0)
			return status;
		print_answer(path, text, &after);
		free(text);
		status = ctl_flush();
		if (status != 0)
			return status;
		nanosleep(&pause, NULL);
	}
}
