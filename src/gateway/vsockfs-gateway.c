/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "gateway/gateway.h"
#include "gateway/service.h"

#define STATUS_USAGE   1
#define STATUS_FAILURE 2

static const char usage_text[] =
	"usage: vsockfs-gateway [-c FILE] [-u USER] [--inetd] [--io=auto|uring|poll]\n"
	"       vsockfs-gateway [-c FILE] --check\n"
	"\n"
	"  -c, --config FILE  the guests and their addresses (/etc/vsockfs/gateway.conf)\n"
	"  -u, --user USER    who to be after the sockets are made, when started as root (nobody)\n"
	"      --inetd        carry the one connection on stdin, then end\n"
	"      --check        read the configuration, say what is wrong, end\n"
	"      --io HOW       io_uring, poll(2), or what there is\n"
	"  -V, --version\n"
	"  -h, --help\n";

enum { OPTION_INETD = 256, OPTION_CHECK, OPTION_IO };

static const struct option long_options[] = {{"config", required_argument, NULL, 'c'},
	{"user", required_argument, NULL, 'u'}, {"inetd", no_argument, NULL, OPTION_INETD},
	{"check", no_argument, NULL, OPTION_CHECK}, {"io", required_argument, NULL, OPTION_IO},
	{"version", no_argument, NULL, 'V'}, {"help", no_argument, NULL, 'h'}, {NULL}};

struct options {
	const char *config, *user;
	bool inetd, check;
	enum loop_backend io;
};

struct program {
	struct options options;
	struct gateway gateway;
	struct loop *loop;
	struct loop_poll signals;
	bool handed; /* its sockets come from outside, and it makes none */
	bool ending, signals_done;
	unsigned guests; /* rules, for the manager's eyes */
};

/* Complaints about a file go to stderr as they are, or line by line into the log. */
static unsigned program_read_conf(const char *name, bool to_log, struct conf **conf)
{
	char *text = NULL, *line, *next;
	size_t size;
	FILE *errors = to_log ? open_memstream(&text, &size) : stderr;
	unsigned n;

	*conf = NULL;
	if (!errors)
		return 1;
	n = conf_read(name, errors, conf);
	if (!to_log)
		return n;
	fclose(errors);
	for (line = text; (next = strchr(line, '\n')); line = next + 1) {
		*next = '\0';
		log_error("%s", line);
	}
	free(text);
	return n;
}

static void program_status(struct program *p, const char *prefix)
{
	char state[128];
	const struct conf_rule *rule;
	unsigned n = 0;

	TAILQ_FOREACH (rule, &p->gateway.conf->rules, entry)
		n++;
	snprintf(state, sizeof(state), "%sSTATUS=%u rules for guests", prefix, n);
	service_notify(state);
}

static void program_reload(struct program *p)
{
	struct conf *conf;

	service_notify("RELOADING=1");
	if (program_read_conf(p->options.config, true, &conf) > 0) {
		log_error("%s: not loaded; the rules stay as they were", p->options.config);
	} else {
		gateway_reload(&p->gateway, conf);
		if (!p->handed)
			gateway_listen(&p->gateway);
		log_info("%s: loaded", p->options.config);
	}
	program_status(p, "READY=1\n");
}

static void program_idle(void *arg)
{
	struct program *p = arg;

	if (p->ending || p->options.inetd)
		loop_poll_cancel(p->loop, &p->signals);
}

static void program_signal(struct program *p, uint32_t number)
{
	if (number == SIGHUP) {
		if (!p->ending)
			program_reload(p);
	} else if (!p->ending) {
		service_notify("STOPPING=1");
		p->ending = true;
		gateway_drain(&p->gateway);
	} else {
		gateway_end(&p->gateway, "the gateway ends at once");
	}
}

static void program_signalled(struct loop_poll *poll, int result)
{
	struct program *p = (struct program *)((char *)poll - offsetof(struct program, signals));
	struct signalfd_siginfo info;

	if (result == -ECANCELED) {
		p->signals_done = true;
		loop_stop(p->loop);
		return;
	}
	loop_poll_start(p->loop, poll);
	while (read(poll->fd, &info, sizeof(info)) == sizeof(info))
		program_signal(p, info.ssi_signo);
}

static int program_watch_signals(struct program *p)
{
	p->signals.fd = service_signals();
	if (p->signals.fd < 0) {
		p->signals_done = true;
		return -errno;
	}
	p->signals.events = POLLIN;
	p->signals.done = program_signalled;
	loop_poll_start(p->loop, &p->signals);
	return 0;
}

