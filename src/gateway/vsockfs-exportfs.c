/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "gateway/exports_write.h"
#include "gateway/visible.h"

#define STATUS_USAGE   1
#define STATUS_FAILURE 2

#define EXPORTFS_KNFSD	      "/etc/exports.d/vsockfs.exports"
#define EXPORTFS_GANESHA      "/etc/ganesha/vsockfs.conf"
#define EXPORTFS_GANESHA_CONF "/etc/ganesha/ganesha.conf"
#define EXPORTFS_GANESHA_PID  "/run/ganesha/ganesha.pid"

static const char usage_text[] =
	"usage: vsockfs-exportfs [-n] [-s knfsd|ganesha] [--signed] [-f EXPORTS] [-c GATEWAY]\n"
	"\n"
	"Checks which guest sees what, and has the NFS server do so.\n"
	"\n"
	"  -n, --dry-run       check, print what the server would be told, change nothing\n"
	"  -s, --server NAME   knfsd (the default) or ganesha\n"
	"      --signed        nfs-ganesha will sign its file handles, though it does not run yet\n"
	"  -f, --file EXPORTS  instead of /etc/vsockfs/exports\n"
	"  -c, --config FILE   the gateway's, instead of /etc/vsockfs/gateway.conf\n"
	"  -V, --version\n"
	"  -h, --help\n";

enum { OPTION_SIGNED = 256 };

static const struct option long_options[] = {{"signed", no_argument, NULL, OPTION_SIGNED},
	{"dry-run", no_argument, NULL, 'n'}, {"server", required_argument, NULL, 's'},
	{"file", required_argument, NULL, 'f'}, {"config", required_argument, NULL, 'c'},
	{"version", no_argument, NULL, 'V'}, {"help", no_argument, NULL, 'h'}, {NULL}};

struct options {
	const char *file, *config;
	bool dry_run, ganesha, is_signed;
};

static int fail(const char *what, int err)
{
	fprintf(stderr, "vsockfs-exportfs: %s: %s\n", what, strerror(-err));
	return STATUS_FAILURE;
}

/* Pid of the system's nfs-ganesha, 0 when it does not run. */
static pid_t ganesha_pid(void)
{
	FILE *f = fopen(EXPORTFS_GANESHA_PID, "re");
	char name[64] = "", path[64];
	int pid = 0;

	if (!f)
		return 0;
	if (fscanf(f, "%d", &pid) != 1 || pid <= 1)
		pid = 0;
	fclose(f);
	snprintf(path, sizeof(path), "/proc/%d/comm", pid);
	f = pid ? fopen(path, "re") : NULL;
	if (!f)
		return 0;
	if (!fgets(name, sizeof(name), f) || strncmp(name, "ganesha.nfsd", 12) != 0)
		pid = 0;
	fclose(f);
	return pid;
}

/* Whether it was started with the library that signs its handles. */
static bool ganesha_signs(void)
{
	char path[64], *line = NULL;
	pid_t pid = ganesha_pid();
	size_t size = 0;
	bool signs = false;

	snprintf(path, sizeof(path), "/proc/%d/maps", (int)pid);
	FILE *f = pid ? fopen(path, "re") : NULL;
	if (!f)
		return false;
	while (!signs && getline(&line, &size, f) > 0)
		signs = strstr(line, "/libvsockfs-signfh.so") != NULL;
	free(line);
	fclose(f);
	return signs;
}

static int write_exports(
	const struct options *o, const struct exports *exports, const struct conf *conf, FILE *out)
{
	if (o->ganesha)
		return exports_write_ganesha(exports, conf, out);
	exports_write_knfsd(exports, conf, out);
	return 0;
}

