/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <mntent.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control.h"
#include "mountinfo.h"

#define STATUS_USAGE   1
#define STATUS_FAILURE 2

static const char usage_text[] =
	"usage: vsockfsctl stats [--json | --mountstats] MOUNTPOINT\n"
	"       vsockfsctl delegreturn [MOUNTPOINT]\n"
	"\n"
	"  stats         RPCs by operation, with bytes, times, retransmissions and reconnects\n"
	"  --json        as a JSON object\n"
	"  --mountstats  as /proc/self/mountstats has it, for mountstats(8)\n"
	"  delegreturn   gives the server all delegations back; of all mounts, unless one is "
	"named\n"
	"  -V, --version\n"
	"  -h, --help\n";

enum { OPTION_JSON = 256, OPTION_MOUNTSTATS };

static const struct option long_options[] = {{"json", no_argument, NULL, OPTION_JSON},
	{"mountstats", no_argument, NULL, OPTION_MOUNTSTATS}, {"version", no_argument, NULL, 'V'},
	{"help", no_argument, NULL, 'h'}, {NULL}};

__attribute__((format(printf, 2, 3))) static int fail(int status, const char *format, ...)
{
	va_list args;

	fputs("vsockfsctl: ", stderr);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	return status;
}

/* The name as given first: what it says is not looked up, so a dead server does not matter. */
static int find_mount(const char *path, struct mountinfo *info)
{
	char name[PATH_MAX];
	int r = mountinfo_canonical(path, name);

	if (r == 0)
		r = mountinfo_find_self(name, info);
	if (r == -ENOENT && realpath(path, name))
		r = mountinfo_find_self(name, info);
	return r;
}

static int explain_connect(const char *path, int err)
{
	switch (err) {
	case -ENOENT: return fail(STATUS_FAILURE, "%s: the daemon has no control socket", path);
	case -ECONNREFUSED:
		return fail(STATUS_FAILURE, "%s: the daemon is dead: unmount with 'umount %s'",
			path, path);
	case -EACCES:
	case -EPERM:
		return fail(STATUS_FAILURE,
			"%s: only root and the user who mounted it may ask its daemon", path);
	default:
		return fail(
			STATUS_FAILURE, "%s: cannot reach the daemon: %s", path, strerror(-err));
	}
}

static int ask(const char *path, const char *request, FILE *out)
{
	struct mountinfo info = {0};
	char why[600];
	int r = find_mount(path, &info);

	if (r == -ENOENT)
		return fail(STATUS_FAILURE, "%s: not a mount point", path);
	if (r < 0)
		return fail(STATUS_FAILURE, "%s: %s", path, strerror(-r));
	/* subtype= may have changed the rest of the type. */
	if (strncmp(info.type, "fuse", 4) != 0)
		return fail(
			STATUS_FAILURE, "%s: a mount of type %s, not of vsockfs", path, info.type);

	int fd = control_connect(info.major, info.minor, info.user);
	if (fd < 0)
		return strcmp(info.type, MOUNTINFO_VSOCKFS) != 0 && fd == -ENOENT
			       ? fail(STATUS_FAILURE, "%s: a mount of type %s, not of vsockfs",
					 path, info.type)
			       : explain_connect(path, fd);
	if (control_request(fd, request, out, why, sizeof(why)) < 0)
		return fail(STATUS_FAILURE, "%s: %s", path, why);
	return 0;
}

static int print_stats(const char *path, const char *request)
{
	int status = ask(path, request, stdout);

	if (status == 0 && fflush(stdout) != 0)
		return fail(STATUS_FAILURE, "cannot write: %s", strerror(errno));
	return status;
}

static int return_delegations(const char *path)
{
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);

	if (!out)
		return fail(STATUS_FAILURE, "%s", strerror(errno));
	int status = ask(path, "delegreturn", out);
	if (fclose(out) != 0)
		status = fail(STATUS_FAILURE, "%s: %s", path, strerror(errno));
	else if (status == 0 && len > 0)
		status = fail(STATUS_FAILURE, "%s: %.*s", path, (int)strcspn(text, "\n"), text);
	free(text);
	return status;
}

/* Of every mount of vsockfs; one that fails does not keep the others. */
static int return_all_delegations(void)
{
	FILE *mounts = setmntent("/proc/self/mounts", "re");
	const struct mntent *entry;
	int status = 0;

	if (!mounts)
		return fail(STATUS_FAILURE, "/proc/self/mounts: %s", strerror(errno));
	while ((entry = getmntent(mounts)))
		if (strcmp(entry->mnt_type, MOUNTINFO_VSOCKFS) == 0 &&
			return_delegations(entry->mnt_dir) != 0)
			status = STATUS_FAILURE;
	endmntent(mounts);
	return status;
}

int main(int argc, char **argv)
{
	const char *request = "stats";
	int c;

	while ((c = getopt_long(argc, argv, "hV", long_options, NULL)) != -1) {
		switch (c) {
		case OPTION_JSON: request = "stats json"; break;
		case OPTION_MOUNTSTATS: request = "stats mountstats"; break;
		case 'h': fputs(usage_text, stdout); return 0;
		case 'V': puts("vsockfsctl " VSOCKFS_VERSION); return 0;
		default: fputs(usage_text, stderr); return STATUS_USAGE;
		}
	}
	if (argc - optind < 1) {
		fputs(usage_text, stderr);
		return STATUS_USAGE;
	}
	if (strcmp(argv[optind], "delegreturn") == 0) {
		if (argc - optind > 2)
			return fail(STATUS_USAGE, "delegreturn takes one mount point");
		return argc - optind == 2 ? return_delegations(argv[optind + 1])
					  : return_all_delegations();
	}
	if (strcmp(argv[optind], "stats") != 0)
		return fail(STATUS_USAGE, "unknown command %s (vsockfsctl -h lists them)",
			argv[optind]);
	if (argc - optind != 2)
		return fail(STATUS_USAGE, "stats needs one mount point");
	return print_stats(argv[optind + 1], request);
}
