/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "ctl.h"

static const char usage_text[] =
	"usage: vsockfsctl COMMAND [OPTION...] MOUNTPOINT\n"
	"\n"
	"  status [--json]      connections, session, server, what is open, options in force\n"
	"  stats [--json | --mountstats]\n"
	"                       RPCs by operation, with bytes, times, retransmissions\n"
	"  watch [--interval SECONDS] [--count N]\n"
	"                       their rates, again and again\n"
	"  trace [--slower MILLISECONDS]\n"
	"                       requests of programs that took longer (100)\n"
	"  capture [--data] [--snaplen BYTES] [--limit MIB] FILE|-\n"
	"                       what goes over the connections, for Wireshark, from now on\n"
	"  capture stop         until now\n"
	"  capture status\n"
	"  drop                 drops what the kernel has cached\n"
	"  log debug|info       what the daemon writes to its log\n"
	"  delegreturn          gives the server all delegations back; of all mounts, unless one\n"
	"                       is named\n"
	"\n"
	"  -V, --version\n"
	"  -h, --help\n";

#define LIMIT_UNIT (UINT64_C(1) << 20)

enum {
	OPTION_JSON = 256,
	OPTION_MOUNTSTATS,
	OPTION_INTERVAL,
	OPTION_COUNT,
	OPTION_SLOWER,
	OPTION_DATA,
	OPTION_SNAPLEN,
	OPTION_LIMIT,
};
#define BIT(option) (1u << ((option)-OPTION_JSON))

static const struct option long_options[] = {{"json", no_argument, NULL, OPTION_JSON},
	{"mountstats", no_argument, NULL, OPTION_MOUNTSTATS},
	{"interval", required_argument, NULL, OPTION_INTERVAL},
	{"count", required_argument, NULL, OPTION_COUNT},
	{"slower", required_argument, NULL, OPTION_SLOWER},
	{"data", no_argument, NULL, OPTION_DATA},
	{"snaplen", required_argument, NULL, OPTION_SNAPLEN},
	{"limit", required_argument, NULL, OPTION_LIMIT}, {"version", no_argument, NULL, 'V'},
	{"help", no_argument, NULL, 'h'}, {NULL}};

static int print(const char *path, const char *request)
{
	int status = ctl_ask(path, request, -1, stdout);

	return status == 0 ? ctl_flush() : status;
}

static int run_status(const char *path, const char *word, const struct ctl_options *options)
{
	return print(path, options->json ? "status json" : "status");
}

static int run_stats(const char *path, const char *word, const struct ctl_options *options)
{
	return print(path, options->json	 ? "stats json"
			   : options->mountstats ? "stats mountstats"
						 : "stats");
}

static int run_watch(const char *path, const char *word, const struct ctl_options *options)
{
	return ctl_watch(path, options);
}

static int run_trace(const char *path, const char *word, const struct ctl_options *options)
{
	return ctl_trace(path, options);
}

static int run_capture(const char *path, const char *word, const struct ctl_options *options)
{
	return ctl_capture(path, word, options);
}

static int run_drop(const char *path, const char *word, const struct ctl_options *options)
{
	return print(path, "drop");
}

static int run_log(const char *path, const char *word, const struct ctl_options *options)
{
	if (strcmp(word, "debug") != 0 && strcmp(word, "info") != 0)
		return ctl_fail(CTL_USAGE, "the log's level is debug or info, not %s", word);
	return print(path, strcmp(word, "debug") == 0 ? "log debug" : "log info");
}

static int return_delegations(const char *path)
{
	char *text;
	int status = ctl_ask_text(path, "delegreturn", -1, &text);

	if (status == 0 && *text)
		status = ctl_fail(CTL_FAILURE, "%s: %.*s", path, (int)strcspn(text, "\n"), text);
	free(text);
	return status;
}

static int run_delegreturn(const char *path, const char *word, const struct ctl_options *options)
{
	return path ? return_delegations(path) : ctl_each_mount(return_delegations);
}

