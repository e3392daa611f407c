/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "gateway/gateway.h"
#include "gateway/private.h"
#include "gateway/service.h"

#define STATUS_USAGE   1
#define STATUS_FAILURE 2

static const char usage_text[] =
	"usage: vsockfs-serve [--cid N]... [--unix PATH]... [--ro] [--squash all|root|none]\n"
	"                     [--port PORT] [--name /EXPORT] DIR\n"
	"\n"
	"Shows DIR to guests until it is interrupted: they mount 2:/export. Needs root and\n"
	"nfs-ganesha.\n"
	"\n"
	"  --cid N        the guest with this CID alone (without --cid and --unix: every guest)\n"
	"  --unix PATH    the guest whose hypervisor connects to PATH_PORT\n"
	"  --ro           nothing may be changed\n"
	"  --squash WHOM  all: whatever a guest does, DIR's owner does (the default); root: what "
	"a\n"
	"                 guest's root does; none: guests have the rights of the host's root\n"
	"  --port PORT    of the vsock (2049)\n"
	"  --name /EXPORT what guests call it (/export)\n"
	"  -V, --version\n"
	"  -h, --help\n";

enum { OPTION_CID = 256, OPTION_UNIX, OPTION_RO, OPTION_SQUASH, OPTION_PORT, OPTION_NAME };

static const struct option long_options[] = {{"cid", required_argument, NULL, OPTION_CID},
	{"unix", required_argument, NULL, OPTION_UNIX}, {"ro", no_argument, NULL, OPTION_RO},
	{"squash", required_argument, NULL, OPTION_SQUASH},
	{"port", required_argument, NULL, OPTION_PORT},
	{"name", required_argument, NULL, OPTION_NAME}, {"version", no_argument, NULL, 'V'},
	{"help", no_argument, NULL, 'h'}, {NULL}};

struct program {
	struct gateway gateway;
	struct loop *loop;
	struct loop_poll signals, server_end;
	struct private_export export;
	struct private_server server;
	FILE *rules; /* of the gateway, being written */
	char *rules_text;
	size_t rules_len;
	const char *port;
	unsigned guests, polls;
	bool ending, failed;
};

__attribute__((format(printf, 1, 2))) static int usage(const char *format, ...)
{
	va_list args;

	fputs("vsockfs-serve: ", stderr);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputs(" (vsockfs-serve -h tells more)\n", stderr);
	return STATUS_USAGE;
}

static void program_add_guest(struct program *p, const char *name)
{
	p->guests++;
	fprintf(p->rules, "guest \"vsock:%s\" address=127.1.%u.%u\n", name, p->guests / 250,
		p->guests % 250 + 1);
}

/* -1, or the status to exit with. */
static int program_option(struct program *p, int c)
{
	static const char *const squash[] = {[PRIVATE_SQUASH_ALL] = "all",
		[PRIVATE_SQUASH_ROOT] = "root",
		[PRIVATE_SQUASH_NONE] = "none"};
	struct name name;
	char text[NAME_TEXT_MAX + 256];

	switch (c) {
	case OPTION_CID:
	case OPTION_UNIX:
		snprintf(text, sizeof(text), "vsock:%s", optarg);
		const char *why = name_parse(text, &name);
		if (!why && (name.kind == NAME_PATH) != (c == OPTION_UNIX))
			why = c == OPTION_CID ? "not a number" : "not an absolute path";
		if (why || strpbrk(optarg, "\"\\\n"))
			return usage("%s: %s", optarg, why ? why : "a strange name");
		program_add_guest(p, optarg);
		return -1;
	case OPTION_RO: p->export.writable = false; return -1;
	case OPTION_PORT: p->port = optarg; return -1;
	case OPTION_NAME:
		if (optarg[0] != '/' || !optarg[1] || strpbrk(optarg, "\"\\\n"))
			return usage("--name takes a path such as /export");
		p->export.pseudo = optarg;
		return -1;
	case OPTION_SQUASH:
		for (unsigned i = 0; i < sizeof(squash) / sizeof(squash[0]); i++)
			if (strcmp(optarg, squash[i]) == 0) {
				p->export.squash = (enum private_squash)i;
				return -1;
			}
		return usage("--squash takes all, root or none");
	case 'h': fputs(usage_text, stdout); return 0;
	case 'V': puts("vsockfs-serve " VSOCKFS_VERSION); return 0;
	default: return usage("wrong usage");
	}
}

static int program_directory(struct program *p, const char *name)
{
	char *real = realpath(name, NULL);
	struct stat st;

	if (!real || stat(real, &st) < 0) {
		fprintf(stderr, "vsockfs-serve: %s: %s\n", name, strerror(errno));
		return STATUS_FAILURE;
	}
	if (!S_ISDIR(st.st_mode) || strpbrk(real, "\"\\\n")) {
		free(real);
		fprintf(stderr, "vsockfs-serve: %s: %s\n", name,
			S_ISDIR(st.st_mode) ? "nfs-ganesha cannot be told such a name"
					    : strerror(ENOTDIR));
		return STATUS_FAILURE;
	}
	p->export.directory = real;
	p->export.owner = st.st_uid;
	p->export.group = st.st_gid;
	return -1;
}