/* A socket from the manager or inetd: it listens, or is a connection. */
static int program_take_socket(struct program *p, int fd)
{
	struct gateway *gateway = &p->gateway;
	bool listening, vsock;
	struct name name = {0};
	uint32_t port;
	int err = listener_identify(fd, gateway->conf->port, &name, &port, &listening, &vsock);

	if (err) {
		log_error("descriptor %d is no AF_VSOCK and no Unix stream socket with a path: %s",
			fd, strerror(-err));
		return err;
	}
	if (listening)
		return listener_start(gateway, fd, vsock, &name, false);
	gateway_admit(gateway, fd, &name, port);
	return 0;
}

static int program_open_sockets(struct program *p)
{
	int n = service_listen_fds(), err = 0;

	p->handed = p->options.inetd || n > 0;
	if (p->options.inetd)
		return program_take_socket(p, STDIN_FILENO);
	if (n == 0)
		return gateway_listen(&p->gateway);
	for (int i = 0; i < n && !err; i++)
		err = program_take_socket(p, SERVICE_FD_FIRST + i);
	return err;
}

static bool program_needs_reserved(const struct conf *conf)
{
	const struct conf_rule *rule;

	TAILQ_FOREACH (rule, &conf->rules, entry)
		if (rule->name.kind != NAME_PATH || rule->ports != CONF_PORTS_SAME)
			return true;
	return false;
}

static int program_start(struct program *p)
{
	int err = program_watch_signals(p);

	if (!err)
		err = program_open_sockets(p);
	if (err)
		return err;
	err = service_drop(p->options.user, program_needs_reserved(p->gateway.conf));
	if (err) {
		log_error("cannot become %s: %s", p->options.user, strerror(-err));
		return err;
	}
	program_status(p, "READY=1\n");
	return 0;
}

/* The connection is stdin; what inetd connects stderr to is mostly the same. */
static enum log_target program_log_target(bool inetd)
{
	struct stat in, err;

	if (inetd && fstat(STDIN_FILENO, &in) == 0 && fstat(STDERR_FILENO, &err) == 0 &&
		in.st_dev == err.st_dev && in.st_ino == err.st_ino)
		return LOG_TARGET_SYSLOG;
	return LOG_TARGET_STDERR;
}

static int program_run(struct program *p)
{
	struct conf *conf;
	int err;

	if (program_read_conf(p->options.config, true, &conf) > 0)
		return STATUS_FAILURE;
	err = loop_new(p->options.io, &p->loop);
	if (err) {
		log_error("cannot make an event loop: %s", strerror(-err));
		conf_free(conf);
		return STATUS_FAILURE;
	}
	gateway_init(&p->gateway, p->loop, conf);
	p->gateway.idle = program_idle;
	p->gateway.arg = p;
	err = program_start(p);
	if (err) {
		p->ending = true;
		gateway_drain(&p->gateway);
	}
	if (!gateway_busy(&p->gateway))
		program_idle(p);
	int failed = 0;
	while (!failed && !p->signals_done)
		failed = loop_run(p->loop);
	if (failed)
		log_error("waiting for events: %s", strerror(-failed));
	gateway_deinit(&p->gateway);
	close(p->signals.fd);
	loop_free(p->loop);
	return err || failed ? STATUS_FAILURE : 0;
}

static bool parse_io(const char *word, enum loop_backend *io)
{
	static const char *const words[] = {
		[LOOP_AUTO] = "auto", [LOOP_URING] = "uring", [LOOP_POLL] = "poll"};

	for (unsigned i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (strcmp(word, words[i]) == 0) {
			*io = (enum loop_backend)i;
			return true;
		}
	return false;
}

/* -1, or the status to exit with. */
static int parse_options(int argc, char **argv, struct options *o)
{
	int c;

	*o = (struct options){.config = CONF_FILE, .user = "nobody", .io = LOOP_AUTO};
	while ((c = getopt_long(argc, argv, "c:u:hV", long_options, NULL)) != -1) {
		switch (c) {
		case 'c': o->config = optarg; break;
		case 'u': o->user = optarg; break;
		case OPTION_INETD: o->inetd = true; break;
		case OPTION_CHECK: o->check = true; break;
		case OPTION_IO:
			if (parse_io(optarg, &o->io))
				break;
			fputs(usage_text, stderr);
			return STATUS_USAGE;
		case 'h': fputs(usage_text, stdout); return 0;
		case 'V': puts("vsockfs-gateway " VSOCKFS_VERSION); return 0;
		default: fputs(usage_text, stderr); return STATUS_USAGE;
		}
	}
	if (optind == argc)
		return -1;
	fputs(usage_text, stderr);
	return STATUS_USAGE;
}

int main(int argc, char **argv)
{
	struct program p = {0};
	struct conf *conf;
	int status = parse_options(argc, argv, &p.options);

	if (status >= 0)
		return status;
	if (p.options.check) {
		status = program_read_conf(p.options.config, false, &conf) > 0 ? STATUS_FAILURE : 0;
		conf_free(conf);
		return status;
	}
	log_set_name("vsockfs-gateway");
	log_init(program_log_target(p.options.inetd), false);
	return program_run(&p);
}