static const struct ctl_command {
	const char *name;
	unsigned options;
	const char *word; /* what it takes in front of the mount point, or NULL */
	bool all;	  /* the mount point may be left out */
	int (*run)(const char *path, const char *word, const struct ctl_options *options);
} commands[] = {
	{"status", BIT(OPTION_JSON), NULL, false, run_status},
	{"stats", BIT(OPTION_JSON) | BIT(OPTION_MOUNTSTATS), NULL, false, run_stats},
	{"watch", BIT(OPTION_INTERVAL) | BIT(OPTION_COUNT), NULL, false, run_watch},
	{"trace", BIT(OPTION_SLOWER), NULL, false, run_trace},
	{"capture", BIT(OPTION_DATA) | BIT(OPTION_SNAPLEN) | BIT(OPTION_LIMIT), "a file", false,
		run_capture},
	{"drop", 0, NULL, false, run_drop},
	{"log", 0, "a level", false, run_log},
	{"delegreturn", 0, NULL, true, run_delegreturn},
};

static bool parse_number(const char *text, double min, double max, double *number)
{
	char *end;

	errno = 0;
	*number = strtod(text, &end);
	return errno == 0 && end != text && *end == '\0' && isfinite(*number) && *number >= min &&
	       *number <= max;
}

static bool parse_whole(const char *text, double min, double max, double *number)
{
	return parse_number(text, min, max, number) && *number == floor(*number);
}

/* False: the value is no good. */
static bool take_option(int option, const char *value, struct ctl_options *options)
{
	double number = 0;
	bool good = true;

	switch (option) {
	case OPTION_JSON: options->json = true; break;
	case OPTION_MOUNTSTATS: options->mountstats = true; break;
	case OPTION_DATA: options->data = true; break;
	case OPTION_INTERVAL: good = parse_number(value, 0.1, 1e6, &options->interval_s); break;
	case OPTION_SLOWER: good = parse_number(value, 0, 1e9, &options->slower_ms); break;
	case OPTION_COUNT:
		good = parse_whole(value, 1, 1e9, &number);
		options->count = (unsigned long)number;
		break;
	case OPTION_SNAPLEN:
		/* less would not show who sends what to whom */
		good = parse_whole(value, 40, 1 << 30, &number);
		options->snaplen = (uint32_t)number;
		break;
	case OPTION_LIMIT:
		good = parse_whole(value, 1, 1e9, &number);
		options->limit = (uint64_t)number * LIMIT_UNIT;
		break;
	}
	return good;
}

static const struct ctl_command *find_command(const char *name)
{
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		if (strcmp(commands[i].name, name) == 0)
			return &commands[i];
	return NULL;
}

/* `words` are those behind the command's name. */
static int run(const struct ctl_command *command, unsigned given, char **words, int count,
	const struct ctl_options *options)
{
	const char *word = command->word && count > 0 ? words[0] : NULL;
	const char *path = count > (word != NULL) ? words[word != NULL] : NULL;

	if (given & ~command->options)
		return ctl_fail(CTL_USAGE, "%s has no such option (vsockfsctl -h lists them)",
			command->name);
	if (count > (word != NULL) + (path != NULL) || (!path && !command->all))
		return ctl_fail(CTL_USAGE, "%s %s%s%sone mount point", command->name,
			command->all ? "takes at most " : "needs ",
			command->word ? command->word : "", command->word ? " and " : "");
	return command->run(path, word, options);
}

int main(int argc, char **argv)
{
	struct ctl_options options = {.slower_ms = 100, .interval_s = 5};
	unsigned given = 0;
	int c;

	while ((c = getopt_long(argc, argv, "hV", long_options, NULL)) != -1) {
		switch (c) {
		case 'h': fputs(usage_text, stdout); return 0;
		case 'V': puts("vsockfsctl " VSOCKFS_VERSION); return 0;
		case '?': fputs(usage_text, stderr); return CTL_USAGE;
		default: given |= BIT(c);
		}
		if (!take_option(c, optarg, &options))
			return ctl_fail(CTL_USAGE, "%s is no value for this option", optarg);
	}
	if (argc - optind < 1) {
		fputs(usage_text, stderr);
		return CTL_USAGE;
	}
	const struct ctl_command *command = find_command(argv[optind]);
	if (!command)
		return ctl_fail(
			CTL_USAGE, "unknown command %s (vsockfsctl -h lists them)", argv[optind]);
	return run(command, given, argv + optind + 1, argc - optind - 1, &options);
}