static int program_options(struct program *p, int argc, char **argv)
{
	int c, status = -1;

	p->export = (struct private_export){.pseudo = "/export", .writable = true};
	p->port = "2049";
	while (status < 0 && (c = getopt_long(argc, argv, "hV", long_options, NULL)) != -1)
		status = program_option(p, c);
	if (status >= 0)
		return status;
	if (argc - optind != 1)
		return usage("one directory is wanted");
	return program_directory(p, argv[optind]);
}

static struct conf *program_conf(struct program *p)
{
	char *head = NULL;
	struct text text;
	struct conf *conf;

	/* In a network of our own all of 127.0.0.0/8 is free. */
	if (asprintf(&head, "server 127.0.0.1:%d\nport %s\n%s%s", PRIVATE_PORT, p->port,
		    p->guests ? "" : "prefix 127.128.0.0/9\nguest vsock:*\n", p->rules_text) < 0)
		return NULL;
	if (text_init_memory(&text, "options", head, strlen(head), stderr) < 0)
		return NULL;
	conf_parse(&text, &conf);
	text_deinit(&text);
	free(head);
	return conf;
}

static void program_finish(struct program *p)
{
	if (p->ending)
		return;
	p->ending = true;
	service_notify("STOPPING=1");
	gateway_drain(&p->gateway);
}

static void program_idle(void *arg)
{
	struct program *p = arg;

	if (!p->ending)
		return;
	loop_poll_cancel(p->loop, &p->signals);
	loop_poll_cancel(p->loop, &p->server_end);
}

/* Every end of a poll that is not renewed; the last one stops the loop. */
static void program_poll_done(struct program *p)
{
	if (--p->polls == 0)
		loop_stop(p->loop);
}

static void program_signalled(struct loop_poll *poll, int result)
{
	struct program *p = (struct program *)((char *)poll - offsetof(struct program, signals));
	struct signalfd_siginfo info;

	if (result == -ECANCELED) {
		program_poll_done(p);
		return;
	}
	loop_poll_start(p->loop, poll);
	while (read(poll->fd, &info, sizeof(info)) == sizeof(info)) {
		if (p->ending)
			gateway_end(&p->gateway, "interrupted");
		program_finish(p);
	}
}

static void program_server_ended(struct loop_poll *poll, int result)
{
	struct program *p = (struct program *)((char *)poll - offsetof(struct program, server_end));

	if (result != -ECANCELED) {
		log_error("nfs-ganesha has ended");
		p->failed = true;
		program_finish(p);
	}
	program_poll_done(p);
}

static void program_watch(
	struct program *p, struct loop_poll *poll, int fd, void (*done)(struct loop_poll *, int))
{
	poll->fd = fd;
	poll->events = POLLIN;
	poll->done = done;
	p->polls++;
	loop_poll_start(p->loop, poll);
}

/* Guests connect from outside; the server is inside. */
static int program_start(struct program *p)
{
	const char *library = getenv("VSOCKFS_SIGNFH_LIBRARY");
	int err = gateway_listen(&p->gateway);

	if (err)
		return err;
	err = private_enter_network();
	if (err) {
		log_error("cannot make a network of its own: %s", strerror(-err));
		return err;
	}
	err = private_start(&p->server, &p->export, library ? library : VSOCKFS_SIGNFH);
	if (!err)
		err = service_restrict();
	return err;
}

static int program_run(struct program *p, struct conf *conf)
{
	int signals = service_signals(), err;

	err = signals < 0 ? -errno : loop_new(LOOP_AUTO, &p->loop);
	if (err) {
		log_error("cannot make an event loop: %s", strerror(-err));
		return STATUS_FAILURE;
	}
	p->server.pidfd = -1;
	gateway_init(&p->gateway, p->loop, conf);
	p->gateway.idle = program_idle;
	p->gateway.arg = p;
	program_watch(p, &p->signals, signals, program_signalled);
	err = program_start(p);
	if (err) {
		p->failed = p->ending = true;
		gateway_drain(&p->gateway);
		if (!gateway_busy(&p->gateway))
			program_idle(p);
	} else {
		program_watch(p, &p->server_end, p->server.pidfd, program_server_ended);
		log_info("%s is %s for guests%s", p->export.directory, p->export.pseudo,
			p->export.writable ? "" : ", read-only");
		service_notify("READY=1");
	}
	err = loop_run(p->loop);
	if (err)
		log_error("waiting for events: %s", strerror(-err));
	gateway_deinit(&p->gateway);
	close(signals);
	loop_free(p->loop);
	private_stop(&p->server);
	return err || p->failed ? STATUS_FAILURE : 0;
}

static int program_main(struct program *p)
{
	struct conf *conf;

	if (geteuid() != 0) {
		fputs("vsockfs-serve: needs root: nfs-ganesha opens files by their handles, and "
		      "acts as their owners\n",
			stderr);
		return STATUS_FAILURE;
	}
	conf = program_conf(p);
	if (!conf)
		return STATUS_USAGE;
	log_set_name("vsockfs-serve");
	log_init(LOG_TARGET_STDERR, false);
	return program_run(p, conf);
}

int main(int argc, char **argv)
{
	struct program p = {.rules = NULL};
	int status;

	p.rules = open_memstream(&p.rules_text, &p.rules_len);
	if (!p.rules)
		return STATUS_FAILURE;
	status = program_options(&p, argc, argv);
	fclose(p.rules);
	if (status < 0)
		status = program_main(&p);
	free((char *)p.export.directory);
	free(p.rules_text);
	return status;
}