/* A new file takes the old one's place at once, or not at all. */
static int replace_file(const struct options *o, const struct exports *exports,
	const struct conf *conf, const char *path)
{
	char temporary[128];
	int err;

	snprintf(temporary, sizeof(temporary), "%s.new", path);
	FILE *out = fopen(temporary, "we");
	if (!out)
		return fail(temporary, -errno);
	err = write_exports(o, exports, conf, out);
	if (!err && (fflush(out) != 0 || fsync(fileno(out)) < 0))
		err = -errno;
	fclose(out);
	if (!err && rename(temporary, path) < 0)
		err = -errno;
	if (!err)
		return 0;
	unlink(temporary);
	return fail(path, err);
}

static int run_exportfs(void)
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		execlp("exportfs", "exportfs", "-r", (char *)NULL);
		fprintf(stderr, "vsockfs-exportfs: exportfs: %s\n", strerror(errno));
		_exit(127);
	}
	if (pid < 0 || waitpid(pid, &status, 0) < 0)
		return fail("exportfs", -errno);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return 0;
	fprintf(stderr, "vsockfs-exportfs: exportfs -r failed; see above\n");
	return STATUS_FAILURE;
}

static int apply(const struct options *o, const struct exports *exports, const struct conf *conf)
{
	int status;

	if (!o->ganesha) {
		mkdir("/etc/exports.d", 0755);
		status = replace_file(o, exports, conf, EXPORTFS_KNFSD);
		return status ? status : run_exportfs();
	}
	status = replace_file(o, exports, conf, EXPORTFS_GANESHA);
	pid_t pid = ganesha_pid();
	if (!status && pid && kill(pid, SIGHUP) < 0)
		status = fail("nfs-ganesha", -errno);
	return status;
}

static int check(const struct options *o, struct text *text, struct exports *exports,
	const struct conf *conf)
{
	unsigned n = exports_parse(text, exports);

	if (n == 0) {
		exports_check(text, exports, conf, o->ganesha && (o->is_signed || ganesha_signs()),
			!o->ganesha);
		n = text->nerrors;
	}
	n += o->ganesha ? visible_ganesha(EXPORTFS_GANESHA_CONF, EXPORTFS_GANESHA, stderr)
			: visible_knfsd_all(EXPORTFS_KNFSD, conf, stderr);
	if (n > 0)
		fprintf(stderr, "vsockfs-exportfs: nothing was changed\n");
	return n > 0 ? STATUS_FAILURE : 0;
}

static int run(const struct options *o)
{
	struct exports exports = TAILQ_HEAD_INITIALIZER(exports);
	struct conf *conf = NULL;
	struct text text;
	int status = STATUS_FAILURE, err;

	if (conf_read(o->config, stderr, &conf) > 0)
		return STATUS_FAILURE;
	if (text_init(&text, o->file, stderr) == 0)
		status = check(o, &text, &exports, conf);
	if (!status && !o->dry_run) {
		status = apply(o, &exports, conf);
	} else if (!status) {
		err = write_exports(o, &exports, conf, stdout);
		status = err ? fail(o->file, err) : 0;
	}
	exports_free(&exports);
	text_deinit(&text);
	conf_free(conf);
	return status;
}

int main(int argc, char **argv)
{
	struct options o = {.file = EXPORTS_FILE, .config = CONF_FILE};
	int c;

	while ((c = getopt_long(argc, argv, "ns:f:c:hV", long_options, NULL)) != -1) {
		switch (c) {
		case OPTION_SIGNED: o.is_signed = true; break;
		case 'n': o.dry_run = true; break;
		case 'f': o.file = optarg; break;
		case 'c': o.config = optarg; break;
		case 's':
			o.ganesha = strcmp(optarg, "ganesha") == 0;
			if (o.ganesha || strcmp(optarg, "knfsd") == 0)
				break;
			fputs(usage_text, stderr);
			return STATUS_USAGE;
		case 'h': fputs(usage_text, stdout); return 0;
		case 'V': puts("vsockfs-exportfs " VSOCKFS_VERSION); return 0;
		default: fputs(usage_text, stderr); return STATUS_USAGE;
		}
	}
	if (optind < argc) {
		fputs(usage_text, stderr);
		return STATUS_USAGE;
	}
	return run(&o);
}
